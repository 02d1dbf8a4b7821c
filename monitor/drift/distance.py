"""Distance of two populations of one input, from counts in the same fixed bins: PSI and Wasserstein-1."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

__all__ = ["BinGroups", "Counts", "Psi", "benjamini_hochberg", "distance", "excess_psi", "group_bins"]

Counts = npt.NDArray[np.int64]

_GROUPS, _GROUPS_OF_MANY, _MANY = 10, 20, 2_000
"""Quantile groups of the reference, and how many for a window of at least 2,000: 50 and 100 rows in each."""
_CATEGORIES = 50
"""Number of unordered bins, the most frequent ones, that stay separate; the rest is one group."""
_EXPECTED = 5.0
"""An unordered bin with fewer expected rows in the window joins the rest, as chi-square requires."""
_SMOOTHING = 0.5


@dataclass(frozen=True)
class BinGroups:
    """Groups of bins that are compared as one.

    Attributes:
        index: the group of each bin, counted from 0.
        size: the number of groups.
    """

    index: Counts
    size: int


@dataclass(frozen=True)
class Psi:
    """The population stability index of a window against its reference.

    Attributes:
        psi: the plain index, 0 where shares are equal.
        excess: the index less its mean under chance; may be negative.
        p_value: of the index, under the hypothesis that both are independent rows of one population.
        groups: number of groups with rows in either.
    """

    psi: float
    excess: float
    p_value: float
    groups: int


def group_bins(bins: Counts, reference: Counts, window_rows: int, *, is_ordered: bool) -> BinGroups:
    """Group bins by the reference alone, never by the window.

    Ordered bins become 10 groups with shares of the reference as equal as bins allow, and 20 where the window has at
    least 2,000 rows: a bin belongs to the group of its middle rank. Of unordered bins the 50 most frequent stay
    separate, if at least 5 rows of them are expected in the window. Special bins (negative numbers) are groups of
    their own.

    Args:
        bins: distinct bin numbers.
        reference: rows of the reference in each of `bins`.
        window_rows: number of rows of the window to compare.
        is_ordered: neighbouring bins hold neighbouring values.

    >>> group_bins(np.array([0, 1, 2, -1]), np.array([60, 38, 2, 5]), 100, is_ordered=False)
    BinGroups(index=array([1, 2, 3, 0]), size=4)
    """
    ordinary = bins >= 0
    counts = np.where(ordinary, reference, 0)
    rows = max(int(counts.sum()), 1)
    if is_ordered:
        wanted = _GROUPS_OF_MANY if window_rows >= _MANY else _GROUPS
        order = np.argsort(bins, kind="stable")
        middle = np.empty(len(bins))
        middle[order] = np.cumsum(counts[order]) - counts[order] / 2
        group = np.minimum((middle * wanted / rows).astype(np.int64), wanted - 1)
    else:
        order = np.lexsort((bins, -counts))
        group = np.empty(len(bins), dtype=np.int64)
        group[order] = np.arange(len(bins))
        is_rare = counts * (window_rows / max(int(reference.sum()), 1)) < _EXPECTED
        group[is_rare | (group >= _CATEGORIES)] = _CATEGORIES
    _, numbered = np.unique(np.where(ordinary, group, bins), return_inverse=True)
    return BinGroups(numbered.astype(np.int64), int(numbered.max(initial=-1)) + 1)


def excess_psi(reference: Counts, window: Counts, groups: BinGroups) -> Psi | None:
    """Return the population stability index of a window against its reference; None where either has no rows.

    `PSI = sum (p - q) ln(p / q)` over the groups with rows in either, half a row added to each. Without a
    change its mean is `(k - 1)(1/n + 1/m)`, and `PSI / (1/n + 1/m)` follows chi-square with `k - 1` degrees
    of freedom (Yurdakul 2018).

    Args:
        reference: rows in each bin.
        window: rows in each bin, in the same order.
        groups: of these bins, from `group_bins`.

    >>> before, after = np.array([600, 380, 20]), np.array([50, 40, 10])
    >>> found = excess_psi(before, after, group_bins(np.arange(3), before, 100, is_ordered=False))
    >>> round(found.psi, 3), round(found.excess, 3), round(found.p_value, 4)
    (0.154, 0.132, 0.0009)
    """
    before = np.bincount(groups.index, weights=reference, minlength=groups.size)
    after = np.bincount(groups.index, weights=window, minlength=groups.size)
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
    """Return the Wasserstein-1 distance divided by the reference's standard deviation.

    Args:
        centres: the middle of each bin; bins without one (NaN) are left out.
        reference: rows in each bin.
        window: rows in each bin, in the same order.

    Returns:
        0 or more, without unit; None where either has no rows with a centre, or the reference has a single value and
        so no spread.

    >>> distance(np.array([0.0, 1.0, 2.0]), np.array([10, 0, 10]), np.array([0, 10, 10]))
    0.5
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
    """Return which tests are discoveries, with a false discovery rate of at most `share`.

    It is the step-up procedure of Benjamini and Hochberg (1995).

    Args:
        p_values: from 0 to 1; NaN where nothing was tested, which is no discovery.
        share: the false discovery rate.

    >>> benjamini_hochberg(np.array([0.001, 0.02, np.nan, 0.5]), 0.05).tolist()
    [True, True, False, False]
    """
    found = np.zeros(len(p_values), dtype=np.bool_)
    tested = ~np.isnan(p_values)
    ordered = np.sort(p_values[tested])
    passing = np.flatnonzero(ordered * len(ordered) <= share * np.arange(1, len(ordered) + 1))
    if len(passing):
        found[tested] = p_values[tested] <= ordered[passing[-1]]
    return found
