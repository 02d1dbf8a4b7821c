"""Time zones that a config may name: those of the IANA database that Python, Polars and DuckDB know."""

from functools import cache
from zoneinfo import available_timezones

from schemas.base.problem import nearest

__all__ = ["known_zone"]

_NO_ZONES = frozenset({"localtime", "Factory"})
"""The machine's own zone, and the one before any is set: Python lists both, and Polars knows neither."""


def known_zone(name: str) -> str:
    """Return `name` if it is an IANA time zone.

    Raises:
        ValueError: it is not; the message names the nearest zone.
    """
    if name in _zones():
        return name
    best = nearest(name, _zones())
    hint = f"did you mean {best!r}?" if best else "write UTC or Area/City, for instance Europe/Berlin"
    raise ValueError(f"{name!r} is not an IANA time zone; {hint}")


@cache
def _zones() -> frozenset[str]:
    """Return all zones; cached, because finding them reads hundreds of files."""
    return frozenset(available_timezones()) - _NO_ZONES
