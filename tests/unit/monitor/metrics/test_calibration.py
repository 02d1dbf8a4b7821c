"""The expected calibration error: against scikit-learn, and where it has nothing to say."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from monitor.metrics.calibration import expected_calibration_error

BINS = 10


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 400))
@settings(max_examples=examples(200), deadline=None)
def test_the_error_is_that_of_scikit_learns_curve_on_the_same_bins(seed: int, rows: int) -> None:
    """Ten bins of equal width; both leave out those without rows."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(1, 3, rows)
    labels = rng.random(rows) < scores**1.5
    bin_ = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores)
    n1, n = (np.bincount(bin_, weights, BINS).astype(np.int64) for weights in (labels, None))
    mean_score = np.bincount(bin_, scores, BINS) / np.maximum(n, 1)
    observed, predicted = calibration_curve(labels, scores, n_bins=BINS)
    expected = np.average(np.abs(observed - predicted), weights=n[n > 0])
    assert expected_calibration_error(n - n1, n1, mean_score) == pytest.approx(expected)


def test_bins_without_rows_are_left_out_and_never_zero() -> None:
    """Their mean score is ignored."""
    assert expected_calibration_error(np.array([3, 0, 1]), np.array([1, 0, 1]), np.array([0.5, np.nan, 0.75])) == 0.25


def test_errors_of_either_sign_add_up() -> None:
    """Scores are too low in one bin and too high in the other: wrong in each, right on average."""
    assert expected_calibration_error(np.array([5, 5]), np.array([5, 5]), np.array([0.25, 0.75])) == 0.25


def test_no_labelled_row_gives_no_number() -> None:
    """None, not zero."""
    zeros = np.zeros(3, np.int64)
    assert expected_calibration_error(zeros, zeros, np.full(3, np.nan)) is None


@pytest.mark.parametrize(
    ("n0", "n1", "mean_score"), [([1], [1, 1], [0.5]), ([-1], [2], [0.5]), ([1], [1], [1.5]), ([1], [1], [np.nan])]
)
def test_invalid_bins_are_refused(n0: list[int], n1: list[int], mean_score: list[float]) -> None:
    """Different lengths, counts below zero, scores that are no probabilities."""
    with pytest.raises(ValueError, match="must"):
        expected_calibration_error(np.array(n0), np.array(n1), np.array(mean_score))
