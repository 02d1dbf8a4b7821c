"""Protobuf messages as JSON texts: what a field means when it is set, not set, or unknown; bytes that are no message.

Messages are written by Protobuf's own library from their JSON form, or by hand where no writer would write them.
"""

import base64
import json
import math
from contextlib import suppress
from typing import Any

import pytest
from effort import examples
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.columns.scalar import NON_SCALAR
from streams.readers.declared_field import DeclaredField
from streams.readers.format import UndecodableError
from streams.readers.protobuf import ProtobufDecoder, ProtobufSchemaError
from streams.registry.protobuf_compiler import FILE, compiled

SCHEMA = """
syntax = "proto3";
package acme;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Channel { UNKNOWN = 0; WEB = 1; SHOP = 2; }
message Other { string name = 1; message Deep { int32 z = 1; message Deeper { string w = 1; } } }
message Score {
  string user_id = 1;
  int64 big = 2;
  uint64 huge = 3;
  double score = 4;
  optional bool late = 5;
  bool fraud = 6;
  bytes blob = 7;
  Channel channel = 8;
  repeated Channel channels = 9;
  repeated Other others = 10;
  map<string, double> features = 11;
  map<bool, Other> by_flag = 12;
  map<int64, Channel> by_number = 13;
  Other other = 14;
  oneof result { string text = 15; int32 number = 16; }
  google.protobuf.Timestamp at = 17;
  google.protobuf.Int64Value wrapped = 18;
  google.protobuf.Struct free = 19;
  google.protobuf.Duration took = 20;
  google.protobuf.Any any = 21;
  Score parent = 22;
  float small = 23;
}
"""
FILES = compiled(SCHEMA, ())
DECODER = ProtobufDecoder(FILES, FILE)
SCORE = b"\x02\x02"
"""One index: the second type."""


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(FILES).file:
        pool.Add(file)
    return pool


POOL = _pool()


def written(document: dict[str, Any], name: str = "acme.Score") -> bytes:
    """Return a message as Protobuf's own library writes what it reads from JSON."""
    message = message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))()
    return bytes(json_format.ParseDict(document, message, descriptor_pool=POOL).SerializeToString())


def read(payload: bytes, indexes: bytes = SCORE) -> dict[str, Any]:
    """Return a message as Python's own decoder reads its JSON text."""
    found: dict[str, Any] = json.loads(DECODER.json_text(indexes + payload))
    return found


PLAIN: dict[str, Any] = {
    "user_id": "",
    "big": 0,
    "huge": 0,
    "score": 0.0,
    "fraud": False,
    "blob": "",
    "channel": "UNKNOWN",
    "channels": [],
    "others": [],
    "features": {},
    "by_flag": {},
    "by_number": {},
    "small": 0.0,
}


def test_a_field_that_is_not_on_the_wire_has_its_default() -> None:
    """A producer leaves out 0, false and empty text: a label of 0 is a label. What has presence is not set."""
    assert read(b"") == PLAIN


def test_what_is_set_means_what_the_schema_says() -> None:
    """Times are ISO text, 64-bit integers numbers, wrappers their values, enums their names."""
    document = {
        "user_id": "u1",
        "big": -(2**63),
        "huge": 2**64 - 1,
        "score": 0.25,
        "late": False,
        "fraud": True,
        "blob": base64.b64encode(b"\x00\xff").decode(),
        "channel": "SHOP",
        "channels": ["WEB", "UNKNOWN"],
        "others": [{"name": "a"}, {"name": ""}],
        "features": {"amount": 1.5},
        "by_flag": {"true": {"name": "yes"}},
        "by_number": {"-7": "WEB"},
        "other": {"name": "o"},
        "number": 0,
        "at": "2026-12-03T10:00:00.123456Z",
        "wrapped": 2**53 + 1,
        "free": {"a": [1, None, {"b": True}]},
        "took": "1.500s",
        "parent": {"user_id": "u0"},
    }
    assert read(written(document)) == PLAIN | document | {"parent": PLAIN | {"user_id": "u0"}}


def test_any_is_its_fields_where_the_schema_has_its_type() -> None:
    """Else its bytes: an unknown type spoils nothing around it."""
    known = {"@type": "type.googleapis.com/acme.Other", "name": "n"}
    assert read(written({"any": known}))["any"] == known
    unknown = b"\xaa\x01\x0a\x0a\x05x.y/Z\x12\x01\x07"
    assert read(unknown)["any"] == {"@type": "x.y/Z", "value": "Bw=="}


def test_a_number_that_the_schema_does_not_name_stays_a_number() -> None:
    """An enum of proto3 is open; a field that the schema does not know is left out."""
    assert read(b"\x40\x63\xf8\x07\x01") == PLAIN | {"channel": 99}


def test_numbers_that_json_has_no_form_for_spoil_their_field() -> None:
    """They are not missing: null would be."""
    found = read(written({"score": "NaN", "features": {"a": "-Infinity"}}))
    assert math.isnan(found["score"])
    assert found["features"] == {"a": -math.inf}
    late = b"\x8a\x01\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x10\x00"
    assert read(late)["at"].startswith(NON_SCALAR)


@pytest.mark.parametrize(
    ("indexes", "name"),
    [(b"\x00", "acme.Other"), (b"\x02\x00", "acme.Other"), (b"\x04\x00\x00", "acme.Other.Deep")],
)
def test_indexes_name_the_type_of_a_message(indexes: bytes, name: str) -> None:
    """A single zero is the first type; several lead into nested ones."""
    document = {"z": 5} if name.endswith("Deep") else {"name": "n"}
    assert read(written(document, name), indexes) == document


def test_three_indexes() -> None:
    """The third level."""
    assert read(b"\x0a\x01w", b"\x06\x00\x00\x00") == {"w": "w"}


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "torn"),
        (b"\x02", "torn"),
        (b"\x80", "torn"),
        (b"\x80" * 11, "torn"),
        (b"\x03", "indexes"),
        (b"\xfe\xff\x03", "indexes"),
        (b"\x02\x20", "no message with the indexes"),
        (b"\x02\x01", "no message with the indexes"),
        (b"\x04\x00\x09", "no message with the indexes"),
        (SCORE + b"\x0a\x05ab", "no message of its schema"),
        (SCORE + b"\x0a\x01\xff", "no message of its schema"),
        (SCORE + b"\xb2\x01\x02" * 3, "no message of its schema"),
        (SCORE + b"\xaa\x01\x10\x0a\x0ax/acme.Other\x12\x02\x0a\x05", "no message of its schema"),
    ],
)
def test_bytes_that_are_no_message(payload: bytes, says: str) -> None:
    """They are said, and no byte of them is repeated."""
    with pytest.raises(UndecodableError, match=says):
        DECODER.json_text(payload)


def test_a_message_in_itself_beyond_any_stack() -> None:
    """Protobuf's own limit of depth ends it."""
    payload = b""
    for _ in range(2_000):
        size, head = len(payload), bytearray(b"\xb2\x01")
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        payload = bytes([*head, size]) + payload
    with pytest.raises(UndecodableError, match="no message of its schema"):
        DECODER.json_text(SCORE + payload)


def test_proto2_defaults_and_required_fields() -> None:
    """A default that the schema names holds where nothing is on the wire."""
    fields = "required int32 a = 1; optional int32 b = 2 [default = 7]; optional int32 c = 3;"
    text = f'syntax = "proto2"; message M {{ {fields} }}'
    decoder = ProtobufDecoder(compiled(text, ()), FILE)
    assert json.loads(decoder.json_text(b"\x00\x08\x01")) == {"a": 1, "b": 7}


def test_what_is_no_set_of_descriptors() -> None:
    """It is refused when it is opened, not with the first message."""
    for files, name in ((b"\xff", FILE), (b"", FILE), (FILES, "other.proto")):
        with pytest.raises(ProtobufSchemaError):
            ProtobufDecoder(files, name)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OTHERS = st.fixed_dictionaries({"name": st.text(max_size=5)})
FIELDS = {
    "user_id": st.text(max_size=8),
    "big": st.integers(-(2**63), 2**63 - 1),
    "huge": st.integers(0, 2**64 - 1),
    "score": NUMBERS,
    "late": st.booleans(),
    "fraud": st.booleans(),
    "blob": st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()),
    "channel": st.sampled_from(["UNKNOWN", "WEB", "SHOP"]),
    "channels": st.lists(st.sampled_from(["UNKNOWN", "WEB", "SHOP"]), max_size=3),
    "others": st.lists(OTHERS, max_size=3),
    "features": st.dictionaries(st.text(max_size=4), NUMBERS, max_size=3),
    "by_flag": st.dictionaries(st.sampled_from(["true", "false"]), OTHERS),
    "by_number": st.dictionaries(st.integers(-9, 9).map(str), st.sampled_from(["WEB", "SHOP"]), max_size=2),
    "other": OTHERS,
    "text": st.text(max_size=4),
    "wrapped": st.integers(-(2**63), 2**63 - 1),
}


@settings(max_examples=examples(200))
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_message_reads_as_the_values_it_was_made_of(document: dict[str, Any]) -> None:
    """Whatever is set, and whatever is not."""
    assert read(written(document)) == PLAIN | document


@settings(max_examples=examples(300))
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """Never another error, which would stop ingest."""
    with suppress(UndecodableError):
        json.loads(DECODER.json_text(payload))


def test_what_a_schema_declares() -> None:
    """By path, with the comment above or behind a field; lists, maps and a type in itself are left out."""
    text = """syntax = "proto3"; package acme; import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto";
    message M {
      // Who it is.
      // More.
      string id = 1;
      Inner inner = 2;
      message Inner { double z = 1; // How deep.
        M up = 2; enum E { NONE = 0; SOME = 1; } E e = 3; }
      google.protobuf.Timestamp at = 3;
      google.protobuf.Int64Value count = 4;
      google.protobuf.Struct free = 5;
      repeated string tags = 6;
      map<string, string> more = 7;
      bool late = 8;
    }"""
    assert ProtobufDecoder(compiled(text, ()), FILE).fields(b"\0") == {
        "id": DeclaredField("text", (), "Who it is."),
        "inner.z": DeclaredField("number", (), "How deep."),
        "inner.e": DeclaredField("text", ("NONE", "SOME")),
        "at": DeclaredField("text"),
        "count": DeclaredField("whole number"),
        "late": DeclaredField("true or false"),
    }
