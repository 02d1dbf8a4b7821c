"""Durability of commits against power loss: fsync after each append, and a check of the newest commits at start.

An append returns once its commit and all earlier ones are durable. So power loss can tear only commits whose append did
not return, at most one per writer. No append of a later commit has returned either, so the whole repair is to remove
the log entries from the torn commit on.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from lake.failure import is_refused_by_system, lake_error
from schemas.errors import LakeError

__all__ = [
    "COMMITS_AT_RISK",
    "LogEntry",
    "check_newest_commits",
    "log_entry",
    "log_file",
    "make_durable",
    "make_file_durable",
    "sync",
    "write_atomically",
]

COMMITS_AT_RISK = 8
"""Newest commits that are checked: one for each process that may write to a table at once, and a few more, which also
detects a disk that reports writes as done too early."""

LogEntry = tuple[int, int]
"""Identity of a file of the log: its number in the file system, and its time."""

_LOG = "_delta_log"


def log_file(folder: Path, version: int) -> Path:
    """Return the path of the log entry of commit `version` of the table in `folder`."""
    return folder / _LOG / f"{version:020d}.json"


def log_entry(folder: Path, version: int) -> LogEntry | None:
    """Return what tells the log entry of commit `version` from any other of this number; None if there is none."""
    try:
        found = log_file(folder, version).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of a file atomically: a reader sees the old text or the new one.

    Raises:
        LakeError: the file cannot be written.
    """
    draft = path.with_name(path.name + ".draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        hint = "Check that the disk has room and the folder is writable, then run the same command again."
        raise lake_error("could not be written", error, path, hint) from error


def make_file_durable(path: Path) -> None:
    """Make a file survive power loss."""
    sync(path)
    sync(path.parent)


def make_durable(folder: Path, version: int) -> None:
    """Make commit `version` of the table in `folder` survive power loss."""
    log = log_file(folder, version)
    if not log.exists():  # removed by a log cleanup
        return
    # a file that is gone was rewritten by a later commit, and swept
    added = [path for name, _ in _added(log) if (path := folder / name).exists()]
    for path in added:
        sync(path)
    for parent in {path.parent for path in added}:
        sync(parent)
    for path in (folder, log, log.parent):
        sync(path)


def check_newest_commits(folder: Path) -> None:
    """Check that the newest commits of a table are complete: every file they added is there, with its footer.

    Raises:
        LakeError: a file is torn; says which, and the repair. Or the system refuses to open one.
    """
    logs = sorted((folder / _LOG).glob("[0-9]*.json"), reverse=True)[:COMMITS_AT_RISK]
    removed: set[str] = set()
    torn: tuple[Path, int] | None = None
    for index, log in enumerate(logs):
        try:
            added = list(_added(log))
            removed.update(_paths(log, "remove"))
        except FileNotFoundError:  # swept since the folder was listed: it was no newest commit
            continue
        except OSError as error:
            raise lake_error("cannot be read", error, log, "") from error
        except (ValueError, KeyError, TypeError):
            torn = log, index
            continue
        for path, size in added:
            if path not in removed and not _is_whole(folder / path, size):
                torn = folder / path, index
    if torn is not None:
        raise _torn(torn[0], logs[torn[1] :: -1])


def _torn(path: Path, logs: list[Path]) -> LakeError:
    """Return the error for a torn file; `logs` are its commit and all later ones."""
    apps = [app for log in logs for app in _apps(log)]
    if len(apps) != len(set(apps)):  # an application appends again only after its last append has returned
        return LakeError(
            "is damaged, and the same writer has committed since",
            where=str(path),
            hint="A failing disk does this, a power cut does not: restore the lake from a backup.",
        )
    entries = sorted(str(entry) for log in logs for entry in log.parent.glob(f"{log.stem}.*"))
    return LakeError(
        "is torn: the machine stopped while it was being written",
        where=str(path),
        hint="No append since then has returned. Move "
        + " and ".join(entries)
        + " out of the lake and run the last command again: it writes the same rows from their source.",
    )


def _apps(log: Path) -> set[str]:
    try:
        return {str(entry["txn"]["appId"]) for entry in _actions(log) if "txn" in entry}
    except (ValueError, KeyError, TypeError):
        return set()


def _is_whole(path: Path, size: int) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        if is_refused_by_system(error):
            raise lake_error("cannot be read", error, path, "") from error
        return False
    return True


def _actions(log: Path) -> Iterator[dict[str, dict[str, object]]]:
    lines = log.read_bytes().splitlines()
    if not lines:
        raise ValueError("an empty commit")
    yield from (json.loads(line) for line in lines)


def _paths(log: Path, action: str) -> list[str]:
    return [unquote(str(entry[action]["path"])) for entry in _actions(log) if action in entry]


def _added(log: Path) -> Iterator[tuple[str, int]]:
    for entry in _actions(log):
        if "add" in entry:
            yield unquote(str(entry["add"]["path"])), int(str(entry["add"]["size"]))


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive power loss.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
