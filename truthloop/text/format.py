"""How the page writes names, numbers, shares and times.

What comes from data is shown so that it cannot act: control and direction characters are written as escapes,
and what is very long is cut in the middle. Markup is no matter of this module: the templates escape.
"""

import math
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.base.duration import format_duration

__all__ = [
    "NAME_MAX",
    "NOTHING",
    "age",
    "count",
    "finite",
    "moment",
    "name",
    "number",
    "plain_text",
    "prose",
    "share",
    "signed",
    "zone_of",
]

NOTHING = "–"  # noqa: RUF001 - the dash that says "no data" on the page
NAME_MAX = 64
"""A name of more characters would push everything else aside; the JSON of the panel has it whole."""

_TAIL = 12
_TEXT_MAX = 2_000
_PER_CENT = 100.0
_SMALL = 0.001
_LARGE = 1e6


def name(text: object) -> str:
    """Return a name from the data as it is shown: harmless, and at most `NAME_MAX` characters long."""
    whole = str(text)
    if len(whole) <= NAME_MAX and whole.isprintable():
        return whole
    # of a name as long as a message allows only the ends are looked at
    head, tail = (plain_text(part) for part in (whole[:_TEXT_MAX], whole[-NAME_MAX:]))
    if len(whole) <= _TEXT_MAX and len(head) <= NAME_MAX:
        return head
    return f"{head[: NAME_MAX - _TAIL - 1]}…{tail[-_TAIL:]}"


def prose(text: str) -> str:
    """Return a sentence, a command or a query as it is shown: harmless, with its lines, cut where it has no end."""
    plain = "\n".join(plain_text(line) for line in text[:_TEXT_MAX].split("\n"))
    return plain if len(text) <= _TEXT_MAX else f"{plain}…"


def finite(value: float | None) -> float | None:
    """Return the value, or None where it is no number that can be shown."""
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None) -> str:
    """Return a metric's value: four places, fewer for large values, never a NaN."""
    known = finite(value)
    if known is None:
        return NOTHING
    if known and (abs(known) < _SMALL or abs(known) >= _LARGE):
        return f"{known:.3g}"
    return f"{known:,.4f}" if abs(known) < _PER_CENT else f"{known:,.1f}"


def signed(value: float | None) -> str:
    """Return a difference with its sign; the minus is a real one, as wide as the plus."""
    known = finite(value)
    if known is None:
        return NOTHING
    return f"{known:+,.4f}".replace("-", "\N{MINUS SIGN}")


def share(value: float | None) -> str:
    """Return a share in per cent with one place; 0 and 100 only where it is exactly that."""
    known = finite(value)
    if known is None:
        return NOTHING
    if known in (0.0, 1.0):
        return f"{_PER_CENT * known:.0f}"
    if 0.0 < known < _SMALL / 2:
        return "<0.1"
    if 1.0 - _SMALL / 2 <= known < 1.0:
        return ">99.9"
    return f"{_PER_CENT * known:.1f}"


def count(value: int | None) -> str:
    """Return a whole number with its thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def age(age_ms: int | None) -> str:
    """Return an age as the config writes durations."""
    return NOTHING if age_ms is None else format_duration(age_ms)


def zone_of(timezone: str) -> tzinfo:
    """Return the loop's time zone; UTC where this machine does not know it, so that the page still comes."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(at_ms: int | None, zone: tzinfo) -> str:
    """Return an instant in the loop's time zone, with the offset that was in force."""
    if at_ms is None:
        return NOTHING
    try:
        at = datetime.fromtimestamp(at_ms / 1000, zone)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
    offset = f"{at:%z}"
    return f"{at:%Y-%m-%d %H:%M} " + ("UTC" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}")


def plain_text(text: str) -> str:
    """Return text of the data without what a terminal would obey: control characters are shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
