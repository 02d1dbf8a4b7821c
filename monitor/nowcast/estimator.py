"""Estimates of young days: the nowcast of each, from panes, with an interval that earlier days' errors give.

What was learned at a time is what was known then: an earlier day is estimated again as it stood when it was as old
as the young day is now, with the law and the prior of the days that were mature at that time. The target is the
final metric of the predictions made so far. This module must not read cells or a clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from monitor.cells.pane import Panes, PaneView
from monitor.nowcast.conformal import PAST_MOST, Interval, age_bucket, conformal_interval
from monitor.nowcast.day_cohort import MatureTotals, ReachedCohort, bin_scores, count_digest, one_day
from monitor.nowcast.delay import DelayCounts, DelayLaw, LawCheck, law_alarm, learn_delay_law
from monitor.nowcast.em import CohortCounts, Nowcast, Status, nowcast, status_of
from monitor.nowcast.expected import EXPECTED_METRICS, Losses
from monitor.nowcast.prior import Prior, learn_prior

__all__ = ["MATURE_DAYS", "TOLERANCE", "Estimate", "Estimator", "Memory", "days_needed"]

MATURE_DAYS = 28
"""Days that law and prior are learned from: whole weeks."""

TOLERANCE = 0.01
"""A half width up to this is good enough to call a value mature; in units of the metric."""

_HOUR_MS = 3_600_000
_HOURS = 48
_STEP = 1.15
"""As the buckets of `conformal.age_bucket` have it."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Where one young day will end.

    Attributes:
        day: the day.
        found: its nowcast.
        arrived: what the labels that are in say alone, by metric.
        intervals: where the final values will lie, by metric; null where nothing can be said.
        status: by metric.
        check: whether its labels come as the delay law says; null without a law.
        past: how many earlier days the intervals were learned from.
    """

    day: date
    found: Nowcast
    arrived: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    status: Mapping[str, Status]
    check: LawCheck | None
    past: int


@dataclass(frozen=True, slots=True)
class _Past:
    """How an earlier day was estimated at some age: absolute errors by metric, NaN where unknown."""

    errors: Mapping[str, float]
    statistic: float | None


@dataclass(frozen=True, slots=True)
class _Learned:
    law: DelayLaw | None
    prior: Prior | None


class Memory:
    """Estimates of earlier days, by day and age bucket, kept from one view to the next.

    An entry holds as long as the counts that it was made from are the same. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[date, int], tuple[int, _Past]] = {}

    def get(self, day: date, bucket: int, digest: int) -> _Past | None:
        """Return what was kept for these counts."""
        found = self._known.get((day, bucket))
        return None if found is None or found[0] != digest else found[1]

    def put(self, day: date, bucket: int, digest: int, past: _Past) -> None:
        """Keep it, in place of what was made from other counts."""
        self._known[day, bucket] = (digest, past)

    def forget_before(self, day: date) -> None:
        """Drop what no interval looks at any more."""
        for key in [key for key in self._known if key[0] < day]:
            del self._known[key]


def days_needed(horizon_ms: int) -> int:
    """Return how many days before a young one its panes should begin: for past errors and what they learned from."""
    return PAST_MOST + MATURE_DAYS + 2 * (horizon_ms // (24 * _HOUR_MS) + 2)


class Estimator:
    """Estimates the days of one version and binary kind.

    Args:
        strata: panes of the slice of all, or one for each value of the kind's `delay_by`; days alike in all.
        memory: of the same version, kind and strata.

    Raises:
        ValueError: there are no panes, or their days differ, or the kind is not binary.
    """

    def __init__(self, strata: Sequence[Panes], memory: Memory) -> None:
        if not strata or any(one.days != strata[0].days for one in strata):
            raise ValueError("there must be panes, and all of the same days")
        if strata[0].kind.task != "binary":
            raise ValueError(f"{strata[0].kind.name} is no binary kind")
        self._kind = strata[0].kind
        self._days = strata[0].days
        self._place = {day: place for place, day in enumerate(self._days)}
        self._start_ms = strata[0].start_ms
        self._end_ms = strata[0].end_ms
        self._day_end_ms = np.append(self._start_ms[1:, 0], self._end_ms[-1:].max())
        self._edges_ms = np.asarray(self._kind.age_edges_ms, dtype=np.int64)
        self._by_day = [[one_day(one, place) for one in strata] for place in range(len(self._days))]
        self._totals = MatureTotals.of(strata)
        self._digests = [count_digest(parts) for parts in self._by_day]
        self._scores = bin_scores(self._kind.score_edges)
        self._memory = memory
        self._learned: dict[tuple[int, int], _Learned] = {}
        memory.forget_before(self._days[0])

    def estimate(self, day: date, now_ms: int, matured_until_ms: int | None, losses: Losses | None = None) -> Estimate:
        """Return where a day will end.

        Args:
            day: one of the panes' days.
            now_ms: the time up to which predictions and labels have certainly been read.
            matured_until_ms: the prediction time before which every outcome is final; None: nothing is.
            losses: exact loss sums of the day's labelled rows; without them the bins tell.

        Raises:
            ValueError: the panes do not have the day.
        """
        if day not in self._place:
            raise ValueError(f"there are no panes of {day}")
        place = self._place[day]
        bucket = age_bucket(now_ms - int(self._start_ms[place, 0]))
        mature = int(np.searchsorted(self._day_end_ms, min(now_ms, matured_until_ms or 0), side="right"))
        until = min(mature, place)
        learned = self._learn(until)
        past = [self._past(before, bucket) for before in self._before(until)]
        cohort = self._cohort(place, None, losses)
        found = nowcast(cohort, learned.law, learned.prior, now_ms, self._kind.positive_from)
        statistics = np.array([one.statistic for one in past if one.statistic is not None])
        check = None
        if learned.law is not None:
            check = self._check(place, now_ms, learned.law, statistics)
        alarmed = check is not None and check.alarmed
        intervals = {
            name: conformal_interval(
                found.values[name], np.array([one.errors[name] for one in past]), found.bounds[name], alarmed=alarmed
            )
            for name in EXPECTED_METRICS
        }
        status = {
            name: status_of(found, name, None if interval is None else interval.half_width, TOLERANCE, alarmed=alarmed)
            for name, interval in intervals.items()
        }
        return Estimate(day, found, self._of_labels(cohort), intervals, status, check, len(past))

    def _before(self, until: int) -> list[int]:
        """Return the newest mature days that made predictions."""
        made = [place for place in range(until) if self._totals.predictions[place]]
        return made[-PAST_MOST:]

    def _learn(self, until: int) -> _Learned:
        """Return what the last mature days say."""
        span = (max(0, until - MATURE_DAYS), until)
        if span not in self._learned:
            labels, closed, ones, zeros = self._totals.within(*span)
            law = learn_delay_law(labels, closed, self._edges_ms)
            self._learned[span] = _Learned(law, learn_prior(ones, zeros, self._scores))
        return self._learned[span]

    def _past(self, place: int, bucket: int) -> _Past:
        """Return how a mature day was estimated when it was in the bucket, at the bucket's first instant."""
        now_ms = int(self._start_ms[place, 0]) + _bucket_ms(bucket)
        until = int(np.searchsorted(self._day_end_ms, now_ms - self._kind.horizon_ms, side="right"))
        digest = hash((self._digests[place], *self._digests[max(0, until - MATURE_DAYS) : until]))
        day = self._days[place]
        known = self._memory.get(day, bucket, digest)
        if known is None:
            known = self._look_back(place, now_ms, self._learn(until))
            self._memory.put(day, bucket, digest, known)
        return known

    def _look_back(self, place: int, now_ms: int, learned: _Learned) -> _Past:
        cohort = self._cohort(place, now_ms, None)
        found = nowcast(cohort, learned.law, learned.prior, now_ms, self._kind.positive_from)
        final = self._of_labels(
            _of_panes(self._cohort(place, None, None), np.asarray(cohort.predictions.any(axis=(1, 2))))
        )
        errors = {name: _difference(found.values[name], final[name]) for name in EXPECTED_METRICS}
        no_check = LawCheck(None, 0.0, alarmed=False)
        check = no_check if learned.law is None else self._check(place, now_ms, learned.law, np.zeros(0))
        return _Past(errors, check.statistic)

    def _cohort(self, place: int, now_ms: int | None, losses: Losses | None) -> CohortCounts:
        """Return a day's counts as they are, or as they were at a time."""
        parts = self._by_day[place]
        views = [one.now() if now_ms is None else one.as_of(now_ms) for one in parts]
        labelled = np.stack([view.labelled[0] for view in views], axis=1)
        cohort = CohortCounts(
            predictions=np.stack([view.scored[0] for view in views], axis=1),
            ones=labelled[..., 1],
            zeros=labelled[..., 0],
            closed=np.stack([view.closed[0] for view in views], axis=1),
            pane_start_ms=self._start_ms[place],
            pane_end_ms=self._end_ms[place],
            scores=self._scores,
            losses=losses,
        )
        return cohort if now_ms is None else ReachedCohort.of(cohort, self._reached(views[0]))

    def _reached(self, view: PaneView) -> Floats:
        """Return the age that each pane was looked at by."""
        reached: Floats = self._edges_ms[np.maximum(view.age[0], 0)].astype(np.float64)
        return reached

    def _of_labels(self, cohort: CohortCounts) -> Mapping[str, float | None]:
        """Return the metrics of the labelled rows alone."""
        nothing = np.zeros_like(cohort.closed)
        only = replace(cohort, predictions=cohort.ones + cohort.zeros, closed=nothing)
        return nowcast(only, None, None, 0, self._kind.positive_from).values

    def _check(self, place: int, now_ms: int, law: DelayLaw, past: Floats) -> LawCheck:
        """Return whether the labels of a day came as the law says, as far as cells can tell."""
        ages = self._edges_ms
        by_age = np.zeros((2, 2, len(ages)), dtype=np.int64)
        by_pane = np.zeros((self._start_ms.shape[1], len(self._by_day[place]), 2, 2), dtype=np.int64)
        reached: Floats = np.zeros(0)
        for stratum, part in enumerate(self._by_day[place]):
            view = part.as_of(now_ms)
            reached = self._reached(view)
            known = part.known
            seen = known.age <= view.age[0, known.pane]
            label, pane, amount = known.label[seen], known.pane[seen], known.amount[seen]
            side = (known.score_bin[seen] >= self._kind.positive_from).astype(np.int64)
            np.add.at(by_age, (label, side, known.age[seen]), amount)
            np.add.at(by_pane[:, stratum], (pane, label, side), amount)
        return law_alarm(DelayCounts(by_age, by_pane, reached), law, past)


def _of_panes(cohort: CohortCounts, shown: npt.NDArray[np.bool_]) -> CohortCounts:
    """Return the cohort with nothing in other panes."""
    parts = {name: getattr(cohort, name) * shown[:, None, None] for name in ("predictions", "ones", "zeros", "closed")}
    return replace(cohort, **parts)


def _bucket_ms(bucket: int) -> int:
    """Return the elapsed time at which an age bucket begins."""
    hours = bucket if bucket < _HOURS else _HOURS * _STEP ** (bucket - _HOURS)
    return round(hours * _HOUR_MS)


def _difference(value: float | None, final: float | None) -> float:
    return float("nan") if value is None or final is None else abs(value - final)
