"""Where a message names its schema: in front of the value or in a header, as Confluent and Apicurio write it."""

from uuid import UUID

import pytest

from schemas.base.status import RejectReason
from streams.readers.avro import AvroDecoder
from streams.readers.format import Decoder, Unusable, ValueFormat, values_by_schema
from streams.readers.schema_id import GlobalId, Located, MessageHeaders, located

GUID = UUID("0198c3e0-0000-4000-8000-00000000002a")
SEVEN = (7).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("value", "headers", "found"),
    [
        (b"\0\0\0\0\x05x", None, Located(5, b"x")),
        (b"\0\0\0\0\x05", None, Located(5, b"")),
        (b"\0\xff\xff\xff\xff", None, Located(2**32 - 1, b"")),
        (b"\0\0\0\0\x05x", [("trace", b"1")], Located(5, b"x")),
        (b"\0\0\0\0", None, None),
        (b"{}", None, None),
        (b"", None, None),
        (b"\0" + SEVEN + b"x", None, Located(GlobalId(7), b"x")),
        (b"\0\0\0\0\0abc", None, Located(0, b"abc")),
        (b"x", [("apicurio.value.globalId", SEVEN)], Located(GlobalId(7), b"x")),
        (b"x", [("apicurio.value.contentId", SEVEN)], Located(7, b"x")),
        (b"x", [("apicurio.value.contentId", b"7")], None),
        (b"x", [("apicurio.key.contentId", SEVEN)], None),
        (b"x", [("apicurio.value.contentId", None)], None),
        (b"x", [("__value_schema_id", b"\1" + GUID.bytes)], Located(GUID, b"x")),
        (b"x", [("__value_schema_id", b"\1" + GUID.bytes + b"\2\2")], Located(GUID, b"\2\2x")),
        (b"x", [("__value_schema_id", b"\0" + GUID.bytes)], None),
        (b"x", [("__value_schema_id", b"\1" + GUID.bytes[1:])], None),
        (b"\0\0\0\0\x05x", [("__value_schema_id", b"\1" + GUID.bytes)], Located(GUID, b"\0\0\0\0\x05x")),
    ],
)
def test_the_schema_of_a_value(value: bytes, headers: MessageHeaders, found: Located | None) -> None:
    """A header counts before what stands in front."""
    assert located(value, headers) == found


def test_the_schema_of_a_key() -> None:
    """By the headers of keys alone."""
    headers = [("__key_schema_id", b"\1" + GUID.bytes), ("apicurio.value.contentId", SEVEN)]
    assert located(b"x", headers, "key") == Located(GUID, b"x")
    assert located(b"x", headers, "value") == Located(7, b"x")


def test_values_by_the_schemas_of_their_headers() -> None:
    """Among others that have none; without a registry headers mean nothing."""
    known: dict[object, Decoder] = {GUID: AvroDecoder('"string"'), 7: AvroDecoder('"long"')}
    form = ValueFormat(lambda schema: known.get(schema, Unusable(RejectReason.UNKNOWN_SCHEMA, f"no {schema}")))
    values = [b"\x02a", b"\x0a", b"{}", None, b"\x0a"]
    headers: list[MessageHeaders] = [
        [("__value_schema_id", b"\1" + GUID.bytes)],
        [("apicurio.value.contentId", SEVEN)],
        [("trace", b"1")],
        [("apicurio.value.contentId", SEVEN)],
        [("apicurio.value.globalId", SEVEN)],
    ]
    texts, unusable = form.texts(values, b"null", headers)
    assert texts == [b'"a"', b"5", b"{}", b"null", b""]
    assert {index: one.detail for index, one in unusable.items()} == {4: "no with the global id 7"}
    assert ValueFormat().texts(values, b"null", headers)[0] == [b"\x02a", b"\x0a", b"{}", b"null", b"\x0a"]
    assert values_by_schema([b"\0\0\0\0\x05a", b"\0\0\0\0\x05b"]) == {5: (2, b"a")}
    assert values_by_schema(values, headers) == {GUID: (1, b"\x02a"), 7: (1, b"\x0a"), GlobalId(7): (1, b"\x0a")}
