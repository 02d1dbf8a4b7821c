"""The heads of the ledger: of each partition, when its newest row was recorded.

They are positions of applications, written by the commit that writes the row. So a reader opens the files of these
moments alone, however long the ledger is and however long a partition has been idle. Pure.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from lake.append import Claim

__all__ = ["HEADS", "HEADS_TABLE", "first_heads", "head_app", "head_claims", "head_times", "holds_a_head"]

HEADS_TABLE: Final = "ledger"

HEADS: Final = "heads"
"""Application whose position is 1 once every partition with a row has a head: tables of earlier versions have none."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT: Final = timedelta(microseconds=1)


def head_app(partition: int) -> str:
    """Return the application whose position is the head of a partition, in microseconds since 1970."""
    return f"head:{partition}"


def head_claims(rows: pl.DataFrame, recorded_at: datetime) -> list[Claim]:
    """Return the heads that a commit of rows sets."""
    at = (recorded_at - _EPOCH) // _UNIT
    return [Claim(head_app(number), None, at) for number in rows["partition"].unique().sort()]


def first_heads(rows: pl.DataFrame, position: Callable[[str], int]) -> list[Claim]:
    """Return the heads of a table that has none; another writer may set them meanwhile.

    Args:
        rows: partition, sequence and recorded_at of the whole table.
        position: that of an application.
    """
    newest = rows.group_by("partition").agg(pl.col("recorded_at").sort_by("sequence").last()).sort("partition")
    found = [
        Claim(head_app(number), 0, (at - _EPOCH) // _UNIT)
        for number, at in newest.iter_rows()
        if not position(head_app(number))
    ]
    return [Claim(HEADS, 0, 1), *found]


def head_times(files: pl.DataFrame, position: Callable[[str], int]) -> dict[int, datetime]:
    """Return the head of each partition that has one, from the table's files and positions."""
    greatest = files["max.partition"].max() if "max.partition" in files.columns else None
    ats = {
        number: position(head_app(number)) for number in range(int(str(greatest)) + 1 if greatest is not None else 0)
    }
    return {number: _EPOCH + at * _UNIT for number, at in ats.items() if at}


def holds_a_head(heads: dict[int, datetime]) -> pl.Expr:
    """Return whether a file may hold a head, by its statistics."""
    covers = [
        pl.lit(number).is_between("min.partition", "max.partition")
        & pl.lit(at).is_between("min.recorded_at", "max.recorded_at")
        for number, at in heads.items()
    ]
    return pl.any_horizontal(covers).fill_null(value=True)
