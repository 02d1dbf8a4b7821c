"""Reads the values of a topic by a schema that is a file, without a registry."""

from pathlib import Path

from schemas.config.schema_file import SchemaFileConfig
from schemas.errors import ConfigError
from streams.readers.avro import AvroDecoder, AvroSchemaError
from streams.readers.format import Decoder, ValueFormat
from streams.readers.schema_id import FileId, Located, MessageHeaders, Part, skip_schema_id

__all__ = ["schema_file_format"]


def schema_file_format(config: SchemaFileConfig, folder: Path) -> ValueFormat:
    """Return what reads values by the schema of a file.

    Args:
        folder: that the file's name begins at.

    Raises:
        ConfigError: the file cannot be read, is no schema, or lacks the message; or Protobuf is not installed.
    """
    path = folder / config.file
    try:
        decoder = _decoder(path.read_bytes(), config.message, path)
    except OSError as error:
        raise ConfigError(f"cannot be read: {(error.strerror or '').lower()}", where=str(path)) from None
    schema = FileId(path.name)

    def locate(value: bytes, _headers: MessageHeaders, _part: Part) -> Located | None:
        payload = value if config.header == "none" else skip_schema_id(value)
        return None if payload is None else Located(schema, payload)

    return ValueFormat(lambda _schema: decoder, locate)


def _decoder(content: bytes, message: str | None, path: Path) -> Decoder:
    """Return the decoder of a schema: of Avro, or of a message of Protobuf."""
    if message is None:
        try:
            return AvroDecoder(content.decode())
        except (AvroSchemaError, UnicodeDecodeError) as error:
            raise ConfigError(str(error), where=str(path)) from None
    try:
        from streams.readers.protobuf import MessageDecoder, ProtobufSchemaError  # noqa: PLC0415 - it needs the extra
    except ModuleNotFoundError:
        raise ConfigError("needs Protobuf", where=str(path), hint="pip install 'truthloop[protobuf]'") from None
    try:
        return MessageDecoder(content, message)
    except ProtobufSchemaError as error:
        hint = "Write it by protoc --include_imports --descriptor_set_out=FILE."
        raise ConfigError(str(error), where=str(path), hint=hint) from None
