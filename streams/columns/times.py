"""Parses times of every written form to milliseconds since the epoch, UTC.

Accepted: ISO 8601 with an offset, or without one where a zone is given; numbers with a unit, also as text; Parquet
timestamps. Any other value gets a reject reason; nothing is guessed.

Of ISO 8601, the extended form (`2024-03-01T12:00:00Z`) and the basic one (`20240301T120000Z`) are read, with what
databases and languages make of them: a blank instead of the T or before the offset, `UTC` or `GMT` as an offset, names
in brackets behind the offset (RFC 9557), 24:00 as the end of a day, and second 60 as the next second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.instant import MOMENT_MAX_MS, RECORD_TIME_MIN_MS
from schemas.base.status import RejectReason
from streams.columns.scalar import to_number

__all__ = ["TimeColumn", "arrival_ms", "to_time"]

_MS_PER_SECOND: Final = 1_000
_MS_PER_DAY: Final = 86_400_000
_PER_SECOND: Final = {"s": 1, "ms": _MS_PER_SECOND, "us": 1_000_000, "ns": 1_000_000_000}
_ISO: Final = (
    r"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?<hour>[01][0-9]|2[0-4]):(?<minute>[0-5][0-9])"
    r"(?::(?<second>[0-5][0-9]|60)(?:[.,](?<fraction>[0-9]{1,18}))?)?"
    r"(?: ?(?<offset>[Zz]|UTC|GMT|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)(?:\[[^\[\]]{1,64}\]){0,4})?)?$"
)
_BASIC: Final = r"^[0-9]{8}(?:[Tt ]|$)"
_BASIC_DAY: Final = r"^([0-9]{4})([0-9]{2})([0-9]{2})$"
_BASIC_TO_EXTENDED: Final = {
    r"^([0-9]{4})([0-9]{2})([0-9]{2})([Tt ])([0-9]{2})([0-9]{2})([0-9]{2})": "${1}-${2}-${3}${4}${5}:${6}:${7}",
    r"^([0-9]{4})([0-9]{2})([0-9]{2})([Tt ])([0-9]{2})([0-9]{2})": "${1}-${2}-${3}${4}${5}:${6}",
    _BASIC_DAY: "${1}-${2}-${3}",
}
_NUMBER: Final = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The times of one column.

    Attributes:
        ms: Int64 milliseconds since the epoch; null where missing or invalid.
        fault: String reject reason; null where the time is valid or missing.
        is_ambiguous: Boolean; local clocks showed this time twice, and `ms` is the earlier instant.
        is_early: Boolean; the time is invalid because it lies in 1970.
    """

    ms: pl.Series
    fault: pl.Series
    is_ambiguous: pl.Series
    is_early: pl.Series


def to_time(series: pl.Series, unit: str | None, zone: str | None) -> TimeColumn:
    """Parse a tidied column as times.

    Args:
        series: String, numbers or Datetime; values of any other type are invalid.
        unit: of numbers, also of those written as text: s, ms, us or ns. Without a unit every number is invalid.
        zone: IANA zone of times without an offset. Without a zone each of them is invalid.
    """
    if series.dtype == pl.Datetime:
        return _from_datetime(series, zone)
    if series.dtype.is_numeric():
        return _checked(series, _from_number(series, unit))
    if series.dtype == pl.String:
        return _from_text(series.str.strip_chars(), unit, zone)
    return _checked(series, pl.repeat(None, len(series), dtype=pl.Int64, eager=True))


def arrival_ms(timestamps: Sequence[int]) -> pl.Series:
    """Return Kafka's timestamps (ms) as Int64 arrivals; null where a message has none, or one that is no time."""
    stamps = [ms if RECORD_TIME_MIN_MS <= ms <= MOMENT_MAX_MS else None for ms in timestamps]
    return pl.Series(stamps, dtype=pl.Int64)


def _from_number(series: pl.Series, unit: str | None) -> pl.Series:
    if unit is None:
        return pl.repeat(None, len(series), dtype=pl.Int64, eager=True)
    rate = _PER_SECOND[unit]
    if series.dtype.is_integer():
        # bounded before multiplying, so that nothing overflows
        bounded = series.to_frame("v").select(
            pl.when(pl.col("v").is_between(0, (MOMENT_MAX_MS + 1) * rate // _MS_PER_SECOND)).then("v")
        )
        whole = bounded.to_series().cast(pl.Int64, strict=False)
        return whole * (_MS_PER_SECOND // rate) if rate <= _MS_PER_SECOND else whole // (rate // _MS_PER_SECOND)
    ms = to_number(series) * _MS_PER_SECOND / rate
    ms = ms.round() if rate <= _MS_PER_SECOND else ms.floor()
    return (
        ms.to_frame("v").select(pl.when(pl.col("v").is_between(0, MOMENT_MAX_MS)).then("v")).to_series().cast(pl.Int64)
    )


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
        never = pl.repeat(value=False, n=len(naive), eager=True)
        return TimeColumn(empty, fault, is_ambiguous=never, is_early=never)
    earlier = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = naive.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    result = _checked(naive, earlier.dt.epoch("ms"))
    gap = _where(naive.is_not_null() & earlier.is_null(), RejectReason.NONEXISTENT_TIME)
    return TimeColumn(
        result.ms,
        gap.zip_with(gap.is_not_null(), result.fault),
        is_ambiguous=(earlier != later).fill_null(value=False),
        is_early=result.is_early,
    )


def _from_text(series: pl.Series, unit: str | None, zone: str | None) -> TimeColumn:
    clock = (
        _extended(series, unit)
        .str.extract_groups(_ISO)
        .struct.unnest()
        .select(_local().alias("local"), _offset_ms().alias("offset"))
    )
    local, offset = clock["local"], clock["offset"]
    ms = local.dt.epoch("ms") - offset
    is_number = series.str.contains(_NUMBER).fill_null(value=False)
    if unit is not None and is_number.any():
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
        is_ambiguous=zoned.is_ambiguous,
        is_early=zoned.is_early.zip_with(is_naive, result.is_early),
    )


def _extended(series: pl.Series, unit: str | None) -> pl.Series:
    """Return texts of the basic form in the extended one. Eight digits are a day, unless numbers have a unit."""
    if not series.str.contains(_BASIC).any():
        return series
    for basic, extended in _BASIC_TO_EXTENDED.items():
        if unit is None or basic != _BASIC_DAY:
            series = series.str.replace(basic, extended)
    return series


def _local() -> pl.Expr:
    """Return the clock's time without its offset; null where it is none."""
    hour, minute, second = (pl.col(name).fill_null("00") for name in ("hour", "minute", "second"))
    thousandths = pl.col("fraction").str.head(3).str.pad_end(3, "0").cast(pl.Int64).fill_null(0)
    is_midnight, is_leap = hour == "24", second == "60"
    texts = [
        *(pl.col("date"), pl.lit("T"), pl.when(is_midnight).then(pl.lit("00")).otherwise(hour)),
        *(pl.lit(":"), minute, pl.lit(":"), pl.when(is_leap).then(pl.lit("59")).otherwise(second)),
    ]
    local = pl.concat_str(texts).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="ms")
    added_ms = thousandths + is_midnight.cast(pl.Int64) * _MS_PER_DAY + is_leap.cast(pl.Int64) * _MS_PER_SECOND
    is_past_midnight = is_midnight & ((minute != "00") | (second != "00") | pl.col("fraction").str.contains("[1-9]"))
    return (
        pl.when(is_past_midnight.fill_null(value=False)).then(None).otherwise(local + added_ms.cast(pl.Duration("ms")))
    )


def _offset_ms() -> pl.Expr:
    text = pl.col("offset").str.replace_all(":", "", literal=True)
    hours = text.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = text.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(text.str.starts_with("-")).then(-1).otherwise(1)
    return pl.when(text.str.contains("^[A-Za-z]")).then(0).otherwise(sign * (hours * 60 + minutes) * 60_000)


def _checked(series: pl.Series, ms: pl.Series) -> TimeColumn:
    """Return `ms` within the bounds; values of `series` without a valid time get the reason `bad_time`."""
    never = pl.repeat(value=False, n=len(ms), eager=True)
    good = ms.is_between(RECORD_TIME_MIN_MS, MOMENT_MAX_MS).fill_null(value=False)
    if good.all():
        no_fault = pl.repeat(None, len(ms), dtype=pl.String, eager=True)
        return TimeColumn(ms, no_fault, is_ambiguous=never, is_early=never)
    return TimeColumn(
        ms.zip_with(good, pl.Series([None], dtype=pl.Int64)),
        _where(series.is_not_null() & ~good, RejectReason.BAD_TIME),
        is_ambiguous=never,
        is_early=ms.is_between(0, RECORD_TIME_MIN_MS - 1).fill_null(value=False),
    )


def _where(mask: pl.Series, text: str) -> pl.Series:
    return pl.select(pl.when(mask).then(pl.lit(str(text)))).to_series()
