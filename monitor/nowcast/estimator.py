"""Estimates of young days from panes: the nowcast of each, with a conformal interval from the errors of earlier days.

Nothing leaks from the future: an earlier day is estimated again as of the time when it was as old as the young day is
now, with the delay law and the prior of the days that were mature then. The target is the final metric of the
predictions made so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from monitor.cells.pane import Panes, PaneView
from monitor.nowcast.conformal import PAST_MOST, Interval, age_bucket, conformal_interval
from monitor.nowcast.day_cohort import MatureTotals, bin_scores, count_digest, panes_of_day
from monitor.nowcast.delay import DelayCounts, DelayLaw, LawCheck, law_alarm, learn_delay_law
from monitor.nowcast.em import CohortCounts, Nowcast, Status, nowcast, status_of
from monitor.nowcast.expected import EXPECTED_METRICS, Losses
from monitor.nowcast.prior import Prior, learn_prior

__all__ = ["Estimate", "EstimateCache", "Estimator", "days_needed"]

_MATURE_DAYS = 28
"""Number of newest mature days that law and prior are learned from: whole weeks."""

_TOLERANCE = 0.01
"""Greatest half width, in units of the metric, of a value that may be called mature."""

_HOUR_MS = 3_600_000
_HOURS = 48
_STEP = 1.15
"""`_HOURS` and `_STEP` are those of `conformal.age_bucket`."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate of one young day.

    Attributes:
        arrived: values of the arrived labels alone, by metric.
        intervals: 95 % intervals of the final values, by metric; null where there is none.
        status: by metric, see `em.status_of`.
        check: test of its label delays against the delay law; null without a law.
        past: number of earlier days that the intervals come from.
    """

    day: date
    nowcast: Nowcast
    arrived: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    status: Mapping[str, Status]
    check: LawCheck | None
    past: int


@dataclass(frozen=True, slots=True)
class _PastEstimate:
    """Estimate of an earlier day at some age, against its final metrics.

    Attributes:
        errors: absolute errors by metric, NaN where unknown.
        statistic: of the test against the delay law; null without a law or with few labels.
    """

    errors: Mapping[str, float]
    statistic: float | None


@dataclass(frozen=True, slots=True)
class _LawAndPrior:
    law: DelayLaw | None
    prior: Prior | None


class EstimateCache:
    """Cache of the estimates of earlier days, by day and age bucket.

    An entry is valid while the counts that it was computed from stay the same. Not thread-safe.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[date, int], tuple[int, _PastEstimate]] = {}

    def get(self, day: date, bucket: int, digest: int) -> _PastEstimate | None:
        """Return the entry if it was computed from counts with this digest."""
        found = self._entries.get((day, bucket))
        return None if found is None or found[0] != digest else found[1]

    def put(self, day: date, bucket: int, digest: int, past: _PastEstimate) -> None:
        """Store an entry; it replaces the one of other counts."""
        self._entries[day, bucket] = (digest, past)

    def evict_before(self, day: date) -> None:
        """Evict the entries of days before `day`."""
        for key in [key for key in self._entries if key[0] < day]:
            del self._entries[key]


def days_needed(horizon_ms: int) -> int:
    """Return how many days of panes before a young day an interval needs: earlier days, and the days they learned from.

    >>> days_needed(36 * 3_600_000)
    94
    """
    return PAST_MOST + _MATURE_DAYS + 2 * (horizon_ms // (24 * _HOUR_MS) + 2)


class Estimator:
    """Estimates the days of one version and binary kind.

    Args:
        strata: panes of all predictions, or one item for each value of the kind's `delay_by`; all of the same days.
        cache: earlier estimates of the same version, kind and strata.

    Raises:
        ValueError: there are no panes, or their days differ, or the kind is not binary.
    """

    def __init__(self, strata: Sequence[Panes], cache: EstimateCache) -> None:
        if not strata or any(panes.days != strata[0].days for panes in strata):
            raise ValueError("there must be panes, and all of the same days")
        if strata[0].kind.task != "binary":
            raise ValueError(f"{strata[0].kind.name} is not a binary kind")
        self._kind = strata[0].kind
        self._days = strata[0].days
        self._index = {day: index for index, day in enumerate(self._days)}
        self._start_ms = strata[0].start_ms
        self._end_ms = strata[0].end_ms
        self._day_end_ms = np.append(self._start_ms[1:, 0], self._end_ms[-1:].max())
        self._edges_ms = np.asarray(self._kind.age_edges_ms, dtype=np.int64)
        self._by_day = [[panes_of_day(panes, index) for panes in strata] for index in range(len(self._days))]
        self._totals = MatureTotals.of(strata)
        self._digests = [count_digest(parts) for parts in self._by_day]
        self._scores = bin_scores(self._kind.score_edges)
        self._cache = cache
        self._learned: dict[tuple[int, int], _LawAndPrior] = {}
        cache.evict_before(self._days[0])

    def estimate(self, day: date, now_ms: int, matured_until_ms: int | None, losses: Losses | None = None) -> Estimate:
        """Estimate the final metrics of a day.

        Args:
            day: one of the panes' days.
            now_ms: the time up to which predictions and labels have certainly been read.
            matured_until_ms: the prediction time before which every outcome is final; None: none is.
            losses: exact loss sums of the day's labelled rows; without them they are computed from the bins.

        Raises:
            ValueError: the panes do not have the day.
        """
        if day not in self._index:
            raise ValueError(f"there are no panes of {day}")
        index = self._index[day]
        bucket = age_bucket(now_ms - int(self._start_ms[index, 0]))
        mature = int(np.searchsorted(self._day_end_ms, min(now_ms, matured_until_ms or 0), side="right"))
        until = min(mature, index)
        learned = self._learn(until)
        past = [self._past(earlier, bucket) for earlier in self._days_before(until)]
        cohort = self._cohort(index, None, losses)
        found = nowcast(cohort, learned.law, learned.prior, now_ms, self._kind.positive_from)
        statistics = np.array([one.statistic for one in past if one.statistic is not None])
        check = None if learned.law is None else self._check(index, now_ms, learned.law, statistics)
        alarmed = check is not None and check.alarmed
        intervals = {
            name: conformal_interval(
                found.values[name], np.array([one.errors[name] for one in past]), found.bounds[name], alarmed=alarmed
            )
            for name in EXPECTED_METRICS
        }
        status = {
            name: status_of(found, name, None if interval is None else interval.half_width, _TOLERANCE, alarmed=alarmed)
            for name, interval in intervals.items()
        }
        return Estimate(day, found, self._of_labels(cohort), intervals, status, check, len(past))

    def _days_before(self, until: int) -> list[int]:
        """Return the indexes of the newest days before `until` that have predictions."""
        return [index for index in range(until) if self._totals.predictions[index]][-PAST_MOST:]

    def _learn(self, until: int) -> _LawAndPrior:
        """Learn law and prior from the last mature days before `until`."""
        span = (max(0, until - _MATURE_DAYS), until)
        if span not in self._learned:
            labels, closed, ones, zeros = self._totals.within(*span)
            law = learn_delay_law(labels, closed, self._edges_ms)
            self._learned[span] = _LawAndPrior(law, learn_prior(ones, zeros, self._scores))
        return self._learned[span]

    def _past(self, index: int, bucket: int) -> _PastEstimate:
        """Return the estimate of a mature day as of the first instant of an age bucket."""
        now_ms = int(self._start_ms[index, 0]) + _bucket_ms(bucket)
        until = int(np.searchsorted(self._day_end_ms, now_ms - self._kind.horizon_ms, side="right"))
        digest = hash((self._digests[index], *self._digests[max(0, until - _MATURE_DAYS) : until]))
        day = self._days[index]
        known = self._cache.get(day, bucket, digest)
        if known is None:
            known = self._estimated_as_of(index, now_ms, self._learn(until))
            self._cache.put(day, bucket, digest, known)
        return known

    def _estimated_as_of(self, index: int, now_ms: int, learned: _LawAndPrior) -> _PastEstimate:
        cohort = self._cohort(index, now_ms, None)
        found = nowcast(cohort, learned.law, learned.prior, now_ms, self._kind.positive_from)
        final = self._of_labels(
            _of_panes(self._cohort(index, None, None), np.asarray(cohort.predictions.any(axis=(1, 2))))
        )
        errors = {name: _difference(found.values[name], final[name]) for name in EXPECTED_METRICS}
        check = None if learned.law is None else self._check(index, now_ms, learned.law, np.zeros(0))
        return _PastEstimate(errors, None if check is None else check.statistic)

    def _cohort(self, index: int, now_ms: int | None, losses: Losses | None) -> CohortCounts:
        """Return the counts of a day, all of them or as of a time."""
        views = [panes.now() if now_ms is None else panes.as_of(now_ms) for panes in self._by_day[index]]
        labelled = np.stack([view.labelled[0] for view in views], axis=1)
        return CohortCounts(
            predictions=np.stack([view.scored[0] for view in views], axis=1),
            ones=labelled[..., 1],
            zeros=labelled[..., 0],
            closed=np.stack([view.closed[0] for view in views], axis=1),
            pane_start_ms=self._start_ms[index],
            pane_end_ms=self._end_ms[index],
            scores=self._scores,
            losses=losses,
            pane_ages_ms=None if now_ms is None else self._ages_ms(views[0]),
        )

    def _ages_ms(self, view: PaneView) -> Floats:
        """Return the age up to which each pane is counted."""
        ages_ms: Floats = self._edges_ms[np.maximum(view.age[0], 0)].astype(np.float64)
        return ages_ms

    def _of_labels(self, cohort: CohortCounts) -> Mapping[str, float | None]:
        """Return the metrics of the labelled rows alone."""
        nothing = np.zeros_like(cohort.closed)
        only = replace(cohort, predictions=cohort.ones + cohort.zeros, closed=nothing)
        return nowcast(only, None, None, 0, self._kind.positive_from).values

    def _check(self, index: int, now_ms: int, law: DelayLaw, past: Floats) -> LawCheck:
        """Test the label delays of a day against the law, as exactly as cells allow."""
        by_age = np.zeros((2, 2, len(self._edges_ms)), dtype=np.int64)
        by_pane = np.zeros((self._start_ms.shape[1], len(self._by_day[index]), 2, 2), dtype=np.int64)
        ages_ms: Floats = np.zeros(0)
        for stratum, panes in enumerate(self._by_day[index]):
            view = panes.as_of(now_ms)
            ages_ms = self._ages_ms(view)
            known = panes.known
            seen = known.age <= view.age[0, known.pane]
            label, pane, amount = known.label[seen], known.pane[seen], known.amount[seen]
            side = (known.score_bin[seen] >= self._kind.positive_from).astype(np.int64)
            np.add.at(by_age, (label, side, known.age[seen]), amount)
            np.add.at(by_pane[:, stratum], (pane, label, side), amount)
        return law_alarm(DelayCounts(by_age, by_pane, ages_ms), law, past)


def _of_panes(cohort: CohortCounts, kept: npt.NDArray[np.bool_]) -> CohortCounts:
    """Return the cohort with zero counts outside the kept panes."""
    parts = {name: getattr(cohort, name) * kept[:, None, None] for name in ("predictions", "ones", "zeros", "closed")}
    return replace(cohort, **parts)


def _bucket_ms(bucket: int) -> int:
    """Return the age at which a bucket begins."""
    hours = bucket if bucket < _HOURS else _HOURS * _STEP ** (bucket - _HOURS)
    return round(hours * _HOUR_MS)


def _difference(value: float | None, final: float | None) -> float:
    return float("nan") if value is None or final is None else abs(value - final)
