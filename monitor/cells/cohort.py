"""Cohorts of a prediction: its day in the loop's time zone, and the texts of its slices."""

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

__all__ = [
    "ALL",
    "cohort_day",
    "day_at",
    "day_ends",
    "day_number",
    "day_numbers",
    "day_starts_ms",
    "first_whole_day",
    "numbered_day",
    "numbered_days",
    "read_slice",
    "slice_texts",
    "times_of_days",
]

_EPOCH = date(1970, 1, 1)

ALL = ""
"""The slice of all predictions."""

_MISSING = "∅"
_OTHER = "*other"
_ESCAPE = "\\"
_RESERVED = (_MISSING, "*", _ESCAPE)


def slice_texts(name: str, admitted: Collection[str]) -> tuple[list[str], str, str]:
    r"""Return the texts of slice `name`: one per admitted value in order, one for a missing value, one for all others.

    A value that begins with `∅`, `*` or a backslash gets a backslash in front, so no value can be taken for "missing"
    or "other".

    >>> slice_texts("country", ["DE", "*x"])
    (['country=DE', 'country=\\*x'], 'country=∅', 'country=*other')
    """
    values = [_ESCAPE + value if value.startswith(_RESERVED) else value for value in admitted]
    return [f"{name}={value}" for value in values], f"{name}={_MISSING}", f"{name}={_OTHER}"


def read_slice(text: str) -> tuple[str, str] | None:
    """Return name and value of a slice's text; None for the slices of all, of missing and of other values.

    >>> read_slice("country=DE"), read_slice("country=*other"), read_slice(ALL)
    (('country', 'DE'), None, None)
    """
    name, _, value = text.partition("=")
    if text == ALL or value in (_MISSING, _OTHER):
        return None
    return name, value.removeprefix(_ESCAPE)


def cohort_day(timezone: str) -> pl.Expr:
    """Return the day of `predicted_at` in the loop's time zone.

    >>> made = pl.DataFrame({"predicted_at": [datetime(2013, 3, 13, 2)]}).cast(pl.Datetime("us", "UTC"))
    >>> made.select(cohort_day("America/New_York")).item()
    datetime.date(2013, 3, 12)
    """
    return pl.col("predicted_at").dt.convert_time_zone(timezone).dt.date()


def day_number(day: date) -> int:
    """Return the number of a day, counted from 1970.

    >>> day_number(date(1970, 1, 2))
    1
    """
    return (day - _EPOCH).days


def numbered_day(number: int) -> date:
    """Return the day of a number; see `day_number`.

    >>> numbered_day(1)
    datetime.date(1970, 1, 2)
    """
    return _EPOCH + timedelta(days=number)


def day_numbers(column: str) -> pl.Expr:
    """Return the numbers of the days in a column; see `day_number`."""
    return (pl.col(column) - pl.lit(_EPOCH)).dt.total_days()


def numbered_days(column: str) -> pl.Expr:
    """Return the days of the numbers in a column; see `day_number`."""
    return (pl.lit(_EPOCH) + pl.duration(days=pl.col(column))).cast(pl.Date)


def day_at(at_ms: int, timezone: str) -> date:
    """Return the day of an instant in the loop's time zone.

    >>> day_at(7_200_000, "America/New_York")
    datetime.date(1969, 12, 31)
    """
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(timezone)).date()


def first_whole_day(at_ms: int, timezone: str) -> date:
    """Return the first day in the loop's time zone that begins at an instant or later.

    >>> first_whole_day(0, "UTC"), first_whole_day(0, "America/New_York")
    (datetime.date(1970, 1, 1), datetime.date(1970, 1, 1))
    """
    day = day_at(at_ms, timezone)
    return day if day_starts_ms([day], timezone)[0] >= at_ms else day + timedelta(days=1)


def day_ends(days: Iterable[date], timezone: str) -> pl.DataFrame:
    """Return `day` and `day_end_ms`, the first instant after that day in the loop's time zone, one row per day.

    Days have 23 or 25 hours where clocks change. Where clocks skip midnight, the day ends at the change; where midnight
    occurs twice, at the first one.

    >>> day_ends([date(2013, 3, 10)], "America/New_York").rows()
    [(datetime.date(2013, 3, 10), 1362974400000)]
    """
    zone = ZoneInfo(timezone)
    distinct = sorted(set(days))
    ends = [_start_ms(day + timedelta(days=1), zone) for day in distinct]
    return pl.DataFrame({"day": distinct, "day_end_ms": ends}, schema={"day": pl.Date, "day_end_ms": pl.Int64})


def day_starts_ms(days: Iterable[date], timezone: str) -> list[int]:
    """Return the first instant of each day in the loop's time zone, in the order given; see `day_ends`.

    >>> day_starts_ms([date(1970, 1, 2), date(1970, 1, 1)], "UTC")
    [86400000, 0]
    """
    zone = ZoneInfo(timezone)
    return [_start_ms(day, zone) for day in days]


def times_of_days(first: date, last: date, timezone: str) -> tuple[datetime, datetime]:
    """Return the first instant of one day and the last microsecond of another, in UTC: bounds of a scan of both.

    >>> [str(one) for one in times_of_days(date(1970, 1, 1), date(1970, 1, 2), "UTC")]
    ['1970-01-01 00:00:00+00:00', '1970-01-02 23:59:59.999999+00:00']
    """
    since, end = (
        datetime.fromtimestamp(ms / 1_000, UTC) for ms in day_starts_ms([first, last + timedelta(days=1)], timezone)
    )
    return since, end - timedelta(microseconds=1)


def _start_ms(day: date, zone: ZoneInfo) -> int:
    """Return a day's first instant. A midnight that clocks skip is read with the offset before the change."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1_000
