"""A function that maps whole records, as users write them; some records kill or break it."""

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["to_prediction"]


def to_prediction(record: dict[str, Any], meta: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Return a canonical prediction of a record, several, or none."""
    what = record.get("value") if meta else None
    if what == "abort":
        os.abort()
    if what == "exit":
        os._exit(9)
    if what == "raise":
        raise ValueError(str(record))
    if what is None:
        return None
    made = {"v": 1, "key": record["key"], "time": record["t"], "version": "v", "outputs": {"fraud": 0.5}}
    return [made, made | {"id": "shadow", "version": "w"}] if isinstance(what, float) else made
