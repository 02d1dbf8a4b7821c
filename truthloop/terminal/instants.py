"""Instants that a person types on the command line."""

from datetime import datetime

from schemas.errors import ConfigError

__all__ = ["parse_instant_ms"]


def parse_instant_ms(text: str, option: str) -> int:
    """Return the epoch milliseconds of an ISO 8601 instant with a UTC offset.

    >>> parse_instant_ms("1970-01-01T01:00:01+01:00", "--close")
    1000

    Args:
        text: as typed.
        option: the command line option, for the error message.

    Raises:
        ConfigError: `text` is no such instant.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ConfigError(
            f"{text!r} is not a time with a UTC offset",
            where=option,
            hint="Write for example 2014-01-03T00:00:00Z, or 2014-01-03T00:00:00-05:00.",
        )
    return round(instant.timestamp() * 1000)
