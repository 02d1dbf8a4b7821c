"""What a join accepted of its inputs, in an order in which another join with the same rules decides the same.

Across keys the order is that of time, whichever partitions the records lay in, so that no watermark runs ahead. Within
a chain of labels it is that of their offsets, which settles equal times. Pure; `streams.seed.rescale` sends the result.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import polars as pl

from schemas.base.status import NEVER_KEPT, RejectReason

if TYPE_CHECKING:
    from streams.columns.schema import Role

__all__ = ["accepted_by_day"]

DAY_MS: Final = 86_400_000
POSITION: Final = ("partition", "offset")
CHAIN: Final = ("key", "kind", "definition")

LABELS_AT_ONCE: Final = 2_000_000
"""Labels whose order is looked at together: bounds the memory that it takes to about 300 MB."""


def accepted_by_day(role: "Role", rows: pl.LazyFrame, rejects: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """Yield the accepted records of an input in order, a day at a time, so that memory holds one day at most.

    Predictions are in order of time: of each (key, id) only the first was accepted. So are labels, by the time at which
    they were known, but none comes before a label of its chain with a lower offset. So no record is further out of
    order than it was in its old partition. Labels that were withdrawn are left out.

    Args:
        role: which input it is.
        rows: of the lake's table, without heartbeats.
        rejects: the lake's table.
    """
    reasons = [reason.value for reason in (*NEVER_KEPT, RejectReason.WITHDRAWN)]
    is_left_out = (pl.col("stage") == "join") & (pl.col("input") == role) & pl.col("reason").is_in(reasons)
    left_out = rejects.filter(is_left_out).select(POSITION).collect().lazy()
    time = pl.col("predicted_at" if role == "predictions" else "known_at").dt.epoch("ms")
    accepted = rows.join(left_out, on=POSITION, how="anti").with_columns(time.alias("time_ms"))
    first_ms, last_ms = accepted.select(pl.min("time_ms").alias("first"), pl.max("time_ms")).collect().row(0)
    if first_ms is None:
        return
    held_back = _held_back(accepted) if role == "labels" else None
    for start_ms in range(first_ms, last_ms + 1, DAY_MS):
        yield _day(accepted, held_back, start_ms, start_ms + DAY_MS).sort("place_ms", *POSITION)


def _day(accepted: pl.LazyFrame, held_back: pl.DataFrame | None, start_ms: int, end_ms: int) -> pl.LazyFrame:
    """Return the records whose place is in [start_ms, end_ms)."""
    in_time = accepted.filter(pl.col("time_ms") >= start_ms, pl.col("time_ms") < end_ms)
    in_place = in_time.with_columns(pl.col("time_ms").alias("place_ms"))
    if held_back is None:
        return in_place
    in_place = in_place.join(held_back.lazy(), on=POSITION, how="anti")
    here = held_back.filter(pl.col("place_ms") >= start_ms, pl.col("place_ms") < end_ms)
    if here.is_empty():
        return in_place
    since_ms = here["time_ms"].min()
    late = accepted.filter(pl.col("time_ms") >= since_ms, pl.col("time_ms") < end_ms)
    return pl.concat([in_place, late.join(here.lazy().select(*POSITION, "place_ms"), on=POSITION)])


def _held_back(labels: pl.LazyFrame) -> pl.DataFrame:
    """Return position, time and place of the labels whose chain has a later time before them; usually few."""
    parts = 1 + labels.select(pl.len()).collect().item() // LABELS_AT_ONCE
    place = pl.col("time_ms").cum_max().over(*CHAIN, order_by="offset").alias("place_ms")
    return pl.concat(
        labels.filter(pl.col("key").hash() % parts == part)
        .select(*POSITION, "time_ms", place)
        .filter(pl.col("place_ms") > pl.col("time_ms"))
        .collect()
        for part in range(parts)
    )
