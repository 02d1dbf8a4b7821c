"""Which tables a lake has: one of an earlier version lacks those that came later, until it is written to."""

from lake.log_path import LAST_CHECKPOINT, LOG, commit_path
from lake.storage.location import storage_at
from lake.table import LATER_TABLES, TABLES
from schemas.base.location import Location

__all__ = ["is_table", "tables_in"]


def is_table(folder: Location) -> bool:
    """Tell whether a folder is a table: by its first entry, by its Delta checkpoint, or by what a backup has."""
    storage = storage_at(folder)
    return storage.has(commit_path(0)) or storage.has(LAST_CHECKPOINT) or any(True for _ in storage.list(LOG))


def tables_in(path: Location) -> tuple[str, ...]:
    """Return the tables that the lake in `path` has or must have, in the order of `TABLES`."""
    return tuple(name for name in TABLES if name not in LATER_TABLES or is_table(path / name))
