"""What fills a lake: replays of files, or a live join. The two number steps and positions differently.

A replay has one sequence of steps and one of positions over all partitions; in a live lake every partition has
its own. So a lake is of one kind for good. Must not write.
"""

from lake import Lake
from schemas.errors import LakeError
from streams.ledger.table import APP, LedgerRow, newest_rows, steps_written

__all__ = ["complete_rows", "is_live", "is_replayed", "refuse_live", "refuse_replayed"]

_FILLED = ("labels", "predictions", "outcomes", "ledger")
"""Not `rejects`: a replay writes there what files could not deliver, before its first step."""


def is_replayed(lake: Lake) -> bool:
    """Tell whether replays fill the lake."""
    return lake.applied("ledger", APP) > 0


def is_live(lake: Lake) -> bool:
    """Tell whether a live join fills the lake; its ledger may be empty yet."""
    filled = any(not lake.scan(table).head(1).collect().is_empty() for table in _FILLED)
    return filled and not is_replayed(lake)


def refuse_live(lake: Lake) -> None:
    """Stop a replay before it mixes its positions with those of topics.

    Raises:
        LakeError: the lake is a live join's.
    """
    if is_live(lake):
        raise LakeError(
            "a live join fills this lake, and positions in files would be taken for positions in its topics",
            where=str(lake.path),
            hint="Replay into a lake of its own (lake.uri in the config), or send the records to the loop's topics.",
        )


def refuse_replayed(lake: Lake) -> None:
    """Stop a live writer before it mixes its positions with those of files.

    Raises:
        LakeError: the lake is filled by replays.
    """
    if is_replayed(lake):
        raise LakeError(
            "replays of files fill this lake, and positions in topics would be taken for positions in its files",
            where=str(lake.path),
            hint="Give the live loop a lake of its own: lake.uri in the config.",
        )


def complete_rows(lake: Lake) -> dict[int, LedgerRow]:
    """Return by partition the newest ledger row whose rows are certainly all in the lake.

    Readers of several tables should go no further. A partition of which nothing was read is missing.
    """
    return newest_rows(lake, steps_written(lake)) if is_replayed(lake) else newest_rows(lake)
