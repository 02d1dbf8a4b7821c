"""How sampled records write times, and how far these are from the times at which Kafka got the records.

What a value means as a time is decided by `streams.columns.times`, as in the mapping; here is decided which unit or
zone makes sense of it. Must not read a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.times import to_time
from streams.readers.json_columns import json_series

__all__ = ["HOUR_MS", "ClockLag", "TimeFormat", "lag_of", "moment_form", "zone_of"]

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
YEAR_MS: Final = 31_557_600_000

FIRST_MS: Final = 946_684_800_000
"""2000: nobody's model predicted before. With this, no number fits two units: they lie a factor of 1,000 apart."""

PLAUSIBLE_SHARE: Final = 0.9
"""Of the values that must be times; the rest may be broken records."""

DATE_LENGTH: Final = 10
"""Of `2013-01-01`: a day, and no moment."""

NEAR_HOUR_MS: Final = 5 * MINUTE_MS
"""How far a lag may be from a whole hour that a time zone made; a record takes seconds, at times minutes, to arrive."""

STEADY_MS: Final = 10 * MINUTE_MS
"""Lags that differ by more come from waiting, not from a zone."""

GLANCE: Final = 200
"""Values that are looked at first: most fields are no times."""

PAIRS_MIN: Final = 20
"""Fewer records prove no constant offset."""

_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_ZONES: Final = {  # minutes ahead of UTC -> a zone with that offset all year, where hours do not do
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
    """A way of writing times that fits a field.

    Attributes:
        ms: one a record, as if naive times were UTC; None where there is no time.
        unit: of numbers.
        is_naive: texts without an offset: their zone has to be given.
        is_day: texts that only name a day.
    """

    ms: list[int | None]
    unit: str | None = None
    is_naive: bool = False
    is_day: bool = False


@dataclass(frozen=True)
class ClockLag:
    """How much later Kafka got records than their own times say; quantiles in ms.

    Attributes:
        p10: a tenth came sooner after.
        p50: the middle.
        p90: nine tenths came sooner after.
        pairs: records that have both times.
        ahead: share of the records whose time is more than an hour ahead of Kafka's.
    """

    p10: int
    p50: int
    p90: int
    pairs: int
    ahead: float = 0.0

    def zone_minutes(self, *, from_a_zone: bool = False) -> int | None:
        """Return by how many minutes the records' clock is ahead, if a zone and nothing else explains the lag.

        Args:
            from_a_zone: their times are read in a zone that may be the wrong one; else they are taken for UTC.
        """
        if self.pairs < PAIRS_MIN or self.p90 - self.p10 > STEADY_MS or abs(self.p50) < HOUR_MS // 2:
            return None
        reach = _EAST - _WEST if from_a_zone else _EAST
        least = -reach if from_a_zone else _WEST
        for minutes in (*(hours * 60 for hours in range(least, reach + 1) if hours), *_ZONES):
            if abs(self.p50 + minutes * MINUTE_MS) <= NEAR_HOUR_MS:
                return minutes
        return None


def zone_of(minutes: int) -> str | None:
    """Return an IANA zone that is so many minutes ahead of UTC all year; None where there is none.

    >>> zone_of(-300), zone_of(330), zone_of(0), zone_of(1500)
    ('Etc/GMT+5', 'Asia/Kolkata', 'UTC', None)
    """
    hours, rest = divmod(minutes, 60)
    if rest or not _WEST <= hours <= _EAST:
        return _ZONES.get(minutes)
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"


def lag_of(times_ms: Sequence[int | None], kafka_ms: Sequence[int | None]) -> ClockLag | None:
    """Return the lag of records; None where none has both times.

    Args:
        times_ms: of the records.
        kafka_ms: when Kafka got them, or who sent them says so; negative or None where nothing says it.
    """
    lags = sorted(
        came - time for time, came in zip(times_ms, kafka_ms, strict=True) if time is not None and came and came > 0
    )
    if not lags:
        return None
    p10, p50, p90 = (lags[min(int(len(lags) * share), len(lags) - 1)] for share in (0.1, 0.5, 0.9))
    return ClockLag(p10, p50, p90, len(lags), sum(lag < -HOUR_MS for lag in lags) / len(lags))


def moment_form(values: Sequence[Any], now_ms: int) -> TimeFormat | None:
    """Return how values are written as times; None where they most probably are none.

    Args:
        values: of a field.
        now_ms: times of more than a year after it are none.
    """
    single = [None if type(value) in (list, dict, bool) else value for value in values]
    some = [value for value in single if value is not None][:GLANCE]
    if not some or (len(single) > GLANCE and moment_form(some, now_ms) is None):
        return None
    series = json_series(single, is_identity=False)
    given = len(series) - series.null_count()
    if series.dtype == pl.String:
        times = to_time(series, None, "UTC")
        if _enough(times.ms, given, now_ms):
            naive = to_time(series, None, None).fault == RejectReason.NAIVE_TIME
            is_naive = bool(naive.fill_null(value=False).any())
            is_day = bool((series.str.len_chars() <= DATE_LENGTH).fill_null(value=True).all())
            return TimeFormat(times.ms.to_list(), is_naive=is_naive, is_day=is_day)
    for unit in _UNITS:
        ms = to_time(series, unit, "UTC").ms
        if _enough(ms, given, now_ms):
            return TimeFormat(ms.to_list(), unit=unit)
    return None


def _enough(ms: pl.Series, given: int, now_ms: int) -> bool:
    return int(ms.is_between(FIRST_MS, now_ms + YEAR_MS).sum()) >= PLAUSIBLE_SHARE * given
