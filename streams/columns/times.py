"""Times of every written form as milliseconds since the epoch, UTC.

Understood: ISO 8601 with an offset, or without one where a zone is given; numbers with a unit, also
written as text; timestamps of Parquet. A time that cannot be told is named by its fault, never guessed.
This module must not read a clock.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.scalar import to_number

__all__ = ["LAST_MS", "TimeColumn", "to_time"]

LAST_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z. The first time is 0: labels from before 1970 are a wrong unit, not history."""

_MS_PER_SECOND: Final = 1_000
_PER_SECOND: Final = {"s": 1, "ms": _MS_PER_SECOND, "us": 1_000_000, "ns": 1_000_000_000}
_ISO: Final = (
    r"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?::(?<second>[0-5][0-9])(?:[.,](?<fraction>[0-9]{1,18}))?)?"
    r"(?<offset>[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?$"
)
_NUMBER: Final = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Times of one column.

    Attributes:
        ms: Int64 milliseconds since the epoch; null where missing or at fault.
        fault: String reject reason, null where the time is good or missing.
        is_ambiguous: the clock showed this time twice; `ms` is the earlier instant.
    """

    ms: pl.Series
    fault: pl.Series
    is_ambiguous: pl.Series


def to_time(series: pl.Series, unit: str | None, zone: str | None) -> TimeColumn:
    """Read a tidied column as times.

    Args:
        series: String, numbers or Datetime; anything else is at fault.
        unit: of numbers: s, ms, us or ns. Without one every number is at fault.
        zone: IANA zone of times that carry no offset. Without one each of them is at fault.
    """
    if series.dtype == pl.Datetime:
        return _from_datetime(series, zone)
    if series.dtype.is_integer() or series.dtype == pl.Float64:
        return _finish(series, _from_number(series, unit))
    if series.dtype == pl.String:
        return _from_text(series, unit, zone)
    return _finish(series, pl.repeat(None, len(series), dtype=pl.Int64, eager=True))


def _from_number(series: pl.Series, unit: str | None) -> pl.Series:
    if unit is None:
        return pl.repeat(None, len(series), dtype=pl.Int64, eager=True)
    rate = _PER_SECOND[unit]
    if series.dtype.is_integer():
        # bounded before multiplying, so that nothing overflows
        bounded = series.to_frame("v").select(
            pl.when(pl.col("v").is_between(0, (LAST_MS + 1) * rate // _MS_PER_SECOND)).then("v")
        )
        whole = bounded.to_series().cast(pl.Int64, strict=False)
        return whole * (_MS_PER_SECOND // rate) if rate <= _MS_PER_SECOND else whole // (rate // _MS_PER_SECOND)
    ms = to_number(series) * _MS_PER_SECOND / rate
    ms = ms.round() if rate <= _MS_PER_SECOND else ms.floor()
    return ms.to_frame("v").select(pl.when(pl.col("v").is_between(0, LAST_MS)).then("v")).to_series().cast(pl.Int64)


def _from_datetime(series: pl.Series, zone: str | None) -> TimeColumn:
    aware = getattr(series.dtype, "time_zone", None) is not None
    if aware:
        return _finish(series, series.dt.epoch("ms"))
    return _localise(series, series.is_not_null(), zone)


def _localise(naive: pl.Series, is_naive: pl.Series, zone: str | None) -> TimeColumn:
    """Place naive times into their zone; `is_naive` marks the rows that are there to be placed."""
    if zone is None:
        fault = _where(is_naive, RejectReason.NAIVE_TIME)
        empty = pl.repeat(None, len(naive), dtype=pl.Int64, eager=True)
        return TimeColumn(empty, fault, pl.repeat(value=False, n=len(naive), eager=True))
    earlier = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = naive.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    result = _finish(naive, earlier.dt.epoch("ms"))
    gap = _where(naive.is_not_null() & earlier.is_null(), RejectReason.NONEXISTENT_TIME)
    return TimeColumn(
        result.ms, gap.zip_with(gap.is_not_null(), result.fault), (earlier != later).fill_null(value=False)
    )


def _from_text(series: pl.Series, unit: str | None, zone: str | None) -> TimeColumn:
    parts = series.str.extract_groups(_ISO).struct.unnest()
    stamp = pl.concat_str(
        "date", pl.lit("T"), pl.col("clock").fill_null("00:00"), pl.lit(":"), pl.col("second").fill_null("00")
    )
    fraction = pl.col("fraction").str.head(3).str.pad_end(3, "0").cast(pl.Int64).fill_null(0)
    clock = parts.select(
        stamp.str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="ms").alias("local"),
        fraction.alias("fraction"),
        _offset_ms().alias("offset"),
    )
    local, shift = clock["local"] + pl.Series(clock["fraction"]).cast(pl.Duration("ms")), clock["offset"]
    fixed = local.dt.epoch("ms") - shift
    numbers = series.str.contains(_NUMBER).fill_null(value=False)
    if numbers.any():
        typed = series.zip_with(numbers, pl.Series([None], dtype=pl.String)).cast(pl.Int64, strict=False)
        real = series.zip_with(numbers & typed.is_null(), pl.Series([None], dtype=pl.String)).cast(
            pl.Float64, strict=False
        )
        fixed = fixed.zip_with(
            ~numbers, _from_number(typed, unit).zip_with(typed.is_not_null(), _from_number(real, unit))
        )
    result = _finish(series, fixed)
    is_naive = local.is_not_null() & shift.is_null()
    if not is_naive.any():
        return result
    placed = _localise(local.zip_with(is_naive, pl.Series([None], dtype=local.dtype)), is_naive, zone)
    return TimeColumn(
        placed.ms.zip_with(is_naive, result.ms),
        placed.fault.zip_with(is_naive, result.fault),
        placed.is_ambiguous,
    )


def _offset_ms() -> pl.Expr:
    text = pl.col("offset").str.replace_all(":", "", literal=True)
    hours = text.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = text.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(text.str.starts_with("-")).then(-1).otherwise(1)
    return pl.when(text.str.to_uppercase() == "Z").then(0).otherwise(sign * (hours * 60 + minutes) * 60_000)


def _finish(series: pl.Series, ms: pl.Series) -> TimeColumn:
    """Check the bounds; what was there and gave no time is bad."""
    if ms.null_count() == 0 and len(ms) and ms.min() >= 0 and ms.max() <= LAST_MS:  # type: ignore[operator] # a number
        nothing = pl.repeat(None, len(ms), dtype=pl.String, eager=True)
        return TimeColumn(ms, nothing, pl.repeat(value=False, n=len(ms), eager=True))
    good = ms.is_between(0, LAST_MS).fill_null(value=False)
    return TimeColumn(
        ms.zip_with(good, pl.Series([None], dtype=pl.Int64)),
        _where(series.is_not_null() & ~good, RejectReason.BAD_TIME),
        pl.repeat(value=False, n=len(ms), eager=True),
    )


def _where(mask: pl.Series, text: str) -> pl.Series:
    return pl.select(pl.when(mask).then(pl.lit(str(text)))).to_series()
