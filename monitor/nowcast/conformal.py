"""An interval made honest by past errors: as wide as estimates of the same age have been wrong before.

The model behind an estimate is never asked how sure it is. This module must not know how an estimate is
made, nor what the metric means.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PAST_LEAST", "PAST_MOST", "Interval", "age_bucket", "conformal_interval", "half_width"]

Floats = npt.NDArray[np.float64]

PAST_LEAST = 20
"""Fewer past cohorts cannot tell a 95 % interval: the order statistic would lie beyond the greatest."""

PAST_MOST = 60
"""More are older than what the model does now."""

_HOUR_MS = 3_600_000
_HOURS = 48
_STEP = 1.15


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the final value of a metric will lie.

    Attributes:
        low: the lower end.
        high: the upper end.
        half_width: half of the distance before hard bounds cut it, null where past errors could not tell.
        is_hard: the ends are what is possible at all, not what is likely.
    """

    low: float
    high: float
    half_width: float | None
    is_hard: bool


def age_bucket(elapsed_ms: int) -> int:
    """Return the number of the age bucket: estimates of one bucket are about equally old.

    Whole hours since the cohort's day began up to 48 hours, steps of 15 % from there on. A moment before
    the day is in the first bucket.
    """
    hours = max(elapsed_ms, 0) / _HOUR_MS
    return int(hours) if hours < _HOURS else _HOURS + int(math.log(hours / _HOURS) / math.log(_STEP))


def half_width(past: Floats, level: float = 0.95) -> float | None:
    """Return the half width that held for `level` of the past, or None where the past is too short.

    It is the ceil(level (K + 1))-th smallest of the last K = 60 absolute errors (split conformal prediction,
    Vovk et al. 2005), so that a next cohort which is like the past ones is inside with at least that
    probability. Values that are not finite are left out.

    Args:
        past: absolute errors |estimate - final| of matured cohorts at one age bucket, oldest first.
        level: from 0 to 1, both excluded.
    """
    known = past[np.isfinite(past)][-PAST_MOST:]
    rank = math.ceil(level * (len(known) + 1))
    if len(known) < PAST_LEAST or rank > len(known):
        return None
    return float(np.sort(known)[rank - 1])


def conformal_interval(
    value: float | None, past: Floats, hard: tuple[float, float] | None, *, alarmed: bool = False
) -> Interval | None:
    """Return the 95 % interval for the final value of a metric, or None where nothing honest can be said.

    Past errors give the width; hard bounds cut it, because nothing beyond them can happen. While the past
    is too short, the value is null, or the delay law is not believed, the interval is the hard bounds.

    Args:
        value: the estimate.
        past: as for `half_width`.
        hard: what is possible at all, where that is known.
        alarmed: the delay law does not hold for this cohort.
    """
    half = half_width(past)
    if value is None or half is None or alarmed:
        return None if hard is None else Interval(hard[0], hard[1], None, is_hard=True)
    low, high = value - half, value + half
    if hard is not None:
        low, high = min(max(low, hard[0]), hard[1]), max(min(high, hard[1]), hard[0])
    return Interval(low, high, half, is_hard=False)
