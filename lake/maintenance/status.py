"""How large a lake is, how many files it has, what is dead, and what of it is due; read from its files alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lake.maintenance.plan import ActiveFile, Group
from lake.maintenance.sweep import TableFiles

__all__ = ["TableStatus", "table_status"]


@dataclass(frozen=True)
class TableStatus:
    """Files of one table.

    Attributes:
        table: its name.
        files: data files of the current version.
        rows: in them.
        size: their bytes.
        day_files: most of them that one day has.
        dead_files: data files that are not of the current version; older readers may still use them.
        dead_size: their bytes.
        log_files: of the log.
        log_size: their bytes.
        due_files: files that should become parts of larger ones.
        expired_size: bytes that may be deleted.
        oldest_ms: time of the oldest version that is readable, ms UTC.
    """

    table: str
    files: int
    rows: int
    size: int
    day_files: int
    dead_files: int
    dead_size: int
    log_files: int
    log_size: int
    due_files: int
    expired_size: int
    oldest_ms: int


def table_status(table: str, active: Sequence[ActiveFile], stored: TableFiles, due: Sequence[Group]) -> TableStatus:
    """Return the status of a table.

    Args:
        active: files of its current version.
        stored: all of its files.
        due: what should be rewritten.
    """
    current = {file.path for file in active}
    dead = [file for file in stored.data if file.path not in current]
    days = Counter(file.day for file in active)
    return TableStatus(
        table=table,
        files=len(active),
        rows=sum(file.rows for file in active),
        size=sum(file.size for file in active),
        day_files=max(days.values(), default=0),
        dead_files=len(dead),
        dead_size=sum(file.size for file in dead),
        log_files=len(stored.log.commits) + len(stored.log.checkpoints) + len(stored.log.others),
        log_size=stored.log.size,
        due_files=sum(len(group.files) for group in due),
        expired_size=stored.expired.size,
        oldest_ms=stored.oldest_ms,
    )
