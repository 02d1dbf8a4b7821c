"""Decoders by schema id: asked for once; an id that is not known is waited for, then rejected, then asked for again."""

import json

import pytest

from schemas.base.status import RejectReason
from schemas.errors import RegistryAway
from streams.readers.format import Unusable, ValueFormat
from streams.registry.client import RegisteredSchema
from streams.registry.schemas import RegistryDecoders

SCHEMA = json.dumps({"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]})


class Registry:
    """Schemas by id, and the ids that were asked for."""

    def __init__(self, **schemas: RegisteredSchema) -> None:
        self.schemas = {int(name.removeprefix("n")): one for name, one in schemas.items()}
        self.asked: list[int] = []

    def schema(self, number: int) -> RegisteredSchema | None:
        """Return a schema."""
        self.asked.append(number)
        return self.schemas.get(number)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def value(number: int, payload: bytes = b"\x0a") -> bytes:
    """Return a value in Confluent's wire format."""
    return b"\0" + number.to_bytes(4, "big") + payload


def test_each_schema_is_asked_for_once() -> None:
    """Avro as its schema says; a JSON Schema's value is JSON behind the header."""
    registry = Registry(n1=RegisteredSchema("AVRO", SCHEMA), n2=RegisteredSchema("JSON", "{}"))
    form = ValueFormat(RegistryDecoders(registry, Clock()))
    texts, unusable = form.texts([value(1), None, value(2, b'{"id":6}'), b'{"id":7}', value(1)], missing=b"{}")
    assert [*map(bytes.decode, texts)] == ['{"id":5}', "{}", '{"id":6}', '{"id":7}', '{"id":5}']
    assert unusable == {}
    assert registry.asked == [1, 2]


def test_what_cannot_be_read_is_said_by_index() -> None:
    """A form that is not read, a text that is no schema, bytes that are no record."""
    registry = Registry(
        n1=RegisteredSchema("THRIFT", "syntax"), n2=RegisteredSchema("AVRO", "{"), n3=RegisteredSchema("AVRO", SCHEMA)
    )
    form = ValueFormat(RegistryDecoders(registry, Clock()))
    texts, unusable = form.texts([value(1), value(2), value(3), value(3, b"\x0a\x0a"), value(1)])
    assert texts == [b"", b"", b'{"id":5}', b"", b""]
    assert {index: one.reason.value for index, one in unusable.items()} == {
        0: "avro_or_protobuf",
        1: "unknown_schema",
        3: "undecodable",
        4: "avro_or_protobuf",
    }
    assert unusable[0].detail == "schema 1 of the registry is of the form THRIFT, which is not read"
    assert unusable[3].detail == "schema 3: 1 bytes follow the record of its schema"
    assert registry.asked == [1, 2, 3]


def test_an_unknown_id_is_waited_for() -> None:
    """For a minute of attempts; known meanwhile, it is read."""
    registry, clock = Registry(), Clock()
    decoders = RegistryDecoders(registry, clock)
    for _ in range(3):
        with pytest.raises(RegistryAway, match="does not know schema 1 yet"):
            decoders(1)
        clock.now_s += 19
    registry.schemas[1] = RegisteredSchema("AVRO", SCHEMA)
    assert not isinstance(decoders(1), Unusable)
    assert registry.asked == [1, 1, 1, 1]


def test_an_id_that_stays_unknown_is_rejected_and_asked_for_again_later() -> None:
    """Once a minute: its records can be read as soon as the schema is there."""
    registry, clock = Registry(), Clock()
    decoders = RegistryDecoders(registry, clock)
    with pytest.raises(RegistryAway):
        decoders(1)
    clock.now_s += 60
    unknown = Unusable(RejectReason.UNKNOWN_SCHEMA, "the registry knows no schema 1")
    assert decoders(1) == unknown
    clock.now_s += 59
    assert decoders(1) == unknown
    assert registry.asked == [1, 1]
    clock.now_s += 1
    assert decoders(1) == unknown
    registry.schemas[1] = RegisteredSchema("AVRO", SCHEMA)
    assert decoders(1) == unknown
    clock.now_s += 60
    assert not isinstance(decoders(1), Unusable)
    assert registry.asked == [1, 1, 1, 1]


def test_without_patience_an_unknown_id_is_rejected_at_once() -> None:
    """A look at samples waits for nothing."""
    decoders = RegistryDecoders(Registry(), Clock(), patience_s=0)
    assert isinstance(decoders(1), Unusable)
