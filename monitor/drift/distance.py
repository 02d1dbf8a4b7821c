"""How far two populations of one input are apart, from counts in the same fixed bins.

This module must not decide what is an alarm, and must not know about days.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc
from scipy.stats import false_discovery_control

__all__ = ["Counts", "Groups", "Psi", "benjamini_hochberg", "distance", "excess_psi", "group_bins"]

Counts = npt.NDArray[np.int64]

_GROUPS, _GROUPS_OF_MANY, _MANY = 10, 20, 2_000
"""Quantile groups of the reference, and how many for a window of at least 2,000: 50 and 100 rows in each."""
_CATEGORIES = 50
"""Of unordered bins, the most frequent ones stay apart; the rest is one group."""
_EXPECTED = 5.0
"""Fewer rows than this expected in the window: an unordered bin joins the rest, as chi-square needs it."""
_SMOOTHING = 0.5


@dataclass(frozen=True)
class Groups:
    """Which bins are compared as one.

    Attributes:
        place: the group of each bin, counted from 0.
        size: the number of groups.
    """

    place: Counts
    size: int


@dataclass(frozen=True)
class Psi:
    """The population stability index of a window against its reference.

    Attributes:
        psi: the plain index, 0 where shares are equal.
        excess: what is left when the mean that chance alone gives is taken off; may be negative.
        p_value: of the index, if both came from one population of independent rows.
        groups: those with rows in either.
    """

    psi: float
    excess: float
    p_value: float
    groups: int


def group_bins(bins: Counts, reference: Counts, window_rows: int, *, is_ordered: bool) -> Groups:
    """Return which bins to compare as one: chosen by the reference alone, never by the window.

    Ordered bins become 10 groups with equal shares of the reference, as nearly as bins allow, and 20 where
    the window has at least 2,000 rows: a bin belongs to the group that its middle rank falls into. Of
    unordered bins the 50 most frequent stay apart, as far as the window should have 5 rows of them.
    Special bins (negative numbers) are groups of their own.

    Args:
        bins: distinct bin numbers.
        reference: rows of the reference in each of `bins`.
        window_rows: rows of the window that is to be compared.
        is_ordered: whether neighbours among bins are neighbours in meaning.
    """
    ordinary = bins >= 0
    counts = np.where(ordinary, reference, 0)
    rows = max(int(counts.sum()), 1)
    if is_ordered:
        wanted = _GROUPS_OF_MANY if window_rows >= _MANY else _GROUPS
        order = np.argsort(bins, kind="stable")
        middle = np.empty(len(bins))
        middle[order] = np.cumsum(counts[order]) - counts[order] / 2
        place = np.minimum((middle * wanted / rows).astype(np.int64), wanted - 1)
    else:
        order = np.lexsort((bins, -counts))
        place = np.empty(len(bins), dtype=np.int64)
        place[order] = np.arange(len(bins))
        is_rare = counts * (window_rows / max(int(reference.sum()), 1)) < _EXPECTED
        place[is_rare | (place >= _CATEGORIES)] = _CATEGORIES
    _, numbered = np.unique(np.where(ordinary, place, bins), return_inverse=True)
    return Groups(numbered.astype(np.int64), int(numbered.max(initial=-1)) + 1)


def excess_psi(reference: Counts, window: Counts, groups: Groups) -> Psi | None:
    """Return the population stability index of the window, less its mean under chance.

    `PSI = sum (p - q) ln(p / q)` over the groups with rows in either, half a row added to each. Without a
    change its mean is `(k - 1)(1/n + 1/m)`, and `PSI / (1/n + 1/m)` follows chi-square with `k - 1` degrees
    of freedom (Yurdakul 2018).

    Args:
        reference: rows in each bin.
        window: rows in each bin, in the same order.
        groups: from `group_bins`.

    Returns:
        The index; None where either has no rows.
    """
    before = np.bincount(groups.place, weights=reference, minlength=groups.size)
    after = np.bincount(groups.place, weights=window, minlength=groups.size)
    used = before + after > 0
    before, after = before[used], after[used]
    if min(before.sum(initial=0), after.sum(initial=0)) <= 0:
        return None
    chance = float(1 / before.sum() + 1 / after.sum())
    size = len(before)
    shares = (before + _SMOOTHING) / (before.sum() + _SMOOTHING * size)
    others = (after + _SMOOTHING) / (after.sum() + _SMOOTHING * size)
    psi = float(((others - shares) * np.log(others / shares)).sum())
    p_value = float(chdtrc(size - 1, psi / chance)) if size > 1 else 1.0
    return Psi(psi, psi - (size - 1) * chance, p_value, size)


def distance(centres: npt.NDArray[np.float64], reference: Counts, window: Counts) -> float | None:
    """Return how far values have moved: Wasserstein-1 divided by the reference's standard deviation.

    Args:
        centres: the middle of each bin; bins without one (not a number) are left out.
        reference: rows in each bin.
        window: rows in each bin, in the same order.

    Returns:
        0 or more, without unit; None where either has no rows with a centre, or the reference holds only
        one value, of which no distance can be told.
    """
    known = np.flatnonzero(~np.isnan(centres) & (reference + window > 0))
    order = known[np.argsort(centres[known], kind="stable")]
    values, before, after = centres[order], reference[order], window[order]
    if min(before.sum(), after.sum()) <= 0:
        return None
    shares = before / before.sum()
    spread = math.sqrt(float((shares * (values - (shares * values).sum()) ** 2).sum()))
    if np.count_nonzero(before) <= 1 or spread <= 0:
        return None
    gaps = np.abs(np.cumsum(shares - after / after.sum()))[:-1]
    return float((gaps * (values[1:] - values[:-1])).sum()) / spread


def benjamini_hochberg(p_values: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Return which of the tests are discoveries, of which on average at most `share` are false.

    Args:
        p_values: from 0 to 1; those that are not a number are no tests, and no discoveries.
        share: the false discovery rate.
    """
    found = np.zeros(len(p_values), dtype=np.bool_)
    tested = ~np.isnan(p_values)
    if tested.any():
        found[tested] = false_discovery_control(p_values[tested], method="bh") <= share
    return found
