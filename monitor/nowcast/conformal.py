"""Conformal intervals: as wide as earlier estimates of the same age were wrong.

The width comes from past errors alone, never from the model behind the estimate.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PAST_LEAST", "PAST_MOST", "Interval", "age_bucket", "conformal_interval", "half_width"]

Floats = npt.NDArray[np.float64]

PAST_LEAST = 20
"""Fewer past cohorts cannot give a 95 % interval: the order statistic would lie beyond the greatest error."""

PAST_MOST = 60
"""Older cohorts say little about the model of today."""

_HOUR_MS = 3_600_000
_HOURS = 48
_STEP = 1.15


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval for the final value of a metric.

    Attributes:
        half_width: half of the width before hard bounds cut it; null where past errors could not give one.
        is_hard: the ends are hard bounds: what is possible, not what is likely.
    """

    low: float
    high: float
    half_width: float | None
    is_hard: bool


def age_bucket(elapsed_ms: int) -> int:
    """Return the age bucket of an estimate; estimates in one bucket are about equally old.

    Whole hours since the start of the cohort's day up to 48 hours, steps of 15 % from there on. An instant before
    the day is in the first bucket.

    >>> [age_bucket(hours * 3_600_000) for hours in (0, 12, 48, 64)]
    [0, 12, 48, 50]
    """
    hours = max(elapsed_ms, 0) / _HOUR_MS
    return int(hours) if hours < _HOURS else _HOURS + int(math.log(hours / _HOURS) / math.log(_STEP))


def half_width(past: Floats, level: float = 0.95) -> float | None:
    """Return the half width that covers the next error with probability `level`, or None where the past is too short.

    It is the ceil(level (K + 1))-th smallest of the last K = 60 absolute errors (split conformal prediction,
    Vovk et al. 2005). Values that are not finite are left out.

    Args:
        past: absolute errors |estimate - final| of matured cohorts in one age bucket, oldest first.
        level: from 0 to 1, both excluded.

    >>> half_width(np.arange(1.0, 61.0))
    58.0
    """
    known = past[np.isfinite(past)][-PAST_MOST:]
    rank = math.ceil(level * (len(known) + 1))
    if len(known) < PAST_LEAST or rank > len(known):
        return None
    return float(np.sort(known)[rank - 1])


def conformal_interval(
    value: float | None, past: Floats, hard: tuple[float, float] | None, *, alarmed: bool = False
) -> Interval | None:
    """Return the 95 % interval for the final value of a metric, or None without past errors and hard bounds.

    Past errors give the width; hard bounds cut it. While the past is too short, the value is null, or the delay law
    does not hold, the interval is the hard bounds.

    Args:
        past: as for `half_width`.
        alarmed: the delay law does not hold for this cohort.

    >>> conformal_interval(0.75, np.full(60, 0.125), (0.7, 0.8125))
    Interval(low=0.7, high=0.8125, half_width=0.125, is_hard=False)
    """
    half = half_width(past)
    if value is None or half is None or alarmed:
        return None if hard is None else Interval(hard[0], hard[1], None, is_hard=True)
    low, high = value - half, value + half
    if hard is not None:
        low, high = min(max(low, hard[0]), hard[1]), max(min(high, hard[1]), hard[0])
    return Interval(low, high, half, is_hard=False)
