"""What a schema says of a field: the type of its values as JSON has them, the names of an enum, its documentation."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["FIELDS_MAX", "DeclaredField", "FieldKind", "first_line"]

FieldKind = Literal["text", "whole number", "number", "true or false"]

FIELDS_MAX: Final = 1_000
"""Fields of a schema that are described. A type within itself is described once."""


@dataclass(frozen=True)
class DeclaredField:
    """A field that is no record, list or map.

    Attributes:
        kind: of its values; None if the schema allows several.
        symbols: of an enum, in its order.
        doc: the first line of its documentation.
    """

    kind: FieldKind | None
    symbols: tuple[str, ...] = ()
    doc: str = ""


def first_line(doc: object) -> str:
    """Return the first line of a documentation; nothing if it is no text."""
    return next(iter(doc.strip().splitlines()), "").strip() if isinstance(doc, str) else ""
