"""Times in canonical messages: RFC 3339 text with a UTC offset, or whole milliseconds since 1970.

In memory they are Int64 milliseconds since 1970, UTC.
"""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["MOMENT_MAX_MS", "Moment", "parse_moment_ms"]

MOMENT_MAX_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z. The least time is 0: one before 1970 has a wrong unit."""

_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,18})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_TEXT = re.compile(_PATTERN)
_FRACTION = re.compile(r"\.([0-9]+)")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND = timedelta(milliseconds=1)


def parse_moment_ms(value: object) -> int:
    """Parse a time to milliseconds since 1970; fractions of a millisecond are cut off.

    Raises:
        ValueError: neither text with a UTC offset nor whole milliseconds, or not between 1970 and 9999.
    """
    if isinstance(value, str) and _TEXT.fullmatch(value):
        fraction = _FRACTION.search(value)
        thousandths = int(fraction[1][:3].ljust(3, "0")) if fraction else 0
        whole = datetime.fromisoformat(_FRACTION.sub("", value.upper()))
        ms = (whole - _EPOCH) // _MILLISECOND + thousandths
    elif isinstance(value, int) and not isinstance(value, bool):
        ms = value
    else:
        raise ValueError("a time is text with an offset, such as 2013-01-01T10:00:00Z, or whole milliseconds")
    if not 0 <= ms <= MOMENT_MAX_MS:
        raise ValueError("a time lies between the years 1970 and 9999")
    return ms


_JSON_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "date-time", "pattern": f"^{_PATTERN}$"},
        {"type": "integer", "minimum": 0, "maximum": MOMENT_MAX_MS},
    ]
}

Moment = Annotated[int, BeforeValidator(parse_moment_ms), WithJsonSchema(_JSON_SCHEMA)]
"""Field type: RFC 3339 text or milliseconds in JSON, milliseconds in memory."""
