"""Values of a topic by a schema that is a file."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2
from ingest_case import loop_with, map_values, source_messages

from schemas.base.status import RejectReason
from schemas.config.schema_file import SchemaFileConfig
from schemas.errors import ConfigError
from streams.ingest.mapper import TopicMapper
from streams.readers.schema_file import schema_file_format
from streams.registry.protobuf_compiler import ReferencedSchema, compiled
from streams.registry.topic_tools import topic_tools

AVRO = {
    "type": "record",
    "name": "Score",
    "fields": [{"name": "id", "type": "long"}, {"name": "score", "type": "double"}, {"name": "t", "type": "long"}],
}
COMMON = ReferencedSchema("common.proto", 'syntax = "proto3"; package acme; message Common { int64 n = 1; }')
PROTOBUF = """syntax = "proto3"; package acme; import "common.proto";
message First { Common c = 1; } message Second { message Inner { int64 n = 1; } Inner inner = 1; }"""


def avro(number: int) -> bytes:
    """Return a score as Avro, by another writer than the code under test."""
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(AVRO), {"id": number, "score": 0.5, "t": 10**12})
    return target.getvalue()


def read(folder: Path, values: list[bytes | None], **config: Any) -> tuple[list[bytes], dict[int, RejectReason]]:
    """Return the texts of values, and why others cannot be read."""
    form = schema_file_format(SchemaFileConfig(**config), folder)
    texts, unusable = form.texts(values)
    return texts, {index: one.reason for index, one in unusable.items()}


def test_avro_without_a_registry(tmp_path: Path) -> None:
    """Bare, or behind an id that means nothing here."""
    (tmp_path / "score.avsc").write_text('{"type":"record","name":"R","fields":[{"name":"n","type":"int"}]}')
    bare = read(tmp_path, [b"\x0a", None, b"", b"\x0a\x0a", b"\x00"], file="score.avsc")
    assert bare == ([b'{"n":5}', b"", b"", b"", b'{"n":0}'], {2: RejectReason.UNDECODABLE, 3: RejectReason.UNDECODABLE})
    framed = read(tmp_path, [b"\0\0\0\0\x07\x0a", b"{}"], file="score.avsc", header="confluent")
    assert framed == ([b'{"n":5}', b"{}"], {})


def test_protobuf_by_descriptors(tmp_path: Path) -> None:
    """Of any message, in any of the files."""
    (tmp_path / "set.binpb").write_bytes(compiled(PROTOBUF, [COMMON]))
    for message, payload, text in (
        ("acme.Common", b"\x08\x05", b'{"n":5}'),
        ("acme.First", b"\x0a\x02\x08\x05", b'{"c":{"n":5}}'),
        ("acme.Second.Inner", b"\x08\x05", b'{"n":5}'),
        ("acme.Second", b"", b"{}"),
    ):
        assert read(tmp_path, [payload], file="set.binpb", message=message) == ([text], {})


def test_many_message_types(tmp_path: Path) -> None:
    """Their indexes take more than one byte."""
    file = descriptor_pb2.FileDescriptorProto(name="many.proto", syntax="proto3")
    for number in range(9_000):
        file.message_type.add(name=f"M{number}")
    file.message_type[8_500].field.add(name="n", number=1, type="TYPE_INT64", label="LABEL_OPTIONAL")
    (tmp_path / "set.binpb").write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    assert read(tmp_path, [b"\x08\x05"], file="set.binpb", message="M8500") == ([b'{"n":5}'], {})


def test_a_topic_by_its_own_schema(tmp_path: Path) -> None:
    """From its bytes to predictions; a newline is a number here, and no blank line."""
    (tmp_path / "score.avsc").write_text(json.dumps(AVRO))
    fields = {"key": "id", "time": {"path": "t", "unit": "ms"}, "outputs.fraud": "score"}
    source = {"topic": "t", "as": "predictions", "map": fields, "value_schema": {"file": "score.avsc"}}
    config = loop_with(source)
    mapper = TopicMapper("t", config, topic_tools(config, {}, tmp_path))
    found = mapper.map(source_messages([avro(5), b"", avro(6), b"\n", None]), 0)
    assert [key for key, _ in found.predictions] == [b"5", b"6"]
    assert [(one.reason, one.source_row) for one in found.rejects] == [("undecodable", 101), ("undecodable", 103)]
    assert "schema of score.avsc" in (found.rejects[0].detail or "")
    assert map_values(loop_with(source | {"value_schema": None}), [avro(5)]).predictions == []


@pytest.mark.parametrize(
    ("config", "content", "message"),
    [
        ({"file": "no.avsc"}, None, "cannot be read: no such file"),
        ({"file": "a.avsc"}, b"{", "no Avro schema"),
        ({"file": "a.avsc"}, b"\xff", "decode"),
        ({"file": "a.binpb", "message": "M"}, b"\xff", "no descriptors of Protobuf"),
        ({"file": "a.binpb", "message": "M"}, b"", "has no message 'M'"),
    ],
)
def test_a_file_that_is_no_schema(tmp_path: Path, config: dict[str, Any], content: bytes | None, message: str) -> None:
    """It is named before anything is read."""
    if content is not None:
        (tmp_path / config["file"]).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        schema_file_format(SchemaFileConfig(**config), tmp_path)
    assert config["file"] in str(caught.value)


def test_descriptors_without_their_imports(tmp_path: Path) -> None:
    """As protoc writes them without --include_imports."""
    files = descriptor_pb2.FileDescriptorSet.FromString(compiled(PROTOBUF, [COMMON]))
    alone = descriptor_pb2.FileDescriptorSet(file=[one for one in files.file if one.name != "common.proto"])
    (tmp_path / "set.binpb").write_bytes(alone.SerializeToString())
    with pytest.raises(ConfigError, match="--include_imports"):
        schema_file_format(SchemaFileConfig(file="set.binpb", message="acme.First"), tmp_path)
