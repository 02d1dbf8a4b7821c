"""Recognises the format of a topic's values, and turns those that can be read into JSON texts.

A value in Confluent's wire format begins with a zero byte and the id of its schema. With a Schema Registry the schema
says how the rest is read; without one it is read if it is JSON. Other formats are recognised by their first bytes, for
the reject that names them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from schemas.base.status import RejectReason
from streams.readers.declared_field import DeclaredField

__all__ = ["Decoder", "UndecodableError", "Unusable", "ValueFormat", "has_schema_id", "values_by_schema"]

_HEADER_BYTES: Final = 5
"""The zero byte, and four bytes of the schema id."""

_ONLY_JSON: Final = "only JSON is read"
_MAGIC_BYTES: Final = {
    b"Obj\x01": (RejectReason.AVRO_OR_PROTOBUF, f"an Avro file; {_ONLY_JSON}"),
    b"\xc3\x01": (RejectReason.AVRO_OR_PROTOBUF, f"Avro in single-object encoding; {_ONLY_JSON}"),
    b"\x1f\x8b": (RejectReason.NOT_JSON, f"compressed by its producer (gzip); {_ONLY_JSON}"),
    b"\x28\xb5\x2f\xfd": (RejectReason.NOT_JSON, f"compressed by its producer (zstd); {_ONLY_JSON}"),
}
_GLUE_BEGINNINGS: Final = (b"\x03\x00", b"\x03\x05")
"""Version 3, and plain or compressed; the id of the schema's version follows."""
_GLUE_HEADER_BYTES: Final = 18
_TEXT_CONTROLS: Final = b"\t\n\r"
_FIRST_PRINTABLE: Final = 0x20


class Unusable(NamedTuple):
    """Why a value cannot be read; `detail` repeats no payload."""

    reason: RejectReason
    detail: str


class UndecodableError(ValueError):
    """Bytes that are no record of their schema; the message repeats none of them."""


class Decoder(Protocol):
    """Reads the values of one schema."""

    def json_text(self, payload: bytes) -> bytes:
        """Return a record, without the header of its value, as JSON text.

        Raises:
            UndecodableError: the bytes are not one whole record of the schema.
        """

    def fields(self, payload: bytes) -> Mapping[str, DeclaredField]:
        """Return the fields that the schema declares for a record, by path."""


class ValueFormat:
    """Turns the values of topics into JSON texts.

    Args:
        decoder_of: returns the decoder of the schema with an id, or why its values cannot be read; None: there is no
            registry.
    """

    def __init__(self, decoder_of: Callable[[int], Decoder | Unusable] | None = None) -> None:
        self._decoder_of = decoder_of

    @property
    def has_registry(self) -> bool:
        """Whether values are read by the schemas of a registry."""
        return self._decoder_of is not None

    def texts(self, values: Sequence[bytes | None], missing: bytes = b"") -> tuple[list[bytes], dict[int, Unusable]]:
        """Return a JSON text for each value, and by index why a value cannot be read: its text is empty.

        Args:
            values: None where a message has none.
            missing: the text of those.

        Raises:
            RegistryAway: a schema cannot be read now.
        """
        unusable: dict[int, Unusable] = {}
        texts = [missing if value is None else value for value in values]
        for index in [index for index, text in enumerate(texts) if text[:1] == b"\0" and has_schema_id(text)]:
            found = self._text(texts[index])
            if isinstance(found, Unusable):
                unusable[index], found = found, b""
            texts[index] = found
        return texts, unusable

    def declared(self, values: Sequence[bytes | None]) -> dict[str, DeclaredField]:
        """Return the fields that the schemas of values declare, by path; of several schemas the greatest id's counts.

        Raises:
            RegistryAway: a schema cannot be read now.
        """
        found: dict[str, DeclaredField] = {}
        if self._decoder_of is None:
            return found
        for number, (_count, payload) in sorted(values_by_schema(values).items()):
            decoder = self._decoder_of(number)
            with suppress(UndecodableError):
                found |= {} if isinstance(decoder, Unusable) else decoder.fields(payload)
        return found

    def foreign(self, value: bytes) -> Unusable | None:
        """Return the format of a value whose text is no JSON, or None if it is probably broken JSON."""
        if not has_schema_id(value):
            return _foreign(value)
        return None if self._decoder_of is not None else _without_registry(value)

    def _text(self, value: bytes) -> bytes | Unusable:
        """Return the JSON text in Confluent's wire format."""
        payload, schema = value[_HEADER_BYTES:], _schema_id(value)
        if self._decoder_of is None:
            return payload if payload[:1] == b"{" else _without_registry(value)
        decoder = self._decoder_of(schema)
        if isinstance(decoder, Unusable):
            return decoder
        try:
            return decoder.json_text(payload)
        except UndecodableError as error:
            return Unusable(RejectReason.UNDECODABLE, f"schema {schema}: {error}")


def values_by_schema(values: Sequence[bytes | None]) -> dict[int, tuple[int, bytes]]:
    """Return by schema id how many values have it, and the first one's bytes behind the header."""
    found: dict[int, tuple[int, bytes]] = {}
    for value in values:
        if value is not None and has_schema_id(value):
            count, payload = found.get(_schema_id(value), (0, value[_HEADER_BYTES:]))
            found[_schema_id(value)] = count + 1, payload
    return found


def has_schema_id(value: bytes) -> bool:
    """Tell whether bytes begin as Confluent's wire format does."""
    return value[:1] == b"\0" and len(value) >= _HEADER_BYTES


def _schema_id(value: bytes) -> int:
    return int.from_bytes(value[1:_HEADER_BYTES], "big")


def _without_registry(value: bytes) -> Unusable:
    schema = f"Confluent's wire format with schema {_schema_id(value)}, probably Avro or Protobuf"
    detail = f"{schema}; without `schema_registry` {_ONLY_JSON}"
    return Unusable(RejectReason.AVRO_OR_PROTOBUF, detail)


def _foreign(value: bytes) -> Unusable | None:
    if value.startswith(_GLUE_BEGINNINGS) and len(value) >= _GLUE_HEADER_BYTES:
        version = UUID(bytes=value[2:_GLUE_HEADER_BYTES])
        detail = f"AWS Glue's wire format with schema version {version}, which is not read"
        return Unusable(RejectReason.AVRO_OR_PROTOBUF, detail)
    for magic, found in _MAGIC_BYTES.items():
        if value.startswith(magic):
            return Unusable(*found)
    if value.lstrip()[:1] not in (b"{", b"[") and _is_binary(value):
        detail = f"binary data without a schema id, such as Avro or Protobuf; {_ONLY_JSON}"
        return Unusable(RejectReason.AVRO_OR_PROTOBUF, detail)
    return None


def _is_binary(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return any(byte < _FIRST_PRINTABLE and byte not in _TEXT_CONTROLS for byte in value)
