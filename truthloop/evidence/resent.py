"""Predictions that were sent again with other content: the join keeps the first and rejects the others as conflicts.

A conflict belongs to the hour in which it arrived; in files, which have no arrival time, to that of the prediction.
"""

import polars as pl

from lake import Lake
from schemas.events.backfill import Episode
from truthloop.evidence.again import offsets_of, predictions_at

__all__ = ["resent_predictions"]

_OF_PREDICTIONS = ("predictions", "predictions")
_POSITION = ["partition", "offset"]


def resent_predictions(lake: Lake, episode: Episode) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of the first copies of predictions that an episode sent again."""
    refused = lake.scan("rejects", {"input": _OF_PREDICTIONS, "reason": ("conflict", "conflict")})
    conflicts = refused.filter(stage="join").select(_POSITION).collect()
    came_ms = pl.col("came_at").dt.epoch("ms")
    again = predictions_at(lake, conflicts).filter(came_ms.is_between(episode.since, episode.until))
    names = again.select("partition", "key", "id").unique()
    found = (
        lake.scan("predictions")
        .filter(pl.col("key").is_in(names["key"].unique().implode()))
        .select(*_POSITION, "key", "id")
        .join(names.lazy(), on=["partition", "key", "id"], how="semi")
        .collect()
    )
    rejected = (
        lake.scan("rejects", {"input": _OF_PREDICTIONS, "offset": offsets_of(found)})
        .filter(stage="join")
        .select(_POSITION)
    )
    found = found.join(rejected.collect(), on=_POSITION, how="anti")
    return found.select("partition", prediction_offset="offset", kind=pl.lit(episode.kind))
