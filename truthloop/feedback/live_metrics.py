"""River's metrics of every version, kept up to date with the lake: updated with new labels, reverted by corrections.

They live in memory. After a start they are rebuilt from all outcomes, a part at each update, so that decisions do not
wait for them. They include immature labels; no decision uses them.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from lake import Lake
from monitor.cells.of_record import changed_rulings
from monitor.cells.plan import CellPlan
from monitor.metrics.live import LiveMetrics
from schemas.events.backfill import Ruling
from streams.ledger.lake_kind import complete_rows
from truthloop.evidence.spans import Span, new_spans, read_new_rows

__all__ = ["OUTCOMES_PER_UPDATE", "LiveMetricsReader"]

OUTCOMES_PER_UPDATE = 100_000
"""About three seconds: nine metrics take 35,000 outcomes a second, five take 50,000, on one busy core."""


class LiveMetricsReader:
    """The live metrics of one loop.

    Args:
        outcomes_max: outcomes that one update reads, rounded up to whole steps.

    Attributes:
        metrics: over all labels read so far.
        unread: outcomes that the lake had in addition at the last update.
    """

    def __init__(self, lake: Lake, plan: CellPlan, outcomes_max: int = OUTCOMES_PER_UPDATE) -> None:
        self._lake = lake
        self._plan = plan
        self._outcomes_max = outcomes_max
        self._rulings: Sequence[Ruling] = ()
        self._reset()

    def _reset(self) -> None:
        self.metrics = LiveMetrics(self._plan)
        self.unread = 0
        self._folded: dict[int, int] = {}
        self._ledger_version: int | None = None

    def update(self, rulings: Sequence[Ruling] = ()) -> None:
        """Read new outcomes from the lake, up to `outcomes_max`; start again from the first if the rulings changed.

        Raises:
            LakeError: it cannot be read; the next update continues from there.
        """
        if changed_rulings(self._rulings, rulings):
            self._reset()
        self._rulings = rulings
        version = self._lake.version("ledger")
        if version == self._ledger_version and not self.unread:
            return
        newest = complete_rows(self._lake)
        if any(self._folded.get(number, 0) > row.sequence + 1 for number, row in newest.items()):
            self._reset()
        spans = new_spans(self._lake, newest, {number: self._folded.get(number, 0) for number in newest})
        if spans is None:  # the ledger was rewritten
            self._reset()
            spans = new_spans(self._lake, newest, dict.fromkeys(newest, 0)) or []
        now, unread = self._part(spans)
        if now:
            # predictions are not read: an outcome has all that a metric needs
            unread_predictions = [replace(span, predictions=(0, 0)) for span in now]
            new = read_new_rows(self._lake, unread_predictions, self._plan, rulings)
            self.metrics.apply(new.outcomes, new.earlier, rulings, new.proof)
        self._folded |= {span.partition: span.steps[1] for span in now}
        self.unread, self._ledger_version = unread, version

    def _part(self, spans: Sequence[Span]) -> tuple[list[Span], int]:
        """Return the first part of the spans, up to ends of ledger rows, and the number of outcomes after it."""
        if not spans:
            return [], 0
        bounds = _bounds(spans)
        least, greatest = min(span.steps[0] for span in spans), max(span.steps[1] for span in spans) - 1
        of_spans = pl.col("sequence").is_between("first", "end", closed="left")
        step = ["partition", "sequence"]
        outcomes = (
            self._lake.scan("outcomes", {"sequence": (least, greatest)}).select(step).join(bounds, on="partition")
        )
        counts = outcomes.filter(of_spans).group_by(step).len("n").collect()
        if counts["n"].sum() <= self._outcomes_max:
            return list(spans), 0
        by_step = (
            counts.group_by("sequence").agg(pl.col("n").sum()).sort("sequence").with_columns(pl.col("n").cum_sum())
        )
        last = int(by_step.filter(pl.col("n") >= self._outcomes_max)["sequence"][0])
        entries = self._lake.scan("ledger", {"sequence": (last, greatest)}).select(step).join(bounds, on="partition")
        ends = dict(entries.filter(of_spans).group_by("partition").agg(pl.col("sequence").min()).collect().iter_rows())
        part = [replace(span, steps=(span.steps[0], ends.get(span.partition, span.steps[1] - 1) + 1)) for span in spans]
        left = counts.lazy().join(_bounds(part), on="partition").filter(pl.col("sequence") >= pl.col("end"))
        return part, int(left.select(pl.col("n").sum()).collect().item())


def _bounds(spans: Sequence[Span]) -> pl.LazyFrame:
    """Return the columns partition, first (step) and end (the step after the last)."""
    columns = {"partition": [span.partition for span in spans]}
    columns |= {name: [span.steps[index] for span in spans] for index, name in enumerate(("first", "end"))}
    return pl.LazyFrame(columns, schema={"partition": pl.Int32, "first": pl.Int64, "end": pl.Int64})
