"""The delay law: how long labels take, by class and by the side on which their prediction fell.

It is learned from mature days, where nothing is missing any more, and says for a young day how likely it
is that a label of each class is still on its way. This module must not look at a metric: whoever uses the
law decides what the waiting rows are worth.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

__all__ = ["DelayCounts", "DelayLaw", "LawCheck", "law_alarm", "learn_delay_law", "learn_truncated_law"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_SHRINK_LABELS = 50.0
"""A stratum's curve counts as much as the pooled one when it has this many labels."""

_KS_CRITICAL = 1.63
"""The Kolmogorov-Smirnov distance, scaled, that chance exceeds once in a hundred large samples."""

_PAST_CHECKS = 20
_PAST_QUANTILE = 0.99
_LEAST_LABELS = 30
"""With fewer labels of a class and side the distance says nothing, and is left out."""


@dataclass(frozen=True, slots=True)
class DelayLaw:
    """How long labels take, once it is known that they come.

    Attributes:
        edges_ms: upper edges of the label ages, growing, shape (K,).
        survival: share of labels that are older than each edge, shape (strata, 2 classes, 2 sides, K);
            side 1 is "predicted positive". The last is 0.
        never: share of predictions that never get a label, shape (strata,).
        labels: number of labels behind each curve, shape (strata, 2, 2).
    """

    edges_ms: Counts
    survival: Floats
    never: Floats
    labels: Counts

    def waiting(self, ages_ms: Floats) -> Floats:
        """Return the probability that a label which comes has not come by each age.

        Between two edges it falls smoothly (monotone cubic, Fritsch and Carlson 1980); it is 1 at age 0 and before.

        Args:
            ages_ms: shape (A,).

        Returns:
            Shape (strata, 2 classes, 2 sides, A), from 0 to 1.
        """
        # What is counted at age 0 came within the first step: at its first instant nothing can be known.
        past = self.edges_ms > 0
        edges = np.concatenate([[0.0], self.edges_ms[past].astype(np.float64)])
        ones = np.ones((*self.survival.shape[:3], 1))
        curve = np.concatenate([ones, self.survival[..., past]], axis=-1)
        smooth = PchipInterpolator(edges, curve, axis=-1)
        waiting: Floats = np.clip(smooth(np.clip(ages_ms, 0.0, edges[-1])), 0.0, 1.0)
        return waiting


@dataclass(frozen=True, slots=True)
class DelayCounts:
    """The labels of one cohort that have arrived.

    Attributes:
        by_age: labels by upper age edge, shape (2 classes, 2 sides, K).
        by_pane: labels by pane and stratum, shape (panes, strata, 2 classes, 2 sides).
        ages_ms: age of each pane's middle, shape (panes,).
    """

    by_age: Counts
    by_pane: Counts
    ages_ms: Floats


@dataclass(frozen=True, slots=True)
class LawCheck:
    """Whether the labels of a cohort arrive as the law says.

    Attributes:
        statistic: the greatest scaled distance over classes and sides, null where labels are too few.
        limit: above it the law is not believed.
        alarmed: the statistic is above the limit.
    """

    statistic: float | None
    limit: float
    alarmed: bool


def learn_delay_law(labels: Counts, closed: Counts, edges_ms: Counts) -> DelayLaw | None:
    """Return the law of mature days, or None where they have no label at all.

    A thin curve leans on the one of its class and stratum, that one on its class, that one on all labels,
    each as if it had 50 labels more. A class that was never seen takes the pooled curve.

    Args:
        labels: summed over wholly mature days, by upper age edge, shape (strata, 2 classes, 2 sides, K).
        closed: predictions of those days that were closed without a label, shape (strata,).
        edges_ms: the upper age edges, shape (K,).

    Raises:
        ValueError: shapes do not fit.
    """
    if labels.shape[1:] != (2, 2, len(edges_ms)) or closed.shape != labels.shape[:1]:
        raise ValueError(f"labels {labels.shape}, closed {closed.shape}, edges {edges_ms.shape} do not fit")
    if not labels.sum():
        return None
    pooled = labels.sum(axis=(0, 1, 2), keepdims=True)
    curve = np.cumsum(pooled, axis=-1) / pooled.sum()
    for level in (labels.sum(axis=(0, 2), keepdims=True), labels.sum(axis=2, keepdims=True), labels):
        known = level.sum(axis=-1, keepdims=True)
        curve = (np.cumsum(level, axis=-1) + _SHRINK_LABELS * curve) / (known + _SHRINK_LABELS)
    by_stratum = labels.sum(axis=(1, 2, 3))
    share = closed.sum() / (closed.sum() + by_stratum.sum())
    never = (closed + _SHRINK_LABELS * share) / (closed + by_stratum + _SHRINK_LABELS)
    return DelayLaw(edges_ms, np.clip(1 - curve, 0.0, 1.0), never, labels.sum(axis=-1))


def learn_truncated_law(labels: Counts, ages_ms: Counts, edges_ms: Counts, never: Floats) -> DelayLaw | None:
    """Return the law of recent days that are not mature yet, by the reverse hazard.

    For when the old law no longer holds. A step is judged by the days that are old enough to have seen
    all of it: q_k = #(delay = k) / #(delay <= k <= age), F(k) = product of (1 - q_j) over j > k (Lagakos 1988;
    Kalbfleisch and Lawless 1991). What takes longer than the oldest day is old is not in it: F is 1 there.
    Curves of strata are shrunk as in `learn_delay_law`, by the labels that their days have.

    Args:
        labels: labels by day and upper age edge, shape (days, strata, 2 classes, 2 sides, K).
        ages_ms: age of each day's last instant, shape (days,).
        edges_ms: the upper age edges, shape (K,).
        never: share of predictions that never get a label, shape (strata,); young days cannot tell.
    """
    reached = ages_ms[:, None] >= edges_ms[None, :]
    seen = labels * reached[:, None, None, None, :]
    if not seen.sum():
        return None
    # A label counts at every later edge that its own day has reached.
    by_then = (np.cumsum(seen, axis=-1) * reached[:, None, None, None, :]).sum(axis=0)
    now = seen.sum(axis=0)
    curve = _reverse_hazard(now.sum(axis=(0, 1, 2), keepdims=True), by_then.sum(axis=(0, 1, 2), keepdims=True))
    for axes in ((0, 2), (2,), ()):
        step, risk = (part.sum(axis=axes, keepdims=True) if axes else part for part in (now, by_then))
        known = step.sum(axis=-1, keepdims=True)
        curve = (known * _reverse_hazard(step, risk) + _SHRINK_LABELS * curve) / (known + _SHRINK_LABELS)
    return DelayLaw(edges_ms, np.clip(1 - curve, 0.0, 1.0), never, now.sum(axis=-1))


def law_alarm(arrivals: DelayCounts, law: DelayLaw, past: Floats) -> LawCheck:
    """Return whether the delays of a young cohort contradict the law.

    Per class and side: the greatest distance between the delays that arrived and those that the law
    expects among labels which arrived by their pane's age, times sqrt(n m / (n + m)). How many labels each
    class has does not enter, so that another prevalence or error rate is no alarm.

    Real days differ by more than chance. The limit is 1.63, or the 99th percentile of the statistics that
    past cohorts had at this age, where there are 20 and it is greater.

    Args:
        arrivals: the cohort's labels so far.
        law: the law in use.
        past: statistics of past mature cohorts at the same age, in any order.
    """
    shares = 1 - law.survival
    by_pane = 1 - law.waiting(arrivals.ages_ms)
    edges = law.edges_ms.astype(np.float64)
    found: list[float] = []
    for label in (0, 1):
        for side in (0, 1):
            observed = arrivals.by_age[label, side].astype(np.float64)
            arrived = arrivals.by_pane[:, :, label, side].astype(np.float64)
            if min(observed.sum(), arrived.sum(), law.labels[:, label, side].sum()) < _LEAST_LABELS:
                continue
            expected = _expected_by_age(
                shares[:, label, side], by_pane[:, label, side], arrived, edges, arrivals.ages_ms
            )
            distance = float(np.abs(np.cumsum(observed) / observed.sum() - expected).max())
            reference = float(law.labels[:, label, side].sum())
            found.append(distance * float(np.sqrt(observed.sum() * reference / (observed.sum() + reference))))
    limit = _KS_CRITICAL
    if len(past) >= _PAST_CHECKS:
        limit = max(limit, float(np.quantile(past, _PAST_QUANTILE)))
    statistic = max(found) if found else None
    return LawCheck(statistic, limit, statistic is not None and statistic > limit)


def _expected_by_age(shares: Floats, by_pane: Floats, arrived: Floats, edges: Floats, ages_ms: Floats) -> Floats:
    """Return the expected distribution of the delays of `arrived`, each cut off at its pane's age, shape (K,)."""
    by_now = by_pane.T[:, :, None]
    reached = (edges >= ages_ms[:, None])[:, None, :]
    # Where the law sees none by now, and yet there are some, they count as just arrived.
    shares = np.divide(shares, by_now, out=np.zeros((*by_now.shape[:2], len(edges))), where=by_now > 0)
    expected: Floats = np.tensordot(arrived, np.where(reached, 1.0, np.minimum(shares, 1.0)), axes=2) / arrived.sum()
    return expected


def _reverse_hazard(step: Counts, risk: Counts) -> Floats:
    """Return F at every edge from labels that came at it and labels that came by it."""
    hazard = np.divide(step, risk, out=np.zeros(step.shape), where=risk > 0)
    later = np.flip(np.cumprod(np.flip(1 - hazard, axis=-1), axis=-1), axis=-1)
    ends = np.ones((*later.shape[:-1], 1))
    shares: Floats = np.concatenate([later[..., 1:], ends], axis=-1)
    return shares
