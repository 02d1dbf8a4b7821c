"""Reliability, calibration error and calibration in the large: against scikit-learn and by hand."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from monitor.metrics.calibration import Calibration, Reliability, calibration, wilson

BINS = 10


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 400))
@settings(max_examples=examples(200), deadline=None)
def test_reliability_is_that_of_scikit_learn_on_the_same_bins(seed: int, rows: int) -> None:
    """Ten bins of equal width; those without rows are left out by both."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(1, 3, rows)
    labels = rng.random(rows) < scores**1.5
    place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores)
    n1, n = (np.bincount(place, weights, BINS).astype(np.int64) for weights in (labels, None))
    mean_score = np.bincount(place, scores, BINS) / np.maximum(n, 1)
    found = calibration(n - n1, n1, mean_score)
    observed, said = calibration_curve(labels, scores, n_bins=BINS)
    assert [row.observed for row in found.rows] == pytest.approx(list(observed))
    assert [row.mean_score for row in found.rows] == pytest.approx(list(said))
    weights = np.array([row.n for row in found.rows])
    assert found.error == pytest.approx(np.average(np.abs(observed - said), weights=weights))
    assert found.in_the_large == pytest.approx(labels.mean() - scores.mean())


def test_bins_without_rows_are_left_out_and_never_zero() -> None:
    """Whatever stands as their mean score."""
    found = calibration(np.array([3, 0, 1]), np.array([1, 0, 1]), np.array([0.5, np.nan, 0.75]))
    assert found == Calibration(
        rows=(Reliability(0, 0.5, 0.25, *wilson(1, 4), 4), Reliability(2, 0.75, 0.5, *wilson(1, 2), 2)),
        n=6,
        error=0.25,
        in_the_large=-0.25,
    )


def test_errors_of_either_sign_add_up_and_cancel_in_the_large() -> None:
    """Too low below and too high above: wrong everywhere, right on the whole."""
    found = calibration(np.array([5, 5]), np.array([5, 5]), np.array([0.25, 0.75]))
    assert (found.error, found.in_the_large) == (0.25, 0.0)


def test_no_labelled_row_gives_no_number() -> None:
    """Nothing is known, and nothing is zero."""
    zeros = np.zeros(3, np.int64)
    assert calibration(zeros, zeros, np.full(3, np.nan)) == Calibration((), 0, None, None)


@pytest.mark.parametrize(
    ("n0", "n1", "mean_score"), [([1], [1, 1], [0.5]), ([-1], [2], [0.5]), ([1], [1], [1.5]), ([1], [1], [np.nan])]
)
def test_bins_that_cannot_be_are_refused(n0: list[int], n1: list[int], mean_score: list[float]) -> None:
    """Other lengths, counts below zero, scores that are no probabilities."""
    with pytest.raises(ValueError, match="must"):
        calibration(np.array(n0), np.array(n1), np.array(mean_score))
