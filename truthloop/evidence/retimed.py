"""Reads the labels that told a known one again with another time: later ones, and those refused as stale.

A label sent again in another time zone is one of these. A later one makes a revision, mostly to the same value; an
earlier one is a rejection. Declared backfills and other definitions are found by their own fields instead.
"""

from collections.abc import Mapping

import polars as pl

from lake import Lake
from truthloop.evidence.step_counts import NewSteps, StepCounts

__all__ = ["RetimedLabelReader", "is_live", "stale_labels"]

_POSITION = ["partition", "offset"]
_BLOCK_MS = 900_000
"""A quarter of an hour: in every time zone an hour begins with one."""


class RetimedLabelReader:
    """Counts the retimed labels of one kind by the time at which they became known; continues where it stopped.

    Args:
        definition: the config's definition of the kind.
    """

    def __init__(self, lake: Lake, kind: str, definition: str) -> None:
        self._lake = lake
        self._kind = kind
        self._definition = definition
        self._counts = StepCounts("known_ms", _BLOCK_MS, self._times_ms)

    def read(self, steps: Mapping[int, int]) -> pl.DataFrame:
        """Return known_ms, the first instant of a quarter of an hour, growing, and count.

        Args:
            steps: by partition, how many of its first steps to read.
        """
        return self._counts.until(steps)

    def _times_ms(self, steps: NewSteps) -> pl.Series:
        """Return when the labels that some steps read became known."""
        around = {"sequence": steps.around}
        repeats = pl.col("value").eq_missing(pl.col("previous")) & pl.col("value_class").eq_missing(
            pl.col("previous_class")
        )
        corrections = (
            self._lake.scan("outcomes", around)
            .filter(pl.col("kind") == self._kind, pl.col("definition") == self._definition)
            .filter(pl.col("reason") == "correction", repeats)
        )
        stale = self._lake.scan("rejects", {**around, "reason": ("stale", "stale")}).filter(_is_stale(self._kind))
        later = steps.among(corrections).select("partition", offset="label_offset").collect()
        refused = steps.among(stale).select(_POSITION).collect()
        wanted = pl.concat([later, refused]).unique().sort("offset")
        if wanted.is_empty():
            return pl.Series(dtype=pl.Int64)
        offsets = wanted["offset"]
        labels = (
            self._lake.scan("labels", {"offset": (offsets[0], offsets[-1])})
            .filter(is_live(self._kind, self._definition))
            .join(wanted.lazy(), on=_POSITION, how="semi")
            .select(*_POSITION, known_ms=pl.col("known_at").dt.epoch("ms"))
            .unique(_POSITION)
            .collect()
        )
        return labels["known_ms"]


def is_live(kind: str, definition: str) -> pl.Expr:
    """Return the condition that a label has this kind and definition, and is not declared as a backfill."""
    is_of_kind = (pl.col("kind") == kind) & (pl.col("definition") == definition)
    return is_of_kind & (pl.col("op") != "heartbeat") & (pl.col("origin") != "backfill")


def stale_labels(lake: Lake, kind: str, offsets: tuple[int, int]) -> pl.LazyFrame:
    """Return partition, offset and sequence of the labels of a kind that the join refused as stale.

    Args:
        offsets: the least and the greatest that are wanted.
    """
    rows = lake.scan("rejects", {"reason": ("stale", "stale"), "offset": offsets})
    return rows.filter(_is_stale(kind)).select(*_POSITION, "sequence")


def _is_stale(kind: str) -> pl.Expr:
    is_of_join = (pl.col("input") == "labels") & (pl.col("stage") == "join") & (pl.col("kind") == kind)
    return is_of_join & (pl.col("reason") == "stale")
