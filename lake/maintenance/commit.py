"""Replaces files of a table by others with the same rows, in one commit of its own.

The Delta library can append, and can compact files that it chooses itself, in its own order; it has no commit of given
files. So the log entry is written here, by the protocol's own rule: the entry of the next version is created if it does
not exist. Where another writer was first, its entry is looked at: one that only adds rows is no obstacle, as in the
library's own rules for compaction.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from lake.log_path import checkpoint_path, commit_path
from lake.maintenance.delta_log import MAINTAINER, Actions, read_actions
from lake.maintenance.plan import Group
from lake.storage.interface import Storage
from lake.table import PARTITION_COLUMN
from schemas.errors import LakeConflict, LakeError

__all__ = ["DataFile", "Replacement", "claim_of", "commit_replacement"]

ATTEMPTS_MAX = 1_000
"""Each failed attempt means that another writer succeeded; so many in the time of one attempt are no writers."""


@dataclass(frozen=True)
class DataFile:
    """A new data file.

    Attributes:
        path: relative to the table's folder.
        size: in bytes.
        stats: Delta's statistics of its columns, as JSON.
        modified_ms: when it was written, ms UTC.
    """

    path: str
    size: int
    stats: str
    modified_ms: int


@dataclass(frozen=True)
class Replacement:
    """A commit to make.

    Attributes:
        table: its name.
        read_version: version of the table at which all removed files were active.
        position: of the table's maintenance claim at that version.
        removed: files to replace.
        added: files with exactly their rows; none: the rows leave the table.
    """

    table: str
    read_version: int
    position: int
    removed: Group
    added: Sequence[DataFile]


def claim_of(table: str) -> str:
    """Return the id of the application whose position counts the maintenance commits of a table."""
    return f"{MAINTAINER}{table}"


def commit_replacement(storage: Storage, replacement: Replacement, now_ms: int) -> int:
    """Write the log entry and return the version that it makes.

    The change feed shows nothing of rows that are in another file, and that others are gone.

    Raises:
        LakeConflict: another maintainer, or a writer that removed rows, was first; nothing has changed.
        LakeError: the log cannot be read or written.
    """
    content = _entry(replacement, now_ms)
    version = replacement.read_version + 1
    for version in range(replacement.read_version + 1, replacement.read_version + 1 + ATTEMPTS_MAX):
        if storage.put_if_absent(commit_path(version), content):
            break
        _check_compatible(read_actions(storage, version), version, replacement)
    else:
        raise LakeError(f"other writers were first {ATTEMPTS_MAX} times", where=f"table {replacement.table}")
    if not (storage.has(commit_path(version - 1)) or storage.has(checkpoint_path(version - 1))):
        # the log was swept past the version that was read: this process stood still for days, and its entry is below
        # the oldest one that readers begin with
        storage.delete(commit_path(version))
        raise LakeConflict(
            f"version {version - 1} has been swept since it was read",
            where=f"table {replacement.table}",
            hint="Nothing has changed; it is done again from the newest version.",
        )
    return version


def _check_compatible(other: Actions, version: int, replacement: Replacement) -> None:
    """Refuse if a commit since the version that was read has touched what is to be replaced.

    Raises:
        LakeConflict: it has.
    """
    removed = {file.path for file in replacement.removed.files}
    if claim_of(replacement.table) in other.apps:
        what = "another maintainer was first"
    elif removed & other.removed:
        what = "rows of these files were changed or rewritten meanwhile"
    elif other.alters:
        what = "the table's columns or properties were changed meanwhile"
    else:
        return
    raise LakeConflict(
        f"{what}, in version {version}",
        where=f"table {replacement.table}",
        hint="Nothing has changed; it is done again from the newest version.",
    )


def _entry(replacement: Replacement, now_ms: int) -> bytes:
    """Return the log entry: who, the claim, what is gone, what is there instead."""
    is_change = not replacement.added
    removed = [
        {
            "path": file.path,
            "deletionTimestamp": now_ms,
            "dataChange": is_change,
            "extendedFileMetadata": True,
            "partitionValues": _partition(file.day),
            "size": file.size,
        }
        for file in replacement.removed.files
    ]
    added = [
        {
            "path": file.path,
            "partitionValues": _partition(replacement.removed.day),
            "size": file.size,
            "modificationTime": file.modified_ms,
            "dataChange": False,
            "stats": file.stats,
        }
        for file in replacement.added
    ]
    info = {
        "timestamp": now_ms,
        "operation": "DELETE" if is_change else "OPTIMIZE",
        "operationParameters": {"predicate": "[]"},
        "readVersion": replacement.read_version,
        "isBlindAppend": False,
        "engineInfo": "truthloop",
    }
    claim = {"appId": claim_of(replacement.table), "version": replacement.position + 1, "lastUpdated": now_ms}
    actions: tuple[dict[str, Any], ...] = (
        {"commitInfo": info},
        {"txn": claim},
        *({"remove": action} for action in removed),
        *({"add": action} for action in added),
    )
    return b"".join(json.dumps(action, separators=(",", ":")).encode() + b"\n" for action in actions)


def _partition(day: date) -> dict[str, str]:
    return {PARTITION_COLUMN: day.isoformat()}
