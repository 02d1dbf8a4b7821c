"""What a power cut can do to files, and the answer: durable commits, and a look at the newest ones at start.

An append returns when its commit is durable and every commit below it. So a power cut can tear only commits
whose append did not return, at most one of each writer, and all commits above a torn one: taking their log
entries away is the whole repair. Must not know what the tables mean.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import LakeError

__all__ = ["COMMITS_AT_RISK", "check_newest_commits", "log_file", "make_durable", "write_atomically"]

COMMITS_AT_RISK = 8
"""As many processes as may write to a table at once; a few more also find a disk that lies about having written."""

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
    logs = sorted((folder / _LOG).glob("[0-9]*.json"), reverse=True)[:COMMITS_AT_RISK]
    removed: set[str] = set()
    torn: tuple[Path, int] | None = None
    for place, log in enumerate(logs):
        try:
            added = list(_added(log))
            removed.update(_paths(log, "remove"))
        except (ValueError, KeyError, TypeError):
            torn = log, place
            continue
        for path, size in added:
            if path not in removed and not _is_whole(folder / path, size):
                torn = folder / path, place
    if torn is not None:
        raise _torn(torn[0], logs[torn[1] :: -1])


def _torn(path: Path, logs: list[Path]) -> LakeError:
    """Return what to say of a torn file; `logs` are its commit and all above it."""
    apps = [app for log in logs for app in _apps(log)]
    if len(apps) != len(set(apps)):  # an application writes on only when its append has returned
        return LakeError(
            "is damaged, and later commits of the same writer stand on top of it",
            where=str(path),
            hint="A failing disk does this, a power cut does not: bring the lake back from its backup.",
        )
    entries = sorted(str(entry) for log in logs for entry in log.parent.glob(f"{log.stem}.*"))
    return LakeError(
        "is torn: the machine stopped while it was being written",
        where=str(path),
        hint="No append from there on has returned. Move "
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
