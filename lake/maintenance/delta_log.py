"""The log of a Delta table as files: names of its entries, and the actions in them. Reads and decides nothing.

Only what the Delta protocol says of a log is relied on: an entry is a JSON document a line, an entry's number is the
version it makes, and a Delta checkpoint of version N replaces all entries up to N.
"""

import json
from dataclasses import dataclass
from typing import Any

from lake.maintenance.storage import Storage
from schemas.errors import LakeError

__all__ = ["Actions", "checkpoint_path", "commit_path", "read_actions"]

_LOG = "_delta_log"


@dataclass(frozen=True)
class Actions:
    """What one commit did.

    Attributes:
        removed: paths of data files, as the log writes them.
        apps: ids of the applications whose positions it set.
        alters: it changed the table's columns, properties or protocol.
    """

    removed: frozenset[str]
    apps: frozenset[str]
    alters: bool


def commit_path(version: int) -> str:
    """Return the path of a log entry."""
    return f"{_LOG}/{version:020d}.json"


def checkpoint_path(version: int) -> str:
    """Return the path of a Delta checkpoint."""
    return f"{_LOG}/{version:020d}.checkpoint.parquet"


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


def _actions(entries: list[dict[str, Any]]) -> Actions:
    if not any(entries):
        raise ValueError("it is empty")
    return Actions(
        removed=frozenset(str(entry["remove"]["path"]) for entry in entries if "remove" in entry),
        apps=frozenset(str(entry["txn"]["appId"]) for entry in entries if "txn" in entry),
        alters=any(name in entry for entry in entries for name in ("metaData", "protocol")),
    )
