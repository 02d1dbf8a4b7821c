"""How old labels are when they arrive, from integer counts per age bin: two curves, and when one is flat.

Counts of parts of the data may be added before, and only before: curves themselves do not add. This module
must not look at what a label says, and must not read a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LabelAge", "age_of_maturity", "kaplan_meier", "reverse_hazard"]

_MATURE_SHARE = 0.995
"""Of what ever arrives; the rest changes a metric by less than its own noise."""


@dataclass(frozen=True, eq=False)
class LabelAge:
    """A curve of label age on a grid of bins.

    Attributes:
        share: per bin, the share labelled by its upper edge, 0 to 1; NaN where the counts do not tell.
        variance: of `share`; NaN where it is not known.
        at_risk: per bin, the rows that the step at it was judged by.
    """

    share: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    at_risk: npt.NDArray[np.int64]


def kaplan_meier(labelled: npt.NDArray[np.int64], censored: npt.NDArray[np.int64]) -> LabelAge:
    """Return the share of all predictions that is labelled by each age, from rows that are still young too.

    h_k = d_k / sum over j >= k of (d_j + c_j), F(k) = 1 - product over j <= k of (1 - h_j). The variance is
    Greenwood's. Source: Kaplan and Meier (1958).

    Args:
        labelled: d, shape (bins,): rows whose label came at an age of that bin.
        censored: c, shape (bins,): rows without a label that were last seen at an age of that bin.

    Returns:
        The curve. Past the oldest row it is not known, unless every row has its label by then.

    Raises:
        ValueError: the shapes differ, or a count is below zero.
    """
    _check(labelled, censored)
    at_risk = np.cumsum((labelled + censored)[::-1])[::-1].astype(np.int64)
    survivors = at_risk - labelled
    waiting = np.cumprod(_ratio(survivors, at_risk, otherwise=1.0), dtype=np.float64)
    step = _ratio(labelled, at_risk * survivors.astype(np.float64), otherwise=0.0)
    share, variance = 1 - waiting, waiting * waiting * np.cumsum(step)
    unknown = (at_risk == 0) & (waiting > 0)
    share[unknown] = variance[unknown] = np.nan
    return LabelAge(share, variance, at_risk)


def reverse_hazard(labelled: npt.NDArray[np.int64]) -> LabelAge:
    """Return the share of labels that arrive by each age, from labelled rows alone, as for one class of them.

    The class of a row without a label is not known, so that only rows whose delay is below their own age are
    seen: the delay is right-truncated. q_k = #{delay = k} / #{delay <= k <= age} and
    F(k) = product over j > k of (1 - q_j). Source: Lagakos, Barraj and De Gruttola (1988).

    Args:
        labelled: shape (bins, bins): rows by the bin of their delay, and the bin of the age up to which a
            label of theirs would have been seen. Delays beyond that age cannot be, so that the lower triangle
            is zero.

    Returns:
        The curve of those labels that arrive by the oldest age seen, where it is 1 by construction. Where too
        few rows straddle an age the curve falls to nothing too early; below that it is not known, and NaN.
        Variance is Greenwood's in reversed time.

    Raises:
        ValueError: the shape is not square, a count is below zero, or a delay lies beyond its age.
    """
    if labelled.ndim != 2 or labelled.shape[0] != labelled.shape[1]:  # noqa: PLR2004 - a square has two sides
        raise ValueError(f"counts must be square, not of shape {labelled.shape}")
    if (labelled < 0).any() or np.tril(labelled, -1).any():
        raise ValueError("counts must not be negative, and no delay may lie beyond its own age")
    arrived = labelled.sum(axis=1)
    # Row k, column a of the running sums: delays up to k whose age is at least a.
    at_risk = np.diagonal(np.cumsum(np.cumsum(labelled, axis=0)[:, ::-1], axis=1)[:, ::-1]).astype(np.int64)
    if not arrived.any():
        nothing = np.full(len(arrived), np.nan)
        return LabelAge(nothing, nothing.copy(), at_risk)
    others = at_risk - arrived
    stays = np.append(_ratio(others, at_risk, otherwise=1.0)[1:], 1.0)
    step = np.append(_ratio(arrived, at_risk * others.astype(np.float64), otherwise=0.0)[1:], 0.0)
    share = np.cumprod(stays[::-1])[::-1].copy()
    variance = share * share * np.cumsum(step[::-1])[::-1]
    unknown = (share == 0) & (np.cumsum(arrived) > 0)
    share[unknown] = variance[unknown] = np.nan
    return LabelAge(share, variance, at_risk)


def age_of_maturity(
    curve: LabelAge, edges_ms: Sequence[int], share: float = _MATURE_SHARE, *, floor_ms: int = 0
) -> int | None:
    """Return the smallest age by which `share` of the labels that ever arrive are in.

    What ever arrives is the last value that the curve knows: a history shorter than the delays makes the
    answer too small.

    Args:
        curve: of label age.
        edges_ms: upper edges of the curve's bins.
        share: of the final value.
        floor_ms: a timeout after which outcomes are decided, if there is one: no answer is below it.

    Returns:
        An edge or the floor, in milliseconds; None where no label has ever arrived.

    Raises:
        ValueError: the curve and the edges differ in length, or share is not within (0, 1].
    """
    if len(edges_ms) != len(curve.share):
        raise ValueError(f"{len(curve.share)} bins need as many edges, not {len(edges_ms)}")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    known = curve.share[~np.isnan(curve.share)]
    if len(known) == 0 or known[-1] <= 0:
        return None
    place = int(np.argmax(curve.share >= share * known[-1]))
    return max(edges_ms[place], floor_ms)


def _ratio(
    above: npt.NDArray[np.int64], below: npt.NDArray[np.int64] | npt.NDArray[np.float64], *, otherwise: float
) -> npt.NDArray[np.float64]:
    out = np.full(len(above), otherwise)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _check(labelled: npt.NDArray[np.int64], censored: npt.NDArray[np.int64]) -> None:
    if labelled.ndim != 1 or labelled.shape != censored.shape:
        raise ValueError(f"counts must be two rows of one length, not of shapes {labelled.shape}, {censored.shape}")
    if (labelled < 0).any() or (censored < 0).any():
        raise ValueError("counts must not be negative")
