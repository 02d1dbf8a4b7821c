"""CloudEvents in structured mode: the envelope around a canonical message is taken off.

Where a map reads a record, its paths go through the envelope (`data.key`); in binary mode there is none, and the
attributes are headers (`$headers.ce_time`). Must not know canonical fields.
"""

from collections.abc import Iterable
from typing import Any

__all__ = ["unwrapped"]


def unwrapped(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each object, or the data of one that is an event's envelope."""
    return [_data(one) if "specversion" in one else one for one in objects]


def _data(one: dict[str, Any]) -> dict[str, Any]:
    data = one.get("data")
    return data if type(data) is dict and type(one["specversion"]) is str else one
