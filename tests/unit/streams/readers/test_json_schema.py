"""What a JSON Schema declares; its values are read as they are."""

import json

import pytest

from streams.readers.declared_field import DeclaredField
from streams.readers.json_schema import JsonDecoder

SCHEMA = {
    "$defs": {
        "a/b": {"type": "object", "properties": {"up": {"$ref": "#/$defs/a~1b"}, "n": {"type": "number"}}},
    },
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Who.\nMore.", "title": "not this"},
        "count": {"type": ["null", "integer"], "title": "How many"},
        "late": {"oneOf": [{"type": "null"}, {"type": "boolean"}]},
        "either": {"type": ["string", "integer"]},
        "channel": {"enum": ["WEB", "SHOP", None]},
        "deep": {"$ref": "#/$defs/a~1b"},
        "elsewhere": {"$ref": "https://example.org/x.json"},
        "odd": {"type": "string", "description": 5, "enum": 7},
        "any": True,
    },
}


def test_what_a_schema_declares() -> None:
    """By path, through references in the document, once each."""
    assert JsonDecoder(json.dumps(SCHEMA)).fields(b"") == {
        "id": DeclaredField("text", (), "Who."),
        "count": DeclaredField("whole number", (), "How many"),
        "late": DeclaredField("true or false"),
        "either": DeclaredField(None),
        "channel": DeclaredField("text", ("WEB", "SHOP")),
        "deep.n": DeclaredField("number"),
        "odd": DeclaredField("text"),
    }


@pytest.mark.parametrize("schema", ["{", "[]", '"x"', "[" * 9_999, '{"properties": 5}', '{"$ref": "#/no"}', ""])
def test_what_is_no_schema_declares_nothing(schema: str) -> None:
    """It is not enforced, so it harms nothing."""
    decoder = JsonDecoder(schema)
    assert decoder.fields(b"") == {}
    assert decoder.json_text(b'{"a":1}') == b'{"a":1}'
