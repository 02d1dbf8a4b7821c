"""Durability of commits against power loss: fsync after each append, and a check of the newest commits at start.

An append returns once its commit and all earlier ones are durable. So power loss can tear only commits whose append did
not return, at most one per writer. No append of a later commit has returned either, so the whole repair is to remove
the log entries from the torn commit on.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from lake.failure import is_refused_by_system, lake_error
from lake.log_path import LOG, commit_path
from lake.storage.folder import sync
from schemas.base.location import Location
from schemas.errors import LakeError

__all__ = ["COMMITS_AT_RISK", "check_newest_commits", "log_file", "make_durable"]

COMMITS_AT_RISK = 8
"""Newest commits that are checked: one for each process that may write to a table at once, and a few more, which also
detects a disk that reports writes as done too early."""


def log_file(folder: Path, version: int) -> Path:
    """Return the path of the log entry of commit `version` of the table in `folder`."""
    return folder / commit_path(version)


def make_durable(folder: Location, version: int) -> None:
    """Make commit `version` of the table in `folder` survive power loss; what an object store has answered does."""
    if not isinstance(folder, Path):
        return
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


def check_newest_commits(folder: Location) -> None:
    """Check that the newest commits of a table are complete: every file they added is there, with its footer.

    An object store has whole objects or none.

    Raises:
        LakeError: a file is torn; says which, and the repair. Or the system refuses to open one.
    """
    if not isinstance(folder, Path):
        return
    logs = sorted((folder / LOG).glob("[0-9]*.json"), reverse=True)[:COMMITS_AT_RISK]
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
