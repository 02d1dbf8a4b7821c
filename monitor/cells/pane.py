"""Panes: the hours of a cohort day, each with its predictions and labels, now or as of an earlier time.

A pane is an hour of the cohort day in the loop's time zone, counted from the day's first instant (a day of 25 hours has
25 panes), or the whole day where the kind's horizon is longer than 14 days. `read_panes` reads them from cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import AGES_MAX, SCORE_BINS
from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.measure import measure_text
from monitor.cells.plan import CellPlan, KindPlan

__all__ = ["PANES_MAX", "KnownLabels", "PaneView", "Panes", "read_panes"]

PANES_MAX = 25

_HOUR_MS = 3_600_000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KnownLabels:
    """Labelled outcomes with a score, as sparse counts: parallel arrays with one entry per nonzero count.

    Attributes:
        day: index into `Panes.days`.
        pane: index of the pane in its day.
        score_bin: of the prediction.
        label: the current class, 0 or 1.
        age: index into the kind's `age_edges_ms` of the age at which a label was first known.
        amount: number of outcomes.
    """

    day: Ints
    pane: Ints
    score_bin: Ints
    label: Ints
    age: Ints
    amount: Ints


@dataclass(frozen=True)
class PaneView:
    """Dense counts of panes, now or as of some time; D days, P panes, B score bins.

    Attributes:
        age: [D, P] index of the greatest age edge that all predictions of the pane had reached; -1 where the pane had
            not ended, and all its counts are 0.
        predictions: [D, P] eligible predictions.
        labels: [D, P] those with a label, with or without a score.
        scored: [D, P, B] eligible predictions with a probability; all zero where the kind is not binary.
        labelled: [D, P, B, 2] those of `scored` with a label, by class.
        closed: [D, P, B] those of `scored` that are expired or retracted.
    """

    age: Ints
    predictions: Ints
    labels: Ints
    scored: Ints
    labelled: Ints
    closed: Ints


@dataclass(frozen=True)
class Panes:
    """The counts of one version, kind and slice by day and pane; D days, P panes, B score bins, A age edges.

    `read_panes` makes it. The largest counts are sparse (`known`): dense they would be D x P x B x 2 x A numbers,
    1.8 MB a day.

    Attributes:
        kind: plan of the kind, with its age edges.
        days: D consecutive days.
        start_ms: [D, P] first instant of each pane.
        end_ms: [D, P] first instant after it. The 25th pane of a day of 24 hours is empty.
        predictions: [D, P] eligible predictions.
        labels: [D, P, A] those with a label, by the age edge at which a label was first known.
        scored: [D, P, B] eligible predictions with a probability.
        closed: [D, P, B] those that are now expired or retracted.
        known: those with a label, by score bin, class and age.
        errors: [D, P, 2] right and wrong decisions, by what was of record at each fixed age (in ms), or is now (None).
    """

    kind: KindPlan
    days: tuple[date, ...]
    start_ms: Ints
    end_ms: Ints
    predictions: Ints
    labels: Ints
    scored: Ints
    closed: Ints
    known: KnownLabels
    errors: Mapping[int | None, Ints]

    def now(self) -> PaneView:
        """Return the counts of all labels that are known now."""
        ages = np.full(self.predictions.shape, len(self.kind.age_edges_ms) - 1)
        return PaneView(
            ages, self.predictions, self.labels.sum(axis=-1), self.scored, self._labelled(ages), self.closed
        )

    def as_of(self, now_ms: int) -> PaneView:
        """Return the counts that were known at a time, at the resolution of cells; never more than was known.

        A label counts once the pane's end plus the label's upper age edge is not after that time: its prediction was
        made before the pane's end and its age is at most that edge, so it was known by then. In other words, all
        predictions of a pane are counted at the same age, the greatest edge that all of them had reached (`age`), and
        at that age the counts are exact. A label appears late by less than the pane's length plus the width of its age
        bin (about a fifth of the age). A pane that had not ended is empty.

        Cells do not record when an outcome closed (by a retraction or at the horizon), so it is closed from the horizon
        on, and pending before. Values are the current ones: a later correction appears as if it had always been there.

        Args:
            now_ms: milliseconds since 1970.
        """
        edges_ms = np.asarray(self.kind.age_edges_ms, dtype=np.int64)
        ages = np.searchsorted(edges_ms, now_ms - self.end_ms, side="right") - 1
        ended = ages >= 0
        by_age = np.arange(len(edges_ms)) <= ages[..., np.newaxis]
        is_final = (self.end_ms + self.kind.horizon_ms <= now_ms)[..., np.newaxis]
        return PaneView(
            ages,
            np.where(ended, self.predictions, 0),
            np.where(by_age, self.labels, 0).sum(axis=-1),
            np.where(ended[..., np.newaxis], self.scored, 0),
            self._labelled(ages),
            np.where(is_final, self.closed, 0),
        )

    def _labelled(self, ages: Ints) -> Ints:
        """Return [D, P, B, 2]: labels whose age is at most that of their pane."""
        counts = np.zeros((*self.scored.shape, 2), dtype=np.int64)
        known = self.known
        seen = known.age <= ages[known.day, known.pane]
        index = (known.day[seen], known.pane[seen], known.score_bin[seen], known.label[seen])
        np.add.at(counts, index, known.amount[seen])
        return counts


def read_panes(
    cells: pl.DataFrame, plan: CellPlan, kind: str, version: str, slice_: str, days: tuple[date, date]
) -> Panes:
    """Return the panes of one version, kind and slice, of all definitions of record.

    Args:
        cells: merged cells.
        plan: the plan the cells were folded with.
        kind: name of a kind of the plan.
        version: of the model.
        slice_: text of a slice: `""` for all, or one of the kind's `delay_by`.
        days: the first and the last day, both included.

    Raises:
        ValueError: the plan has no such kind.
    """
    own = plan.kind(kind)
    first, last = days
    every = tuple(first + timedelta(days=number) for number in range((last - first).days + 1))
    panes = PANES_MAX if own.has_hourly_panes else 1
    start_ms, end_ms = _bounds(every, plan.timezone, panes)
    is_slice = pl.col("slice") == slice_
    if slice_ == ALL and own.delay_by is not None:
        is_slice = pl.col("slice").str.starts_with(f"{own.delay_by}=")
    mine = cells.filter(
        pl.col("kind") == kind,
        pl.col("version") == version,
        is_slice,
        pl.col("day").is_between(first, last),
        pl.col("measure").str.starts_with("pane_"),
    )
    day_index = (pl.col("day") - first).dt.total_days()
    mine = mine.group_by("measure", "bin", day_index=day_index).agg(pl.col("amount").sum())
    shape = len(every), panes
    ages = len(own.age_edges_ms)
    return Panes(
        kind=own,
        days=every,
        start_ms=start_ms,
        end_ms=end_ms,
        predictions=_dense(mine, "pane_predictions", shape, ()),
        labels=_dense(mine, "pane_labels", (*shape, ages), (AGES_MAX,)),
        scored=_dense(mine, "pane_score", (*shape, SCORE_BINS), (SCORE_BINS,)),
        closed=_dense(mine, "pane_closed", (*shape, SCORE_BINS), (SCORE_BINS,)),
        known=_known(mine),
        errors={
            age: _dense(mine, measure_text("pane_error", age_ms=age), (*shape, 2), (2,))
            for age in (*own.evaluate_at_ms, None)
        },
    )


def _bounds(days: tuple[date, ...], timezone: str, panes: int) -> tuple[Ints, Ints]:
    """Return the first instant of each pane, and the first instant after it, both [D, P]."""
    following = (*days, days[-1] + timedelta(days=1)) if days else ()
    starts = np.asarray(day_starts_ms(following, timezone), dtype=np.int64)
    day_start, day_end = starts[:-1, np.newaxis], starts[1:, np.newaxis]
    if panes == 1:
        return day_start, day_end
    start = day_start + _HOUR_MS * np.arange(panes, dtype=np.int64)
    # where clocks go back over midnight, predictions are made after the end of their own day
    return start, np.where(start < day_end, np.minimum(start + _HOUR_MS, day_end), start + _HOUR_MS)


def _dense(mine: pl.DataFrame, measure: str, shape: tuple[int, ...], below: tuple[int, ...]) -> Ints:
    """Return the amounts of a measure by day, pane, and the inner parts of its bin number, of the sizes `below`."""
    counts = np.zeros(shape, dtype=np.int64)
    rows = mine.filter(pl.col("measure") == measure)
    bins = rows.get_column("bin").to_numpy()
    inner = []
    for size in reversed(below):
        bins, part = np.divmod(bins, size)
        inner.append(part)
    counts[(rows.get_column("day_index").to_numpy(), bins, *reversed(inner))] = rows.get_column("amount").to_numpy()
    return counts


def _known(mine: pl.DataFrame) -> KnownLabels:
    rows = mine.filter(pl.col("measure").is_in(["pane_score_0", "pane_score_1"]))
    pane_bins, ages = np.divmod(rows.get_column("bin").to_numpy(), AGES_MAX)
    panes, score_bins = np.divmod(pane_bins, SCORE_BINS)
    return KnownLabels(
        day=rows.get_column("day_index").to_numpy(),
        pane=panes,
        score_bin=score_bins,
        label=(rows.get_column("measure") == "pane_score_1").cast(pl.Int64).to_numpy(),
        age=ages,
        amount=rows.get_column("amount").to_numpy(),
    )
