"""The expected calibration error, from score bins."""

import numpy as np
import numpy.typing as npt

__all__ = ["expected_calibration_error"]


def expected_calibration_error(
    n0: npt.NDArray[np.int64], n1: npt.NDArray[np.int64], mean_score: npt.NDArray[np.float64]
) -> float | None:
    """Return the mean of |mean score - observed share| over bins, weighted by rows; None without any labelled row.

    It depends on the bins: finer bins show more of the error, and more noise.
    Source: Naeini, Cooper and Hauskrecht (2015).

    Args:
        n0: shape (bins,): labelled rows of the negative class.
        n1: shape (bins,): labelled rows of the positive class.
        mean_score: shape (bins,): mean score of the bin's labelled rows, 0 to 1; ignored where there are none.

    Raises:
        ValueError: the shapes differ, a count is below zero, or a mean score is not within [0, 1].

    >>> expected_calibration_error(np.array([3, 1]), np.array([1, 1]), np.array([0.5, 0.75]))
    0.25
    """
    if n0.ndim != 1 or n0.shape != n1.shape or n0.shape != mean_score.shape:
        raise ValueError(f"bins must agree: shapes {n0.shape}, {n1.shape} and {mean_score.shape}")
    if (n0 < 0).any() or (n1 < 0).any():
        raise ValueError("counts must not be negative")
    counts = n0 + n1
    seen = np.flatnonzero(counts)
    scores, weights = mean_score[seen], counts[seen]
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("the mean score of a bin with rows must be from 0 to 1")
    if not len(seen):
        return None
    return float(weights @ np.abs(scores - n1[seen] / weights)) / int(weights.sum())
