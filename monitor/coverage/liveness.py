"""Liveness of a label source: is it silent for longer than usual at this hour of the week?

Usual is learned from the source's own history up to its last sign of life, so that regular silence at night or at
weekends is allowed, and the silence that is judged never becomes usual.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from monitor.cells.cohort import day_number
from schemas.base.figures import age

__all__ = ["Liveness", "source_liveness"]

_MINUTE_MS = 60_000
_MINUTES_OF_DAY = 1_440
_HOURS = 24
_QUARTER = 15
"""Minutes: every zone's hours begin on a multiple of them in UTC."""
_QUARTERS_OF_DAY = _MINUTES_OF_DAY // _QUARTER

_DAYS_MIN = 7
"""A shorter history may lack a weekend."""

_DAYS_KEPT = 28
_GAPS_KEPT = 10
"""A history is four weeks, or so many of its long gaps: what is usual of monthly files is not known from one month."""

_ALLOWED_MIN = 5
"""Minutes: shorter silences come from batches and commits."""

_FORGIVEN = 1
"""Longest gaps of history that are ignored: a past outage does not raise the allowance. Only of a history that is
`_GAPS_KEPT` times as long: in a shorter one, the gap may be the usual one."""

_MARGIN = 1.5
"""Factor above the longest gap of history: the next month may have a longer one."""

_POOL_DAYS = 1.0
"""Weight of all days of the week, in days, against the history of the same day of the week."""

_EPOCH_DAY = 3
"""1 January 1970 was a Thursday; days of the week count from Monday, 0."""

_DAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")

_Floats = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Liveness:
    """Whether a label source is alive.

    Attributes:
        state: `alive`; `silent`: for longer than usual; `unknown`: less than 7 days of history.
        silent_ms: time since the last label or heartbeat; None if there never was one.
        allowed_ms: the longest silence that is usual now; None where unknown.
        sentence: the result as text.
    """

    state: Literal["alive", "silent", "unknown"]
    silent_ms: int | None
    allowed_ms: int | None
    sentence: str


def source_liveness(minutes: _Counts, now_ms: int, timezone: str, heartbeat_ms: int | None = None) -> Liveness:
    """Return whether a source has been silent for longer than usual at this hour of the week.

    For each hour of the week, neighbouring hours included, history gives the age that a silence had then. The current
    silence is usual if it is no older than the greater of

    - the oldest silence seen at this hour of the week, and
    - the typical silence at this hour (median over the same days of the week, shrunk towards all days), times the
      factor by which the second worst gap of history exceeded its typical silence, times 1.5. Each past gap is compared
      with the days other than its own.

    Silent nights and weekends are therefore allowed, and the allowance ends at their usual end. A change of clocks
    within the silence is added to the allowance.

    Args:
        minutes: epoch minutes in which labels arrived, strictly increasing; those later than now are ignored, and those
            older, at the last sign of life, than 28 days and than ten times the second longest gap.
        now_ms: the time to judge, in milliseconds since 1970.
        timezone: of the loop.
        heartbeat_ms: the time up to which the source last said it is complete; it counts like a label.

    Raises:
        ValueError: the minutes do not increase.

    >>> minutes = np.arange(10 * 1_440)  # one label each minute, for ten days
    >>> source_liveness(minutes, now_ms=14_402 * 60_000, timezone="UTC").state
    'alive'
    >>> source_liveness(minutes, now_ms=14_460 * 60_000, timezone="UTC").sentence
    'No label or heartbeat for 1h; on Sundays at 1:00 up to 5m is normal.'
    """
    if (np.diff(minutes) <= 0).any():
        raise ValueError("minutes must be sorted and unique")
    now = now_ms // _MINUTE_MS
    known = _history(minutes[minutes <= now])
    signs_ms = [(int(known[-1]) + 1) * _MINUTE_MS] if len(known) else []
    signs_ms += [] if heartbeat_ms is None else [heartbeat_ms]
    if not signs_ms:
        return Liveness("unknown", None, None, "No label has ever arrived, so the usual silence is unknown.")
    last_ms = min(max(signs_ms), now_ms)
    silent_ms = now_ms - last_ms
    days = float(known[-1] - known[0]) / _MINUTES_OF_DAY if len(known) else 0.0
    if days < _DAYS_MIN:
        history = f"what is normal is known after {_DAYS_MIN} days of labels, and there are {days:.1f}"
        return Liveness("unknown", silent_ms, None, f"No label or heartbeat for {_minutes(silent_ms)}; {history}.")
    zone = ZoneInfo(timezone)
    last, local = (datetime.fromtimestamp(time_ms / 1_000, zone) for time_ms in (last_ms, now_ms))
    day, hour = local.weekday(), local.hour
    allowed_ms = round(_allowed(known, day, hour, timezone) * _MINUTE_MS) + _shift_ms(last, local)
    state: Literal["alive", "silent"] = "alive" if silent_ms <= allowed_ms else "silent"
    normal = f"on {_DAY_NAMES[day]} at {hour}:00 up to {_minutes(allowed_ms)} is normal"
    return Liveness(state, silent_ms, allowed_ms, f"No label or heartbeat for {_minutes(silent_ms)}; {normal}.")


def _history(minutes: _Counts) -> _Counts:
    """Return the part of the minutes that shows what is usual."""
    if not len(minutes):
        return minutes
    gaps = np.sort(np.diff(minutes))
    long_gap = int(gaps[-1 - _FORGIVEN]) if len(gaps) > _FORGIVEN else 0
    kept = max(_DAYS_KEPT * _MINUTES_OF_DAY, _GAPS_KEPT * long_gap)
    return np.asarray(minutes[minutes > minutes[-1] - kept])


def _shift_ms(one: datetime, other: datetime) -> int:
    """Return by how much clocks were changed between two local times."""
    offsets = [time.utcoffset() for time in (one, other)]
    seconds = [0.0 if offset is None else offset.total_seconds() for offset in offsets]
    return round(abs(seconds[1] - seconds[0]) * 1_000)


def _allowed(known: _Counts, day: int, hour: int, timezone: str) -> float:
    """Return the allowed age of a silence in an hour of a day of the week, in minutes."""
    clock = np.arange(known[0], known[-1] + 1)
    age = clock - np.repeat(known, np.diff(known, append=known[-1] + 1))
    hours = _local_hours(int(known[0]), int(known[-1]), timezone)
    by_day = _oldest_by_day(age, hours)
    usual = _usual_of_others(by_day)
    monday = hours.min() // (7 * _HOURS) * 7
    scores = age / usual.ravel()[hours - monday * _HOURS]
    of_gaps = np.sort(np.maximum.reduceat(scores, known[:-1] - known[0]))
    is_outage = known[-1] - known[0] >= _GAPS_KEPT * np.diff(known).max()
    factor = _MARGIN * max(float(of_gaps[-1 - _FORGIVEN * int(is_outage) :][0]), 1.0)
    oldest = float(np.fmax.reduce(by_day[day::7, hour], initial=0.0))
    return max(oldest, factor * float(usual[len(usual) - 7 + day, hour]), _ALLOWED_MIN)


def _local_hours(first: int, last: int, timezone: str) -> _Counts:
    """Return the hour of the local clock in each minute from one to another, counted from a Monday."""
    days = range(first // _MINUTES_OF_DAY, last // _MINUTES_OF_DAY + 1)
    hours = np.concatenate([_hours_of_day(day, timezone) for day in days])
    begin = days[0] * _MINUTES_OF_DAY
    return np.asarray(np.repeat(hours, _QUARTER)[first - begin : last - begin + 1])


@lru_cache(1_024)
def _hours_of_day(day: int, timezone: str) -> _Counts:
    """Return the hour of the local clock in each quarter of an hour of a day in UTC, counted from a Monday."""
    zone, begin_s = ZoneInfo(timezone), day * _MINUTES_OF_DAY * 60
    quarters = (datetime.fromtimestamp(begin_s + index * _QUARTER * 60, zone) for index in range(_QUARTERS_OF_DAY))
    return np.array([(day_number(local.date()) + _EPOCH_DAY) * _HOURS + local.hour for local in quarters])


def _oldest_by_day(age: _Counts, hours: _Counts) -> _Floats:
    """Return the oldest silence per local day and hour, neighbouring hours included; shape (days, 24).

    The days are those of whole weeks from a Monday on, and seven more. They are NaN where there is no history, as are
    its first and last hour, which are incomplete, and an hour that clocks skip.
    """
    first = int(hours.min()) // (7 * _HOURS) * 7
    weeks = int(hours.max()) // (7 * _HOURS) - first // 7 + 2
    oldest = np.full(weeks * 7 * _HOURS, np.nan)
    starts = np.flatnonzero(np.diff(hours, prepend=-1))
    np.fmax.at(oldest, hours[starts] - first * _HOURS, np.maximum.reduceat(age, starts))
    oldest[hours[[0, -1]] - first * _HOURS] = np.nan
    padded = np.pad(oldest, 1, constant_values=np.nan)
    around = np.fmax(np.fmax(padded[:-2], padded[2:]), oldest)
    return np.asarray(around.reshape(-1, _HOURS))


def _usual_of_others(by_day: _Floats) -> _Floats:
    """Return by day and hour the typical silence on the other days, in minutes, at least 1; shape (days, 24).

    It is that of the same days of the week, shrunk towards that of all days. For the last seven days, of which nothing
    is known, it is the typical silence on all that are known.
    """
    own, own_days = (of.reshape(by_day.shape) for of in _medians_of_others(by_day.reshape(-1, 7 * _HOURS)))
    pooled, _ = _medians_of_others(by_day)
    weight = own_days / (own_days + _POOL_DAYS)
    return np.asarray(np.exp(weight * np.log(np.fmax(own, 1)) + (1 - weight) * np.log(np.fmax(pooled, 1))))


def _medians_of_others(rows: _Floats) -> tuple[_Floats, _Counts]:
    """Return for each row the median of the other rows by column, and their number of values; 1 without any.

    A column is sorted once: without one of its values, the middle ones are the same or their next neighbours.
    """
    is_value = ~np.isnan(rows)
    count = is_value.sum(axis=0) - is_value
    order = np.argsort(rows, axis=0)
    ordered, place = np.take_along_axis(rows, order, axis=0), np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(rows))[:, np.newaxis], axis=0)
    middle = np.zeros(rows.shape)
    for index in (np.maximum(count - 1, 0) // 2, count // 2):
        other = np.minimum(index + (index >= place), len(rows) - 1)
        middle += np.take_along_axis(ordered, other, axis=0)
    return np.where(count > 0, middle / 2, 1.0), count


def _minutes(span_ms: int) -> str:
    """Return a silence in whole minutes."""
    return age(span_ms - span_ms % _MINUTE_MS)
