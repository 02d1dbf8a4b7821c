"""Predictions that came again with other content: the join kept the first, and says so in its rejections.

Their hour is that of arrival; of files, which have none, that of the prediction itself. Must not judge.
"""

import polars as pl

from lake import Lake
from schemas.events.backfill import Episode

__all__ = ["read_conflicts", "resent_by"]

_POSITION = ["partition", "offset"]


def read_conflicts(lake: Lake) -> pl.DataFrame:
    """Return when predictions came again with other content: hour_ms (its first instant, UTC) and count, by hour."""
    hour_ms = (pl.col("at_ms") // 3_600_000) * 3_600_000
    return _conflicts(lake).group_by(hour_ms=hour_ms).agg(count=pl.len().cast(pl.Int64)).sort("hour_ms").collect()


def resent_by(lake: Lake, episode: Episode) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of the predictions, as they first came, that an episode sent again.

    Args:
        lake: read from.
        episode: of re-sent predictions.
    """
    again = _conflicts(lake).filter(pl.col("at_ms").is_between(episode.since, episode.until))
    names = again.select("partition", "key", "id").unique().collect()
    found = (
        lake.scan("predictions")
        .filter(pl.col("key").is_in(names["key"].unique().implode()))
        .select(*_POSITION, "key", "id")
        .join(_refused(lake), on=_POSITION, how="anti")
        .join(names.lazy(), on=["partition", "key", "id"], how="semi")
        .collect()
    )
    return found.select("partition", prediction_offset="offset", kind=pl.lit(episode.kind))


def _conflicts(lake: Lake) -> pl.LazyFrame:
    arrived = pl.coalesce("arrived_at", "predicted_at").dt.epoch("ms")
    conflicts = _refused(lake).filter(pl.col("reason") == "conflict").select(_POSITION)
    return (
        lake.scan("predictions")
        .join(conflicts, on=_POSITION, how="semi")
        .select(*_POSITION, "key", "id", at_ms=arrived)
    )


def _refused(lake: Lake) -> pl.LazyFrame:
    return lake.scan("rejects").filter(pl.col("input") == "predictions", pl.col("stage") == "join")
