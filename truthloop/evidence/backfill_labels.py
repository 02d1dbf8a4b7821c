"""Reads the labels that are a backfill by their own fields: of another definition, or declared as a backfill.

Each label is read once and kept in memory, since there are few. On which days they became known is in the summary of
the cells, so that others are not read.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from lake import Lake
from lake.scan import Bounds
from monitor.cells.cohort import times_of_days
from streams.ledger.table import rows_of
from truthloop.evidence.again import is_backfill, offsets_of

__all__ = ["BackfillLabelReader"]

_REJECTED_WHEN_READ = ("future", "duplicate", "stale", "nothing_to_retract")
"""Rejections that the join makes when it reads a label. A label that is rejected later, because no prediction came, is
kept here: otherwise the episodes found would depend on the time of the scan."""

_COLUMNS = ("known_at", "definition", "is_declared", "batch_id", "partition", "offset")


class BackfillLabelReader:
    """Reads the backfill labels of one kind, and continues where it stopped.

    Args:
        definition: the config's definition of the kind; live labels of it are no backfill.
        timezone: of days.
    """

    def __init__(self, lake: Lake, kind: str, definition: str, timezone: str) -> None:
        self._lake = lake
        self._is_backfill = is_backfill(kind, definition)
        self._timezone = timezone
        self._next_offsets: dict[int, int] = {}
        self._known: list[pl.DataFrame] = []
        self._steps: Mapping[int, int] | None = None

    def read(self, steps: Mapping[int, int], days: Sequence[date]) -> pl.DataFrame:
        """Return all backfill labels of the first steps of the ledger, as `monitor.backfill.episode` expects them.

        Args:
            steps: by partition, how many of its first steps to read.
            days: on which any of them became known, in order.
        """
        if steps == self._steps:
            return pl.concat(self._known)
        ends = self._label_ends(steps)
        if any(ends.get(number, 0) < offset for number, offset in self._next_offsets.items()):  # an older lake restored
            self._next_offsets, self._known = {}, []
        starts = self._next_offsets
        new = {number: (starts.get(number, 0), end) for number, end in ends.items() if end > starts.get(number, 0)}
        if new or not self._known:
            self._known.append(self._between(new, days))
            self._next_offsets |= {number: end for number, (_, end) in new.items()}
        self._steps = dict(steps)
        return pl.concat(self._known)

    def _label_ends(self, steps: Mapping[int, int]) -> dict[int, int]:
        """Return by partition the label offset that follows these steps."""
        last = {number: count - 1 for number, count in steps.items() if count}
        return dict(rows_of(self._lake, last).select("partition", "labels_next").iter_rows())

    def _between(self, bounds: Mapping[int, tuple[int, int]], days: Sequence[date]) -> pl.DataFrame:
        """Read the labels of some days at offsets by partition, from the first up to but without the end."""
        firsts, ends = [first for first, _ in bounds.values()], [end for _, end in bounds.values()]
        schema = {"partition": pl.Int32, "first": pl.Int64, "end": pl.Int64}
        ranges = pl.LazyFrame({"partition": list(bounds), "first": firsts, "end": ends}, schema=schema)
        around = {"offset": (min(firsts, default=0), max(ends, default=0))}
        found = (
            self._known_on(days, around)
            .filter(self._is_backfill)
            .with_columns(is_declared=pl.col("origin") == "backfill")
            .select(_COLUMNS)
            .join(ranges, on="partition")
            .filter(pl.col("offset") >= pl.col("first"), pl.col("offset") < pl.col("end"))
            .select(_COLUMNS)
            .collect()
        )
        if found.is_empty():
            return found
        refused = self._lake.scan("rejects", {"input": ("labels", "labels"), "offset": offsets_of(found)})
        refused = refused.filter(pl.col("reason").is_in(_REJECTED_WHEN_READ), stage="join")
        return found.join(refused.select("partition", "offset").collect(), on=["partition", "offset"], how="anti")

    def _known_on(self, days: Sequence[date], within: Mapping[str, Bounds]) -> pl.LazyFrame:
        """Return the labels within some bounds that became known on some days."""
        parts = [self._lake.scan("labels", {**within, "known_at": times}) for times in _times(days, self._timezone)]
        return pl.concat(parts) if parts else pl.LazyFrame(schema=self._lake.schema("labels"))


def _times(days: Sequence[date], timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """Yield the first and the last microsecond of each run of consecutive days."""
    day, known = timedelta(days=1), frozenset(days)
    firsts = [one for one in days if one - day not in known]
    lasts = [one for one in days if one + day not in known]
    for first, last in zip(firsts, lasts, strict=True):
        yield times_of_days(first, last, timezone)
