"""Recognises the format of a topic's values, and turns those that can be read into JSON texts.

With a Schema Registry the schema that a message names says how its value is read; without one it is read if it is JSON.
Other formats are recognised by their first bytes, for
the reject that names them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from schemas.base.status import RejectReason
from streams.readers.declared_field import DeclaredField
from streams.readers.schema_id import Located, MessageHeaders, Part, SchemaId, has_schema_id, located

__all__ = ["Decoder", "UndecodableError", "Unusable", "ValueFormat", "values_by_schema"]

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


Locate = Callable[[bytes, MessageHeaders, Part], Located | None]
"""Finds which schema a value has, and what is to be read by it."""


class ValueFormat:
    """Turns the values of topics into JSON texts.

    Args:
        decoder_of: returns the decoder of the schema with an id, or why its values cannot be read; None: there is no
            registry.
        locate: finds the schema of any value; None: by its id.
    """

    def __init__(
        self, decoder_of: Callable[[SchemaId], Decoder | Unusable] | None = None, locate: Locate | None = None
    ) -> None:
        self._decoder_of = decoder_of
        self._locate = locate

    @property
    def has_registry(self) -> bool:
        """Whether values are read by the schemas of a registry."""
        return self._decoder_of is not None and self._locate is None

    def texts(
        self,
        values: Sequence[bytes | None],
        missing: bytes = b"",
        headers: Sequence[MessageHeaders] = (),
        part: Part = "value",
    ) -> tuple[list[bytes], dict[int, Unusable]]:
        """Return a JSON text for each value, and by index why a value cannot be read: its text is empty.

        Args:
            values: or keys; None where a message has none.
            missing: the text of those.
            headers: of the messages; empty: none of them has any.
            part: of the messages that `values` are.

        Raises:
            RegistryAway: a schema cannot be read now.
        """
        unusable: dict[int, Unusable] = {}
        texts = [missing if value is None else value for value in values]
        locate = self._locate or located
        for index in self._maybe_located(values, headers):
            place = locate(texts[index], headers[index] if headers else None, part)
            found = texts[index] if place is None else self._text(place)
            if isinstance(found, Unusable):
                unusable[index], found = found, b""
            texts[index] = found
        return texts, unusable

    def _maybe_located(self, values: Sequence[bytes | None], headers: Sequence[MessageHeaders]) -> Iterable[int]:
        """Return the indexes of values that may have a schema: few, where a topic has plain JSON."""
        if self._locate is not None:
            return [index for index, value in enumerate(values) if value is not None]
        found = {index for index, value in enumerate(values) if value and value[:1] == b"\0" and has_schema_id(value)}
        if self._decoder_of is not None:
            found.update(index for index, own in enumerate(headers) if own and values[index] is not None)
        return sorted(found)

    def declared(
        self, values: Sequence[bytes | None], headers: Sequence[MessageHeaders] = ()
    ) -> dict[str, DeclaredField]:
        """Return the fields that the schemas of values declare, by path; of several schemas the greatest id's counts.

        Raises:
            RegistryAway: a schema cannot be read now.
        """
        found: dict[str, DeclaredField] = {}
        if self._decoder_of is None:
            return found
        schemas = values_by_schema(values, headers)
        for schema in sorted(schemas, key=lambda one: one if isinstance(one, int) else 0):
            found |= self.fields_of(schema, schemas[schema][1])
        return found

    def fields_of(self, schema: SchemaId, payload: bytes) -> Mapping[str, DeclaredField]:
        """Return the fields that a schema declares for a record, by path; none if it cannot be read.

        Raises:
            RegistryAway: the schema cannot be read now.
        """
        decoder = None if self._decoder_of is None else self._decoder_of(schema)
        if decoder is None or isinstance(decoder, Unusable):
            return {}
        try:
            return decoder.fields(payload)
        except UndecodableError:
            return {}

    def foreign(self, value: bytes) -> Unusable | None:
        """Return the format of a value whose text is no JSON, or None if it is probably broken JSON."""
        place = (self._locate or located)(value, None, "value")
        if place is None:
            return _foreign(value)
        return None if self._decoder_of is not None else _without_registry(place.schema)

    def _text(self, place: Located) -> bytes | Unusable:
        """Return the JSON text of what a schema was named for."""
        if self._decoder_of is None:
            return place.payload if place.payload[:1] == b"{" else _without_registry(place.schema)
        decoder = self._decoder_of(place.schema)
        if isinstance(decoder, Unusable):
            return decoder
        try:
            return decoder.json_text(place.payload)
        except UndecodableError as error:
            return Unusable(RejectReason.UNDECODABLE, f"schema {place.schema}: {error}")


def values_by_schema(
    values: Sequence[bytes | None], headers: Sequence[MessageHeaders] = ()
) -> dict[SchemaId, tuple[int, bytes]]:
    """Return by schema how many values have it, and what is read by it of the first one."""
    found: dict[SchemaId, tuple[int, bytes]] = {}
    for index, value in enumerate(values):
        place = None if value is None else located(value, headers[index] if headers else None)
        if place is not None:
            count, payload = found.get(place.schema, (0, place.payload))
            found[place.schema] = count + 1, payload
    return found


def _without_registry(schema: SchemaId) -> Unusable:
    named = f"Confluent's wire format with schema {schema}, probably Avro or Protobuf"
    detail = f"{named}; without `schema_registry` {_ONLY_JSON}"
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
