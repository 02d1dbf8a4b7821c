"""Delay law: how long labels take, by class and by the predicted side (negative or positive).

It is learned from mature days, whose labels are complete, and gives for a young day the probability that a label of
each class is still on its way.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["DelayCounts", "DelayLaw", "LawCheck", "law_alarm", "learn_delay_law"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_SHRINK_LABELS = 50.0
"""A stratum's curve counts as much as the pooled one when it has this many labels."""

_KS_CRITICAL = 1.63
"""The Kolmogorov-Smirnov distance, scaled, that chance exceeds once in a hundred large samples."""

_PAST_CHECKS = 20
_PAST_QUANTILE = 0.99
_LEAST_LABELS = 30
"""With fewer labels of a class and side the distance means nothing and is left out."""


@dataclass(frozen=True, slots=True)
class DelayLaw:
    """Distribution of label delays, given that the label comes.

    Attributes:
        edges_ms: upper edges of the label ages, growing, shape (K,).
        survival: share of labels older than each edge, shape (strata, 2 classes, 2 sides, K);
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

        >>> edges_ms, survival = np.array([3_600_000, 7_200_000]), np.full((1, 2, 2, 2), [0.5, 0.0])
        >>> law = DelayLaw(edges_ms, survival, np.zeros(1), np.full((1, 2, 2), 100))
        >>> law.waiting(np.array([0.0, 3.6e6, 9e6]))[0, 1, 1].round(2).tolist()
        [1.0, 0.5, 0.0]
        """
        # What is counted at age 0 came within the first step: at its first instant nothing can be known.
        past = self.edges_ms > 0
        edges = np.concatenate([[0.0], self.edges_ms[past].astype(np.float64)])
        ones = np.ones((*self.survival.shape[:3], 1))
        curve = np.concatenate([ones, self.survival[..., past]], axis=-1)
        from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - a third of a second to load

        smooth = PchipInterpolator(edges, curve, axis=-1)
        waiting: Floats = np.clip(smooth(np.clip(ages_ms, 0.0, edges[-1])), 0.0, 1.0)
        return waiting


@dataclass(frozen=True, slots=True)
class DelayCounts:
    """Counts of one cohort's labels that have arrived.

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
    """Test of a cohort's delays against the law.

    Attributes:
        statistic: the greatest scaled distance over classes and sides, null where labels are too few.
        limit: the statistic above which the law is rejected.
        alarmed: the statistic is above the limit.
    """

    statistic: float | None
    limit: float
    alarmed: bool


def learn_delay_law(labels: Counts, closed: Counts, edges_ms: Counts) -> DelayLaw | None:
    """Learn the law from mature days; None without any label.

    Curves are shrunk, each with the weight of 50 labels: that of a stratum, class and side towards its stratum and
    class, that towards its class, that towards all labels. A class without labels takes the pooled curve.

    Args:
        labels: summed over wholly mature days, by upper age edge, shape (strata, 2 classes, 2 sides, K).
        closed: predictions of those days that were closed without a label, shape (strata,).
        edges_ms: the upper age edges, shape (K,).

    Raises:
        ValueError: shapes do not fit.

    >>> labels = np.full((1, 2, 2, 2), [60, 40])
    >>> law = learn_delay_law(labels, np.array([100]), np.array([3_600_000, 86_400_000]))
    >>> law.survival[0, 1, 1].round(2).tolist(), law.never.tolist()
    ([0.4, 0.0], [0.2])
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


def law_alarm(arrived: DelayCounts, law: DelayLaw, past: Floats) -> LawCheck:
    """Test whether the delays of a young cohort contradict the law.

    Per class and side: the greatest distance between the observed delays and those that the law expects among labels
    which arrived by their pane's age, times sqrt(n m / (n + m)). The number of labels of each class does not matter,
    so that another prevalence or error rate raises no alarm.

    Real days differ by more than chance. The limit is 1.63, or the 99th percentile of the statistics that past
    cohorts had at this age, if there are at least 20 of them and it is greater.

    Args:
        past: statistics of past mature cohorts at the same age, in any order.

    >>> law = learn_delay_law(np.full((1, 2, 2, 2), 500), np.array([0]), np.array([3_600_000, 7_200_000]))
    >>> slow = DelayCounts(np.full((2, 2, 2), [10, 90]), np.full((1, 1, 2, 2), 100), np.array([9e6]))
    >>> law_alarm(slow, law, np.zeros(0)).alarmed
    True
    """
    shares = 1 - law.survival
    by_pane = 1 - law.waiting(arrived.ages_ms)
    edges = law.edges_ms.astype(np.float64)
    found: list[float] = []
    for label in (0, 1):
        for side in (0, 1):
            observed = arrived.by_age[label, side].astype(np.float64)
            counts = arrived.by_pane[:, :, label, side].astype(np.float64)
            if min(observed.sum(), counts.sum(), law.labels[:, label, side].sum()) < _LEAST_LABELS:
                continue
            expected = _expected_by_age(shares[:, label, side], by_pane[:, label, side], counts, edges, arrived.ages_ms)
            distance = float(np.abs(np.cumsum(observed) / observed.sum() - expected).max())
            reference = float(law.labels[:, label, side].sum())
            found.append(distance * float(np.sqrt(observed.sum() * reference / (observed.sum() + reference))))
    limit = _KS_CRITICAL
    if len(past) >= _PAST_CHECKS:
        limit = max(limit, float(np.quantile(past, _PAST_QUANTILE)))
    statistic = max(found) if found else None
    return LawCheck(statistic, limit, statistic is not None and statistic > limit)


def _expected_by_age(shares: Floats, by_pane: Floats, counts: Floats, edges: Floats, ages_ms: Floats) -> Floats:
    """Return the expected distribution of the delays of `counts`, each cut off at its pane's age, shape (K,)."""
    by_now = by_pane.T[:, :, None]
    reached = (edges >= ages_ms[:, None])[:, None, :]
    # Where the law expects none by now, and yet there are some, they count as just arrived.
    shares = np.divide(shares, by_now, out=np.zeros((*by_now.shape[:2], len(edges))), where=by_now > 0)
    expected: Floats = np.tensordot(counts, np.where(reached, 1.0, np.minimum(shares, 1.0)), axes=2) / counts.sum()
    return expected
