"""The log of a Delta table as files: names of its entries, and the actions in them. Reads and decides nothing.

Only what the Delta protocol says of a log is relied on: an entry is a JSON document a line, an entry's number is the
version it makes, and a Delta checkpoint of version N replaces all entries up to N.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from lake.log_path import LOG, checkpoint_path, commit_path
from lake.storage.interface import Storage, StoredFile
from schemas.errors import LakeError

__all__ = [
    "MAINTAINER",
    "Actions",
    "LogFiles",
    "list_log",
    "read_actions",
    "read_checkpoint",
]

MAINTAINER: Final = "maintain:"
"""Begins the ids of applications whose positions count the maintenance commits of a table."""

_ENTRY = re.compile(LOG + r"/(\d{20})\.(json|checkpoint\.parquet)")


@dataclass(frozen=True)
class LogFiles:
    """The files of a log.

    Attributes:
        commits: by version; the newest has the greatest.
        checkpoints: by version.
        others: neither; drafts that a killed process left behind, for instance.
    """

    commits: Mapping[int, StoredFile]
    checkpoints: Mapping[int, StoredFile]
    others: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in (*self.commits.values(), *self.checkpoints.values(), *self.others))


@dataclass(frozen=True)
class Actions:
    """What one commit did.

    Attributes:
        time_ms: when it was made, by its writer's clock, ms UTC; None if it does not say.
        is_rewrite: it replaced files and changed no row.
        added: paths of data files, as the log writes them.
        removed: the same.
        changes: paths of files of the change feed.
        apps: ids of the applications whose positions it set.
        alters: it changed the table's columns, properties or protocol.
    """

    time_ms: int | None = None
    is_rewrite: bool = False
    added: frozenset[str] = field(default_factory=frozenset)
    removed: frozenset[str] = field(default_factory=frozenset)
    changes: frozenset[str] = field(default_factory=frozenset)
    apps: frozenset[str] = field(default_factory=frozenset)
    alters: bool = False

    @property
    def is_maintenance(self) -> bool:
        """Whether it is no sign of a writer."""
        return self.is_rewrite or any(app.startswith(MAINTAINER) for app in self.apps)

    @property
    def named(self) -> frozenset[str]:
        """Paths of all files that the commit names."""
        return self.added | self.removed | self.changes


def list_log(storage: Storage) -> LogFiles:
    """Return the files of a table's log."""
    commits: dict[int, StoredFile] = {}
    checkpoints: dict[int, StoredFile] = {}
    others = []
    for file in storage.list(LOG):
        match = _ENTRY.fullmatch(file.path)
        if match is None:
            others.append(file)
        else:
            (commits if match[2] == "json" else checkpoints)[int(match[1])] = file
    return LogFiles(commits, checkpoints, tuple(others))


def read_actions(storage: Storage, version: int) -> Actions:
    """Read a log entry.

    Raises:
        FileNotFoundError: there is none.
        LakeError: it cannot be read, or is no log entry.
    """
    path = commit_path(version)
    content = storage.read(path)
    try:
        entries = [dict(json.loads(line)) for line in content.splitlines() if line]
        return _actions(entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LakeError(
            f"is no log entry of Delta: {error}",
            where=storage.location(path),
            hint="`truthloop lake verify` says what else is damaged; restore the lake from a backup.",
        ) from error


def read_checkpoint(storage: Storage, version: int) -> frozenset[str]:
    """Return the paths of the data files that are active at a Delta checkpoint.

    Raises:
        FileNotFoundError: there is none.
        LakeError: it cannot be read.
    """
    path = checkpoint_path(version)
    try:
        adds = pl.read_parquet(io.BytesIO(storage.read(path)), columns=["add"]).drop_nulls()
        return frozenset(adds.select(pl.col("add").struct.field("path"))["path"].drop_nulls().to_list())
    except pl.exceptions.PolarsError as error:
        raise LakeError(
            f"is no Delta checkpoint: {error}",
            where=storage.location(path),
            hint="Restore the lake from a backup.",
        ) from error


def _actions(entries: list[dict[str, Any]]) -> Actions:
    if not any(entries):
        raise ValueError("it is empty")
    info: dict[str, Any] = next((entry["commitInfo"] for entry in entries if "commitInfo" in entry), {})
    files = [entry[name] for entry in entries for name in ("add", "remove") if name in entry]
    time_ms = info.get("timestamp")
    return Actions(
        time_ms=None if time_ms is None else int(time_ms),
        is_rewrite=bool(files) and not any(file["dataChange"] for file in files),
        added=_paths(entries, "add"),
        removed=_paths(entries, "remove"),
        changes=_paths(entries, "cdc"),
        apps=frozenset(entry["txn"]["appId"] for entry in entries if "txn" in entry),
        alters=any(name in entry for entry in entries for name in ("metaData", "protocol")),
    )


def _paths(entries: list[dict[str, Any]], action: str) -> frozenset[str]:
    return frozenset(str(entry[action]["path"]) for entry in entries if action in entry)
