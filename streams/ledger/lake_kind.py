"""Tells lakes that replays of files fill from lakes that a live join fills, and keeps the two from being mixed.

In a replay all partitions share one sequence of steps and one of offsets; in a live lake every partition has its own.
So a lake stays of one kind for good. Read-only.
"""

from lake import Lake
from schemas.errors import LakeError
from streams.ledger.row import LedgerRow
from streams.ledger.table import REPLAY_APP, newest_rows, steps_written

__all__ = ["cells_app", "complete_rows", "is_live", "is_replayed", "refuse_live", "refuse_replayed"]

_LIVE_TABLES = ("labels", "predictions", "outcomes", "ledger")
"""A row in one of them shows that a lake is in use. Not `rejects`: a replay that has not taken its first step may
have written there already, records that the mapping rejected."""


def is_replayed(lake: Lake) -> bool:
    """Tell whether replays fill the lake."""
    return lake.applied("ledger", REPLAY_APP) > 0


def is_live(lake: Lake) -> bool:
    """Tell whether a live join fills the lake; its ledger may still be empty."""
    has_rows = not all(lake.is_empty(table) for table in _LIVE_TABLES)
    return has_rows and not is_replayed(lake)


def refuse_live(lake: Lake) -> None:
    """Keep a replay out of a live lake: row numbers in files would mix with offsets in topics.

    Raises:
        LakeError: a live join fills the lake.
    """
    if is_live(lake):
        raise LakeError(
            "a live join fills this lake, and positions in files would be taken for positions in its topics",
            where=str(lake.path),
            hint="Replay into a lake of its own (lake.uri in the config), or send the records to the loop's topics.",
        )


def refuse_replayed(lake: Lake) -> None:
    """Keep a live join out of a replayed lake: offsets in topics would mix with row numbers in files.

    Raises:
        LakeError: replays fill the lake.
    """
    if is_replayed(lake):
        raise LakeError(
            "replays of files fill this lake, and positions in topics would be taken for positions in its files",
            where=str(lake.path),
            hint="Give the live loop a lake of its own: lake.uri in the config.",
        )


def cells_app(partition: int) -> str:
    """Return the application of the table of cells whose position is the number of a partition's steps they count."""
    return f"cells:{partition}"


def complete_rows(lake: Lake) -> dict[int, LedgerRow]:
    """Return each partition's newest ledger row whose step is complete in every table.

    Readers of several tables stop at these steps. A partition that has read nothing is missing.
    """
    return newest_rows(lake, steps_written(lake)) if is_replayed(lake) else newest_rows(lake)
