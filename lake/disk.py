"""What a power cut can do to files, and the answer: durable commits, and a look at the newest ones at start.

A commit's files are made durable before the append returns, and nothing is written on top of one that
did not return. So after a power cut at most the newest commit of a table can be torn, and taking its log
entry away is the whole repair. Must not know what the tables mean.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import LakeError

__all__ = ["check_newest_commits", "log_file", "make_durable", "write_atomically"]

COMMITS_LOOKED_AT = 3
"""One would do by the rule above; more also finds a disk that lies about having written."""

_LOG = "_delta_log"


def log_file(folder: Path, version: int) -> Path:
    """Return where the commit `version` of the table in `folder` is described."""
    return folder / _LOG / f"{version:020d}.json"


def write_atomically(path: Path, text: str) -> None:
    """Replace the file by one that says `text`; a reader sees the old one or the new one, whole.

    Raises:
        LakeError: the disk does not take it.
    """
    draft = path.with_name(path.name + ".draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise LakeError(
            f"could not be written: {error.strerror}",
            where=str(path),
            hint="See that the disk has room and the folder is writable, then run the same command again.",
        ) from error


def make_durable(folder: Path, version: int) -> None:
    """Return only when the commit `version` of the table in `folder` would outlive a power cut."""
    log = log_file(folder, version)
    if not log.exists():  # cleaned up long ago
        return
    added = [folder / path for path, _ in _added(log)]
    for path in added:
        _sync(path)
    for parent in {path.parent for path in added}:
        _sync(parent)
    for path in (folder, log, log.parent):
        _sync(path)


def check_newest_commits(folder: Path) -> None:
    """Look into the newest commits of a table: each file they added is there, whole, with its footer.

    Raises:
        LakeError: one is torn; says which, and the way out.
    """
    logs = sorted((folder / _LOG).glob("[0-9]*.json"), reverse=True)[:COMMITS_LOOKED_AT]
    removed: set[str] = set()
    for log in logs:
        try:
            added = list(_added(log))
            removed.update(_paths(log, "remove"))
        except (ValueError, KeyError, TypeError) as error:
            raise _torn(log, log, newest=logs[0]) from error
        for path, size in added:
            if path not in removed and not _is_whole(folder / path, size):
                raise _torn(folder / path, log, newest=logs[0])


def _torn(path: Path, log: Path, *, newest: Path) -> LakeError:
    if log != newest:
        return LakeError(
            "is damaged, and later commits stand on top of it",
            where=str(path),
            hint="A failing disk does this, a power cut does not: bring the lake back from its backup.",
        )
    entries = sorted(str(entry) for entry in log.parent.glob(f"{log.stem}.*"))
    return LakeError(
        "is torn: the machine stopped while it was being written",
        where=str(path),
        hint="Nothing was written after it. Move "
        + " and ".join(entries)
        + " out of the lake and run the last command again: it writes the same rows from their source.",
    )


def _is_whole(path: Path, size: int) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
