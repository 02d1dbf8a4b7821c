"""Keys of Kafka records in the forms of Kafka's own serializers.

Covers `streams.kafka.messages`, `streams.ingest.mapper`.
"""

import json
from uuid import UUID

import pytest
from ingest_case import TIME, loop_with, map_values

from schemas.base.status import RejectReason
from schemas.config.record_metadata import KeyFormat
from schemas.errors import RegistryAway
from streams.columns.scalar import NON_SCALAR
from streams.kafka.messages import SourceMessages
from streams.readers.avro import AvroDecoder
from streams.readers.format import Decoder, Unusable, ValueFormat

ONE = UUID("0198c3e0-0000-4000-8000-00000000002a")
KEYS: list[tuple[KeyFormat, bytes, object]] = [
    ("text", b"a", "a"),
    ("text", b"\xff", NON_SCALAR),
    ("int32", b"\x00\x00\x00\x2a", 42),
    ("int32", b"\xff\xff\xff\xff", -1),
    ("int32", b"\x00\x00\x00\x00\x00\x00\x00\x2a", NON_SCALAR),
    ("int64", b"\x00\x00\x00\x00\x00\x00\x00\x2a", 42),
    ("int64", (2**63 - 1).to_bytes(8, "big"), 2**63 - 1),
    ("int64", b"42", NON_SCALAR),
    ("uuid", ONE.bytes, str(ONE)),
    ("uuid", str(ONE).upper().encode(), str(ONE)),
    ("uuid", b"\x01", NON_SCALAR),
    ("json", b"42", 42),
    ("json", b'"a"', "a"),
    ("json", b'{"a":1}', {"a": 1}),
    ("json", b'\0\0\0\0\x05{"a":1}', {"a": 1}),
    ("json", b"a", NON_SCALAR),
    ("json", b"", NON_SCALAR),
    ("json", b'"\xff"', NON_SCALAR),
    ("json", b"[" * 9_999, NON_SCALAR),
    ("registry", b"\0\0\0\0\x01\x54", {"id": 42}),
    ("registry", b"\0\0\0\0\x02\x02a", "a"),
    ("registry", b"\0\0\0\0\x01", NON_SCALAR),
    ("registry", b"\0\0\0\0\x07\x54", NON_SCALAR),
    ("registry", b"a", NON_SCALAR),
]


AVRO = {
    1: AvroDecoder('{"type":"record","name":"R","fields":[{"name":"id","type":"int"}]}'),
    2: AvroDecoder('"string"'),
}
SCHEMAS = ValueFormat(lambda number: AVRO.get(number, Unusable(RejectReason.UNKNOWN_SCHEMA, "no such schema")))


@pytest.mark.parametrize(("key_format", "key", "value"), KEYS)
def test_keys_are_decoded(key_format: KeyFormat, key: bytes, value: object) -> None:
    """An integer stays one; what has another size or form is no key."""
    messages = SourceMessages("t", [b"{}"] * 2, [0] * 2, [0, 1], [-1] * 2, [key, None], [None] * 2)
    assert messages.metadata(["$key"], key_format, SCHEMAS)["$key"] == [value, None]


def test_the_fields_of_a_key() -> None:
    """A key that is no object has none; a name with a dot is one name."""
    keys = [b'{"a":{"b":1},"c.d":2}', b"5", None, b"torn", b'{"a":7}']
    messages = SourceMessages("t", [b"{}"] * 5, [0] * 5, list(range(5)), [-1] * 5, keys, [None] * 5)
    found = messages.metadata(["$key.a.b", "$key.c.d", "$key.a"], "json")
    assert found["$key.a.b"] == [1, None, None, None, None]
    assert found["$key.c.d"] == [2, None, None, None, None]
    assert found["$key.a"] == [{"b": 1}, None, None, None, 7]


def test_a_registry_that_is_away_holds_keys_too() -> None:
    """What cannot be read now is read later."""

    def away(number: int) -> Decoder:
        raise RegistryAway(f"no schema {number}")

    messages = SourceMessages("t", [b"{}"], [0], [0], [-1], [b"\0\0\0\0\x01\x54"], [None])
    assert messages.metadata(["$offset"], "registry", ValueFormat(away)) == {"$offset": [0]}
    with pytest.raises(RegistryAway):
        messages.metadata(["$key.id"], "registry", ValueFormat(away))


def test_the_schema_of_a_key_in_a_header() -> None:
    """Not that of the value."""
    headers = [
        [("apicurio.value.contentId", (2).to_bytes(8, "big")), ("apicurio.key.contentId", (1).to_bytes(8, "big"))]
    ]
    messages = SourceMessages("t", [b"{}"], [0], [0], [-1], [b"\x54"], headers)
    assert messages.metadata(["$key.id"], "registry", SCHEMAS) == {"$key.id": [42]}


def test_records_by_a_field_of_their_key() -> None:
    """In a condition, as the key, and for a message without a value."""
    source = {
        "topic": "t", "as": "labels", "kind": "fraud", "key_format": "json", "tombstone": "retract",
        "where": {"$key.tenant": "a"},
        "map": {"key": "$key.id", "time": {"path": "$timestamp", "unit": "ms"}, "value": {"constant": 1}},
    }  # fmt: skip
    keys = [b'{"tenant":"a","id":7}', b'{"tenant":"b","id":8}', b'{"tenant":"a"}', b'{"tenant":"a","id":9}']
    found = map_values(loop_with(source), [{}, {}, {}, None], keys=keys)
    assert [(key, json.loads(value)["op"]) for key, value in found.labels] == [(b"7", "upsert"), (b"9", "delete")]
    assert [(reject.reason, reject.source_row) for reject in found.rejects] == [("bad_key", 102)]


def test_sources_of_one_topic_may_read_its_keys_in_their_own_form() -> None:
    """A key that a source cannot decode is its reject."""
    fields = {"key": "$key", "time": TIME, "outputs.fraud": {"constant": 0.5}}
    source = {"topic": "t", "as": "predictions", "map": fields, "key_format": "int32"}
    labels = {
        "topic": "t", "as": "labels", "kind": "fraud", "key_format": "int32",
        "where": {"$key": 42}, "map": {"key": "$key", "time": TIME, "value": {"constant": 1}},
    }  # fmt: skip
    as_text = source | {"key_format": "text", "where": {"$key": "7"}}
    keys = [b"\x00\x00\x00\x2a", b"\x00\x00\x00\x07", b"7"]
    found = map_values(loop_with(source, labels, as_text), [{"t": 10**12 + 5}] * 3, keys=keys)
    assert [key for key, _ in found.predictions] == [b"42", b"7", b"7"]
    assert [key for key, _ in found.labels] == [b"42"]
    assert [(reject.reason, reject.source_row) for reject in found.rejects] == [("bad_key", 102)]


def test_a_hook_gets_the_decoded_key() -> None:
    """What cannot be decoded is no key for it."""
    source = {"topic": "t", "as": "predictions", "map": {"python": "ingest_hook:key_as_id"}, "key_format": "int64"}
    found = map_values(loop_with(source), [{"t": 10**12 + 5}] * 2, keys=[(2**40).to_bytes(8, "big"), b"x"])
    assert [json.loads(value)["id"] for _, value in found.predictions] == [str(2**40), "None"]
