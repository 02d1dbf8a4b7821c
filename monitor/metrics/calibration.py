"""How far scores can be read as probabilities: per score bin, what was said and what came true.

This module must not choose the bins, and must not correct a score.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaln, log_expit, ndtri

__all__ = ["Calibration", "Reliability", "calibration", "robbins", "wilson"]


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


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share, for a count that is looked at once.

    Looked at again and again while the count grows, it excludes the truth far more often than it says.
    Source: Wilson (1927), without continuity correction.

    Args:
        successes: from 0 to n.
        n: trials; with none the interval is (0.0, 1.0).
        level: of confidence, between 0 and 1.

    Returns:
        The lower and the upper bound, both within [0, 1].

    Raises:
        ValueError: successes is not within 0 to n, or level not between 0 and 1.
    """
    _check(successes, n, level)
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + level) / 2))
    share, square = successes / n, z * z / n
    center = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    low = 0.0 if successes == 0 else max(center - half, 0.0)
    high = 1.0 if successes == n else min(center + half, 1.0)
    return low, high


def robbins(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the anytime-valid interval of a share: the whole sequence of them covers the truth at `level`.

    p is inside as long as S ln p + (n - S) ln(1 - p) >= ln B(1 + S, 1 + n - S) + ln(1 - level): the
    likelihood of p against its mixture under a uniform prior. It is about twice as wide as Wilson's.
    Source: Robbins (1970), beta-binomial mixture with prior Beta(1, 1).

    Args:
        successes: from 0 to n.
        n: trials; with none the interval is (0.0, 1.0).
        level: of confidence, between 0 and 1, for all looks together.

    Returns:
        The lower and the upper bound, both within [0, 1].

    Raises:
        ValueError: successes is not within 0 to n, or level not between 0 and 1.
    """
    _check(successes, n, level)
    if n == 0:
        return 0.0, 1.0
    least = float(betaln(1 + successes, 1 + n - successes)) + math.log1p(-level)
    return _lower(successes, n, least), 1 - _lower(n - successes, n, least)


def _lower(successes: int, n: int, least: float) -> float:
    """Return the smallest p whose log likelihood is `least`; on the logit scale, where small ones keep their digits."""
    if successes == 0:
        return 0.0
    if successes == n:
        return math.exp(least / n)

    def excess(logit: float) -> float:
        return float(successes * log_expit(logit) + (n - successes) * log_expit(-logit)) - least

    top = math.log(successes / (n - successes))
    # The log likelihood is at most `logit` on the left, so that at least - 1 the excess is below zero.
    root = float(brentq(excess, min(least, top) - 1, top, xtol=1e-12, rtol=1e-14))
    return math.exp(float(log_expit(root)))


def _check(successes: int, n: int, level: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be from 0 to n, not {successes} of {n}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
