"""Time formats of fields, and the lag between the records' own times and the times at which Kafka got them.

`streams.columns.times` parses values, as in the mapping; here the unit or zone is found that makes sense of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.times import to_time
from streams.readers.json_columns import json_series

__all__ = ["HOUR_MS", "ClockLag", "TimeFormat", "clock_lag", "find_time_format", "zone_with_offset"]

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
YEAR_MS: Final = 31_557_600_000

FIRST_MS: Final = 946_684_800_000
"""Year 2000, the earliest plausible time. With it no number fits two units, as these are a factor of 1,000 apart."""

PLAUSIBLE_SHARE: Final = 0.9
"""Share of a field's values that must be times; the rest may be broken records."""

DATE_LENGTH: Final = 10
"""Length of `2013-01-01`: texts that are no longer name only a day."""

NEAR_HOUR_MS: Final = 5 * MINUTE_MS
"""Tolerance of a lag that a time zone caused, around the zone's offset: records take seconds or minutes to arrive."""

STEADY_MS: Final = 10 * MINUTE_MS
"""Maximum spread of a lag that a time zone caused; a larger spread comes from waiting."""

FIRST_VALUES: Final = 200
"""Values that are tried before all others are: most fields are not times."""

PAIRS_MIN: Final = 20
"""Minimum number of records to detect a constant offset."""

_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_ZONES: Final = {  # minutes ahead of UTC -> a zone that has this offset all year; Etc/GMT zones have whole hours only
    -570: "Pacific/Marquesas",
    210: "Asia/Tehran",
    270: "Asia/Kabul",
    330: "Asia/Kolkata",
    345: "Asia/Kathmandu",
    390: "Asia/Yangon",
    570: "Australia/Darwin",
}
_WEST: Final = -12
_EAST: Final = 14


@dataclass(frozen=True)
class TimeFormat:
    """How the values of a field are written as times.

    Attributes:
        ms: parsed times, one per record; naive times as if they were UTC; None where there is no time.
        unit: s, ms, us or ns if the values are numbers.
        is_naive: some texts have no UTC offset, so the map must name their zone.
        is_day: the texts name days, without a time of day.
    """

    ms: list[int | None]
    unit: str | None = None
    is_naive: bool = False
    is_day: bool = False


@dataclass(frozen=True)
class ClockLag:
    """Kafka's time of each record minus the record's own time; quantiles in ms.

    Attributes:
        pairs: number of records that have both times.
        ahead: share of the records whose own time is more than an hour after Kafka's.
    """

    p10: int
    p50: int
    p90: int
    pairs: int
    ahead: float = 0.0

    def zone_minutes(self, *, from_a_zone: bool = False) -> int | None:
        """Return how many minutes the records' clock is ahead, if only a time zone explains the lag; else None.

        Args:
            from_a_zone: the times were read in a zone that may be wrong; otherwise they were read as UTC.
        """
        if self.pairs < PAIRS_MIN or self.p90 - self.p10 > STEADY_MS or abs(self.p50) < HOUR_MS // 2:
            return None
        reach = _EAST - _WEST if from_a_zone else _EAST
        least = -reach if from_a_zone else _WEST
        for minutes in (*(hours * 60 for hours in range(least, reach + 1) if hours), *_ZONES):
            if abs(self.p50 + minutes * MINUTE_MS) <= NEAR_HOUR_MS:
                return minutes
        return None


def zone_with_offset(minutes: int) -> str | None:
    """Return an IANA zone that is `minutes` ahead of UTC all year; None if there is none.

    >>> zone_with_offset(-300), zone_with_offset(330), zone_with_offset(0), zone_with_offset(1500)
    ('Etc/GMT+5', 'Asia/Kolkata', 'UTC', None)
    """
    hours, rest = divmod(minutes, 60)
    if rest or not _WEST <= hours <= _EAST:
        return _ZONES.get(minutes)
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"


def clock_lag(times_ms: Sequence[int | None], kafka_ms: Sequence[int | None]) -> ClockLag | None:
    """Return the lag of records; None if no record has both times.

    Args:
        times_ms: the records' own times.
        kafka_ms: timestamps of the Kafka records; negative or None where there is none.
    """
    pairs = zip(times_ms, kafka_ms, strict=True)
    lags = sorted(kafka - own for own, kafka in pairs if own is not None and kafka and kafka > 0)
    if not lags:
        return None
    p10, p50, p90 = (lags[min(int(len(lags) * share), len(lags) - 1)] for share in (0.1, 0.5, 0.9))
    return ClockLag(p10, p50, p90, len(lags), sum(lag < -HOUR_MS for lag in lags) / len(lags))


def find_time_format(values: Sequence[Any], now_ms: int) -> TimeFormat | None:
    """Return the time format that fits a field's values; None if they are probably not times.

    Args:
        values: one per record.
        now_ms: present; values more than a year later are not times.
    """
    scalars = [None if type(value) in (list, dict, bool) else value for value in values]
    first = [value for value in scalars if value is not None][:FIRST_VALUES]
    if not first or (len(scalars) > FIRST_VALUES and find_time_format(first, now_ms) is None):
        return None
    series = json_series(scalars, is_identity=False)
    present = len(series) - series.null_count()
    if series.dtype == pl.String:
        times = to_time(series, None, "UTC")
        if _are_plausible(times.ms, present, now_ms):
            naive = to_time(series, None, None).fault == RejectReason.NAIVE_TIME
            is_naive = bool(naive.fill_null(value=False).any())
            is_day = bool((series.str.len_chars() <= DATE_LENGTH).fill_null(value=True).all())
            return TimeFormat(times.ms.to_list(), is_naive=is_naive, is_day=is_day)
    for unit in _UNITS:
        ms = to_time(series, unit, "UTC").ms
        if _are_plausible(ms, present, now_ms):
            return TimeFormat(ms.to_list(), unit=unit)
    return None


def _are_plausible(ms: pl.Series, present: int, now_ms: int) -> bool:
    return int(ms.is_between(FIRST_MS, now_ms + YEAR_MS).sum()) >= PLAUSIBLE_SHARE * present
