"""Which cohorts a prediction belongs to: its day in the loop's time zone, and its slices as text.

This module must not count anything.
"""

from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

__all__ = ["ALL", "cohort_day", "day_ends", "day_starts_ms", "read_slice", "slice_texts"]

ALL = ""
"""The slice of every prediction."""

_MISSING = "∅"
_OTHER = "*other"
_ESCAPE = "\\"
_RESERVED = (_MISSING, "*", _ESCAPE)
"""A real value that begins like one of ours gets the escape in front: no value can pass for another."""


def slice_texts(name: str, admitted: Collection[str]) -> tuple[list[str], str, str]:
    """Return the texts of slice `name`: of each admitted value in its order, of a missing one, of the rest.

    `country=DE` for an admitted value, `country=∅` for none, `country=*other` for the rest. A real value
    that begins with `∅`, `*` or a backslash is written with a backslash before it.
    """
    values = [_ESCAPE + value if value.startswith(_RESERVED) else value for value in admitted]
    return [f"{name}={value}" for value in values], f"{name}={_MISSING}", f"{name}={_OTHER}"


def read_slice(text: str) -> tuple[str, str] | None:
    """Return the name and the real value that `slice_texts` wrote, None for "all", "none" and "other"."""
    name, _, value = text.partition("=")
    if text == ALL or value in (_MISSING, _OTHER):
        return None
    return name, value.removeprefix(_ESCAPE)


def cohort_day(timezone: str) -> pl.Expr:
    """Return the day of `predicted_at` as the loop's time zone has it."""
    return pl.col("predicted_at").dt.convert_time_zone(timezone).dt.date()


def day_ends(days: Iterable[date], timezone: str) -> pl.DataFrame:
    """Return `day` and `day_end_ms`, the first instant after that day in the loop's time zone.

    A day of 23 or 25 hours ends when it ends. Where the clocks leap over midnight, the day ends with
    the leap; where midnight comes twice, with the first one.
    """
    zone = ZoneInfo(timezone)
    distinct = sorted(set(days))
    ends = [_start_ms(day + timedelta(days=1), zone) for day in distinct]
    return pl.DataFrame({"day": distinct, "day_end_ms": ends}, schema={"day": pl.Date, "day_end_ms": pl.Int64})


def day_starts_ms(days: Iterable[date], timezone: str) -> list[int]:
    """Return the first instant of each day in the loop's time zone, in the order given; see `day_ends`."""
    zone = ZoneInfo(timezone)
    return [_start_ms(day, zone) for day in days]


def _start_ms(day: date, zone: ZoneInfo) -> int:
    """A midnight that does not exist is read with the offset before the leap, which is the leap's instant."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1_000
