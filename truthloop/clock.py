"""Moments that people type, and the one place where the product reads the wall clock."""

import time
from datetime import datetime

from schemas.errors import ConfigError

__all__ = ["moment_ms", "now_ms"]


def moment_ms(text: str, option: str) -> int:
    """Return the epoch milliseconds of an ISO 8601 moment with an offset.

    Args:
        text: what was typed, for instance '2014-01-03T00:00:00Z'.
        option: where it was typed, for the message.

    Raises:
        ConfigError: not such a moment.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(
            f"{text!r} is not a moment with a time zone",
            where=option,
            hint="Write for instance 2014-01-03T00:00:00Z, or 2014-01-03T00:00:00-05:00.",
        )
    return round(moment.timestamp() * 1000)


def now_ms() -> int:
    """Return the present in epoch milliseconds."""
    return time.time_ns() // 1_000_000
