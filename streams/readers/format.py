"""What a topic's values are written in: JSON, or something else that has to be named.

A value in Confluent's wire format begins with a zero byte and the number of its schema; where JSON follows, it is
read. Avro and Protobuf are recognised, so that a reject says what came. Must not parse.
"""

from typing import Final, NamedTuple

from schemas.base.status import RejectReason

__all__ = ["Unusable", "foreign_binary", "json_text_in"]

_HEADER_BYTES: Final = 5
"""The zero byte, and four of the schema's number."""

_BY_NOW: Final = "JSON is read by now"
_HEADS: Final = {
    b"Obj\x01": (RejectReason.AVRO_OR_PROTOBUF, f"an Avro file; {_BY_NOW}"),
    b"\xc3\x01": (RejectReason.AVRO_OR_PROTOBUF, f"Avro in single-object encoding; {_BY_NOW}"),
    b"\x1f\x8b": (RejectReason.NOT_JSON, f"compressed by who wrote it (gzip); {_BY_NOW}"),
    b"\x28\xb5\x2f\xfd": (RejectReason.NOT_JSON, f"compressed by who wrote it (zstd); {_BY_NOW}"),
}
_TEXT_CONTROLS: Final = b"\t\n\r"
_FIRST_PRINTABLE: Final = 0x20


class Unusable(NamedTuple):
    """Why a value cannot be read, without any of it."""

    reason: RejectReason
    detail: str


def json_text_in(value: bytes) -> bytes:
    """Return the text to parse: what stands behind the head of Confluent's format, where that may be an object."""
    return value[_HEADER_BYTES:] if value[:1] == b"\0" and value[_HEADER_BYTES : _HEADER_BYTES + 1] == b"{" else value


def foreign_binary(value: bytes) -> Unusable | None:
    """Say what a value is that did not parse; None where it is most probably broken JSON."""
    if value[:1] == b"\0" and len(value) >= _HEADER_BYTES:
        schema = int.from_bytes(value[1:_HEADER_BYTES], "big")
        detail = f"Confluent's wire format with schema {schema}, Avro or Protobuf most probably; {_BY_NOW}"
        return Unusable(RejectReason.AVRO_OR_PROTOBUF, detail)
    for head, found in _HEADS.items():
        if value.startswith(head):
            return Unusable(*found)
    if value.lstrip()[:1] not in (b"{", b"[") and _is_binary(value):
        detail = f"binary data without a schema's number, such as Avro or Protobuf; {_BY_NOW}"
        return Unusable(RejectReason.AVRO_OR_PROTOBUF, detail)
    return None


def _is_binary(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return any(byte < _FIRST_PRINTABLE and byte not in _TEXT_CONTROLS for byte in value)
