"""Sequential test for missing labels: do fewer come than the predictions of these ages usually get?

What is usual is learned from a reference that ends before the judged blocks: by age the share of predictions that gets
a label (occurrences per exposure), by hour of the week a factor, and how much blocks, days and weeks scatter. Each
block adds to the log likelihood ratio of "this share of labels is lost" against "none is"; the sum is never below zero,
so it forgets the time before a loss (Page's CUSUM, for a mixture of shares, with a quasi-Poisson scatter). Which blocks
are the reference is up to `monitor.coverage.loss_watch`.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from monitor.cells.label_flow import LabelFlow

__all__ = ["Learned", "LossVerdict", "judge_loss", "judge_recovery"]

_SHARES = np.array([0.2, 0.4, 0.7, 0.95])
"""Shares of lost labels that the mixture tests for. A lasting deficit below a tenth is drift of the delay, no loss."""

_LIMIT = 4.0
"""Log likelihood ratio from which labels are missing, for a single series; the number of series adds its logarithm.
Measured in `benchmarks/label_loss.py`: at 3, of labels whose speed differs from day to day, 3 % of healthy evaluations
would be alarms."""

_OWN_MARGIN = 1.5
"""The ratio must also exceed the second highest that the reference itself ever reached, times this."""

_FORGIVEN = 1
"""Highest peaks of the reference that are ignored: one past fault does not hide the next."""

_RECOVERED = 4.0
"""Log likelihood ratio of "none is lost" against "half of the found share is" from which labels come again."""

_SHARE_TOLD_MAX = 0.6
"""A share that was found in few labels is too high: beside half of it, a smaller loss would look like none at times."""

_EXPOSED_MIN = 20.0
"""Predictions that must have passed through an age in the reference; other ages are left out."""

_SCATTER_MIN = 0.2
"""Variance over mean that a reference is never taken to be below."""

_OUTLIER = 8.0
"""Robust standard deviations beyond which a block of the reference shows nothing usual."""

_MEDIAN_OF_NORMAL = 0.6745
_WEEK_DAYS = 7
_SPANS_MIN = 8
"""Days, or weeks, that are needed to tell how much they scatter."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LossVerdict:
    """Whether labels are missing in the newest block.

    Attributes:
        ratio: log likelihood ratio after the newest block.
        limit: the ratio from which labels are missing.
        since: index of the first judged block that they are missing in; where none are, the number of blocks.
        share: missing share of the labels that were expected since then, 0 to 1.
    """

    ratio: float
    limit: float
    since: int
    share: float

    @property
    def is_lost(self) -> bool:
        """Whether labels are missing."""
        return self.ratio > self.limit


@dataclass(frozen=True)
class _Usual:
    """What is usual: label share by age (NaN where unknown), factor by slot, scatter, second highest own ratio."""

    shares: _Floats
    factors: _Floats
    scatter: float
    own_ratio: float

    def counts(self, flow: LabelFlow) -> tuple[_Floats, _Floats]:
        """Return by block the labels that came and those expected, at the ages that are known."""
        known = ~np.isnan(self.shares)
        came = flow.arrived[:, known].sum(axis=1).astype(np.float64)
        return came, (flow.exposed[:, known] @ self.shares[known]) * self.factors[flow.slot]


@dataclass(frozen=True)
class _Ordinary:
    """The ordinary blocks of a reference, the predictions that they saw by age, and the fit to all its blocks."""

    blocks: npt.NDArray[np.bool_]
    exposed: _Floats
    fitted: _Usual


@dataclass
class Learned:
    """What was learned from a reference, by the ages that were judged: it serves every block that has this reference.

    Attributes:
        exposed: by age the predictions that the reference has seen; None until it is asked for.
        ordinary: of its blocks, those that are ordinary.
        usual: without the error of what is learned from so many.
    """

    exposed: _Floats | None = None
    ordinary: dict[bytes, _Ordinary] = field(default_factory=dict)
    usual: dict[bytes, _Usual] = field(default_factory=dict)


def judge_loss(
    reference: LabelFlow, judged: LabelFlow, per_day: int, series: int = 1, learned: Learned | None = None
) -> LossVerdict:
    """Judge whether labels are missing in the newest blocks.

    Args:
        reference: blocks before the judged ones, at least three weeks of them.
        judged: blocks in a row, up to the newest.
        per_day: number of blocks in a day.
        series: how many series are judged at a time.
        learned: from this reference before.

    >>> slots, made = np.arange(60) % 7, np.full((60, 1), 100.0)
    >>> came = np.where(np.arange(60) < 55, 90, 45)[:, np.newaxis]
    >>> flow = LabelFlow(np.arange(60), slots, came, made)
    >>> found = judge_loss(flow[:50], flow[50:], per_day=1)
    >>> found.is_lost, found.since, found.share
    (True, 5, 0.5)
    """
    usual = _usual(reference, judged, per_day, learned)
    came, expected = usual.counts(judged)
    limit = max(_LIMIT + math.log(max(series, 1)), _OWN_MARGIN * usual.own_ratio)
    path = _ratios(came, expected, usual.scatter)
    ratio = _mixture(path)
    best = int(np.argmax(path[-1])) if len(path) else 0
    zeros = np.flatnonzero(path[:, best] <= 0)
    since = int(zeros[-1]) + 1 if len(zeros) else 0
    return LossVerdict(float(ratio[-1]) if len(ratio) else 0.0, limit, since, _missing(came[since:], expected[since:]))


def judge_recovery(
    reference: LabelFlow, judged: LabelFlow, per_day: int, share: float, learned: Learned | None = None
) -> tuple[int | None, float]:
    """Return the block from which labels come again, None while they are missing, and the missing share until then.

    Args:
        reference: blocks before the loss.
        judged: the newest blocks of the loss, in a row.
        per_day: number of blocks in a day.
        share: missing share that was found before.
        learned: from this reference before.
    """
    usual = _usual(reference, judged, per_day, learned)
    came, expected = usual.counts(judged)
    half = min(max(share, float(_SHARES[0])), _SHARE_TOLD_MAX) / 2
    steps = -(came * math.log1p(-half) + expected * half) / usual.scatter
    total, start = 0.0, 0
    for index, step in enumerate(steps.tolist()):
        total = max(0.0, total + step)
        start = index + 1 if total == 0 else start
        if total > _RECOVERED:
            return start, _missing(came[:start], expected[:start]) if start else share
    # while labels seem to come again, the share stays: the days since would make it small, and the end hard to tell
    return None, share if total > 0 else _missing(came, expected)


def _usual(reference: LabelFlow, judged: LabelFlow, per_day: int, learned: Learned | None) -> _Usual:
    """Learn what is usual, of the ages at which the reference has seen at least as many predictions as are judged.

    The scatter includes the error of what is learned from so many.
    """
    learned = Learned() if learned is None else learned
    if learned.exposed is None:
        learned.exposed = reference.exposed.sum(axis=0)
    wanted = judged.exposed.sum(axis=0)
    ages = _seen_ages(learned.exposed, wanted)
    key = ages.tobytes()
    if key not in learned.ordinary:
        learned.ordinary[key] = _ordinary(reference, _fitted(reference, ages, _WEEK_DAYS * per_day))
    ordinary = learned.ordinary[key]
    ages = _seen_ages(ordinary.exposed, wanted)
    key += ages.tobytes()
    if key not in learned.usual:
        came, expected = ordinary.fitted.counts(reference)
        # what was missing is no part of the fit, but a limit to what is worth an alarm; a surplus is neither
        short, own = reference[ordinary.blocks | (came < expected)], reference[ordinary.blocks]
        learned.usual[key] = _with_scatter(_fitted(own, ages, _WEEK_DAYS * per_day), own, short, per_day)
    found = learned.usual[key]
    labels = np.nan_to_num(found.shares) * wanted
    error = float((labels * wanted / np.maximum(ordinary.exposed, 1.0)).sum() / max(float(labels.sum()), 1e-9))
    return replace(found, scatter=found.scatter * (1 + error))


def _with_scatter(found: _Usual, ordinary: LabelFlow, short: LabelFlow, per_day: int) -> _Usual:
    """Return what is usual with the scatter of ordinary blocks, and the ratio that these and short ones reached."""
    scatter = _scatter(*found.counts(ordinary), per_day)
    peaks = _peaks(_mixture(_ratios(*found.counts(short), scatter)))
    own = float(peaks[-1 - _FORGIVEN]) if len(peaks) > _FORGIVEN else 0.0
    return replace(found, scatter=scatter, own_ratio=own)


def _seen_ages(exposed: _Floats, wanted: _Floats) -> npt.NDArray[np.bool_]:
    """Return the ages at which so many predictions were seen, and enough."""
    return np.asarray(exposed >= np.maximum(wanted, _EXPOSED_MIN))


def _fitted(reference: LabelFlow, ages: npt.NDArray[np.bool_], slots: int) -> _Usual:
    """Return the label shares at some ages and the factors of slots; the shares at other ages are unknown."""
    exposed = reference.exposed.sum(axis=0)
    shares = np.full(len(exposed), np.nan)
    np.divide(reference.arrived.sum(axis=0), exposed, out=shares, where=ages)
    plain = _Usual(shares, np.ones(slots), 1.0, 0.0)
    return replace(plain, factors=_slot_factors(*plain.counts(reference), reference.slot, slots))


def _ordinary(reference: LabelFlow, fitted: _Usual) -> _Ordinary:
    """Return which blocks are no past outage, and no past that was loaded at once."""
    came, expected = fitted.counts(reference)
    sizes = np.abs(came - expected) / np.sqrt(expected + 1)
    spread = max(float(np.median(sizes)) / _MEDIAN_OF_NORMAL, 1.0) if len(sizes) else 1.0
    blocks = np.asarray(sizes <= _OUTLIER * spread)
    return _Ordinary(blocks, reference.exposed[blocks].sum(axis=0), fitted)


def _slot_factors(came: _Floats, expected: _Floats, slot: npt.NDArray[np.int64], slots: int) -> _Floats:
    """Return by slot of the week the labels per expected label, shrunk towards 1 by what chance would give."""
    own, base = (np.bincount(slot, values, slots) for values in (came, expected))
    ratio = np.divide(own, base, out=np.ones(slots), where=base > 0)
    noise = np.divide(1.0, base, out=np.zeros(slots), where=base > 0)
    weight = base / max(float(base.sum()), 1e-9)
    between = max(float((weight * ((ratio - 1) ** 2 - noise)).sum()), 0.0)
    return np.asarray(1 + (ratio - 1) * between / (between + noise + 1e-12))


def _scatter(came: _Floats, expected: _Floats, per_day: int) -> float:
    """Return the variance of counts over their mean: the greatest of those of blocks, days and weeks.

    Delays that change slowly, and files that come once a day, show in the greater spans. Where nearly every prediction
    gets its label at once, counts scatter less than chance alone would let them.
    """
    found = _SCATTER_MIN
    for size in (1, per_day, _WEEK_DAYS * per_day):
        spans = len(came) // size
        if spans >= _SPANS_MIN:
            tail = slice(len(came) - spans * size, None)
            missing = (came - expected)[tail].reshape(spans, size).sum(axis=1)
            found = max(found, float((missing**2).sum() / max(float(expected[tail].sum()), 1e-9)))
    return found


def _ratios(came: _Floats, expected: _Floats, scatter: float) -> _Floats:
    """Return the log likelihood ratio after each block, by tested share."""
    steps = (came[:, np.newaxis] * np.log1p(-_SHARES) + expected[:, np.newaxis] * _SHARES) / scatter
    # max(0, a + max(0, b + ...)) is the running sum above its own running minimum
    total = np.cumsum(np.vstack([np.zeros(len(_SHARES)), steps]), axis=0)
    return np.asarray((total - np.minimum.accumulate(total, axis=0))[1:])


def _mixture(ratios: _Floats) -> _Floats:
    """Return the log of the mean likelihood ratio over the tested shares."""
    if not len(ratios):
        return np.zeros(0)
    highest = ratios.max(axis=1, keepdims=True)
    return np.asarray(highest[:, 0] + np.log(np.exp(ratios - highest).mean(axis=1)))


def _peaks(ratio: _Floats) -> _Floats:
    """Return the highest ratio of each stretch above zero, increasing."""
    above = ratio > 0
    if not above.any():
        return np.zeros(0)
    starts = np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
    return np.sort(np.maximum.reduceat(np.where(above, ratio, 0.0), starts))


def _missing(came: _Floats, expected: _Floats) -> float:
    total = float(expected.sum())
    return min(max(1 - float(came.sum()) / total, 0.0), 1.0) if total > 0 else 0.0
