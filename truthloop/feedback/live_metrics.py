"""River's metrics of every version, kept up with the lake: updated with new labels, reverted with corrections.

They live in the process alone, and are made again from all outcomes when it starts: a part at each look, so that
deciding does not wait for it. They say what has arrived, however young, and nothing is decided by them.
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

__all__ = ["OUTCOMES_A_LOOK", "LiveMetricsReader"]

OUTCOMES_A_LOOK = 100_000
"""About three seconds: nine metrics take 35,000 outcomes a second, five take 50,000, on one busy core."""


class LiveMetricsReader:
    """The live metrics of one loop.

    Args:
        lake: of the loop.
        plan: its kinds and metrics.
        most: outcomes that are taken in at one look, up to whole steps.

    Attributes:
        metrics: of all labels that were taken in.
        unread: outcomes that the lake had more at the last look.
    """

    def __init__(self, lake: Lake, plan: CellPlan, most: int = OUTCOMES_A_LOOK) -> None:
        self._lake = lake
        self._plan = plan
        self._most = most
        self._rulings: Sequence[Ruling] = ()
        self._begin()

    def _begin(self) -> None:
        self.metrics = LiveMetrics(self._plan)
        self.unread = 0
        self._folded: dict[int, int] = {}
        self._looked_at: int | None = None

    def look(self, rulings: Sequence[Ruling] = ()) -> None:
        """Take in what the lake has gained, or the next part of it; all of it anew where other labels count.

        Args:
            rulings: about backfills.

        Raises:
            LakeError: it cannot be read; the next look goes on from there.
        """
        if changed_rulings(self._rulings, rulings):
            self._begin()
        self._rulings = rulings
        version = self._lake.version("ledger")
        if version == self._looked_at and not self.unread:
            return
        newest = complete_rows(self._lake)
        if any(self._folded.get(number, 0) > row.sequence + 1 for number, row in newest.items()):
            self._begin()
        spans = new_spans(self._lake, newest, {number: self._folded.get(number, 0) for number in newest})
        if spans is None:  # the ledger was written anew, and so are the metrics
            self._begin()
            spans = new_spans(self._lake, newest, dict.fromkeys(newest, 0)) or []
        now, unread = self._part(spans)
        if now:
            # the predictions are left out: an outcome has all that a metric is fed
            new = read_new_rows(self._lake, [replace(span, predictions=(0, 0)) for span in now])
            self.metrics.apply(new.outcomes, new.earlier, rulings)
        self._folded |= {span.partition: span.steps[1] for span in now}
        self.unread, self._looked_at = unread, version

    def _part(self, spans: Sequence[Span]) -> tuple[list[Span], int]:
        """Return the beginning of the spans, up to steps that the ledger knows, and how many outcomes lie behind it."""
        if not spans:
            return [], 0
        bounds = _bounds(spans)
        least, greatest = min(span.steps[0] for span in spans), max(span.steps[1] for span in spans) - 1
        of_spans = pl.col("sequence").is_between("first", "end", closed="left")
        place = ["partition", "sequence"]
        outcomes = (
            self._lake.scan("outcomes", {"sequence": (least, greatest)}).select(place).join(bounds, on="partition")
        )
        counts = outcomes.filter(of_spans).group_by(place).len("n").collect()
        if counts["n"].sum() <= self._most:
            return list(spans), 0
        by_step = (
            counts.group_by("sequence").agg(pl.col("n").sum()).sort("sequence").with_columns(pl.col("n").cum_sum())
        )
        last = int(by_step.filter(pl.col("n") >= self._most)["sequence"][0])
        entries = self._lake.scan("ledger", {"sequence": (last, greatest)}).select(place).join(bounds, on="partition")
        ends = dict(entries.filter(of_spans).group_by("partition").agg(pl.col("sequence").min()).collect().iter_rows())
        part = [replace(span, steps=(span.steps[0], ends.get(span.partition, span.steps[1] - 1) + 1)) for span in spans]
        left = counts.lazy().join(_bounds(part), on="partition").filter(pl.col("sequence") >= pl.col("end"))
        return part, int(left.select(pl.col("n").sum()).collect().item())


def _bounds(spans: Sequence[Span]) -> pl.LazyFrame:
    """Return partition, the first step and the one after the last."""
    columns = {"partition": [span.partition for span in spans]}
    columns |= {name: [span.steps[place] for span in spans] for place, name in enumerate(("first", "end"))}
    return pl.LazyFrame(columns, schema={"partition": pl.Int32, "first": pl.Int64, "end": pl.Int64})
