"""Distances of two populations: against theory, against SciPy, and edge cases."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2, false_discovery_control, wasserstein_distance

from monitor.cells.histogram import MISSING, Histogram
from monitor.drift.distance import Counts, Psi, benjamini_hochberg, distance, excess_psi, group_bins

INPUT = Histogram("x", "equal", low=-6.0, high=6.0)
BINS = np.array([MISSING, *range(128)])


def counts_of(values: npt.NDArray[np.float64], missing: int = 0) -> Counts:
    """Count normal values as the fold would."""
    bins = np.clip(((values + 6) / 12 * 128).astype(np.int64), 0, 127)
    return np.concatenate([[missing], np.bincount(bins, minlength=128)])


def psi_of(reference: Counts, window: Counts, *, is_ordered: bool = True, bins: Counts = BINS) -> Psi:
    """Return the index, which must be there."""
    groups = group_bins(bins, reference, int(window.sum()), is_ordered=is_ordered)
    found = excess_psi(reference, window, groups)
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "groups"), [(50, 10), (1_000, 10), (2_000, 20)])
def test_without_a_change_the_index_has_the_mean_and_the_quantile_of_theory(n: int, groups: int) -> None:
    """Mean (k-1)(1/n+1/m), 99th percentile that of chi-square; at 50 rows half a row more makes it smaller."""
    rng = np.random.default_rng(5)
    found = [psi_of(counts_of(rng.normal(size=n)), counts_of(rng.normal(size=n))) for _ in range(400)]
    mean = (groups - 1) * 2 / n
    p99 = chi2.ppf(0.99, groups - 1) * 2 / n
    assert {one.groups for one in found} == {groups}
    assert np.mean([one.psi for one in found]) == pytest.approx(mean, rel=0.12)
    assert np.quantile([one.psi for one in found], 0.99) == pytest.approx(p99, rel=0.2)
    assert abs(np.mean([one.excess for one in found])) < 0.12 * mean
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.08


def test_a_rare_special_bin_makes_no_false_discoveries() -> None:
    """Fewer than one missing value is expected in a window: its bin is still a group of its own."""
    rng = np.random.default_rng(6)
    found = [
        psi_of(counts_of(rng.normal(size=20_000), rng.poisson(20)), counts_of(rng.normal(size=600), rng.poisson(0.6)))
        for _ in range(300)
    ]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.08
    assert abs(np.mean([one.excess for one in found])) < 0.003


def test_many_rare_categories_make_no_false_discoveries() -> None:
    """Those with fewer than five expected rows in the window form one group."""
    rng = np.random.default_rng(7)
    shares = 1 / np.arange(1, 301)
    shares /= shares.sum()
    bins = np.arange(300)
    found = [
        psi_of(rng.multinomial(30_000, shares), rng.multinomial(600, shares), is_ordered=False, bins=bins)
        for _ in range(300)
    ]
    assert max(one.groups for one in found) < 30
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.09


@pytest.mark.parametrize(("moved", "psi", "w1"), [(0.1, 0.010, 0.1), (0.3, 0.09, 0.3), (0.5, 0.25, 0.5)])
def test_a_moved_mean_gives_the_known_figures(moved: float, psi: float, w1: float) -> None:
    """Half a standard deviation is an index of a quarter; W1 is the distance itself."""
    rng = np.random.default_rng(8)
    before, after = counts_of(rng.normal(size=40_000)), counts_of(rng.normal(moved, size=20_000))
    assert psi_of(before, after).excess == pytest.approx(psi, abs=0.012)
    assert distance(INPUT.centres(BINS), before, after) == pytest.approx(w1, abs=0.02)


def test_the_distance_is_that_of_scipy_on_the_same_centres_and_nearly_on_the_values() -> None:
    """Bins are a tenth of a standard deviation wide; missing values are left out."""
    rng = np.random.default_rng(9)
    before, after = rng.normal(size=3_000), rng.normal(0.2, 1.5, size=700)
    first, second = counts_of(before, missing=50), counts_of(after, missing=400)
    centres = INPUT.centres(BINS)
    spread = np.std(np.repeat(centres[1:], first[1:]))
    exact = wasserstein_distance(centres[1:], centres[1:], first[1:], second[1:]) / spread
    assert distance(centres, first, second) == pytest.approx(exact, rel=1e-9)
    assert distance(centres, first, second) == pytest.approx(
        wasserstein_distance(before, after) / before.std(), abs=0.01
    )
    mixed = rng.permutation(129)
    assert distance(centres[mixed], first[mixed], second[mixed]) == pytest.approx(exact, rel=1e-9)


def test_a_reference_of_one_value_has_an_index_and_no_distance() -> None:
    """Without spread there is no unit."""
    before, after = counts_of(np.full(1_000, 0.5)), counts_of(np.full(1_000, 2.0))
    assert distance(INPUT.centres(BINS), before, after) is None
    assert psi_of(before, after).psi > 5
    same = psi_of(before, before)
    assert (same.psi, same.p_value, same.groups) == (0.0, 1.0, 1)


@pytest.mark.parametrize("value", [-2.0, 2.0])
def test_values_that_the_reference_has_never_had_are_not_lost_in_a_group(value: float) -> None:
    """A single value that moves a little, in either direction."""
    before = counts_of(np.full(1_000, 0.0))
    assert psi_of(before, counts_of(np.full(1_000, value))).groups == 2


def test_missing_values_are_a_group_of_their_own() -> None:
    """Ten percent of them are found, though the others do not change."""
    rng = np.random.default_rng(10)
    before, after = counts_of(rng.normal(size=9_000), 10), counts_of(rng.normal(size=900), 100)
    found = psi_of(before, after)
    assert (found.groups, found.excess > 0.3, found.p_value < 1e-12) == (11, True, True)
    assert distance(INPUT.centres(BINS), counts_of(np.zeros(0), 5), after) is None


def test_the_most_frequent_categories_stay_separate() -> None:
    """Fifty groups and the rest, chosen by the reference alone."""
    reference = np.arange(1_000, 1_100)
    groups = group_bins(np.arange(100), reference, 100_000, is_ordered=False)
    assert groups.size == 51
    assert len(set(groups.index[50:].tolist())) == 50
    assert len(set(groups.index[:50].tolist())) == 1


def test_bins_without_rows_change_nothing() -> None:
    """A bin that only other days have rows in does not change the figures."""
    rng = np.random.default_rng(11)
    before, after = counts_of(rng.normal(size=900)), counts_of(rng.normal(size=900))
    used = before + after > 0
    assert psi_of(before, after) == psi_of(before[used], after[used], bins=BINS[used])
    shuffled = rng.permutation(129)
    assert psi_of(before[shuffled], after[shuffled], bins=BINS[shuffled]).psi == pytest.approx(
        psi_of(before, after).psi
    )


def test_nothing_to_compare_is_none() -> None:
    """No rows on either side, no bins at all."""
    empty, some_rows = np.zeros(129, dtype=np.int64), counts_of(np.zeros(10))
    for before, after in [(empty, some_rows), (some_rows, empty)]:
        assert excess_psi(before, after, group_bins(BINS, before, 10, is_ordered=True)) is None
        assert distance(INPUT.centres(BINS), before, after) is None
    none = np.zeros(0, dtype=np.int64)
    for is_ordered in (True, False):
        assert excess_psi(none, none, group_bins(none, none, 0, is_ordered=is_ordered)) is None


def test_millions_of_rows_are_compared_exactly() -> None:
    """Counts are whole numbers of 64 bits."""
    rng = np.random.default_rng(12)
    before = counts_of(rng.normal(size=10_000)) * 10**12
    assert psi_of(before, before).psi == pytest.approx(0.0, abs=1e-12)


def test_discoveries_are_those_of_scipy_and_no_test_is_no_discovery() -> None:
    """NaN is no test, and does not count in the correction of the others."""
    rng = np.random.default_rng(13)
    p_values = np.concatenate([rng.random(30), rng.random(5) * 1e-3])
    expected = false_discovery_control(p_values) <= 0.05
    assert 0 < expected.sum() < 35
    assert benjamini_hochberg(p_values, 0.05).tolist() == expected.tolist()
    with_gaps = np.concatenate([[np.nan], p_values, [np.nan]])
    assert benjamini_hochberg(with_gaps, 0.05).tolist() == [False, *expected.tolist(), False]
    assert benjamini_hochberg(np.zeros(0), 0.05).tolist() == []
    assert benjamini_hochberg(np.array([np.nan]), 0.05).tolist() == [False]
