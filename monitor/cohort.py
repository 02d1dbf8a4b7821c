"""Which cohorts a prediction belongs to: its day in the loop's time zone, and its slices as text.

This module must not count anything.
"""

from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

__all__ = ["ALL", "cohort_day", "day_ends", "read_slice", "slice_text"]

ALL = ""
"""The slice of every prediction."""

_MISSING = "∅"
_OTHER = "*other"
_ESCAPE = "\\"
_RESERVED = rf"^[{_MISSING}*\\]"
"""A real value that begins like one of ours gets the escape in front: no value can pass for another."""


def slice_text(name: str, admitted: Collection[str]) -> pl.Expr:
    """Return the text of slice `name` for the values in column `slice_<name>`.

    `country=DE` for an admitted value, `country=∅` for none, `country=*other` for the rest. A real value
    that begins with `∅`, `*` or a backslash is written with a backslash before it.
    """
    value = pl.col(f"slice_{name}").cast(pl.String)
    known = value.is_in(pl.Series(sorted(admitted), dtype=pl.String).implode())
    escaped = pl.when(value.str.contains(_RESERVED)).then(pl.lit(_ESCAPE) + value).otherwise(value)
    text = pl.when(value.is_null()).then(pl.lit(_MISSING)).when(known).then(escaped).otherwise(pl.lit(_OTHER))
    return pl.lit(f"{name}=") + text


def read_slice(text: str) -> tuple[str, str] | None:
    """Return the name and the real value that `slice_text` wrote, None for "all", "none" and "other"."""
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


def _start_ms(day: date, zone: ZoneInfo) -> int:
    """A midnight that does not exist is read with the offset before the leap, which is the leap's instant."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1_000
