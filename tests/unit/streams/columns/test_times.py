"""Parsing of times: every accepted form becomes milliseconds, any other a reject reason."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from schemas.base.instant import MOMENT_MAX_MS, RECORD_TIME_MIN_MS
from streams.columns.scalar import tidy
from streams.columns.times import arrival_ms, to_time

BERLIN = "Europe/Berlin"
T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z
WINTER = 1_711_846_799_000  # 2024-03-31T00:59:59Z, the last second before the clocks go forward
AUTUMN = 1_729_989_000_000  # 2024-10-27T00:30:00Z, the first 02:30 of that day


def parsed(values: Any, unit: str | None = None, zone: str | None = None) -> tuple[Any, Any, Any]:
    """Return ms, fault and ambiguity of one value, or of the first of a column."""
    series = tidy(values if isinstance(values, pl.Series) else pl.Series([values]))
    times = to_time(series, unit, zone)
    return times.ms[0], times.fault[0], times.is_ambiguous[0]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2024-01-01T00:00:00Z", T0),
        ("2024-01-01t00:00:00z", T0),
        ("2024-01-01 00:00:00Z", T0),
        ("2024-01-01T00:00Z", T0),
        ("2024-01-01T01:00:00+01:00", T0),
        ("2024-01-01T01:00:00+0100", T0),
        ("2024-01-01T01:00:00+01", T0),
        ("2023-12-31T18:30:00-05:30", T0),
        ("2024-01-01T00:00:00.5Z", T0 + 500),
        ("2024-01-01T00:00:00,25Z", T0 + 250),
        ("2024-01-01T00:00:00.123999999Z", T0 + 123),
        ("2024-02-29T00:00:00Z", T0 + 59 * 86_400_000),
        ("2024-01-01 00:00:00 UTC", T0),
        ("2024-01-01 00:00:00.5 UTC", T0 + 500),
        ("2024-01-01 00:00:00UTC", T0),
        ("2024-01-01 00:00:00 GMT", T0),
        ("2024-01-01T00:00:00 Z", T0),
        ("2024-01-01T01:00:00 +01:00", T0),
        ("2024-01-01T00:00:00Z[UTC]", T0),
        ("2024-01-01T01:00:00+01:00[Europe/Berlin][u-ca=iso8601]", T0),
        (" 2024-01-01T00:00:00Z", T0),
        ("2024-01-01T00:00:00Z\t ", T0),
        ("2024-01-01T00:00:00Z\n", T0),
        ("20240101T000000Z", T0),
        ("20240101T010000.25+0100", T0 + 250),
        ("20240101 0000Z", T0),
        ("20240101t000000z", T0),
        ("2023-12-31T24:00:00Z", T0),
        ("2023-12-31T24:00:00.000+00:00", T0),
        ("20231231T240000Z", T0),
        ("2023-12-31T24:00Z", T0),
        ("2023-12-31T23:59:60Z", T0),
        ("2023-12-31T23:59:60.25Z", T0 + 250),
        ("20231231T235960Z", T0),
        ("1971-01-01T00:00:00Z", RECORD_TIME_MIN_MS),
        ("1970-12-31T23:59:59.999Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("1969-12-31T23:59:59.999Z", None),
        ("9999-12-31T23:59:59.999Z", MOMENT_MAX_MS),
        ("9999-12-31T23:59:59-01:00", None),
        ("2023-02-29T00:00:00Z", None),
        ("2024-13-01T00:00:00Z", None),
        ("2024-01-32T00:00:00Z", None),
        ("2024-01-01T24:00:01Z", None),
        ("2024-01-01T24:00:00.001Z", None),
        ("2024-01-01T24:01Z", None),
        ("2024-01-01T25:00:00Z", None),
        ("9999-12-31T24:00:00Z", None),
        ("2024-01-01T00:60:00Z", None),
        ("2024-01-01T00:00:61Z", None),
        ("20240101T00:00:00Z", None),
        ("2024-0101T000000Z", None),
        ("20240101T000Z", None),
        ("20241301T000000Z", None),
        ("2024-01-01T00:00:00  Z", None),
        ("2024-01-01T00:00:00 CET", None),
        ("2024-01-01T00:00:00Z[UTC", None),
        ("2024-01-01T00:00:00\u221205:00", None),
        ("2024-01-01T00:00:00+24:00", None),
        ("2024-01-01T00:00:00+01:60", None),
        ("0000-01-01T00:00:00Z", None),
        ("12024-01-01T00:00:00Z", None),
        ("2024-01-01T00:00:00[Europe/Berlin]", None),
        ("01/02/2024", None),
        ("yesterday", None),
        ("", None),
        ("NaN", None),
        ("\u0662024-01-01T00:00:00Z", None),
    ],
)
def test_iso_text(text: str, ms: int | None) -> None:
    """ISO 8601 with an offset is read to the millisecond; any other text is bad, whatever zone or unit is given."""
    assert parsed(text, "ms", BERLIN) == (ms, None if ms is not None else "bad_time", False)


@pytest.mark.parametrize(
    ("value", "unit", "ms"),
    [
        (1_704_067_200, "s", T0),
        (T0, "ms", T0),
        (T0 * 1_000 + 999, "us", T0),
        (T0 * 1_000_000 + 999_999, "ns", T0),
        (1_704_067_200.001, "s", T0 + 1),
        (float(T0), "ms", T0),
        (RECORD_TIME_MIN_MS, "ms", RECORD_TIME_MIN_MS),
        (RECORD_TIME_MIN_MS - 1, "ms", None),
        (RECORD_TIME_MIN_MS // 1_000, "s", RECORD_TIME_MIN_MS),
        (RECORD_TIME_MIN_MS // 1_000 - 1, "s", None),
        (1_704_067_200, "ms", None),
        (T0, "us", None),
        (20_240_101, "ms", None),
        (0, "ms", None),
        (-1, "ms", None),
        (MOMENT_MAX_MS, "ms", MOMENT_MAX_MS),
        (MOMENT_MAX_MS + 1, "ms", None),
        (MOMENT_MAX_MS // 1_000, "s", MOMENT_MAX_MS - 999),
        (MOMENT_MAX_MS // 1_000 + 1, "s", None),
        (2**63 - 1, "s", None),
        (2**63 - 1, "ns", 9_223_372_036_854),
        (-(2**63), "ns", None),
        (float("nan"), "ms", None),
        (float("inf"), "ms", None),
        (1e300, "s", None),
        (5, None, None),
        (5.0, None, None),
        (True, "ms", None),
    ],
)
def test_numbers_need_a_unit(value: float, unit: str | None, ms: int | None) -> None:
    """Numbers are read by their unit and never by their size; the same number as text gives the same time."""
    expected = (ms, None if ms is not None else "bad_time", False)
    assert parsed(value, unit) == expected
    if not isinstance(value, bool):
        assert parsed(str(value), unit) == expected


@pytest.mark.parametrize(
    ("text", "zone", "ms", "fault", "is_ambiguous"),
    [
        ("2024-01-01T00:00:00", None, None, "naive_time", False),
        ("2024-01-01", None, None, "naive_time", False),
        ("2024-01-01T01:00:00", BERLIN, T0, None, False),
        ("2024-01-01", "UTC", T0, None, False),
        ("2024-03-31T01:59:59", BERLIN, WINTER, None, False),
        ("2024-03-31T02:00:00", BERLIN, None, "nonexistent_time", False),
        ("2024-03-31T02:59:59.999", BERLIN, None, "nonexistent_time", False),
        ("2024-03-31T03:00:00", BERLIN, WINTER + 1_000, None, False),
        ("2024-10-27T01:59:59", BERLIN, AUTUMN - 1_801_000, None, False),
        ("2024-10-27T02:30:00", BERLIN, AUTUMN, None, True),
        ("2024-10-27T03:00:00", BERLIN, AUTUMN + 5_400_000, None, False),
        ("2024-10-27T02:30:00+01:00", BERLIN, AUTUMN + 3_600_000, None, False),
        ("2024-03-31T01:59:60", BERLIN, None, "nonexistent_time", False),
        ("1971-01-01T00:30:00", BERLIN, None, "bad_time", False),
    ],
)
def test_naive_times_need_a_zone(
    text: str, zone: str | None, ms: int | None, fault: str | None, is_ambiguous: bool
) -> None:
    """Without a zone a naive time is rejected; with a zone, times in a gap are rejected and repeated hours flagged."""
    expected = (ms, fault, is_ambiguous)
    assert parsed(text, None, zone) == expected
    if len(text) > 10 and "+" not in text and not text.endswith(":60"):
        assert parsed(pl.Series([datetime.fromisoformat(text)]), None, zone) == expected


@pytest.mark.parametrize("time_unit", ["ms", "us", "ns"])
def test_parquet_timestamps(time_unit: Any) -> None:
    """Timestamps with a zone are instants, whatever their zone and resolution."""
    instants = pl.Series([datetime(2024, 1, 1, tzinfo=UTC)], dtype=pl.Datetime(time_unit, "UTC"))
    assert parsed(instants) == (T0, None, False)
    assert parsed(instants.dt.convert_time_zone("Asia/Tokyo")) == (T0, None, False)
    assert parsed(pl.Series([date(2024, 1, 1)]), None, "UTC") == (T0, None, False)
    before = pl.Series([datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)])
    assert parsed(before) == (None, "bad_time", False)


def test_values_of_a_mixed_column_are_independent() -> None:
    """Missing, numeric, exact, naive and broken times may be mixed in one column."""
    texts = [None, f"{T0}", "2024-01-01T00:00:00Z", "2024-10-27T02:30:00", "2024-03-31T02:30:00", "no", f"{T0}.0"]
    texts += ["1e12", "5", "1970-06-01T00:00:00"]
    times = to_time(pl.Series(texts), "ms", BERLIN)
    assert times.ms.to_list() == [None, T0, T0, AUTUMN, None, None, T0, 10**12, None, None]
    nonexistent = ["nonexistent_time", "bad_time", None, None]
    assert times.fault.to_list() == [None, None, None, None, *nonexistent, "bad_time", "bad_time"]
    assert times.is_ambiguous.to_list() == [False] * 3 + [True] + [False] * 6
    assert times.is_early.to_list() == [False] * 8 + [True, True]


def test_eight_digits_are_a_day_where_numbers_have_no_unit() -> None:
    """With a unit they are a number."""
    assert parsed("20240101", None, "UTC") == (T0, None, False)
    assert parsed("20240101", None, None) == (None, "naive_time", False)
    assert parsed("20240101", "s", "UTC") == (None, "bad_time", False)


def test_arrivals_are_times_of_records() -> None:
    """A Kafka timestamp that is missing, or in another unit, is no arrival."""
    stamps = [-1, 0, T0 // 1_000, T0, MOMENT_MAX_MS, MOMENT_MAX_MS + 1]
    assert arrival_ms(stamps).to_list() == [None, None, None, T0, MOMENT_MAX_MS, None]


def test_no_times_at_all() -> None:
    """Empty columns of every type give no times and no error."""
    for dtype in (pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Datetime("us"), pl.Datetime("us", "UTC")):
        assert to_time(pl.Series([], dtype=dtype), "ms", "UTC").ms.to_list() == []
