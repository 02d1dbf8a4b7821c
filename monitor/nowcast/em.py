"""The nowcast: where the metrics of a young cohort will end, from labels that are in and labels that are not.

A row that still waits is evidence too: late flights land late. Each waiting row is shared out between the
classes by what its score said, by how this cohort differs from the past, and by how long labels of each
class take (an expectation-maximisation over censored labels, after Chapelle 2014, without his parametric
delays). With no labels it is the estimate before labels, to the bit of rounding; with all of them it is the
realised metric. The target is the final metric over the rows that will get a label.

This module must not read a clock, nor say how wrong it may be: past errors do (see `conformal`).
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
"""No shift moves further in one step: a Newton step from far away may be far too long."""

_LEAST_INFORMATION = 0.2
_COMPLETE = 0.98
_RARER_SIDE_LEAST = 30


@dataclass(frozen=True, slots=True)
class CohortCounts:
    """What is known about one cohort day of one version and kind, as whole numbers.

    Counts have shape (panes, strata, bins). A pane is an hour of the day, a stratum a value of the slice
    by which the delay law is kept (one stratum of all rows, if there is none), a bin a score bin.

    Attributes:
        predictions: eligible predictions with a probability as output.
        ones: those of them that are labelled 1 as known now. zeros: labelled 0.
        closed: those that were closed without a label: expired or retracted.
        pane_start_ms: first instant of each pane, shape (panes,). pane_end_ms: the instant after its last.
        scores: mean score of each bin, between 0 and 1, shape (bins,).
        losses: exact loss sums of the labelled rows; without them they are taken from `scores`.
    """

    predictions: Counts
    ones: Counts
    zeros: Counts
    closed: Counts
    pane_start_ms: Counts
    pane_end_ms: Counts
    scores: Floats
    losses: Losses | None = None

    def ages_ms(self, now_ms: int) -> Floats:
        """Return the age of each pane's middle; the one that is still filling ends now."""
        ages: Floats = now_ms - (self.pane_start_ms + np.minimum(self.pane_end_ms, now_ms)) / 2
        return ages


@dataclass(frozen=True, slots=True)
class DayEffect:
    """How much days differ: standard deviations in the logit of P(label is 1), before any label is in.

    The defaults were chosen on the flights (`benchmarks/nowcast.py`), where they may be off by half without harm.

    Attributes:
        level_sd: of the whole cohort's shift.
        hourly_sd: of what an hour of the day adds to the hour before: a random walk.
        slope_sd: of the factor by which scores tell more or less than they did.
        never_weight: predictions that the learned share of never-labelled rows is worth.
    """

    level_sd: float = 0.3
    hourly_sd: float = 0.2
    slope_sd: float = 0.4
    never_weight: float = 100.0


@dataclass(frozen=True, slots=True)
class Nowcast:
    """Where the metrics of a cohort will end.

    Attributes:
        ones: labels of class 1 that are there or expected, shape (bins,). zeros: of class 0.
        values: by metric name; null where nothing can be said.
        bounds: what the final value can be at all, whatever the waiting rows turn out to be, and whether or
            not they ever get a label; null where the bound is not simple.
        labelled: labels that are there. waiting: rows that are neither labelled nor closed.
        arrived_share: labelled / (labelled + expected); null without rows.
        rarer_side: labels on the side of the threshold that has fewer.
        is_corrected: a delay law and a prior were there. Without a law the waiting rows are worth what
            their scores say; without a prior, values are null until nothing waits.
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
    """Return where the metrics of a cohort will end.

    Args:
        cohort: its counts as known at `now_ms`.
        law: how long labels take; None while no day is mature.
        prior: what scores meant on mature days; None while there are too few.
        now_ms: the time up to which labels have certainly been read.
        positive_from: the first score bin that counts as predicted positive.
        effect: how much days differ.

    Raises:
        ValueError: there are more labels and closed rows than predictions somewhere.
    """
    waiting = cohort.predictions - cohort.ones - cohort.zeros - cohort.closed
    if (waiting < 0).any():
        raise ValueError("a pane has more labelled and closed rows than predictions")
    ones, zeros = (part.sum(axis=(0, 1)).astype(np.float64) for part in (cohort.ones, cohort.zeros))
    open_rows = waiting.sum(axis=(0, 1))
    more_ones = more_zeros = np.zeros(len(open_rows))
    if prior is not None and open_rows.any():
        if law is None:
            by_place = waiting.sum(axis=1)
            more_ones, more_zeros = ((by_place * share).sum(axis=0) for share in (prior.share, 1 - prior.share))
        else:
            more_ones, more_zeros = _Censored(cohort, law, now_ms, positive_from).share_out(prior, effect)
    losses = _losses(cohort, ones, zeros).plus(_losses_by_bin(cohort.scores, more_ones, more_zeros))
    is_known = prior is not None or not open_rows.any()
    values = expected_metrics(ones + more_ones, zeros + more_zeros, positive_from, losses)
    labelled = ones + zeros
    expected = float((more_ones + more_zeros).sum())
    sides = int(labelled[:positive_from].sum()), int(labelled[positive_from:].sum())
    return Nowcast(
        ones=ones + more_ones,
        zeros=zeros + more_zeros,
        values=values if is_known else MappingProxyType(dict.fromkeys(values)),
        bounds=hard_bounds(ones, zeros, open_rows, positive_from),
        labelled=sum(sides),
        waiting=int(open_rows.sum()),
        arrived_share=sum(sides) / (sum(sides) + expected) if is_known and sum(sides) + expected > 0 else None,
        rarer_side=min(sides),
        is_corrected=prior is not None and law is not None,
    )


def status_of(found: Nowcast, name: str, half_width: float | None, tolerance: float, *, alarmed: bool) -> Status:
    """Return how far the value of one metric can be trusted.

    `no_data`: it is null. `mature`: nothing waits any more. `estimated`: no label is in. `provisional`: less
    than 98 % of the labels that will come are in, the interval is wider than the tolerance or not known, the
    delay law does not hold, or there are fewer than 30 labels on the rarer predicted side. Else `mature`.

    Args:
        found: the nowcast.
        name: of the metric.
        half_width: of its conformal interval; None: not known.
        tolerance: what half width is good enough, in units of the metric.
        alarmed: what `delay_law.law_alarm` says.
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


class _Censored:
    """The likelihood of a cohort's labels, of which some have not come yet."""

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
        self._by_place = predictions.sum(axis=1)
        self._predictions = predictions.sum(axis=(0, 2)).astype(np.float64)
        self._closed = closed.sum(axis=(0, 2)).astype(np.float64)
        self._law_never = law.never
        pane, self._stratum, score_bin = np.nonzero(waiting)
        self._rows = waiting[pane, self._stratum, score_bin].astype(np.float64)
        self._place = pane * self._shape[1] + score_bin
        side = (self._bins[score_bin] >= positive_from).astype(np.int64)
        late = law.waiting(cohort.ages_ms(now_ms)[self._panes])
        self._late_zero, self._late_one = (late[self._stratum, label, side, pane] for label in (0, 1))

    def share_out(self, prior: Prior, effect: DayEffect) -> tuple[Floats, Floats]:
        """Return the waiting rows that will become 1 and 0, by bin of the cohort.

        The shift of every pane and the change of the slope are found by Newton steps on the penalised
        likelihood, each after sharing out the waiting rows between 1, 0 and never.
        """
        logits = logit(prior.share[np.ix_(self._panes, self._bins)])
        steepness = logits - np.average(logits, weights=self._by_place)
        panes = self._shape[0]
        penalty = np.zeros((panes + 1, panes + 1))
        walk = effect.level_sd**2 + effect.hourly_sd**2 * np.minimum.outer(self._hours, self._hours)
        penalty[:panes, :panes] = np.linalg.inv(walk + 1e-6 * np.eye(panes))
        penalty[panes, panes] = 1 / effect.slope_sd**2
        effects, never = np.zeros(panes + 1), self._law_never
        for _ in range(_ITERATIONS):
            share = sigmoid(logits + effects[:panes, None] + effects[panes] * steepness)
            ones, zeros = self._expected(share, never)
            ones_by_place, rows = self._ones + self._spread(ones), self._labels + self._spread(ones + zeros)
            residual = ones_by_place - rows * share
            weight = self._information(share, ones, zeros, rows * share * (1 - share))
            gradient = np.append(residual.sum(axis=1), (residual * steepness).sum()) - penalty @ effects
            information = penalty + np.diag(np.append(weight.sum(axis=1), (weight * steepness**2).sum()))
            information[panes, :panes] += (weight * steepness).sum(axis=1)
            information[:panes, panes] += (weight * steepness).sum(axis=1)
            step = np.clip(np.linalg.solve(information, gradient), -_STEP_MOST, _STEP_MOST)
            lost = self._closed + np.bincount(self._stratum, self._rows - ones - zeros, len(never))
            closer = (lost + effect.never_weight * self._law_never) / (self._predictions + effect.never_weight)
            change = max(float(np.abs(step).max()), float(np.abs(closer - never).max()))
            effects, never = effects + step, closer
            if change < _TOLERANCE:
                break
        share = sigmoid(logits + effects[:panes, None] + effects[panes] * steepness)
        ones, zeros = self._expected(share, never)
        found = np.zeros((2, prior.share.shape[1]))
        found[:, self._bins] = self._spread(ones).sum(axis=0), self._spread(zeros).sum(axis=0)
        return found[0], found[1]

    def _expected(self, share: Floats, never: Floats) -> tuple[Floats, Floats]:
        """Return for every group of waiting rows how many of them will become 1 and 0."""
        one = share.ravel()[self._place]
        comes = 1 - never[self._stratum]
        ones, zeros = comes * one * self._late_one, comes * (1 - one) * self._late_zero
        # All that could come has come, and the share of rows that never get one is 0: the prior is all that is left.
        nothing = ones + zeros + never[self._stratum] <= 0
        ones, zeros = np.where(nothing, one, ones), np.where(nothing, 1 - one, zeros)
        scale = self._rows / (ones + zeros + never[self._stratum])
        return ones * scale, zeros * scale

    def _information(self, share: Floats, ones: Floats, zeros: Floats, complete: Floats) -> Floats:
        """Return what the rows of each pane and bin tell about the logit (Louis 1982): less where classes are guessed.

        Some of what complete labels would tell always stays, so that a step is never far too long.
        """
        one = share.ravel()[self._place]
        drawn = ones * (1 - one) - zeros * one
        guessed = ones * (1 - one) ** 2 + zeros * one**2 - drawn**2 / self._rows
        return np.maximum(complete - self._spread(guessed), _LEAST_INFORMATION * complete)

    def _spread(self, rows: Floats) -> Floats:
        """Return groups of waiting rows summed by pane and bin."""
        flat = np.bincount(self._place, rows, self._shape[0] * self._shape[1])
        return np.asarray(flat, dtype=np.float64).reshape(self._shape)


def _losses(cohort: CohortCounts, ones: Floats, zeros: Floats) -> Losses:
    return _losses_by_bin(cohort.scores, ones, zeros) if cohort.losses is None else cohort.losses


def _losses_by_bin(scores: Floats, ones: Floats, zeros: Floats) -> Losses:
    return Losses(
        float(-(ones @ np.log(scores) + zeros @ np.log1p(-scores))),
        float(ones @ (1 - scores) ** 2 + zeros @ scores**2),
    )
