"""Keys of Kafka records in the forms of Kafka's own serializers.

Covers `streams.kafka.messages`, `streams.ingest.mapper`.
"""

import json
from uuid import UUID

import pytest
from ingest_case import TIME, loop_with, map_values

from streams.columns.scalar import NON_SCALAR
from streams.kafka.messages import SourceMessages

ONE = UUID("0198c3e0-0000-4000-8000-00000000002a")
KEYS: list[tuple[str, bytes, object]] = [
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
]


@pytest.mark.parametrize(("key_format", "key", "value"), KEYS)
def test_keys_are_decoded(key_format: str, key: bytes, value: object) -> None:
    """An integer stays one; what has another size or form is no key."""
    messages = SourceMessages("t", [b"{}"] * 2, [0] * 2, [0, 1], [-1] * 2, [key, None], [None] * 2)
    assert messages.metadata(["$key"], key_format)["$key"] == [value, None]


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
