"""Protobuf schemas of a registry: compiled with what they import, by names that come from the registry."""

import json
from pathlib import Path

import pytest

from schemas.base.status import RejectReason
from schemas.errors import RegistryAway
from streams.readers.format import Unusable
from streams.readers.protobuf import ProtobufDecoder
from streams.readers.schema_id import GlobalId, SchemaId
from streams.registry import protobuf_compiler
from streams.registry.client import ReferencedSchema, RegisteredSchema
from streams.registry.protobuf_compiler import FILE, ProtobufTextError, compiled
from streams.registry.schemas import RegistryDecoders

COMMON = ReferencedSchema("acme/common.proto", 'syntax = "proto3"; package acme; message Model { string name = 1; }')
SCORE = """syntax = "proto3";
import "acme/common.proto"; import "google/type/date.proto"; import "google/protobuf/timestamp.proto";
message Score { acme.Model model = 1; google.type.Date day = 2; google.protobuf.Timestamp at = 3; }
"""


class Registry:
    """A registry with one schema."""

    def __init__(self, schema: RegisteredSchema) -> None:
        self._schema = schema

    def schema(self, schema: SchemaId) -> RegisteredSchema | None:
        """Return it for every id."""
        del schema
        return self._schema


def decoders(schema: RegisteredSchema) -> RegistryDecoders:
    """Return the decoders of a registry with one schema."""
    return RegistryDecoders(Registry(schema), lambda: 0.0)


def test_imports_are_those_of_the_registry_and_googles_own() -> None:
    """By the names that the schema gives them."""
    decoder = ProtobufDecoder(compiled(SCORE, [COMMON]), FILE)
    payload = b"\x00\x0a\x03\x0a\x01m\x12\x05\x08\xea\x0f\x10\x0c\x1a\x02\x08\x01"
    assert json.loads(decoder.json_text(payload)) == {
        "model": {"name": "m"},
        "day": {"year": 2026, "month": 12, "day": 0},
        "at": "1970-01-01T00:00:01Z",
    }


@pytest.mark.parametrize(
    ("text", "referenced", "says"),
    [
        ("message {", (), FILE),
        (SCORE, (), "acme/common.proto"),
        (SCORE, (COMMON, COMMON), "two references"),
        (SCORE, (ReferencedSchema("../outside.proto", ""),), "no path of an import"),
        (SCORE, (ReferencedSchema("/outside.proto", ""),), "no path of an import"),
        (SCORE, (ReferencedSchema("", ""),), "no path of an import"),
        (SCORE, (ReferencedSchema("x\0y", ""),), "no path of an import"),
        (SCORE, (ReferencedSchema("x" * 5_000, ""),), "cannot be used"),
        (SCORE, (ReferencedSchema(FILE, ""),), "two references"),
        (SCORE, (COMMON, ReferencedSchema("acme/common.proto/x", "")), "cannot be used"),
        (SCORE, (ReferencedSchema("a.proto", "\ud800"),), "cannot be used"),
    ],
)
def test_what_cannot_be_compiled(text: str, referenced: tuple[ReferencedSchema, ...], says: str) -> None:
    """It is named in one line; the folder of this machine is not."""
    with pytest.raises(ProtobufTextError, match=says) as caught:
        compiled(text, referenced)
    assert "truthloop-protobuf-" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schema_that_does_not_compile_rejects_its_records() -> None:
    """Waiting would not help: an id means the same schema for ever."""
    found = decoders(RegisteredSchema("PROTOBUF", SCORE))(4)
    assert isinstance(found, Unusable)
    assert found.reason == RejectReason.UNKNOWN_SCHEMA
    assert "schema 4" in found.detail
    assert "acme/common.proto" in found.detail


def test_apicurios_own_form_is_named() -> None:
    """Its serializer writes the name of the message where Confluent's writes indexes."""
    found = decoders(RegisteredSchema("PROTOBUF", SCORE, (COMMON,)))(GlobalId(4))
    assert isinstance(found, Unusable)
    assert found.reason == RejectReason.AVRO_OR_PROTOBUF
    assert "schema with the global id 4 is Protobuf in Apicurio's own form" in found.detail


def test_without_the_extra_ingest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is rejected for what an operator can install; the message says how."""
    monkeypatch.setattr(protobuf_compiler, "is_compiler_installed", lambda: False)
    with pytest.raises(RegistryAway, match="schema 4") as caught:
        decoders(RegisteredSchema("PROTOBUF", SCORE, (COMMON,)))(4)
    assert "truthloop[protobuf]" in str(caught.value)


def test_a_compiler_that_does_not_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is ended, and its schema is not read."""
    monkeypatch.setattr(protobuf_compiler, "TIMEOUT_S", 0.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(ProtobufTextError, match="no answer"):
        compiled(SCORE, [COMMON])
