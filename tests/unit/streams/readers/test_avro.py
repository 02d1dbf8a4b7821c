"""Avro records as JSON texts: what a logical type means, and bytes that are no record of their schema.

The records are written by fastavro's own writer, or by hand where no writer would write them.
"""

import io
import json
import math
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.columns.scalar import NON_SCALAR
from streams.readers.avro import AvroDecoder, AvroSchemaError
from streams.readers.declared_field import DeclaredField
from streams.readers.format import UndecodableError

Type = Any

MOMENT = datetime(2026, 12, 2, 10, 0, 0, 123_000, tzinfo=UTC)
NAIVE = MOMENT.replace(tzinfo=None)
IDENTIFIER = uuid.UUID("0123abcd-0000-4000-8000-000000000007")


def logical(base: str, meaning: str, **more: object) -> Type:
    """Return a type with a logical type."""
    return {"type": base, "logicalType": meaning, **more}


def record(**fields: Type) -> str:
    """Return the schema of a record as text."""
    return json.dumps(
        {"type": "record", "name": "R", "fields": [{"name": name, "type": one} for name, one in fields.items()]}
    )


def written(schema: str, value: object) -> bytes:
    """Return a value as Avro, by another writer than the code under test."""
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(json.loads(schema)), value)
    return target.getvalue()


def zigzag(number: int) -> bytes:
    """Return a number as Avro's variable-length integer."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def read(schema: str, payload: bytes) -> Any:
    """Return the record as Python's own decoder reads its JSON text."""
    return json.loads(AvroDecoder(schema).json_text(payload))


MEANINGS: list[tuple[Type, object, object]] = [
    ("null", None, None),
    ("boolean", True, True),
    ("int", -7, -7),
    ("long", 2**62, 2**62),
    ("float", 0.5, 0.5),
    ("double", 0.1, 0.1),
    ("string", "é\n", "é\n"),
    ("bytes", b"\x00\xff", "AP8="),
    ({"type": "fixed", "name": "F", "size": 2}, b"\x00\xff", "AP8="),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
    ({"type": "array", "items": ["null", "long"]}, [1, None], [1, None]),
    ({"type": "map", "values": "double"}, {"a": 1.5}, {"a": 1.5}),
    (["null", "string"], None, None),
    (["null", "string"], "x", "x"),
    (["null", {"type": "record", "name": "I", "fields": [{"name": "q", "type": "long"}]}], {"q": 1}, {"q": 1}),
    (logical("long", "timestamp-millis"), MOMENT, "2026-12-02T10:00:00.123000Z"),
    (logical("long", "timestamp-micros"), MOMENT, "2026-12-02T10:00:00.123000Z"),
    (["null", logical("long", "timestamp-millis")], MOMENT, "2026-12-02T10:00:00.123000Z"),
    (logical("long", "local-timestamp-millis"), NAIVE, "2026-12-02T10:00:00.123000"),
    (logical("long", "local-timestamp-micros"), NAIVE, "2026-12-02T10:00:00.123000"),
    (logical("int", "date"), date(1969, 12, 31), "1969-12-31"),
    (logical("int", "time-millis"), time(23, 59, 58, 7_000), "23:59:58.007000"),
    (logical("long", "time-micros"), time(1, 2, 3, 4), "01:02:03.000004"),
    (logical("bytes", "decimal", precision=9, scale=2), Decimal("-10.40"), -10.4),
    (logical("bytes", "decimal", precision=18), Decimal(10**17), 10**17),
    (logical("fixed", "decimal", name="D", size=5, precision=9, scale=3), Decimal("1.125"), 1.125),
    (logical("string", "uuid"), IDENTIFIER, str(IDENTIFIER)),
    (logical("fixed", "uuid", name="U", size=16), IDENTIFIER.bytes, str(IDENTIFIER)),
    (logical("string", "something-else"), "x", "x"),
]


@pytest.mark.parametrize(("one", "value", "expected"), MEANINGS)
def test_a_type_means_what_it_means(one: Type, value: object, expected: object) -> None:
    """As a producer of JSON would have written it."""
    schema = record(f=one)
    assert read(schema, written(schema, {"f": value})) == {"f": expected}


def test_times_before_1970_and_finer_than_microseconds() -> None:
    """They are cut off to the microsecond before."""
    schema = record(a=logical("long", "timestamp-millis"), b=logical("long", "timestamp-nanos"))
    found = read(schema, zigzag(-1) + zigzag(-1))
    assert found == {"a": "1969-12-31T23:59:59.999000Z", "b": "1969-12-31T23:59:59.999999Z"}


@pytest.mark.parametrize(
    ("one", "number"),
    [
        (logical("long", "timestamp-millis"), 2**62),
        (logical("long", "local-timestamp-micros"), -(2**62)),
        (logical("int", "date"), 2**30),
        (logical("int", "time-millis"), 86_400_000),
    ],
)
def test_a_time_out_of_range_spoils_its_field_only(one: Type, number: int) -> None:
    """It becomes a text that no conversion accepts, so the field is flagged and the record is kept."""
    schema = record(f=one, g="long")
    assert read(schema, zigzag(number) + zigzag(5)) == {"f": f"{NON_SCALAR}{number}", "g": 5}


def test_a_time_out_of_range_anywhere_in_a_record() -> None:
    """In a union, a list, a map and a record below."""
    moment = logical("long", "timestamp-millis")
    inner = {"type": "record", "name": "I", "fields": [{"name": "t", "type": moment}]}
    schema = record(
        u=["null", moment], a={"type": "array", "items": moment}, m={"type": "map", "values": moment}, r=inner
    )
    far, end = zigzag(2**62), zigzag(0)
    payload = zigzag(1) + far + zigzag(1) + far + end + zigzag(1) + zigzag(1) + b"k" + far + end + far
    bad = f"{NON_SCALAR}{2**62}"
    assert read(schema, payload) == {"u": bad, "a": [bad], "m": {"k": bad}, "r": {"t": bad}}


def test_a_decimal_with_more_digits_than_its_precision_spoils_its_field_only() -> None:
    """Two digits are declared, three are there."""
    schema = record(f=logical("bytes", "decimal", precision=2))
    assert read(schema, zigzag(2) + (100).to_bytes(2, "big")) == {"f": f"{NON_SCALAR}100"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_no_missing_one(value: float) -> None:
    """The encoder of JSON texts writes null for both."""
    schema = record(f=["null", "double"], g={"type": "array", "items": {"type": "map", "values": "double"}})
    found = read(schema, written(schema, {"f": None, "g": [{"x": value}]}))
    assert found["f"] is None
    assert repr(found["g"][0]["x"]) == repr(value)


def test_a_schema_names_others() -> None:
    """Each of them before what names it."""
    inner = json.dumps({"type": "record", "name": "a.Inner", "fields": [{"name": "x", "type": "long"}]})
    middle = json.dumps({"type": "record", "name": "a.Middle", "fields": [{"name": "inner", "type": "a.Inner"}]})
    outer = json.dumps({"type": "record", "name": "a.Outer", "fields": [{"name": "middle", "type": "a.Middle"}]})
    decoder = AvroDecoder(outer, [inner, middle])
    assert json.loads(decoder.json_text(zigzag(4))) == {"middle": {"inner": {"x": 4}}}


SCHEMA = record(
    key="string",
    at=logical("long", "timestamp-millis"),
    amount=["null", logical("bytes", "decimal", precision=9, scale=2)],
    inner={"type": "record", "name": "I", "fields": [{"name": "x", "type": {"type": "array", "items": "double"}}]},
)
VALUE = {"key": "abc", "at": MOMENT, "amount": Decimal("1.25"), "inner": {"x": [1.0, 2.0]}}


def test_a_record_that_ends_too_soon_or_too_late() -> None:
    """At every byte: nothing of it is repeated in the message."""
    payload, decoder = written(SCHEMA, VALUE), AvroDecoder(SCHEMA)
    for length in range(len(payload)):
        with pytest.raises(UndecodableError, match="no record of its schema"):
            decoder.json_text(payload[:length])
    with pytest.raises(UndecodableError, match="2 bytes follow the record"):
        decoder.json_text(payload + b"ab")


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff" * 30,  # a variable-length integer that does not end
        zigzag(-5) + b"abc",  # a negative length
        zigzag(2**60) + b"abc",  # more bytes than there are
        zigzag(1) + b"\xff" + zigzag(0) + zigzag(0) + zigzag(0),  # a text that is not UTF-8
        zigzag(0) + zigzag(0) + zigzag(7) + zigzag(0),  # a branch that the union has not
    ],
)
def test_bytes_that_no_writer_writes(payload: bytes) -> None:
    """They are refused, whatever part finds it."""
    with pytest.raises(UndecodableError, match="no record of its schema"):
        AvroDecoder(SCHEMA).json_text(payload)


@settings(max_examples=examples(2_000), deadline=None)
@given(payload=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """No other error leaves the decoder."""
    try:
        text = AvroDecoder(SCHEMA).json_text(payload)
    except UndecodableError:
        return
    assert set(json.loads(text)) == {"key", "at", "amount", "inner"}


@pytest.mark.parametrize(
    "schema", ["", "{", '"unknown"', '{"type": "record"}', '{"type": "array"}', "[]x", "17", "null"]
)
def test_a_schema_that_is_none(schema: str) -> None:
    """Its kind of error is named."""
    with pytest.raises(AvroSchemaError, match="no Avro schema"):
        AvroDecoder(schema)


def test_what_a_schema_declares() -> None:
    """By path, through unions with null and named types; a record in itself is described once."""
    channel = {"type": "enum", "name": "Channel", "symbols": ["WEB", "SHOP"], "doc": "Where it was bought."}
    inner = {
        "type": "record",
        "name": "Inner",
        "fields": [
            {"name": "day", "type": {"type": "int", "logicalType": "date"}, "doc": "\n The day.\nMore."},
            {"name": "again", "type": ["null", "Inner"]},
            {"name": "channel", "type": ["null", "Channel"], "doc": "of the inner one"},
        ],
    }
    schema = record(
        id="string",
        count=["long", "null"],
        score=["null", "double"],
        either=["null", "int", "string"],
        channel=channel,
        price=logical("bytes", "decimal", precision=9, scale=2),
        whole=logical("bytes", "decimal", precision=9),
        late="boolean",
        inner=inner,
        tags={"type": "array", "items": "string"},
        more={"type": "map", "values": "string"},
    )
    assert AvroDecoder(schema).fields(b"") == {
        "id": DeclaredField("text"),
        "count": DeclaredField("whole number"),
        "score": DeclaredField("number"),
        "either": DeclaredField(None),
        "channel": DeclaredField("text", ("WEB", "SHOP"), "Where it was bought."),
        "price": DeclaredField("number"),
        "whole": DeclaredField("whole number"),
        "late": DeclaredField("true or false"),
        "inner.day": DeclaredField("text", (), "The day."),
        "inner.channel": DeclaredField("text", ("WEB", "SHOP"), "of the inner one"),
    }
