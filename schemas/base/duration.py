"""Durations as people write them (`36h`, `7d`, `1h30m`, `P7D`), parsed to whole milliseconds."""

import re
from decimal import Decimal
from typing import Final

__all__ = ["DURATION_MAX_MS", "DURATION_PATTERN", "format_duration", "parse_duration_ms"]

DURATION_MAX_MS = 36_525 * 86_400_000
"""A hundred years: a time of today plus a longer duration could leave the range of dates in the lake."""

_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_NUMBER = r"[0-9]{1,15}(\.[0-9]{1,9})?"
_SHORT_PATTERN = rf"(?=.)({_NUMBER}d)?({_NUMBER}h)?({_NUMBER}m)?({_NUMBER}s)?({_NUMBER}ms)?"
_ISO_PATTERN = r"P(?=.)([0-9]{1,15}W)?([0-9]{1,15}D)?(T(?=.)([0-9]{1,15}H)?([0-9]{1,15}M)?([0-9]{1,15}S)?)?"
DURATION_PATTERN: Final = f"^({_SHORT_PATTERN}|{_ISO_PATTERN})$"
"""Both forms as a regular expression of JSON Schema."""
_SHORT = re.compile(_SHORT_PATTERN)
_SHORT_PART = re.compile(r"([0-9.]+)(ms|[dhms])")
_ISO = re.compile(_ISO_PATTERN)
_ISO_PART = re.compile(r"([0-9]+)([WDHMS])")
_ISO_MS = {"W": 604_800_000, "D": 86_400_000, "H": 3_600_000, "M": 60_000, "S": 1_000}


def parse_duration_ms(text: object) -> int:
    """Parse a duration to milliseconds.

    The forms are the short one, largest unit first and each unit once (`1d12h`, `1.5h`, `250ms`), and ISO 8601 with
    weeks, days, hours, minutes and seconds (`P7D`, `PT36H`).

    Raises:
        ValueError: not a duration, not whole milliseconds, or more than a hundred years; the message shows the forms.
    """
    number = isinstance(text, (int, float)) and not isinstance(text, bool)
    if number:
        raise ValueError(f"{text} has no unit; write {text}s, {text}m, {text}h or {text}d")
    if isinstance(text, str) and _SHORT.fullmatch(text):
        exact = sum(Decimal(number) * _UNITS_MS[unit] for number, unit in _SHORT_PART.findall(text))
    elif isinstance(text, str) and _ISO.fullmatch(text):
        exact = sum(Decimal(number) * _ISO_MS[unit] for number, unit in _ISO_PART.findall(text))
    else:
        raise ValueError(f"{_short(text)} is not a duration; write 90s, 15m, 36h, 7d, 1h30m or P7D")
    if exact > DURATION_MAX_MS:
        raise ValueError(f"{text!r} is more than a hundred years")
    if exact != int(exact):
        raise ValueError(f"{text!r} is not a whole number of milliseconds")
    return int(exact)


def format_duration(ms: int) -> str:
    """Format milliseconds in the short form that `parse_duration_ms` parses.

    >>> format_duration(129_600_000), format_duration(5_400_000), format_duration(0)
    ('1d12h', '1h30m', '0s')
    """
    parts = []
    rest = abs(ms)
    for unit, size in _UNITS_MS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if ms < 0 else "") + ("".join(parts) or "0s")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - about half a line
