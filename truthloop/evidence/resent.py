"""Predictions that were sent again with other content: the join keeps the first and rejects the others as conflicts.

A conflict belongs to the hour in which it arrived; in files, which have no arrival time, to that of the prediction.
"""

from collections.abc import Mapping

import polars as pl

from lake import Lake
from lake.scan import Bounds
from schemas.events.backfill import Episode
from truthloop.evidence.step_counts import NewSteps, StepCounts

__all__ = ["ConflictReader", "resent_predictions"]

_POSITION = ["partition", "offset"]
_HOUR_MS = 3_600_000


class ConflictReader:
    """Counts the conflicts by hour; continues where it stopped."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._counts = StepCounts("hour_ms", _HOUR_MS, self._times_ms)

    def read(self, steps: Mapping[int, int]) -> pl.DataFrame:
        """Return hour_ms, the first instant of an hour in UTC, growing, and count.

        Args:
            steps: by partition, how many of its first steps to read.
        """
        return self._counts.until(steps)

    def _times_ms(self, steps: NewSteps) -> pl.Series:
        rejected = _rejected(self._lake, {"sequence": steps.around, "reason": ("conflict", "conflict")})
        return _told(self._lake, steps.among(rejected).select(_POSITION).collect())["at_ms"]


def resent_predictions(lake: Lake, episode: Episode) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of the first copies of predictions that an episode sent again."""
    conflicts = _rejected(lake, {"reason": ("conflict", "conflict")}).select(_POSITION).collect()
    again = _told(lake, conflicts).filter(pl.col("at_ms").is_between(episode.since, episode.until))
    names = again.select("partition", "key", "id").unique()
    found = (
        lake.scan("predictions")
        .filter(pl.col("key").is_in(names["key"].unique().implode()))
        .select(*_POSITION, "key", "id")
        .join(_rejected(lake, {}).select(_POSITION), on=_POSITION, how="anti")
        .join(names.lazy(), on=["partition", "key", "id"], how="semi")
        .collect()
    )
    return found.select("partition", prediction_offset="offset", kind=pl.lit(episode.kind))


def _told(lake: Lake, positions: pl.DataFrame) -> pl.DataFrame:
    """Return partition, offset, key, id and at_ms, when each came, of the predictions at some positions."""
    offsets = positions["offset"].sort()
    around = {"offset": (offsets[0], offsets[-1])} if len(offsets) else {"offset": (0, -1)}
    arrived_ms = pl.coalesce("arrived_at", "predicted_at").dt.epoch("ms")
    rows = lake.scan("predictions", around).join(positions.lazy(), on=_POSITION, how="semi")
    return rows.select(*_POSITION, "key", "id", at_ms=arrived_ms).collect()


def _rejected(lake: Lake, within: Mapping[str, Bounds]) -> pl.LazyFrame:
    bounds: dict[str, Bounds] = {"input": ("predictions", "predictions"), **within}
    return lake.scan("rejects", bounds).filter(pl.col("stage") == "join")
