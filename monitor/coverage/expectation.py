"""The share of a pane's predictions to expect with a label by some age, and its overdispersion, from earlier panes.

Panes vary more than binomial counts do, and with the hour of the week. `monitor.coverage.alert` judges panes by this.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Expectation", "History", "expect", "season_slots"]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_MS = 7 * _DAY_MS
_SLOT_MS = 3 * _HOUR_MS
_SEASONS_MIN = 3
"""A season is modelled once history covers it three times."""

_OUTLIER = 5.0
"""Robust standard deviations beyond which an earlier pane is left out of the fit."""

_FAULT = 8.0
"""Robust standard deviations beyond which an earlier pane is a past fault; below, it counts for `Expectation.worst`."""

_MEDIAN_OF_NORMAL = 0.6745
_RHO_START = 0.01
_RHO_MIN = 1e-6
_RHO_MAX = 0.5

_Floats = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class History:
    """Earlier panes, counted at the ages of the judged panes.

    Attributes:
        predictions: shape (history,): above zero.
        labelled: shape (history, judged): predictions labelled by the age that each judged pane has reached.
        slots: shape (history,): the slot of the week or day that each pane belongs to.
    """

    predictions: _Counts
    labelled: _Counts
    slots: _Counts


@dataclass(frozen=True, eq=False)
class Expectation:
    """The labels to expect of each judged pane at its own age.

    Attributes:
        share: shape (judged, slots): expected share labelled of a pane in that slot, between 0 and 1.
        rho: shape (judged,): correlation of labels within a pane (beta-binomial overdispersion), above 0.
        inflation: shape (judged,): factor on the variance for the error of the estimates, at least 1.
        worst: shape (judged,): least residual in history, in standard deviations, at most 0; without past faults.
    """

    share: _Floats
    rho: _Floats
    inflation: _Floats
    worst: _Floats

    def variance(self, predictions: _Floats, share: _Floats) -> _Floats:
        """Return the beta-binomial variance of the labelled count of panes (any, judged) with these expected shares."""
        spread = predictions * share * (1 - share) * (1 + (predictions - 1) * self.rho)
        return np.asarray(spread * self.inflation, np.float64)


def season_slots(pane_end_ms: _Counts, history_ms: int) -> tuple[_Counts, int]:
    """Return the slot of three hours that each pane ends in, and the number of slots.

    Slots are those of the week if history covers three weeks, else those of the day if it covers three days, else there
    is one. They are in UTC: a change of clocks shifts them by an hour.

    >>> season_slots(np.arange(1, 7) * 3_600_000, 4 * 86_400_000)
    (array([0, 0, 0, 1, 1, 1]), 8)
    """
    for season_ms in (_WEEK_MS, _DAY_MS):
        if history_ms >= _SEASONS_MIN * season_ms:
            return (pane_end_ms - 1) % season_ms // _SLOT_MS, season_ms // _SLOT_MS
    return np.zeros_like(pane_end_ms), 1


def expect(history: History, slots: int) -> Expectation:
    """Return the expected share per judged pane and slot, and the overdispersion by the method of moments.

    Shares are pooled over panes. Each slot's deviation is shrunk by how much slots differ beyond the variation of
    their panes (one-way random effects, by the moments of the analysis of variance). A second pass leaves out the
    outliers of the first, which are past faults.

    Args:
        history: earlier panes, at least two.
        slots: the number of slots.

    >>> counts = np.array([[80], [90], [70], [80]])
    >>> expect(History(np.full(4, 100), counts, np.zeros(4, np.int64)), 1).share.round(2)
    array([[0.8]])
    """
    everything = np.ones(history.labelled.shape)
    first, residuals = _fit(history, slots, everything, np.full(history.labelled.shape[1], _RHO_START))
    spread = np.median(np.abs(residuals), axis=0) / _MEDIAN_OF_NORMAL
    size = np.abs(residuals) / np.maximum(spread, 1)
    found, residuals = _fit(history, slots, (size <= _OUTLIER).astype(np.float64), first.rho)
    deviations = residuals / np.sqrt(1 + (history.predictions[:, np.newaxis] - 1) * found.rho)
    return replace(found, worst=np.min(deviations, axis=0, where=size <= _FAULT, initial=0.0))


def _fit(history: History, slots: int, kept: _Floats, rho: _Floats) -> tuple[Expectation, _Floats]:
    """Return the expectation from the kept panes, and every pane's residual in binomial standard deviations."""
    count = history.predictions[:, np.newaxis].astype(np.float64)
    base = ((kept * history.labelled).sum(axis=0) + 0.5) / ((kept * count).sum(axis=0) + 1)
    weight = kept * count / (1 + (count - 1) * rho)
    offset, parameters = _slot_offsets(history.labelled / count - base, weight, history.slots, slots)
    share = np.clip(base + offset, base / 4, 1 - (1 - base) / 4)
    of_panes = share[history.slots]
    residuals = (history.labelled - count * of_panes) / np.sqrt(count * of_panes * (1 - of_panes))
    excess = (kept * (residuals**2 - 1)).sum(axis=0) / np.maximum((kept * (count - 1)).sum(axis=0), 1)
    # Offsets are fitted to the same panes: these residuals are too small, and those of new panes are larger.
    inflation = 1 + 2 * (1 + parameters) / np.maximum(kept.sum(axis=0), 1)
    rho = np.clip(excess, _RHO_MIN, _RHO_MAX)
    return Expectation(share.T, rho, inflation, np.zeros_like(rho)), residuals


def _slot_offsets(deviation: _Floats, weight: _Floats, slot: _Counts, slots: int) -> tuple[_Floats, _Floats]:
    """Return shrunk slot means, shape (slots, judged), and their effective number of parameters, shape (judged,)."""
    total = _sum_by_slot(weight, slot, slots)
    mean = _sum_by_slot(weight * deviation, slot, slots)
    np.divide(mean, total, out=mean, where=total > 0)
    groups, panes = (total > 0).sum(axis=0), (weight > 0).sum(axis=0)
    all_weight = total.sum(axis=0)
    within = (weight * (deviation - mean[slot]) ** 2).sum(axis=0) / np.maximum(panes - groups, 1)
    centre = (total * mean).sum(axis=0) / all_weight
    between = (total * (mean - centre) ** 2).sum(axis=0) / np.maximum(groups - 1, 1)
    unit = (all_weight - (total**2).sum(axis=0) / all_weight) / np.maximum(groups - 1, 1)
    slot_variance = np.divide(np.maximum(between - within, 0), unit, out=np.zeros_like(unit), where=unit > 0)
    slot_variance[panes <= groups] = 0
    noise = np.divide(within, total, out=np.full_like(total, np.inf), where=total > 0)
    total_variance = slot_variance + noise
    shrinkage = np.divide(slot_variance, total_variance, out=np.zeros_like(total), where=total_variance > 0)
    return shrinkage * mean, shrinkage.sum(axis=0)


def _sum_by_slot(values: _Floats, slot: _Counts, slots: int) -> _Floats:
    """Return the sum of the rows of each slot, always added in the same order, so results are equal to the bit."""
    order = np.argsort(slot, kind="stable")
    starts = np.flatnonzero(np.diff(slot[order], prepend=-1))
    sums = np.zeros((slots, values.shape[1]))
    sums[slot[order[starts]]] = np.add.reduceat(values[order], starts, axis=0)
    return sums
