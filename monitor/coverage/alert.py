"""Does the pipeline that brings labels lose some of them? An alert that a young cohort cannot set off.

Every pane is judged at the oldest age that all of it has reached, and only against earlier panes at that same
age. This module must not read a clock, and must not call silence a success: what cannot be judged has a state.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom

from monitor.coverage.expectation import Expectation, History, expect, season_slots

__all__ = ["AlertPanes", "AlertState", "CoverageAlert", "GoalCheck", "check_goal", "judge_panes"]

AlertState = Literal["ok", "degraded", "broken", "no_predictions", "not_enough_history"]

_HISTORY_MIN = 21
"""Earlier panes that have to be there: with fewer, how much panes differ by themselves is not known."""

_POOLED = (6, 12, 24)
"""AlertPanes that are judged together: with hours, a day of them. The shorter stretches find what is new sooner,
while most of the day still lies before the fault."""

_JUDGED = 72
"""AlertPanes that are looked at one by one: by then a broken pane of hours has shown itself."""

_JUDGED_SHARE = 3
"""At most one in three panes is judged, and the rest is history: thirty daily panes are worth something too."""

_SHARE_MIN = 0.1
"""A pane is judged from the age at which history has this part of all labels that ever come: before it,
every pipeline looks the same. It also makes labels of months and of minutes one case."""

_PANE_WEIGHT = 3.0
"""Standard deviations that one pane can bring into z: a single broken pane is not a degraded pipeline."""

_POOLED_Z = -4.0
_POOLED_DEFICIT = 0.02
_PANE_P = 1e-4
_PANE_DEFICIT = 0.05
_PANE_WORST = 1.5
"""Times the worst that history has at that age. The beta-binomial's tail is too thin where the speed of a whole
pane varies: without this, a slow pane is broken for hours and then catches up."""

_PANE_ROWS = 20_000
"""Larger panes are scaled down to as many rows before their tail is summed up: slower to alarm, never faster."""

_NORMAL_80 = 2.563
"""Standard deviations between the tenth and the ninetieth percentile of a normal distribution."""


_Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


class _Residuals(NamedTuple):
    """Labels that are missing, those that were expected, and the variance; last axis: the judged panes."""

    missing: _Floats
    hoped: _Floats
    variance: _Floats


@dataclass(frozen=True, eq=False)
class AlertPanes:
    """Predictions of equally long spans of time, and how many of them had their label by which age.

    Attributes:
        predictions: shape (panes,): eligible predictions; zero is fine.
        labelled: shape (panes, edges): those labelled by each age, growing along the edges. What lies beyond the
            age that a pane has reached is not looked at.
        pane_end_ms: shape (panes,): first instant after each pane, growing. Four weeks or more make a good history.
        edges_ms: shape (edges,): ages, growing.
    """

    predictions: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    pane_end_ms: npt.NDArray[np.int64]
    edges_ms: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse counts that cannot be.

        Raises:
            ValueError: the shapes do not fit, times or ages do not grow, or more are labelled than predicted.
        """
        shape = (len(self.predictions), len(self.edges_ms))
        if self.labelled.shape != shape or self.pane_end_ms.shape != shape[:1]:
            raise ValueError(f"labelled must have shape {shape}, and one end per pane; not {self.labelled.shape}")
        if (np.diff(self.pane_end_ms) <= 0).any() or (np.diff(self.edges_ms) <= 0).any():
            raise ValueError("pane ends and edges must grow")
        if (self.labelled < 0).any() or (self.labelled > self.predictions[:, np.newaxis]).any():
            raise ValueError("labelled must be from 0 to the pane's predictions")


@dataclass(frozen=True)
class CoverageAlert:
    """What the panes say about the label pipeline.

    Attributes:
        state: `degraded`: recent panes together have too few labels, now and one pane ago; `broken`: single panes
            have far too few; `ok`; `no_predictions`: the recent panes are all empty; `not_enough_history`.
            Degraded goes before broken.
        z: of the recent panes together, in standard deviations of history; None where not judged.
        deficit: the part of their predictions that should have a label by now and has none, -1 to 1.
        panes: panes that were judged together.
        history: earlier panes they were judged against.
        broken_end_ms: ends of the panes that are broken by themselves, growing.
        judged_until_ms: end of the youngest pane that was judged; None if none was.
    """

    state: AlertState
    z: float | None
    deficit: float | None
    panes: int
    history: int
    broken_end_ms: tuple[int, ...]
    judged_until_ms: int | None


@dataclass(frozen=True)
class GoalCheck:
    """Whether a coverage goal can be reached at all, as history goes.

    Attributes:
        state: `attainable`, `unattainable` (the goal is above the expected share) or `not_enough_history`.
        expected: the share of history's predictions labelled by the age; None without enough history.
        reached: the share of its panes that would have met the goal; None without enough history.
        panes: panes of history.
    """

    state: Literal["attainable", "unattainable", "not_enough_history"]
    expected: float | None
    reached: float | None
    panes: int


def judge_panes(panes: AlertPanes, now_ms: int) -> CoverageAlert:
    """Judge the recent panes against the earlier ones, each at the oldest age it has reached.

    Two rules. Together: z < -4 and a deficit above 2 points over the last 24 panes, now and as it was one pane
    ago. One by one: a beta-binomial tail below 1e-4 and a deficit above 5 points, for the last 72 panes. Of few
    panes only the last third is judged. Empty panes are left out of both, and of history.

    Args:
        panes: in order of time, with four weeks of history or more.
        now_ms: the time up to which labels have certainly been read; no wall clock.

    Returns:
        The finding. The same arguments give the same one, and nothing has to be kept between two calls.
    """
    latest = _judge_once(panes, now_ms)
    if latest.state != "degraded":
        return latest
    step_ms = int(np.median(np.diff(panes.pane_end_ms)))
    if _judge_once(panes, now_ms - step_ms).state == "degraded":
        return latest
    return replace(latest, state="broken" if latest.broken_end_ms else "ok")


def check_goal(panes: AlertPanes, age_ms: int, least: float, now_ms: int) -> GoalCheck:
    """Say whether a coverage goal of `least` by `age_ms` is above what history has by that age.

    Args:
        panes: in order of time.
        age_ms: the goal's age; one of the panes' edges.
        least: the goal, 0 to 1.
        now_ms: as for `judge_panes`.

    Raises:
        ValueError: the age is none of the edges.
    """
    place = int(np.searchsorted(panes.edges_ms, age_ms))
    if place == len(panes.edges_ms) or panes.edges_ms[place] != age_ms:
        raise ValueError(f"the goal's age must be one of the edges, and {age_ms} ms is none")
    due = (panes.pane_end_ms + age_ms <= now_ms) & (panes.predictions > 0)
    count = int(due.sum())
    if count < _HISTORY_MIN:
        return GoalCheck("not_enough_history", None, None, count)
    predictions, labelled = panes.predictions[due], panes.labelled[due, place]
    expected = int(labelled.sum()) / int(predictions.sum())
    reached = float((labelled >= least * predictions).mean())
    return GoalCheck("unattainable" if least > expected else "attainable", expected, reached, count)


def _judge_once(panes: AlertPanes, now_ms: int) -> CoverageAlert:
    """Judge both rules as of one instant."""
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
    z, deficit, length = min(found, key=lambda one: (not _is_alarm(*one[:2]), one[0]))
    broken = ends[judged[_broken(now, count, expected)]]
    state: AlertState = "degraded" if _is_alarm(z, deficit) else "broken" if len(broken) else "ok"
    return CoverageAlert(state, z, deficit, length, len(history.slots), tuple(broken.tolist()), int(ends[judged[-1]]))


def _is_alarm(z: float, deficit: float) -> bool:
    return z < _POOLED_Z and deficit > _POOLED_DEFICIT


def _first_edge(panes: AlertPanes, reached: npt.NDArray[np.int64]) -> int:
    """Return the first edge by which history has a tenth of what it ever has; past the last one if it has nothing."""
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
    hoped = rows * share
    return _Residuals(hoped - labelled, hoped, expected.variance(rows, share))


def _judge_together(now: _Residuals, past: _Residuals, count: _Counts, length: int) -> tuple[float, float, int]:
    """Return z and deficit of the last panes, and how many they are.

    z is in standard deviations of the same sum over every stretch of history. Where neighbouring panes are
    alike, because what holds labels up lasts for hours, that is more than the panes' own deviations make.
    """
    recent = slice(len(count) - length, None)
    z = -float(_pooled(now.missing[recent], now.hoped[recent], now.variance[recent]))
    deficit = float(now.missing[recent].sum() / count[recent].sum())
    columns = np.arange(len(count))[recent]
    # Row i: earlier panes i, i + 1, ... each in the place, and so at the age, of one recent pane.
    stretch = np.arange(len(past.hoped) - length + 1)[:, np.newaxis] + np.arange(length)
    each = (past.missing[stretch, columns], past.hoped[stretch, columns], past.variance[stretch, columns])
    low, high = np.quantile(_pooled(*each), (0.1, 0.9))
    return z / max(1.0, float(high - low) / _NORMAL_80), deficit, length


def _pooled(missing: _Floats, hoped: _Floats, variance: _Floats) -> _Floats:
    """Return the standardised sum along the last axis, weighted for the same part of every pane's labels lost."""
    weight, limit = hoped / variance, _PANE_WEIGHT * np.sqrt(variance)
    return np.asarray((weight * np.clip(missing, -limit, limit)).sum(axis=-1) / np.sqrt((weight * hoped).sum(axis=-1)))


def _broken(now: _Residuals, count: _Counts, expected: Expectation) -> _Counts:
    """Return the places of panes in the far lower tail of the beta-binomial, and of history itself."""
    found = []
    suspects = (now.missing / count > _PANE_DEFICIT) & (
        -now.missing / np.sqrt(now.variance / expected.inflation) < _PANE_WORST * expected.worst
    )
    for place in np.flatnonzero(suspects):
        share = float(now.hoped[place] / count[place])
        rows = min(int(count[place]), _PANE_ROWS)
        hits = math.ceil((1 - float(now.missing[place] / now.hoped[place])) * share * rows)
        prior = 1 / float(expected.rho[place]) - 1
        if betabinom.cdf(hits, rows, share * prior, (1 - share) * prior) < _PANE_P:
            found.append(place)
    return np.array(found, np.int64)
