"""A hook as users write them; some records make it raise, or kill the process."""

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["key_as_id", "to_prediction"]


def to_prediction(record: dict[str, Any], meta: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Return one canonical prediction of a record, two, or none."""
    value = record.get("value") if meta else None
    if value == "abort":
        os.abort()
    if value == "exit":
        os._exit(9)
    if value == "raise":
        raise ValueError(str(record))
    if value is None:
        return None
    made = {"v": 1, "key": record["key"], "time": record["t"], "version": "v", "outputs": {"fraud": 0.5}}
    return [made, made | {"id": "shadow", "version": "w"}] if isinstance(value, float) else made


def key_as_id(record: dict[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction whose id is the record's Kafka key."""
    return {"v": 1, "key": "a", "id": str(meta["key"]), "time": record["t"], "version": "v", "outputs": {"fraud": 0.5}}
