"""Alert on lost labels: do recent panes have fewer labels than earlier panes had at the same age?

Each pane is judged at the oldest age that all its predictions have reached, and only against earlier panes at that
age, so a young cohort cannot raise an alert. Panes that cannot be judged have a state of their own, not `ok`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.coverage.expectation import Expectation, History, expect, season_slots

__all__ = ["AlertState", "CoverageAlert", "CoveragePanes", "judge_panes"]

AlertState = Literal["ok", "degraded", "broken", "no_predictions", "not_enough_history"]

_HISTORY_MIN = 21
"""Earlier panes that are needed: with fewer, the variation between healthy panes is unknown."""

_POOLED = (6, 12, 24)
"""Numbers of recent panes that are judged together; of hourly panes up to a day. The shorter windows find a new fault
sooner, while most panes of the day are from before it."""

_JUDGED = 72
"""Recent panes that are judged one by one: a broken hourly pane is evident by that age."""

_JUDGED_SHARE = 3
"""At most one in three panes is judged and the rest is history, so that thirty daily panes suffice too."""

_SHARE_MIN = 0.1
"""A pane is judged from the age at which history has this part of all its labels: before it, a broken pipeline looks
like a healthy one. The rule is relative, so labels that take months and labels that take minutes need no settings."""

_PANE_WEIGHT = 3.0
"""Limit on what one pane adds to z, in standard deviations: a single broken pane is not a degraded pipeline."""

_POOLED_Z = -4.0
_POOLED_DEFICIT = 0.02
_PANE_P = 1e-4
_PANE_DEFICIT = 0.05
_PANE_WORST = 1.5
"""Multiple of the worst deviation in history at that age. The beta-binomial's tail is too thin where the speed of whole
panes varies: without this limit a slow pane counts as broken for hours and then catches up."""

_PANE_ROWS = 20_000
"""Larger panes are scaled down to this many rows for the tail probability: they alarm later, never earlier."""

_NORMAL_80 = 2.563
"""Standard deviations between the tenth and the ninetieth percentile of a normal distribution."""

_Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


class _Residuals(NamedTuple):
    """Missing labels (expected minus counted), expected labels, and their variance; last axis: the judged panes."""

    missing: _Floats
    expected: _Floats
    variance: _Floats


@dataclass(frozen=True, eq=False)
class CoveragePanes:
    """Predictions of time spans of equal length, and how many of them had a label by each age.

    Attributes:
        predictions: shape (panes,): eligible predictions; may be zero.
        labelled: shape (panes, edges): predictions labelled by each age, not decreasing along the edges. Ages beyond
            the one that a pane has reached are ignored.
        pane_end_ms: shape (panes,): first instant after each pane, increasing; best over four weeks or more.
        edges_ms: shape (edges,): ages, increasing.
    """

    predictions: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    pane_end_ms: npt.NDArray[np.int64]
    edges_ms: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Validate the counts.

        Raises:
            ValueError: shapes do not match, times or ages do not increase, or there are more labels than predictions.
        """
        shape = (len(self.predictions), len(self.edges_ms))
        if self.labelled.shape != shape or self.pane_end_ms.shape != shape[:1]:
            raise ValueError(f"labelled must have shape {shape}, and one end per pane; not {self.labelled.shape}")
        if (np.diff(self.pane_end_ms) <= 0).any() or (np.diff(self.edges_ms) <= 0).any():
            raise ValueError("pane ends and edges must increase")
        if (self.labelled < 0).any() or (self.labelled > self.predictions[:, np.newaxis]).any():
            raise ValueError("labelled must be from 0 to the pane's predictions")


@dataclass(frozen=True)
class CoverageAlert:
    """State of the label pipeline.

    Attributes:
        state: `degraded`: recent panes together have too few labels, now and one pane ago; `broken`: single panes have
            far too few; `ok`; `no_predictions`: all recent panes are empty; `not_enough_history`. `degraded` takes
            precedence over `broken`.
        z: deviation of the recent panes together, in standard deviations of history; None where not judged.
        deficit: share of their predictions that should have a label by now and have none, -1 to 1.
        panes: number of panes judged together.
        history: number of earlier panes they were judged against.
        broken_end_ms: ends of the panes that are broken by themselves, increasing.
        judged_until_ms: end of the youngest pane that was judged; None if none was.
    """

    state: AlertState
    z: float | None
    deficit: float | None
    panes: int
    history: int
    broken_end_ms: tuple[int, ...]
    judged_until_ms: int | None


def judge_panes(panes: CoveragePanes, now_ms: int) -> CoverageAlert:
    """Judge the recent panes against the earlier ones, each at the oldest age it has reached.

    Two rules. Together: z < -4 and a deficit above 2 percentage points over the last 24 panes (or 12, or 6), now and
    one pane ago. One by one: a beta-binomial tail probability below 1e-4 and a deficit above 5 points, for the last 72
    panes. Of few panes only the last third is judged. Empty panes are ignored by both rules, and in history.

    Args:
        panes: in order of time, best with four weeks of history or more.
        now_ms: the watermark of the labels, not the wall clock.

    >>> made, end_ms = np.full(100, 1_000), np.arange(1, 101) * 3_600_000
    >>> labelled = np.where(np.arange(100) < 94, 800, 500)[:, np.newaxis]
    >>> alert = judge_panes(CoveragePanes(made, labelled, end_ms, np.array([0])), now_ms=360_000_000)
    >>> alert.state, round(alert.deficit, 2), alert.panes, alert.history
    ('degraded', 0.3, 6, 67)
    """
    latest = _judge_once(panes, now_ms)
    if latest.state != "degraded":
        return latest
    step_ms = int(np.median(np.diff(panes.pane_end_ms)))
    if _judge_once(panes, now_ms - step_ms).state == "degraded":
        return latest
    return replace(latest, state="broken" if latest.broken_end_ms else "ok")


def _judge_once(panes: CoveragePanes, now_ms: int) -> CoverageAlert:
    """Apply both rules as of one instant."""
    reached = np.searchsorted(panes.edges_ms, now_ms - panes.pane_end_ms, side="right") - 1
    first = _first_edge(panes, reached)
    due = np.flatnonzero(reached >= first)
    active = due[panes.predictions[due] > 0]
    judged_count = min(_JUDGED, len(active) // _JUDGED_SHARE)
    past, judged = np.split(active, [len(active) - judged_count])
    if len(past) < _HISTORY_MIN:
        return CoverageAlert("not_enough_history", None, None, 0, len(past), (), None)
    if not panes.predictions[due[-_POOLED[-1] :]].any():
        return CoverageAlert("no_predictions", None, None, 0, len(past), (), None)
    ends = panes.pane_end_ms
    slots, slot_count = season_slots(ends, int(ends[past[-1]] - ends[past[0]]))
    history = History(panes.predictions[past], panes.labelled[np.ix_(past, reached[judged])], slots[past])
    expected = expect(history, slot_count)
    share = expected.share[np.arange(judged_count), slots[judged]]
    count, labelled = panes.predictions[judged], panes.labelled[judged, reached[judged]]
    now = _residuals(count, labelled, share, expected)
    earlier = _residuals(
        history.predictions[:, np.newaxis], history.labelled, expected.share[:, history.slots].T, expected
    )
    lengths = dict.fromkeys(min(length, judged_count) for length in _POOLED)
    found = [_judge_together(now, earlier, count, length) for length in lengths]
    z, deficit, length = min(found, key=lambda result: (not _is_alarm(*result[:2]), result[0]))
    broken = ends[judged[_broken(now, count, expected)]]
    state: AlertState = "degraded" if _is_alarm(z, deficit) else "broken" if len(broken) else "ok"
    return CoverageAlert(state, z, deficit, length, len(history.slots), tuple(broken.tolist()), int(ends[judged[-1]]))


def _is_alarm(z: float, deficit: float) -> bool:
    return z < _POOLED_Z and deficit > _POOLED_DEFICIT


def _first_edge(panes: CoveragePanes, reached: npt.NDArray[np.int64]) -> int:
    """Return the first edge by which history has a tenth of all its labels; the number of edges if it has none."""
    edges = len(panes.edges_ms)
    due = (reached[:, np.newaxis] >= np.arange(edges)) & (panes.predictions > 0)[:, np.newaxis]
    rows = (due * panes.predictions[:, np.newaxis]).sum(axis=0)
    share = (due * panes.labelled).sum(axis=0) / np.maximum(rows, 1)
    share[due.sum(axis=0) < _HISTORY_MIN] = 0
    if not share.any():
        return edges
    return int(np.argmax(share >= _SHARE_MIN * share.max()))


def _residuals(count: _Counts, labelled: _Counts, share: _Floats, expected: Expectation) -> _Residuals:
    rows = count.astype(np.float64)
    hits = rows * share
    return _Residuals(hits - labelled, hits, expected.variance(rows, share))


def _judge_together(now: _Residuals, past: _Residuals, count: _Counts, length: int) -> tuple[float, float, int]:
    """Return z and deficit of the last `length` panes together, and the length.

    z is in standard deviations of the same sum over every window of history. These exceed what independent panes would
    give, because delays last for hours and make neighbouring panes alike.
    """
    recent = slice(len(count) - length, None)
    z = -float(_pooled(now.missing[recent], now.expected[recent], now.variance[recent]))
    deficit = float(now.missing[recent].sum() / count[recent].sum())
    columns = np.arange(len(count))[recent]
    # Row i: earlier panes i, i + 1, ..., each at the age of one recent pane.
    windows = np.arange(len(past.expected) - length + 1)[:, np.newaxis] + np.arange(length)
    each = (past.missing[windows, columns], past.expected[windows, columns], past.variance[windows, columns])
    low, high = np.quantile(_pooled(*each), (0.1, 0.9))
    return z / max(1.0, float(high - low) / _NORMAL_80), deficit, length


def _pooled(missing: _Floats, expected: _Floats, variance: _Floats) -> _Floats:
    """Return the standardised sum along the last axis, with the best weights for an equal loss rate in all panes."""
    weight, limit = expected / variance, _PANE_WEIGHT * np.sqrt(variance)
    total = (weight * np.clip(missing, -limit, limit)).sum(axis=-1)
    return np.asarray(total / np.sqrt((weight * expected).sum(axis=-1)))


def _broken(now: _Residuals, count: _Counts, expected: Expectation) -> _Counts:
    """Return the indexes of panes in the far lower tail of the beta-binomial, and far below the worst of history."""
    suspects = (now.missing / count > _PANE_DEFICIT) & (
        -now.missing / np.sqrt(now.variance / expected.inflation) < _PANE_WORST * expected.worst
    )
    if not suspects.any():
        return np.zeros(0, np.int64)
    from scipy.stats import betabinom  # noqa: PLC0415 - a second to load, and suspects are rare

    found = []
    for index in np.flatnonzero(suspects):
        share = float(now.expected[index] / count[index])
        rows = min(int(count[index]), _PANE_ROWS)
        hits = math.ceil((1 - float(now.missing[index] / now.expected[index])) * share * rows)
        prior = 1 / float(expected.rho[index]) - 1
        if betabinom.cdf(hits, rows, share * prior, (1 - share) * prior) < _PANE_P:
            found.append(index)
    return np.array(found, np.int64)
