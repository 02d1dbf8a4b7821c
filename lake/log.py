"""Records of an append-only log in a table of the lake, written by compare-and-set.

Must not know what a record says.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import polars as pl

from lake.append import Claim
from lake.store import Lake
from lake.table import PARTITION_COLUMN, RECORDED_AT
from schemas.errors import LakeConflict

__all__ = ["append_records"]


def append_records(
    lake: Lake, table: str, records: Sequence[Mapping[str, object]], claim: Claim, recorded_at_ms: int
) -> bool:
    """Write records, if the log still ends where they begin.

    Args:
        lake: written to.
        table: its name.
        records: by column, all but the two that the lake adds; none moves the position alone.
        claim: the positions of the log that they stand for.
        recorded_at_ms: of the wall clock; for people, nothing depends on it.

    Returns:
        False if somebody else has written at that position first: read again, and decide again.

    Raises:
        LakeError: the disk does not take them.
    """
    added = {PARTITION_COLUMN, RECORDED_AT}
    schema = {name: dtype for name, dtype in lake.schema(table).items() if name not in added}
    rows = pl.DataFrame(list(records), schema=schema, orient="row")
    try:
        return lake.append(table, rows, [claim], recorded_at=datetime.fromtimestamp(recorded_at_ms / 1000, UTC))
    except LakeConflict:
        return False
