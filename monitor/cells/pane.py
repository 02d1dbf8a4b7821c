"""Panes: the hours of a cohort day, with what is known of each, now or as it was at some time.

A pane is an hour of the cohort day in the loop's time zone, counted from the day's first instant (so that a day of
25 hours has 25), or the whole day where the kind's horizon is longer than 14 days. This module holds how panes are
written into the bins of cells, and reads them; it must not estimate anything.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import AGES_MAX, SCORE_BINS
from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.plan import CellPlan, KindPlan

__all__ = ["PANES_MAX", "Known", "PaneView", "Panes", "read_panes"]

PANES_MAX = 25

_HOUR_MS = 3_600_000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """Labelled outcomes with a score, one entry for each place where there are any; all arrays are of equal length.

    Attributes:
        day: place in `Panes.days`.
        pane: of the day.
        score_bin: of the prediction.
        label: the class, 0 or 1, as it is now.
        age: place among the kind's `age_edges_ms` of the age at which a label was first known.
        amount: outcomes.
    """

    day: Ints
    pane: Ints
    score_bin: Ints
    label: Ints
    age: Ints
    amount: Ints


@dataclass(frozen=True)
class PaneView:
    """Panes as they are, or as they were at some time; D days, P panes, B score bins.

    Attributes:
        age: [D, P] place of the greatest age edge that all predictions of the pane had reached; -1 where the
            pane had not ended, and nothing of it is shown.
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

    @property
    def waiting(self) -> Ints:
        """[D, P, B] predictions with a probability that may still get a label."""
        known: Ints = self.labelled.sum(axis=-1)
        return self.scored - known - self.closed


@dataclass(frozen=True)
class Panes:
    """What cells know of one version, kind and slice, day by day and pane by pane.

    `read_panes` makes it. What could be large is kept as a list of places (`known`): dense it would have
    D x P x B x 2 x A numbers, 1.8 MB a day.

    Attributes:
        kind: the kind, with its age edges.
        days: D consecutive days.
        start_ms: [D, P] first instant of each pane.
        end_ms: [D, P] first instant after it. A day of 24 hours has nothing in its 25th pane.
        predictions: [D, P] eligible predictions.
        labels: [D, P, A] labelled ones by the age edge at which they were first known.
        scored: [D, P, B] eligible predictions with a probability.
        closed: [D, P, B] those that are now expired or retracted.
        known: those with a label.
    """

    kind: KindPlan
    days: tuple[date, ...]
    start_ms: Ints
    end_ms: Ints
    predictions: Ints
    labels: Ints
    scored: Ints
    closed: Ints
    known: Known

    def now(self) -> PaneView:
        """Return everything that is known."""
        ages = np.full(self.predictions.shape, len(self.kind.age_edges_ms) - 1)
        return PaneView(
            ages, self.predictions, self.labels.sum(axis=-1), self.scored, self._labelled(ages), self.closed
        )

    def as_of(self, now_ms: int) -> PaneView:
        """Return what was known at a time, as far as cells can tell; never more than was known.

        A label counts once the pane's end plus its upper age edge is not after the time: its prediction was made
        before that end, and its age is at most that edge, so it was known by then. In other words, all
        predictions of a pane are looked at by the same age, the greatest edge they had all reached (`age`), and at
        that age the counts are exact. A label is shown late by less than the pane's length plus the width of its
        age bin (about a fifth of the age). A pane that had not ended shows nothing.

        What closed is known by a retraction or by the deadline, and cells do not say which: it is shown as
        closed from the deadline on, and as waiting before. Values are those of now: a correction that came later
        is shown as if it had always been so.

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

    def delays(self) -> Ints:
        """Return [2, 2, A]: labels by true class, predicted side and the age edge at which they were first known."""
        counts = np.zeros((2, 2, len(self.kind.age_edges_ms)), dtype=np.int64)
        known = self.known
        side = (known.score_bin >= self.kind.positive_from).astype(np.int64)
        np.add.at(counts, (known.label, side, known.age), known.amount)
        return counts

    def _labelled(self, ages: Ints) -> Ints:
        """Return [D, P, B, 2]: labels whose age is not beyond that of their pane."""
        counts = np.zeros((*self.scored.shape, 2), dtype=np.int64)
        one = self.known
        seen = one.age <= ages[one.day, one.pane]
        place = (one.day[seen], one.pane[seen], one.score_bin[seen], one.label[seen])
        np.add.at(counts, place, one.amount[seen])
        return counts


def read_panes(
    cells: pl.DataFrame, plan: CellPlan, kind: str, version: str, slice_: str, days: tuple[date, date]
) -> Panes:
    """Return the panes of one version, kind and slice; the kind's own definition is looked at.

    Args:
        cells: merged cells.
        plan: the plan the cells were folded with.
        kind: name of a kind of the plan.
        version: of the model.
        slice_: the text of a slice: `""` for all, or one of the kind's `delay_by`.
        days: the first and the last day, both included.

    Raises:
        ValueError: the plan has no such kind.
    """
    found = [one for one in plan.kinds if one.name == kind]
    if not found:
        raise ValueError(f"the plan has no kind {kind!r}; it has {', '.join(one.name for one in plan.kinds)}")
    plan_of = found[0]
    first, last = days
    every = tuple(first + timedelta(days=place) for place in range((last - first).days + 1))
    panes = PANES_MAX if plan_of.has_hourly_panes else 1
    start_ms, end_ms = _bounds(every, plan.timezone, panes)
    of_slice = pl.col("slice") == slice_
    if slice_ == ALL and plan_of.delay_by is not None:
        of_slice = pl.col("slice").str.starts_with(f"{plan_of.delay_by}=")
    mine = cells.filter(
        pl.col("kind") == kind,
        pl.col("version") == version,
        of_slice,
        pl.col("day").is_between(first, last),
        pl.col("definition") == plan_of.definition,
        pl.col("measure").str.starts_with("pane_"),
    )
    mine = mine.group_by("measure", "bin", place=(pl.col("day") - first).dt.total_days()).agg(pl.col("amount").sum())
    shape = len(every), panes
    ages = len(plan_of.age_edges_ms)
    return Panes(
        kind=plan_of,
        days=every,
        start_ms=start_ms,
        end_ms=end_ms,
        predictions=_dense(mine, "pane_predictions", shape, ()),
        labels=_dense(mine, "pane_labels", (*shape, ages), (AGES_MAX,)),
        scored=_dense(mine, "pane_score", (*shape, SCORE_BINS), (SCORE_BINS,)),
        closed=_dense(mine, "pane_closed", (*shape, SCORE_BINS), (SCORE_BINS,)),
        known=_known(mine),
    )


def _bounds(days: tuple[date, ...], timezone: str, panes: int) -> tuple[Ints, Ints]:
    """Return the first instant of each pane, and the one after its last."""
    following = (*days, days[-1] + timedelta(days=1)) if days else ()
    starts = np.asarray(day_starts_ms(following, timezone), dtype=np.int64)
    day_start, day_end = starts[:-1, np.newaxis], starts[1:, np.newaxis]
    if panes == 1:
        return day_start, day_end
    start = day_start + _HOUR_MS * np.arange(panes, dtype=np.int64)
    # where clocks go back over midnight, a day goes on for a while behind its end
    return start, np.where(start < day_end, np.minimum(start + _HOUR_MS, day_end), start + _HOUR_MS)


def _dense(mine: pl.DataFrame, measure: str, shape: tuple[int, ...], below: tuple[int, ...]) -> Ints:
    """Return the amounts of a measure by day, pane, and what its bins hold below the pane."""
    counts = np.zeros(shape, dtype=np.int64)
    rows = mine.filter(pl.col("measure") == measure)
    bins = rows.get_column("bin").to_numpy()
    inner = []
    for size in reversed(below):
        bins, one = np.divmod(bins, size)
        inner.append(one)
    counts[(rows.get_column("place").to_numpy(), bins, *reversed(inner))] = rows.get_column("amount").to_numpy()
    return counts


def _known(mine: pl.DataFrame) -> Known:
    rows = mine.filter(pl.col("measure").is_in(["pane_score_0", "pane_score_1"]))
    places, ages = np.divmod(rows.get_column("bin").to_numpy(), AGES_MAX)
    panes, score_bins = np.divmod(places, SCORE_BINS)
    return Known(
        day=rows.get_column("place").to_numpy(),
        pane=panes,
        score_bin=score_bins,
        label=(rows.get_column("measure") == "pane_score_1").cast(pl.Int64).to_numpy(),
        age=ages,
        amount=rows.get_column("amount").to_numpy(),
    )
