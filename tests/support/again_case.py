"""A lake in which a label is told again, and a prediction sent again with other content."""

from pathlib import Path
from typing import Any

from lake_builder import LakeBuilder, hour

__all__ = ["labelled_lake", "send_again", "tell_again"]


def labelled_lake(path: Path) -> LakeBuilder:
    """Return a lake with one prediction of key a and its label of hour 2, at offset 0."""
    found = LakeBuilder(path).predict("a", 0, 0).label("a", 2, 0, value=1.0)
    return found.outcome("a", "joined", 2, 1, label_offset=0, value=1.0)


def tell_again(builder: LakeBuilder, at: float, known: float, offset: int, *, later: bool, **other: Any) -> None:
    """Append a label of key a that tells hour 2 again: a later one corrects, an earlier one is stale."""
    value = other.pop("value", 1.0)
    sequence = other.pop("sequence", 0)
    builder.label("a", at, offset, known_at=hour(known), value=value, **other)
    if later:
        revision = {"reason": "correction", "label_offset": offset, "value": value, "previous": 1.0}
        revision |= {name: text for name, text in other.items() if name == "definition"}
        builder.outcome("a", "joined", known, 10 + offset, previous_status="joined", sequence=sequence, **revision)
    else:
        builder.reject("labels", offset, "stale", kind="fraud", sequence=sequence)


def send_again(builder: LakeBuilder, key: str, arrived: float | None, offset: int, **other: Any) -> None:
    """Append a prediction of hour 0 again, with other content: arrived at an hour, or (None) from a file."""
    at = {} if arrived is None else {"arrived_at": hour(arrived)}
    builder.predict(key, 0, offset, digest=8, **at, **other)
    position = {"partition": other.get("partition", 0), "sequence": other.get("sequence", offset)}
    builder.reject("predictions", offset, "conflict", **position)
