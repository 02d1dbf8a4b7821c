"""What leaves the lake by the config: records of before history begins, and old rejects of what never was a record."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

from lake import Lake
from lake.maintenance.maintainer import Maintainer, Rewritten
from schemas.config.loop import LoopConfig
from streams.ledger.history import advance_history, history_due, rows_leave_before_ms

__all__ = ["drop_old_rows", "old_rows"]


def old_rows(maintainer: Maintainer, lake: Lake, config: LoopConfig, now_ms: int) -> list[Rewritten]:
    """Return the files that would leave now, by table and day; of files that are rewritten first, the rows that leave.

    Raises:
        LakeError: the lake cannot be read.
    """
    history = maintainer.history(rows_leave_before_ms(history_due(lake, config), config))
    before = _rejects_leave_before(config, now_ms)
    return history if before is None else history + maintainer.old_rejects(before)


def drop_old_rows(
    maintainer: Maintainer, lake: Lake, config: LoopConfig, now_ms: Callable[[], int]
) -> Iterator[Rewritten]:
    """Let history begin where the config wants it, take out what is older, and give each step after it is done.

    Args:
        now_ms: the wall clock, ms UTC; it is not far ahead of the newest commit (`Maintainer.sweep`).

    Raises:
        LakeConflict: another process has moved the beginning meanwhile.
        LakeError: the lake cannot be read or written; what was given is done.
    """
    begins_ms = advance_history(lake, config, now_ms())
    yield from maintainer.drop_history(rows_leave_before_ms(begins_ms, config), now_ms)
    before = _rejects_leave_before(config, now_ms())
    if before is not None:
        yield from maintainer.drop_rejects(before, now_ms)


def _rejects_leave_before(config: LoopConfig, now_ms: int) -> date | None:
    """Return the first day of recording whose rejects of the mapping stay; None: all do."""
    retention_ms = config.retention.rejects
    return None if retention_ms is None else datetime.fromtimestamp((now_ms - retention_ms) / 1000, UTC).date()
