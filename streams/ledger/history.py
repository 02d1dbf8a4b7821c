"""Where the lake's history begins: records of before leave it.

It is one event time for all partitions, and only grows. It is in the lake before any row leaves, so that all readers
leave out the same records from then on.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from joins.watermark import PREDICTIONS
from lake import Lake
from schemas.config.loop import LoopConfig
from streams.ledger.lake_kind import cells_app, complete_rows
from streams.ledger.row import LedgerRow
from streams.ledger.table import rows_of

__all__ = ["advance_history", "history_due", "rows_leave_before_ms"]

DAY_MS = 86_400_000

_RESTORED_RETAINS = 2
"""A partition is restored from records of so many `retain` before its state's oldest."""


def history_due(lake: Lake, config: LoopConfig) -> int:
    """Return where history should begin by the config, ms UTC at midnight; never before where it begins now.

    It waits for the slowest partition, and for cells that are behind: what was not counted yet does not leave.

    Returns:
        0 where it has no beginning.
    """
    begins_ms = lake.history_begins_ms
    newest = complete_rows(lake)
    retention_ms = config.retention.lake
    if retention_ms is None or not newest:
        return begins_ms
    active = [row for row in newest.values() if row.checkpoint.counters.predictions.consumed]
    reached = [row.checkpoint.watermarks[PREDICTIONS].reached_ms for row in active]
    kept = [row.checkpoint.left_ms for row in [*active, *_counted(lake, newest)]]
    if not reached or None in reached or None in kept:
        return begins_ms
    behind_ms = _RESTORED_RETAINS * config.greatest_retain_ms
    due_ms = max(at for at in reached if at is not None) - retention_ms
    due_ms = min(due_ms, min(at for at in kept if at is not None) - behind_ms)
    return max(begins_ms, due_ms // DAY_MS * DAY_MS)


def advance_history(lake: Lake, config: LoopConfig, now_ms: int) -> int:
    """Let history begin where the config wants it, and return where it begins, ms UTC; 0: it has no beginning.

    Raises:
        LakeConflict: another process has moved it meanwhile.
        LakeError: the lake cannot be read or written.
    """
    due_ms = history_due(lake, config)
    if due_ms > lake.history_begins_ms:
        lake.begin_history(due_ms, datetime.fromtimestamp(now_ms / 1000, UTC))
    return due_ms


def rows_leave_before_ms(begins_ms: int, config: LoopConfig) -> int:
    """Return the time of records before which rows leave, given where history begins.

    Labels of records that stay, and labels that wait for them, are older by `retain` at most.
    """
    return begins_ms - config.greatest_retain_ms


def _counted(lake: Lake, newest: Mapping[int, LedgerRow]) -> list[LedgerRow]:
    """Return the newest ledger rows that the cells count, of partitions with later ones; none where nobody counts."""
    counted = {number: lake.applied("cells", cells_app(number)) for number in newest}
    behind = {number: steps - 1 for number, steps in counted.items() if 0 < steps <= newest[number].sequence}
    return [LedgerRow.read(row) for row in rows_of(lake, behind).iter_rows(named=True)]
