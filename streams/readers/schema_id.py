"""Finds which schema of a registry a value or key has: its id stands in front of it, or in a header of the message.

Confluent's wire format is a zero byte and 4 bytes of the id, or a header with a GUID. Apicurio's serializers write the
same with a content id (its Confluent API gives it as the id), 8 bytes of a global id, or headers with either.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
https://www.apicur.io/registry/docs/apicurio-registry/2.6.x/getting-started/assembly-using-kafka-client-serdes.html
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from uuid import UUID

__all__ = [
    "FileId",
    "GlobalId",
    "Located",
    "MessageHeaders",
    "Part",
    "SchemaId",
    "has_schema_id",
    "located",
    "skip_schema_id",
]


class GlobalId(NamedTuple):
    """A global id of Apicurio's, which its Confluent API does not know."""

    number: int

    def __str__(self) -> str:
        return f"with the global id {self.number}"


class FileId(NamedTuple):
    """A schema that is a file; its name."""

    name: str

    def __str__(self) -> str:
        return f"of {self.name}"


SchemaId = int | UUID | GlobalId | FileId
"""An id of Confluent's API, a GUID, a global id, or none of a registry."""

MessageHeaders = Sequence[tuple[str, bytes | None]] | None
"""Headers of one message; None where it has none."""

Part = Literal["value", "key"]


class Located(NamedTuple):
    """The schema of a value, and what is to be read by it."""

    schema: SchemaId
    payload: bytes


_HEADER_BYTES: Final = 5
_GLOBAL_HEADER_BYTES: Final = 9
_GUID_MAGIC: Final = b"\1"
_GUID_HEADER_BYTES: Final = 17
_LONG_BYTES: Final = 8


def has_schema_id(value: bytes) -> bool:
    """Tell whether bytes begin as Confluent's wire format does."""
    return value[:1] == b"\0" and len(value) >= _HEADER_BYTES


def skip_schema_id(value: bytes) -> bytes | None:
    """Return what follows Confluent's header; None if there is none."""
    return value[_HEADER_BYTES:] if has_schema_id(value) else None


def located(value: bytes, headers: MessageHeaders = None, part: Part = "value") -> Located | None:
    """Return the schema that a message names, by a header or in front of the value; None if it names none."""
    if headers and (found := _in_headers(value, headers, part)) is not None:
        return found
    if not has_schema_id(value):
        return None
    number = int.from_bytes(value[1:_HEADER_BYTES], "big")
    if number == 0 and len(value) >= _GLOBAL_HEADER_BYTES:  # ids begin at 1: these are the first of 8 bytes
        return Located(GlobalId(int.from_bytes(value[1:_GLOBAL_HEADER_BYTES], "big")), value[_GLOBAL_HEADER_BYTES:])
    return Located(number, value[_HEADER_BYTES:])


def _in_headers(value: bytes, headers: Sequence[tuple[str, bytes | None]], part: Part) -> Located | None:
    for name, content in headers:
        if content is None:
            continue
        if name == f"__{part}_schema_id" and content[:1] == _GUID_MAGIC and len(content) >= _GUID_HEADER_BYTES:
            # the indexes of a Protobuf message stand behind the GUID, not in front of the message
            guid = UUID(bytes=content[1:_GUID_HEADER_BYTES])
            return Located(guid, content[_GUID_HEADER_BYTES:] + value)
        if len(content) == _LONG_BYTES and name == f"apicurio.{part}.contentId":
            return Located(int.from_bytes(content, "big"), value)
        if len(content) == _LONG_BYTES and name == f"apicurio.{part}.globalId":
            return Located(GlobalId(int.from_bytes(content, "big")), value)
    return None
