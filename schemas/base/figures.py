"""How figures are written for people: numbers, shares, counts, ages, sizes and times, the same wherever they are shown.

Page, terminal, findings and reports use these and nothing else, so one value reads alike everywhere. A value that is
not exactly 0, 1 or 100 % is never shown as if it were. JSON and CSV carry the numbers themselves.
"""

import math
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.base.duration import format_duration

__all__ = [
    "NOTHING",
    "about",
    "age",
    "bounded",
    "count",
    "days",
    "finite",
    "instant",
    "moment",
    "number",
    "percent",
    "plain_text",
    "share",
    "signed",
    "size",
    "zone_of",
]

NOTHING: Final = "–"  # noqa: RUF001 - the dash that says "no data"
_MINUS: Final = "\N{MINUS SIGN}"
_DAY_MS: Final = 86_400_000

_NEGLIGIBLE: Final = 0.002
"""An error of a metric from which on it is shown beside the value."""
_SMALL: Final = 0.001
_LARGE: Final = 1e6
_TENS: Final = 100.0
_EDGE: Final = 0.00005
"""Half of the last of four places: what lies nearer to a whole number would be rounded to it."""

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_STEP: Final = 1_000


def finite(value: float | None) -> float | None:
    """Return the value, or None where it is no number that can be shown."""
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None) -> str:
    """Return a value with four places, fewer for large values; a dash for None, NaN and infinities.

    >>> number(0.58214), number(1234.56), number(0.00001234), number(0.99996), number(1.0)
    ('0.5821', '1,234.6', '1.23e-05', '0.99996', '1.0000')
    """
    value = finite(value)
    if value is None:
        return NOTHING
    if value and (abs(value) < _SMALL or abs(value) >= _LARGE):
        return f"{value:.3g}"
    if 0 < abs(abs(value) - 1) < _EDGE:
        return f"{value:.7g}"
    return f"{value:,.4f}" if abs(value) < _TENS else f"{value:,.1f}"


def bounded(value: float | None, bound: float | None) -> str:
    """Return a value with its greatest error, where that is not negligible.

    >>> bounded(0.9094, 0.0906), bounded(0.9094, 0.0004)
    ('0.9094 ±0.0906', '0.9094')
    """
    shown = number(value)
    is_needed = value is not None and bound is not None and bound >= _NEGLIGIBLE
    return f"{shown} ±{number(bound)}" if is_needed else shown


def signed(value: float | None) -> str:
    """Return a difference with its sign; the minus is as wide as the plus.

    >>> signed(0.0229), signed(0.0)
    ('+0.0229', '0.0000')
    """
    value = finite(value)
    if value is None:
        return NOTHING
    sign = "+" if value > 0 else _MINUS if value < 0 else ""
    return sign + number(abs(value))


def share(value: float | None, places: int = 1) -> str:
    """Return a share between 0 and 1 in per cent; 0 % and 100 % only where it is exactly that.

    Args:
        value: None is a dash.
        places: two where a share is compared with its limit.

    >>> share(0.238), share(0.0), share(1.0), share(0.0001), share(0.99996), share(0.0051, 2)
    ('23.8 %', '0 %', '100 %', '<0.1 %', '>99.9 %', '0.51 %')
    """
    shown = percent(value, places)
    return shown if shown == NOTHING else f"{shown} %"


def percent(value: float | None, places: int = 1) -> str:
    """Return a share as `share` does, without the sign: for cells of a table whose head has it."""
    value = finite(value)
    if value is None:
        return NOTHING
    least = 10.0**-places
    if value in (0.0, 1.0):
        return f"{100 * value:.0f}"
    if 0.0 < value < least / 200:
        return f"<{least:.{places}f}"
    if 1.0 - least / 200 <= value < 1.0:
        return f">{100 - least:.{places}f}"
    return f"{100 * value:.{places}f}"


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart.

    >>> count(650604)
    '650,604'
    """
    return NOTHING if value is None else f"{value:,.0f}"


def about(value: float) -> str:
    """Return an amount that is estimated: with two significant digits.

    >>> about(1_234_567), about(12.3)
    ('1,200,000', '12')
    """
    digits = len(f"{value:.0f}")
    return f"{round(value, 2 - digits):,.0f}"


def age(age_ms: int | None) -> str:
    """Return an age as the config writes durations.

    >>> age(129_600_000)
    '1d12h'
    """
    return NOTHING if age_ms is None else format_duration(age_ms)


def days(duration_ms: float) -> str:
    """Return a duration in days with at most one place, as a sentence has it.

    >>> days(7 * 86_400_000), days(86_400_000), days(302_400_000)
    ('7 days', '1 day', '3.5 days')
    """
    amount = f"{duration_ms / _DAY_MS:,.1f}".removesuffix(".0")
    return f"{amount} day" + ("" if amount == "1" else "s")


def size(value: float) -> str:
    """Return an amount of bytes in the decimal unit that leaves one to three digits.

    >>> size(448_000_000), size(999), size(1_530)
    ('448 MB', '999 B', '1.5 kB')
    """
    for unit in _UNITS:
        if abs(value) < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"  # noqa: PLR2004 - two digits


def zone_of(timezone: str) -> tzinfo:
    """Return a time zone by its name; UTC where this machine does not know it, so that something is shown."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(at_ms: int | None, zone: tzinfo = UTC) -> str:
    """Return an instant in a time zone, to the minute, with the offset that was in force.

    >>> moment(1_372_651_200_000), moment(1_372_651_200_000, zone_of("America/New_York"))
    ('2013-07-01 04:00 UTC', '2013-07-01 00:00 -04:00')
    """
    if at_ms is None:
        return NOTHING
    try:
        at = datetime.fromtimestamp(at_ms / 1000, zone)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
    offset = f"{at:%z}"
    return f"{at:%Y-%m-%d %H:%M} " + ("UTC" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}")


def instant(at_ms: int, zone: tzinfo = UTC) -> str:
    """Return an instant in a time zone, to the millisecond where it has one, with the offset that was in force.

    >>> instant(1_372_651_205_120, zone_of("America/New_York")), instant(1_372_651_205_000)
    ('2013-07-01 00:00:05.120 -04:00', '2013-07-01 04:00:05 UTC')
    """
    day, minute, offset = moment(at_ms, zone).split(" ")
    seconds, rest_ms = divmod(at_ms % 60_000, 1000)
    return f"{day} {minute}:{seconds:02}{f'.{rest_ms:03}' if rest_ms else ''} {offset}"


def plain_text(text: str) -> str:
    """Return text of the data without what a terminal would obey: control characters are shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
