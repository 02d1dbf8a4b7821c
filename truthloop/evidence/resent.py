"""Predictions that were sent again with other content: the join keeps the first and rejects the others as conflicts.

A conflict belongs to the hour in which it arrived; in files, which have no arrival time, to that of the prediction.
"""

import polars as pl

from lake import Lake
from schemas.events.backfill import Episode

__all__ = ["read_conflicts", "resent_predictions"]

_POSITION = ["partition", "offset"]


def read_conflicts(lake: Lake) -> pl.DataFrame:
    """Return the number of conflicts by hour: columns hour_ms (the hour's first instant, UTC) and count."""
    hour_ms = (pl.col("at_ms") // 3_600_000) * 3_600_000
    return _conflicts(lake).group_by(hour_ms=hour_ms).agg(count=pl.len().cast(pl.Int64)).sort("hour_ms").collect()


def resent_predictions(lake: Lake, episode: Episode) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of the first copies of predictions that an episode sent again."""
    again = _conflicts(lake).filter(pl.col("at_ms").is_between(episode.since, episode.until))
    names = again.select("partition", "key", "id").unique().collect()
    found = (
        lake.scan("predictions")
        .filter(pl.col("key").is_in(names["key"].unique().implode()))
        .select(*_POSITION, "key", "id")
        .join(_rejected(lake), on=_POSITION, how="anti")
        .join(names.lazy(), on=["partition", "key", "id"], how="semi")
        .collect()
    )
    return found.select("partition", prediction_offset="offset", kind=pl.lit(episode.kind))


def _conflicts(lake: Lake) -> pl.LazyFrame:
    arrived_ms = pl.coalesce("arrived_at", "predicted_at").dt.epoch("ms")
    conflicts = _rejected(lake).filter(pl.col("reason") == "conflict").select(_POSITION)
    return (
        lake.scan("predictions")
        .join(conflicts, on=_POSITION, how="semi")
        .select(*_POSITION, "key", "id", at_ms=arrived_ms)
    )


def _rejected(lake: Lake) -> pl.LazyFrame:
    return lake.scan("rejects").filter(pl.col("input") == "predictions", pl.col("stage") == "join")
