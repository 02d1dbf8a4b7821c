"""Predictions that were sent again with other content: the join keeps the first and rejects the others as conflicts.

A conflict belongs to the hour in which it arrived; in files, which have no arrival time, to that of the prediction.
"""

from collections.abc import Mapping

import polars as pl

from lake import Lake
from lake.scan import Bounds
from schemas.events.backfill import Episode

__all__ = ["ConflictReader", "resent_predictions"]

_POSITION = ["partition", "offset"]
_STEPS: dict[str, pl.DataType] = {"partition": pl.Int32(), "first": pl.Int64(), "end": pl.Int64()}
_COUNTS: dict[str, pl.DataType] = {"hour_ms": pl.Int64(), "count": pl.Int64()}


class ConflictReader:
    """Counts the conflicts by hour; continues where it stopped."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._steps: dict[int, int] = {}
        self._counts = pl.DataFrame(schema=_COUNTS)

    def read(self, steps: Mapping[int, int]) -> pl.DataFrame:
        """Return hour_ms, the first instant of an hour in UTC, growing, and count.

        Args:
            steps: by partition, how many of its first steps to read.
        """
        if any(steps.get(number, 0) < count for number, count in self._steps.items()):  # an older lake was restored
            self._steps, self._counts = {}, self._counts.clear()
        known = {number: (self._steps.get(number, 0), end) for number, end in steps.items()}
        new = [(number, *bounds) for number, bounds in known.items() if bounds[1] > bounds[0]]
        if new:
            hour_ms = (pl.col("at_ms") // 3_600_000) * 3_600_000
            counted = self._between(new).group_by(hour_ms=hour_ms).agg(count=pl.len().cast(pl.Int64))
            self._counts = (
                pl.concat([self._counts, counted]).group_by("hour_ms").agg(pl.col("count").sum()).sort("hour_ms")
            )
            self._steps |= dict(steps)
        return self._counts

    def _between(self, steps: list[tuple[int, int, int]]) -> pl.DataFrame:
        """Return the conflicts of some steps: partition, first, end."""
        bounds = pl.LazyFrame(steps, schema=_STEPS, orient="row")
        around = {"sequence": (min(one[1] for one in steps), max(one[2] for one in steps) - 1)}
        is_new = pl.col("sequence").is_between(pl.col("first"), pl.col("end"), closed="left")
        found = _rejected(self._lake, {**around, "reason": ("conflict", "conflict")}).join(bounds, on="partition")
        return _told(self._lake, found.filter(is_new).select(_POSITION).collect())


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
