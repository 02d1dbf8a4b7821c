"""What a process and all that it started take of the machine, from Linux's /proc."""

import os
from pathlib import Path

__all__ = ["cpu_s", "rss_mb", "tree"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")
_PARENT, _USER, _CHILD_SYSTEM = 1, 11, 14
"""Places among the fields behind a process's name; from the user's time on four in a row are CPU times."""


def tree(pid: int) -> list[int]:
    """Return a process and all living processes that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _fields(int(folder.name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_s(pids: list[int]) -> float:
    """Return the CPU seconds that processes have used so far, with those of their children that have ended."""
    return sum(int(ticks) for pid in pids for ticks in _fields(pid)[_USER : _CHILD_SYSTEM + 1]) / _TICKS


def rss_mb(pids: list[int]) -> float:
    """Return the memory of processes that is resident now."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        except OSError:
            continue
    return pages * _PAGE / 1e6


def _fields(pid: int) -> list[str]:
    """Return what /proc says of a process behind its name; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
