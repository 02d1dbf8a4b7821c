"""Append-only logs in tables of the lake, written by compare-and-set."""

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
    """Append records if the log still ends where they begin.

    Args:
        table: name of the log's table.
        records: by column, without the two columns that the lake adds; if there are none, only the position is written.
        claim: their positions in the log.
        recorded_at_ms: wall-clock time, for people; nothing depends on it.

    Returns:
        False if another writer was first: read the log again and decide again.

    Raises:
        LakeError: the records cannot be written.
    """
    added = {PARTITION_COLUMN, RECORDED_AT}
    schema = {name: dtype for name, dtype in lake.schema(table).items() if name not in added}
    rows = pl.DataFrame(list(records), schema=schema, orient="row")
    try:
        return lake.append(table, rows, [claim], recorded_at=datetime.fromtimestamp(recorded_at_ms / 1000, UTC))
    except LakeConflict:
        return False
