"""How far scores can be read as probabilities: per score bin, what was said and what came true.

This module must not choose the bins, and must not correct a score.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.interval import wilson

__all__ = ["Calibration", "Reliability", "calibration"]


@dataclass(frozen=True)
class Reliability:
    """One bin of a reliability diagram.

    Attributes:
        bin: its number in the arrays that were given.
        mean_score: the mean score of its rows, 0 to 1.
        observed: the share of them that was positive, 0 to 1.
        low: lower end of Wilson's interval of `observed`.
        high: upper end of it.
        n: labelled rows in the bin, at least one.
    """

    bin: int
    mean_score: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """What a set of score bins says about calibration; without any labelled row every number is None.

    Attributes:
        rows: the bins that have labelled rows, in their order.
        n: labelled rows in all.
        error: the expected calibration error: mean of |mean score - observed share|, weighted by rows, 0 to 1.
        in_the_large: observed share minus mean score of all rows, -1 to 1: above zero, scores are too low.
    """

    rows: tuple[Reliability, ...]
    n: int
    error: float | None
    in_the_large: float | None


def calibration(
    n0: npt.NDArray[np.int64], n1: npt.NDArray[np.int64], mean_score: npt.NDArray[np.float64], level: float = 0.95
) -> Calibration:
    """Return how scores and outcomes agree, bin by bin and in all.

    Bins without labelled rows are left out; they are no zeros. The error depends on the bins: finer ones
    show more of it, and more noise. Source of the error: Naeini, Cooper and Hauskrecht (2015).

    Args:
        n0: shape (bins,): labelled rows that were negative.
        n1: shape (bins,): labelled rows that were positive.
        mean_score: shape (bins,): mean score of the bin's labelled rows, 0 to 1; not looked at where there are none.
        level: of the bins' intervals.

    Raises:
        ValueError: the shapes differ, a count is below zero, or a mean score is not within [0, 1].
    """
    if n0.ndim != 1 or n0.shape != n1.shape or n0.shape != mean_score.shape:
        raise ValueError(f"bins must agree: shapes {n0.shape}, {n1.shape} and {mean_score.shape}")
    if (n0 < 0).any() or (n1 < 0).any():
        raise ValueError("counts must not be negative")
    counts = n0 + n1
    seen = np.flatnonzero(counts)
    said, weights, positives = mean_score[seen], counts[seen], n1[seen]
    if not ((said >= 0) & (said <= 1)).all():
        raise ValueError("the mean score of a bin with rows must be from 0 to 1")
    total = int(weights.sum())
    if total == 0:
        return Calibration((), 0, None, None)
    observed = positives / weights
    rows = tuple(
        Reliability(int(place), float(score), float(share), *wilson(int(hits), int(n), level), int(n))
        for place, score, share, hits, n in zip(seen, said, observed, positives, weights, strict=True)
    )
    return Calibration(
        rows=rows,
        n=total,
        error=float(weights @ np.abs(said - observed)) / total,
        in_the_large=(int(positives.sum()) - float(weights @ said)) / total,
    )
