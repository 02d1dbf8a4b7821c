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
        content = path.read_bytes()
        decoder, before = _decoder(content, config.message)
    except OSError as error:
        raise ConfigError(f"cannot be read: {(error.strerror or '').lower()}", where=str(path)) from None
    except (AvroSchemaError, UnicodeDecodeError) as error:
        raise ConfigError(str(error), where=str(path)) from None
    except _DescriptorsError as error:
        raise ConfigError(error.what, where=str(path), hint=error.hint) from None
    schema = FileId(path.name)

    def locate(value: bytes, _headers: MessageHeaders = None, _part: Part = "value") -> Located | None:
        payload = value if config.header == "none" else skip_schema_id(value)
        return None if payload is None else Located(schema, before + payload)

    return ValueFormat(lambda _schema: decoder, locate)


class _DescriptorsError(ValueError):
    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def _decoder(content: bytes, message: str | None) -> tuple[Decoder, bytes]:
    """Return the decoder of a schema, and what it expects in front of a record."""
    if message is None:
        return AvroDecoder(content.decode()), b""
    try:
        from streams.readers.protobuf import ProtobufSchemaError, decoder_of_message  # noqa: PLC0415 - it needs the extra
    except ModuleNotFoundError:
        raise _DescriptorsError("needs Protobuf", "pip install 'truthloop[protobuf]'") from None
    try:
        return decoder_of_message(content, message)
    except ProtobufSchemaError as error:
        hint = "Write it by protoc --include_imports --descriptor_set_out=FILE."
        raise _DescriptorsError(str(error), hint) from None
