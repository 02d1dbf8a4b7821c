"""Values of a JSON Schema, which are JSON texts; and the fields that it declares, for who drafts a map of them.

https://json-schema.org/draft/2020-12/schema
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from streams.readers.declared_field import FIELDS_MAX, DeclaredField, FieldKind, first_line

__all__ = ["JsonDecoder"]

_KINDS: Final[dict[str, FieldKind]] = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}


class JsonDecoder:
    """Reads the values of a JSON Schema. The schema is not enforced, so one that is none harms nothing.

    Args:
        schema: as JSON text.
    """

    def __init__(self, schema: str) -> None:
        try:
            self._schema = json.loads(schema)
        except (ValueError, RecursionError):
            self._schema = None

    def json_text(self, payload: bytes) -> bytes:
        """Return the payload."""
        return payload

    def fields(self, _payload: bytes) -> dict[str, DeclaredField]:
        """Return the fields of the schema by path; references to other documents are left out."""
        return dict(islice(self._declared(self._schema, "", ()), FIELDS_MAX))

    def _declared(self, schema: object, path: str, above: tuple[str, ...]) -> Iterator[tuple[str, DeclaredField]]:
        """Yield the fields of a part of the schema; `above` are the references that led to it."""
        if not isinstance(schema, dict):
            return
        for name in ("oneOf", "anyOf"):
            if isinstance(schema.get(name), list):
                branches = [one for one in schema[name] if not (isinstance(one, dict) and one.get("type") == "null")]
                if len(branches) == 1 and isinstance(branches[0], dict):
                    schema = {**schema, name: None, **branches[0]}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference not in above:
                yield from self._declared(self._target(reference), path, (*above, reference))
        elif isinstance(schema.get("properties"), dict):
            for name, below in schema["properties"].items():
                yield from self._declared(below, f"{path}.{name}" if path else str(name), above)
        elif path:
            yield path, _field(schema)

    def _target(self, reference: str) -> object:
        """Return what a reference within the document names."""
        found: object = self._schema
        for part in reference.removeprefix("#/").split("/") if reference.startswith("#/") else ("",):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        return found


def _field(schema: dict[str, Any]) -> DeclaredField:
    types = schema.get("type")
    names = [one for one in (types if isinstance(types, list) else [types]) if one != "null"]
    symbols = schema.get("enum")
    texts = tuple(one for one in symbols if isinstance(one, str)) if isinstance(symbols, list) else ()
    kind = _KINDS.get(str(names[0])) if len(names) == 1 else None
    doc = next((schema[name] for name in ("description", "title") if isinstance(schema.get(name), str)), "")
    return DeclaredField("text" if texts else kind, texts, first_line(doc))
