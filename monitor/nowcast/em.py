"""Nowcast of one cohort: its final metrics, estimated by expectation-maximisation over censored labels.

A row that still waits is evidence too: late flights land late. Each waiting row is divided between the classes by its
score, by how this cohort differs from the past, and by how long labels of each class take (after Chapelle 2014,
without his parametric delays). Without labels the result is the calibrated estimate from scores; with all of them it
is the realised metric, to the bit. The target is the final metric over the rows that will get a label.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from monitor.nowcast.delay import DelayLaw
from monitor.nowcast.expected import Losses, expected_metrics, hard_bounds
from monitor.nowcast.prior import Prior, logit, sigmoid

__all__ = ["CohortCounts", "DayEffect", "Nowcast", "Status", "nowcast", "status_of"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Status = Literal["no_data", "estimated", "provisional", "mature"]

_HOUR_MS = 3_600_000
_ITERATIONS = 100
_TOLERANCE = 1e-4
_STEP_MOST = 1.0
"""Limit of a Newton step: far from the optimum a full step may be much too long."""

_LEAST_INFORMATION = 0.2
_COMPLETE = 0.98
_RARER_SIDE_LEAST = 30


@dataclass(frozen=True, slots=True)
class CohortCounts:
    """Counts of one cohort: one day of one version and kind.

    Counts have shape (panes, strata, bins). A pane is an hour of the day; a stratum is a value of the slice that the
    delay law depends on (a single stratum, if there is none); a bin is a score bin.

    Attributes:
        predictions: eligible predictions with a probability as output.
        ones: predictions labelled 1 so far.
        zeros: predictions labelled 0 so far.
        closed: predictions closed without a label: expired or retracted.
        pane_start_ms: first instant of each pane, shape (panes,).
        pane_end_ms: the instant after the last of each pane, shape (panes,).
        scores: mean score of each bin, between 0 and 1, shape (bins,).
        losses: exact loss sums of the labelled rows; without them they are computed from `scores`.
        pane_ages_ms: age up to which labels of each pane are counted, shape (panes,); None: all labels.
    """

    predictions: Counts
    ones: Counts
    zeros: Counts
    closed: Counts
    pane_start_ms: Counts
    pane_end_ms: Counts
    scores: Floats
    losses: Losses | None = None
    pane_ages_ms: Floats | None = None

    def ages_ms(self, now_ms: int) -> Floats:
        """Return the given age of each pane, or that of its middle; a pane that is still filling ends now."""
        if self.pane_ages_ms is not None:
            return self.pane_ages_ms
        ages: Floats = now_ms - (self.pane_start_ms + np.minimum(self.pane_end_ms, now_ms)) / 2
        return ages


@dataclass(frozen=True, slots=True)
class DayEffect:
    """How much days differ: prior standard deviations in the logit of P(label is 1).

    The defaults were chosen on the flights (`benchmarks/nowcast.py`), where they may be off by half without harm.

    Attributes:
        level_sd: of the shift of the whole cohort.
        hourly_sd: of the step from one hour of the day to the next, in a random walk.
        slope_sd: of the change of the scores' slope.
        never_weight: weight of the learned share of never-labelled rows, in predictions.
    """

    level_sd: float = 0.3
    hourly_sd: float = 0.2
    slope_sd: float = 0.4
    never_weight: float = 100.0


@dataclass(frozen=True, slots=True)
class Nowcast:
    """Estimate of a cohort's final metrics.

    Attributes:
        ones: arrived and expected labels of class 1, shape (bins,).
        zeros: arrived and expected labels of class 0, shape (bins,).
        values: estimates by metric name; null where there is none.
        bounds: hard bounds by metric name, see `expected.hard_bounds`.
        labelled: labels that have arrived.
        waiting: rows that are neither labelled nor closed.
        arrived_share: labelled / (labelled + expected); null without rows.
        rarer_side: labels on the side of the threshold that has fewer.
        is_corrected: a delay law and a prior were used. Without a law the waiting rows are divided by their scores
            alone; without a prior, values are null until nothing waits.
    """

    ones: Floats
    zeros: Floats
    values: Mapping[str, float | None]
    bounds: Mapping[str, tuple[float, float] | None]
    labelled: int
    waiting: int
    arrived_share: float | None
    rarer_side: int
    is_corrected: bool


def nowcast(
    cohort: CohortCounts,
    law: DelayLaw | None,
    prior: Prior | None,
    now_ms: int,
    positive_from: int,
    effect: DayEffect = DayEffect(),
) -> Nowcast:
    """Estimate the final metrics of a cohort.

    Args:
        cohort: its counts as known at `now_ms`.
        law: None while no day is mature.
        prior: None while mature days have too few labels.
        now_ms: the time up to which labels have certainly been read.
        positive_from: the first score bin that counts as predicted positive.
        effect: prior standard deviations of the day's shift.

    Raises:
        ValueError: a pane and bin has more labelled and closed rows than predictions.

    >>> ten, none = np.array([[[10, 10]]]), np.array([[[0, 0]]])
    >>> cohort = CohortCounts(ten, ten // 5, none, none, np.array([0]), np.array([0]), np.array([0.2, 0.8]))
    >>> found = nowcast(cohort, None, Prior(np.array([[0.25, 0.75]]), 800), now_ms=0, positive_from=1)
    >>> round(found.values["prevalence"], 3), found.bounds["prevalence"], found.arrived_share
    (0.6, (0.2, 1.0), 0.2)
    """
    waiting = cohort.predictions - cohort.ones - cohort.zeros - cohort.closed
    if (waiting < 0).any():
        raise ValueError("a pane has more labelled and closed rows than predictions")
    ones, zeros = (part.sum(axis=(0, 1)).astype(np.float64) for part in (cohort.ones, cohort.zeros))
    open_rows = waiting.sum(axis=(0, 1))
    expected_ones = expected_zeros = np.zeros(len(open_rows))
    if prior is not None and open_rows.any():
        if law is None:
            by_bin = waiting.sum(axis=1)
            expected_ones, expected_zeros = ((by_bin * share).sum(axis=0) for share in (prior.share, 1 - prior.share))
        else:
            likelihood = _CensoredLikelihood(cohort, law, now_ms, positive_from)
            expected_ones, expected_zeros = likelihood.expected_labels(prior, effect)
    losses = cohort.losses or _losses_by_bin(cohort.scores, ones, zeros)
    losses = losses.plus(_losses_by_bin(cohort.scores, expected_ones, expected_zeros))
    is_known = prior is not None or not open_rows.any()
    values = expected_metrics(ones + expected_ones, zeros + expected_zeros, positive_from, losses)
    expected = float((expected_ones + expected_zeros).sum())
    sides = int((ones + zeros)[:positive_from].sum()), int((ones + zeros)[positive_from:].sum())
    return Nowcast(
        ones=ones + expected_ones,
        zeros=zeros + expected_zeros,
        values=values if is_known else MappingProxyType(dict.fromkeys(values)),
        bounds=hard_bounds(ones, zeros, open_rows, positive_from),
        labelled=sum(sides),
        waiting=int(open_rows.sum()),
        arrived_share=sum(sides) / (sum(sides) + expected) if is_known and sum(sides) + expected > 0 else None,
        rarer_side=min(sides),
        is_corrected=prior is not None and law is not None,
    )


def status_of(found: Nowcast, name: str, half_width: float | None, tolerance: float, *, alarmed: bool) -> Status:
    """Return the status of one metric's estimate.

    `no_data`: the value is null. `mature`: no row waits any more. `estimated`: no label has arrived. `provisional`:
    less than 98 % of the labels that will come have arrived, the interval is wider than the tolerance or unknown, the
    delay law does not hold, or there are fewer than 30 labels on the rarer predicted side. Else `mature`.

    Args:
        half_width: of its conformal interval; None: unknown.
        tolerance: half width that is small enough, in units of the metric.
        alarmed: `delay.law_alarm` has rejected the delay law.
    """
    if found.values[name] is None:
        return "no_data"
    if not found.waiting:
        return "mature"
    if not found.labelled:
        return "estimated"
    is_young = found.arrived_share is None or found.arrived_share < _COMPLETE
    is_wide = half_width is None or half_width > tolerance
    is_thin = found.rarer_side < _RARER_SIDE_LEAST
    return "provisional" if is_young or is_wide or alarmed or is_thin or not found.is_corrected else "mature"


class _CensoredLikelihood:
    """Penalised likelihood of a cohort's labels, some of which have not arrived yet."""

    def __init__(self, cohort: CohortCounts, law: DelayLaw, now_ms: int, positive_from: int) -> None:
        # Most bins of most hours are empty, and cost as much as others.
        self._panes = np.flatnonzero(cohort.predictions.any(axis=(1, 2)))
        self._bins = np.flatnonzero(cohort.predictions.any(axis=(0, 1)))
        chosen = np.ix_(self._panes, np.arange(cohort.predictions.shape[1]), self._bins)
        predictions, ones, zeros, closed = (
            part[chosen] for part in (cohort.predictions, cohort.ones, cohort.zeros, cohort.closed)
        )
        waiting = predictions - ones - zeros - closed
        self._shape = (len(self._panes), len(self._bins))
        self._hours = (cohort.pane_start_ms[self._panes] - cohort.pane_start_ms[0]) / _HOUR_MS
        self._ones = ones.sum(axis=1).astype(np.float64)
        self._labels = self._ones + zeros.sum(axis=1)
        self._by_bin = predictions.sum(axis=1)
        self._predictions = predictions.sum(axis=(0, 2)).astype(np.float64)
        self._closed = closed.sum(axis=(0, 2)).astype(np.float64)
        self._law_never = law.never
        pane, self._stratum, score_bin = np.nonzero(waiting)
        self._rows = waiting[pane, self._stratum, score_bin].astype(np.float64)
        self._flat_bin = pane * self._shape[1] + score_bin
        side = (self._bins[score_bin] >= positive_from).astype(np.int64)
        delayed = law.waiting(cohort.ages_ms(now_ms)[self._panes])
        self._delayed_zero, self._delayed_one = (delayed[self._stratum, label, side, pane] for label in (0, 1))

    def expected_labels(self, prior: Prior, effect: DayEffect) -> tuple[Floats, Floats]:
        """Return how many waiting rows will become 1 and 0, by score bin of the cohort.

        Each iteration divides the waiting rows between 1, 0 and never (E step), then takes a Newton step on the shift
        of every pane and the change of the slope (M step).
        """
        logits = logit(prior.share[np.ix_(self._panes, self._bins)])
        steepness = logits - np.average(logits, weights=self._by_bin)
        panes = self._shape[0]
        penalty = np.zeros((panes + 1, panes + 1))
        walk = effect.level_sd**2 + effect.hourly_sd**2 * np.minimum.outer(self._hours, self._hours)
        penalty[:panes, :panes] = np.linalg.inv(walk + 1e-6 * np.eye(panes))
        penalty[panes, panes] = 1 / effect.slope_sd**2
        effects, never = np.zeros(panes + 1), self._law_never
        for _ in range(_ITERATIONS):
            share = sigmoid(logits + effects[:panes, None] + effects[panes] * steepness)
            ones, zeros = self._expected(share, never)
            ones_by_bin, rows = self._ones + self._sum_by_bin(ones), self._labels + self._sum_by_bin(ones + zeros)
            residual = ones_by_bin - rows * share
            weight = self._information(share, ones, zeros, rows * share * (1 - share))
            gradient = np.append(residual.sum(axis=1), (residual * steepness).sum()) - penalty @ effects
            information = penalty + np.diag(np.append(weight.sum(axis=1), (weight * steepness**2).sum()))
            information[panes, :panes] += (weight * steepness).sum(axis=1)
            information[:panes, panes] += (weight * steepness).sum(axis=1)
            step = np.clip(np.linalg.solve(information, gradient), -_STEP_MOST, _STEP_MOST)
            lost = self._closed + np.bincount(self._stratum, self._rows - ones - zeros, len(never))
            next_never = (lost + effect.never_weight * self._law_never) / (self._predictions + effect.never_weight)
            change = max(float(np.abs(step).max()), float(np.abs(next_never - never).max()))
            effects, never = effects + step, next_never
            if change < _TOLERANCE:
                break
        share = sigmoid(logits + effects[:panes, None] + effects[panes] * steepness)
        ones, zeros = self._expected(share, never)
        found = np.zeros((2, prior.share.shape[1]))
        found[:, self._bins] = self._sum_by_bin(ones).sum(axis=0), self._sum_by_bin(zeros).sum(axis=0)
        return found[0], found[1]

    def _expected(self, share: Floats, never: Floats) -> tuple[Floats, Floats]:
        """Return for every group of waiting rows how many of them will become 1 and 0."""
        one = share.ravel()[self._flat_bin]
        comes = 1 - never[self._stratum]
        ones, zeros = comes * one * self._delayed_one, comes * (1 - one) * self._delayed_zero
        # By the law every label has come, and no row stays without one: only the prior can divide what still waits.
        nothing = ones + zeros + never[self._stratum] <= 0
        ones, zeros = np.where(nothing, one, ones), np.where(nothing, 1 - one, zeros)
        scale = self._rows / (ones + zeros + never[self._stratum])
        return ones * scale, zeros * scale

    def _information(self, share: Floats, ones: Floats, zeros: Floats, complete: Floats) -> Floats:
        """Return the observed information about the logit by pane and bin (Louis 1982), less where classes are guessed.

        At least a fifth of the complete-data information, so that no step is much too long.
        """
        one = share.ravel()[self._flat_bin]
        drawn = ones * (1 - one) - zeros * one
        guessed = ones * (1 - one) ** 2 + zeros * one**2 - drawn**2 / self._rows
        return np.maximum(complete - self._sum_by_bin(guessed), _LEAST_INFORMATION * complete)

    def _sum_by_bin(self, rows: Floats) -> Floats:
        """Sum groups of waiting rows by pane and bin."""
        flat = np.bincount(self._flat_bin, rows, self._shape[0] * self._shape[1])
        return np.asarray(flat, dtype=np.float64).reshape(self._shape)


def _losses_by_bin(scores: Floats, ones: Floats, zeros: Floats) -> Losses:
    return Losses(
        float(-(ones @ np.log(scores) + zeros @ np.log1p(-scores))),
        float(ones @ (1 - scores) ** 2 + zeros @ scores**2),
    )
