"""Curves of label age: against lifelines, and where they have nothing to say."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter

from monitor.survival import age_of_maturity, kaplan_meier, reverse_hazard

BINS = 8
COUNTS = st.lists(st.integers(0, 30), min_size=BINS, max_size=BINS).map(lambda values: np.array(values, np.int64))
SQUARES = st.lists(st.integers(0, 9), min_size=BINS * BINS, max_size=BINS * BINS).map(
    lambda values: np.triu(np.array(values, np.int64).reshape(BINS, BINS))
)


@given(labelled=COUNTS, censored=COUNTS)
@settings(max_examples=examples(200), deadline=None)
def test_the_pooled_curve_is_lifelines(labelled: npt.NDArray[np.int64], censored: npt.NDArray[np.int64]) -> None:
    """Shares and Greenwood's variance, wherever there are rows."""
    curve = kaplan_meier(labelled, censored)
    ages = np.arange(BINS)
    if not (labelled + censored).any():
        assert np.isnan(curve.share).all()
        return
    fitter = KaplanMeierFitter().fit(
        np.repeat(np.append(ages, ages), np.append(labelled, censored)),
        np.repeat([1, 0], [labelled.sum(), censored.sum()]),
        timeline=ages,
    )
    oldest = int(np.flatnonzero(labelled + censored)[-1])
    known = ages <= oldest
    survival = fitter.survival_function_.to_numpy().ravel()
    np.testing.assert_allclose(curve.share[known], 1 - survival[known], rtol=0, atol=1e-12)
    table = fitter.event_table
    term = np.array([table.observed.get(age, 0) / max(_left(table, age), 1) for age in ages])
    open_ = known & (survival > 0)
    np.testing.assert_allclose(curve.variance[open_], (survival**2 * np.cumsum(term))[open_], rtol=0, atol=1e-12)
    assert (curve.share[~known] == 1).all() if survival[oldest] == 0 else np.isnan(curve.share[~known]).all()


def _left(table: pd.DataFrame, age: int) -> float:
    """Return n (n - d) of Greenwood's sum from lifelines' own table; 0 where the age is not in it."""
    if age not in table.index:
        return 0.0
    row = table.loc[age]
    return float(row.at_risk * (row.at_risk - row.observed))


@given(labelled=SQUARES)
@settings(max_examples=examples(160), deadline=None)
def test_the_reversed_curve_is_lifelines_in_reversed_time(labelled: npt.NDArray[np.int64]) -> None:
    """Entry is where the age cuts a row off; a delay that many ages share is one tie."""
    curve = reverse_hazard(labelled)
    if not labelled.any():
        assert np.isnan(curve.share).all()
        return
    delays, ages = np.indices((BINS, BINS))
    delay, age = (np.repeat(values.ravel(), labelled.ravel()) for values in (delays, ages))
    fitter = KaplanMeierFitter().fit(BINS - delay, entry=BINS - age - 0.5)
    survival = fitter.survival_function_at_times(BINS - 1 - np.arange(BINS))
    expected = survival.fillna(1.0).to_numpy()  # lifelines has no value before its first row enters
    known = ~np.isnan(curve.share)
    np.testing.assert_allclose(curve.share[known], expected[known], rtol=0, atol=1e-12)
    assert (expected[~known] < 1e-12).all()


@given(parts=st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=4), squares=st.lists(SQUARES, min_size=1))
@settings(max_examples=examples(100), deadline=None)
def test_counts_of_parts_add_to_the_counts_of_the_whole(
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], squares: list[npt.NDArray[np.int64]]
) -> None:
    """Any order of adding gives the same bits."""
    whole = kaplan_meier(sum(part[0] for part in parts), sum(part[1] for part in parts))
    again = kaplan_meier(sum(part[0] for part in parts[::-1]), sum(part[1] for part in parts[::-1]))
    assert whole.share.tobytes() == again.share.tobytes()
    assert reverse_hazard(sum(squares)).share.tobytes() == reverse_hazard(sum(squares[::-1])).share.tobytes()


def test_young_rows_do_not_pull_the_curve_down() -> None:
    """Half are labelled at age 0; of the old half of the rest, all at age 1. Plain shares would say 3 of 4."""
    curve = kaplan_meier(np.array([4, 2]), np.array([2, 0]))
    assert curve.share.tolist() == [0.5, 1.0]
    assert curve.at_risk.tolist() == [8, 2]


def test_an_age_that_no_row_has_reached_is_not_known() -> None:
    """It is neither zero nor what was last seen."""
    curve = kaplan_meier(np.array([1, 0, 0]), np.array([0, 1, 0]))
    assert curve.share[:2].tolist() == [0.5, 0.5]
    assert np.isnan(curve.share[2])
    assert np.isnan(curve.variance[2])


def test_the_reversed_curve_finds_the_law_that_arrived_labels_hide() -> None:
    """Every cohort is cut off at another age, so that slow labels are seen less often than they are."""
    rng = np.random.default_rng(5)
    truth = np.full(BINS, 1 / BINS)
    delay, age = rng.choice(BINS, 60_000, p=truth), rng.integers(0, BINS, 60_000)
    seen = delay <= age
    counts = np.zeros((BINS, BINS), np.int64)
    np.add.at(counts, (delay[seen], age[seen]), 1)
    law = np.cumsum(truth)
    arrived_only = np.cumsum(counts.sum(axis=1)) / counts.sum()
    assert np.abs(reverse_hazard(counts).share - law).max() < 0.02
    assert np.abs(arrived_only - law).max() > 0.15


def test_a_reversed_curve_that_falls_to_nothing_too_early_is_not_known_below() -> None:
    """No row straddles the middle age: the one young row cannot be weighed against the old one."""
    counts = np.zeros((3, 3), np.int64)
    counts[0, 0] = counts[2, 2] = 1
    assert np.isnan(reverse_hazard(counts).share).tolist() == [True, True, False]


def test_maturity_is_the_first_age_with_nearly_all_that_ever_arrives() -> None:
    """A fifth never arrives, and is not waited for."""
    curve = kaplan_meier(np.array([500, 296, 4, 0]), np.array([0, 0, 0, 200]))
    edges_ms = [10, 20, 30, 40]
    assert age_of_maturity(curve, edges_ms) == 20
    assert age_of_maturity(curve, edges_ms, share=0.9951) == 30
    assert age_of_maturity(curve, edges_ms, floor_ms=25) == 25


def test_without_labels_nothing_is_ever_mature() -> None:
    """Neither without rows, nor with rows that all still wait."""
    zeros = np.zeros(2, np.int64)
    assert age_of_maturity(kaplan_meier(zeros, zeros), [1, 2]) is None
    assert age_of_maturity(kaplan_meier(zeros, np.array([1, 1])), [1, 2]) is None


@pytest.mark.parametrize(
    "counts", [np.zeros((2, 3), np.int64), np.array([[0, 0], [1, 0]]), np.array([[-1, 0], [0, 0]]), np.zeros(4, int)]
)
def test_counts_that_cannot_be_are_refused(counts: npt.NDArray[np.int64]) -> None:
    """Not square, a delay beyond its age, or below zero."""
    with pytest.raises(ValueError, match="must"):
        reverse_hazard(counts)


def test_curves_and_edges_of_other_lengths_are_refused() -> None:
    """A curve means nothing on another grid."""
    with pytest.raises(ValueError, match="must"):
        kaplan_meier(np.zeros(2, np.int64), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="must"):
        kaplan_meier(np.array([-1]), np.array([2]))
    curve = kaplan_meier(np.array([1, 0]), np.array([0, 1]))
    with pytest.raises(ValueError, match="as many edges"):
        age_of_maturity(curve, [1])
    with pytest.raises(ValueError, match="share must"):
        age_of_maturity(curve, [1, 2], share=0.0)
