"""Parses times of every written form to milliseconds since the epoch, UTC.

Accepted: ISO 8601 with an offset, or without one where a zone is given; numbers with a unit, also as text; Parquet
timestamps. Any other value gets a reject reason; nothing is guessed.
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
    """The times of one column.

    Attributes:
        ms: Int64 milliseconds since the epoch; null where missing or invalid.
        fault: String reject reason; null where the time is valid or missing.
        is_ambiguous: Boolean; local clocks showed this time twice, and `ms` is the earlier instant.
    """

    ms: pl.Series
    fault: pl.Series
    is_ambiguous: pl.Series


def to_time(series: pl.Series, unit: str | None, zone: str | None) -> TimeColumn:
    """Parse a tidied column as times.

    Args:
        series: String, numbers or Datetime; values of any other type are invalid.
        unit: of numbers: s, ms, us or ns. Without a unit every number is invalid.
        zone: IANA zone of times without an offset. Without a zone each of them is invalid.
    """
    if series.dtype == pl.Datetime:
        return _from_datetime(series, zone)
    if series.dtype.is_integer() or series.dtype == pl.Float64:
        return _checked(series, _from_number(series, unit))
    if series.dtype == pl.String:
        return _from_text(series, unit, zone)
    return _checked(series, pl.repeat(None, len(series), dtype=pl.Int64, eager=True))


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
        return _checked(series, series.dt.epoch("ms"))
    return _localise(series, series.is_not_null(), zone)


def _localise(naive: pl.Series, is_naive: pl.Series, zone: str | None) -> TimeColumn:
    """Convert naive times with their zone; rows outside `is_naive` are ignored."""
    if zone is None:
        fault = _where(is_naive, RejectReason.NAIVE_TIME)
        empty = pl.repeat(None, len(naive), dtype=pl.Int64, eager=True)
        return TimeColumn(empty, fault, pl.repeat(value=False, n=len(naive), eager=True))
    earlier = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = naive.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    result = _checked(naive, earlier.dt.epoch("ms"))
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
    local, offset = clock["local"] + pl.Series(clock["fraction"]).cast(pl.Duration("ms")), clock["offset"]
    ms = local.dt.epoch("ms") - offset
    is_number = series.str.contains(_NUMBER).fill_null(value=False)
    if is_number.any():
        no_text = pl.Series([None], dtype=pl.String)
        whole = series.zip_with(is_number, no_text).cast(pl.Int64, strict=False)
        real = series.zip_with(is_number & whole.is_null(), no_text).cast(pl.Float64, strict=False)
        ms = ms.zip_with(~is_number, _from_number(whole, unit).zip_with(whole.is_not_null(), _from_number(real, unit)))
    result = _checked(series, ms)
    is_naive = local.is_not_null() & offset.is_null()
    if not is_naive.any():
        return result
    zoned = _localise(local.zip_with(is_naive, pl.Series([None], dtype=local.dtype)), is_naive, zone)
    return TimeColumn(
        zoned.ms.zip_with(is_naive, result.ms),
        zoned.fault.zip_with(is_naive, result.fault),
        zoned.is_ambiguous,
    )


def _offset_ms() -> pl.Expr:
    text = pl.col("offset").str.replace_all(":", "", literal=True)
    hours = text.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = text.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(text.str.starts_with("-")).then(-1).otherwise(1)
    return pl.when(text.str.to_uppercase() == "Z").then(0).otherwise(sign * (hours * 60 + minutes) * 60_000)


def _checked(series: pl.Series, ms: pl.Series) -> TimeColumn:
    """Return `ms` within the bounds; values of `series` without a valid time get the reason `bad_time`."""
    if ms.null_count() == 0 and len(ms) and ms.min() >= 0 and ms.max() <= LAST_MS:  # type: ignore[operator] # a number
        no_fault = pl.repeat(None, len(ms), dtype=pl.String, eager=True)
        return TimeColumn(ms, no_fault, pl.repeat(value=False, n=len(ms), eager=True))
    good = ms.is_between(0, LAST_MS).fill_null(value=False)
    return TimeColumn(
        ms.zip_with(good, pl.Series([None], dtype=pl.Int64)),
        _where(series.is_not_null() & ~good, RejectReason.BAD_TIME),
        pl.repeat(value=False, n=len(ms), eager=True),
    )


def _where(mask: pl.Series, text: str) -> pl.Series:
    return pl.select(pl.when(mask).then(pl.lit(str(text)))).to_series()
