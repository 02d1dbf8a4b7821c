"""Intervals for a share: one for a closed cohort, and one that may be looked at as often as one likes.

This module must not decide which of the two is shown: a number that is watched while it grows needs `robbins`.
"""

import math

from scipy.optimize import brentq
from scipy.special import betaln, log_expit, ndtri

__all__ = ["robbins", "wilson"]


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
