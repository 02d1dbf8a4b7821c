"""The wall clock of a simulated process, for code that asks the operating system for the time.

delta-rs takes no clock as an argument: it stamps commits, added and removed files with the wall clock, leaves removed
files out of Delta checkpoints by the age of that stamp, and removes log files by the age of their modification time. So
both are driven: a small library that is loaded before libc moves the wall clock of the process, and `age_files` gives
what was written since the last day the time at which it was written by that clock. Nothing is rewritten, and the
simulated time always lies in the past, so no file is older by its modification time than it should be.
"""

import ctypes
import os
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["age_files", "now_ms", "processes_clock", "set_clock"]

_SOURCE = Path(__file__).with_name("years_clock.c")
_DAY_MS = 86_400_000


def processes_clock(folder: Path) -> Mapping[str, str]:
    """Compile the library into `folder`, and return the environment in which a process has a clock that can be set."""
    library = folder / "years_clock.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)  # noqa: S603 - this very file
    return {"LD_PRELOAD": str(library)}


def set_clock(at_ms: int) -> None:
    """Set this process's wall clock, which goes on from there.

    Raises:
        ValueError: the process was started without the library.
    """
    shift = ctypes.c_longlong.in_dll(ctypes.CDLL(None), "years_clock_shift_ns")
    real_ns = time.time_ns() - shift.value
    if at_ms * 1_000_000 > real_ns:
        raise ValueError("a simulated time must lie in the past: files would be too old by their modification time")
    shift.value = at_ms * 1_000_000 - real_ns


def now_ms() -> int:
    """Return this process's wall clock, ms UTC."""
    return time.time_ns() // 1_000_000


def age_files(lake: Path) -> None:
    """Give the log files, and the rows recorded today, that were written since the last call their simulated time."""
    at_s = time.time()
    recorded_on = datetime.fromtimestamp(at_s, UTC).date()
    for table in lake.iterdir():
        for folder in (table / "_delta_log", *table.glob(f"*={recorded_on}")):
            if not folder.is_dir():
                continue
            for file in os.scandir(folder):
                if file.stat().st_mtime > at_s + _DAY_MS / 1000:
                    os.utime(file.path, (at_s, at_s))
