"""Is a source of labels still alive, or is this silence longer than its own history knows at this time of the week?

This module must not read a clock, and must not call a source alive that it knows too little about.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Liveness", "source_liveness"]

_MINUTE_MS = 60_000
_MINUTES_OF_DAY = 1_440
_HOURS = 24
_QUARTER = 15
"""Minutes: no zone's clock begins an hour elsewhere."""

_DAYS_MIN = 7
"""Below a week, a weekend has not been seen yet."""

_DAYS_KEPT = 28
_ALLOWED_MIN = 5
"""Minutes: below it, batches and commits make silences of their own."""

_FORGIVEN = 1
"""The one longest gap of history does not stretch the allowance: a past outage is not what is normal."""

_MARGIN = 1.5
"""The longest gap of the next month is its own: this much longer is still no alarm."""

_POOL_DAYS = 1.0
"""Weight of the other days of the week, in days, against what the same day of the week has shown."""

_EPOCH_DAY = 3
"""1 January 1970 was a Thursday; days of the week count from Monday, 0."""

_DAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")

_Floats = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Liveness:
    """Whether a source of labels lives.

    Attributes:
        state: `alive`; `silent`: longer than is normal; `unknown`: fewer than 7 days of history.
        silent_ms: time since the last label or heartbeat; None if there never was one.
        allowed_ms: how long a silence is normal now; None where unknown.
        sentence: the same in words.
    """

    state: Literal["alive", "silent", "unknown"]
    silent_ms: int | None
    allowed_ms: int | None
    sentence: str


def source_liveness(minutes: _Counts, now_ms: int, timezone: str, heartbeat_ms: int | None = None) -> Liveness:
    """Say whether a source's present silence is one that its history knows.

    A silence is looked at by how old it is at each hour of the week, an hour to either side included. It is
    normal if it is no older than

    - the oldest that this hour of the week has seen, or
    - what is usual at that hour (the median over the same days of the week, shrunk towards all days), times the
      factor by which the second worst gap of history has outgrown that, and half as much again. Each past gap is
      measured against the days other than its own.

    Nights and weekends that have been silent are therefore allowed, and end when they have always ended.
    Where clocks change within the silence, it may be longer by that change.

    Args:
        minutes: epoch minutes in which labels arrived, growing, each once; those older than 28 days or later
            than now are not looked at.
        now_ms: the instant that is asked about.
        timezone: of the loop.
        heartbeat_ms: the last "complete up to" of the source; it counts as life.

    Raises:
        ValueError: the minutes do not grow.
    """
    if (np.diff(minutes) <= 0).any():
        raise ValueError("minutes must be sorted, and each there once")
    now = now_ms // _MINUTE_MS
    known = minutes[(minutes > now - _DAYS_KEPT * _MINUTES_OF_DAY) & (minutes <= now)]
    lives = [(int(known[-1]) + 1) * _MINUTE_MS] if len(known) else []
    lives += [] if heartbeat_ms is None else [heartbeat_ms]
    if not lives:
        return Liveness(
            "unknown", None, None, "No label has ever been seen, so that no silence can be told from another."
        )
    life_ms = min(max(lives), now_ms)
    silent_ms = now_ms - life_ms
    days = float(known[-1] - known[0]) / _MINUTES_OF_DAY if len(known) else 0.0
    if days < _DAYS_MIN:
        words = f"what is normal is known after {_DAYS_MIN} days of labels, and there are {days:.1f}"
        return Liveness("unknown", silent_ms, None, f"No sign of life for {_words(silent_ms)}; {words}.")
    hours, shift_ms = _local([life_ms, now_ms], timezone)
    week_hour = int(hours[1]) % (7 * _HOURS)
    allowed_ms = round(_allowed(known, week_hour, timezone) * _MINUTE_MS) + abs(int(shift_ms[1] - shift_ms[0]))
    state: Literal["alive", "silent"] = "alive" if silent_ms <= allowed_ms else "silent"
    day, hour = divmod(week_hour, _HOURS)
    normal = f"on {_DAY_NAMES[day]} at {hour}:00 up to {_words(allowed_ms)} is normal"
    return Liveness(state, silent_ms, allowed_ms, f"No sign of life for {_words(silent_ms)}; {normal}.")


def _allowed(known: _Counts, week_hour: int, timezone: str) -> float:
    """Return how old a silence may be in this hour of the week, in minutes."""
    clock = np.arange(known[0], known[-1] + 1)
    age = clock - known[np.searchsorted(known, clock, side="right") - 1]
    quarters = np.arange(known[0] // _QUARTER, known[-1] // _QUARTER + 1)
    hours = _local(quarters * (_QUARTER * _MINUTE_MS), timezone)[0][clock // _QUARTER - quarters[0]]
    by_day, day_of_week = _oldest_by_day(age, hours)
    usual = np.array([_usual(by_day, day_of_week, int(day), place) for place, day in enumerate(day_of_week)])
    scores = age / usual.ravel()[hours - hours.min() // _HOURS * _HOURS]
    of_gaps = np.sort(np.maximum.reduceat(scores, known[:-1] - known[0]))
    factor = _MARGIN * max(float(of_gaps[-1 - _FORGIVEN :][0]), 1.0)
    day, hour = divmod(week_hour, _HOURS)
    oldest = float(np.fmax.reduce(by_day[day_of_week == day, hour], initial=0.0))
    return max(oldest, factor * float(_usual(by_day, day_of_week, day, None)[hour]), _ALLOWED_MIN)


def _local(instants_ms: npt.ArrayLike, timezone: str) -> tuple[_Counts, _Counts]:
    """Return hours of the local clock, counted from a Monday, and the zone's offset in milliseconds."""
    utc = np.asarray(instants_ms, np.int64)
    instants = pl.Series(utc).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(timezone)
    local = instants.dt.replace_time_zone(None).cast(pl.Int64).to_numpy()
    return local // (60 * _MINUTE_MS) + _EPOCH_DAY * _HOURS, local - utc


def _oldest_by_day(age: _Counts, hours: _Counts) -> tuple[_Floats, _Counts]:
    """Return the oldest silence per local day and hour, neighbours included, shape (days, 24); and each day's number.

    Hours that were not seen whole are NaN, and so is an hour that the clocks leap over.
    """
    first = int(hours.min()) // _HOURS
    days = int(hours.max()) // _HOURS - first + 1
    oldest = np.full(days * _HOURS, np.nan)
    starts = np.flatnonzero(np.diff(hours, prepend=-1))
    np.fmax.at(oldest, hours[starts] - first * _HOURS, np.maximum.reduceat(age, starts))
    oldest[hours[[0, -1]] - first * _HOURS] = np.nan
    padded = np.pad(oldest, 1, constant_values=np.nan)
    around = np.fmax(np.fmax(padded[:-2], padded[2:]), oldest)
    return around.reshape(days, _HOURS), (first + np.arange(days)) % 7


def _usual(by_day: _Floats, day_of_week: _Counts, day: int, left_out: int | None) -> _Floats:
    """Return the usual oldest silence per hour of one day of the week, in minutes, at least 1; shape (24,)."""
    others = np.arange(len(by_day)) != (-1 if left_out is None else left_out)
    own, own_days = _median(by_day[others & (day_of_week == day)])
    pooled, _ = _median(by_day[others])
    weight = own_days / (own_days + _POOL_DAYS)
    return np.asarray(np.exp(weight * np.log(np.fmax(own, 1)) + (1 - weight) * np.log(np.fmax(pooled, 1))))


def _median(rows: _Floats) -> tuple[_Floats, _Counts]:
    """Return the median of each column and of how many values it is; 1 where there is none. NumPy's warns there."""
    count = (~np.isnan(rows)).sum(axis=0)
    if not count.any():
        return np.ones(rows.shape[1]), count
    ordered, columns = np.sort(rows, axis=0), np.arange(rows.shape[1])
    middle = (
        ordered[np.maximum(count - 1, 0) // 2, columns] + ordered[np.minimum(count // 2, len(rows) - 1), columns]
    ) / 2
    return np.where(count > 0, middle, 1.0), count


def _words(span_ms: int) -> str:
    """Return a span in the two largest of its units."""
    minutes = span_ms // _MINUTE_MS
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, _HOURS)
    if days:
        return f"{days} d {hours_left} h"
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min"
