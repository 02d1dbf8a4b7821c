"""Times in canonical messages: RFC 3339 text with a UTC offset, or whole milliseconds since 1970.

In memory they are Int64 milliseconds since 1970, UTC.
"""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["MOMENT_MAX_MS", "RECORD_TIME_MIN_MS", "Moment", "RecordTime", "parse_moment_ms", "parse_record_time_ms"]

MOMENT_MAX_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z. The least time is 0."""

RECORD_TIME_MIN_MS: Final = 31_536_000_000
"""1971-01-01, the least time of a record: seconds that are read as milliseconds lie in 1970 until the year 2969."""

_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,18})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_TEXT = re.compile(_PATTERN)
_FRACTION = re.compile(r"\.([0-9]+)")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND = timedelta(milliseconds=1)
_CLOCK = slice(11, 19)
_SECOND = slice(17, 19)


def parse_moment_ms(value: object) -> int:
    """Parse a time to milliseconds since 1970; fractions of a millisecond are cut off.

    24:00:00 is the end of the day, and second 60 the next second.

    Raises:
        ValueError: neither text with a UTC offset nor whole milliseconds, or not between 1970 and 9999.
    """
    if isinstance(value, str) and _TEXT.fullmatch(value):
        ms = _text_ms(value.upper())
    elif isinstance(value, int) and not isinstance(value, bool):
        ms = value
    else:
        raise ValueError("a time is text with an offset, such as 2013-01-01T10:00:00Z, or whole milliseconds")
    if not 0 <= ms <= MOMENT_MAX_MS:
        raise ValueError("a time lies between the years 1970 and 9999")
    return ms


def parse_record_time_ms(value: object) -> int:
    """Parse the time of a record as `parse_moment_ms` does.

    Raises:
        ValueError: as there, or before 1971.
    """
    ms = parse_moment_ms(value)
    if ms < RECORD_TIME_MIN_MS:
        raise ValueError("the time of a record is not before 1971; this one looks like seconds")
    return ms


def _text_ms(text: str) -> int:
    fraction = _FRACTION.search(text)
    thousandths = int(fraction[1][:3].ljust(3, "0")) if fraction else 0
    added_ms = 0
    if text[_CLOCK] == "24:00:00" and (fraction is None or not fraction[1].strip("0")):
        text, added_ms = text.replace("T24", "T00"), 86_400_000
    elif text[_SECOND] == "60":
        text, added_ms = f"{text[:17]}59{text[19:]}", 1_000
    elif text[_CLOCK].startswith("24"):
        raise ValueError("of the hour 24 there is only 24:00:00, the end of the day")
    whole = datetime.fromisoformat(_FRACTION.sub("", text))
    return (whole - _EPOCH) // _MILLISECOND + thousandths + added_ms


def _json_schema(least_ms: int) -> dict[str, Any]:
    return {
        "anyOf": [
            {"type": "string", "format": "date-time", "pattern": f"^{_PATTERN}$"},
            {"type": "integer", "minimum": least_ms, "maximum": MOMENT_MAX_MS},
        ]
    }


Moment = Annotated[int, BeforeValidator(parse_moment_ms), WithJsonSchema(_json_schema(0))]
"""Field type: RFC 3339 text or milliseconds in JSON, milliseconds in memory."""

RecordTime = Annotated[int, BeforeValidator(parse_record_time_ms), WithJsonSchema(_json_schema(RECORD_TIME_MIN_MS))]
"""Field type of the times that producers give: a `Moment` from 1971 on."""
