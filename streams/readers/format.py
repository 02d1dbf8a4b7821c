"""Recognises the format of a topic's values: JSON, or another one that a reject should name.

A value in Confluent's wire format begins with a zero byte and the id of its schema; if JSON follows, it is read. Avro,
Protobuf and compressed values are recognised by their first bytes only.
"""

from typing import Final, NamedTuple

from schemas.base.status import RejectReason

__all__ = ["Unusable", "foreign_binary", "json_text_in"]

_HEADER_BYTES: Final = 5
"""The zero byte, and four bytes of the schema id."""

_ONLY_JSON: Final = "only JSON is supported"
_MAGIC_BYTES: Final = {
    b"Obj\x01": (RejectReason.AVRO_OR_PROTOBUF, f"an Avro file; {_ONLY_JSON}"),
    b"\xc3\x01": (RejectReason.AVRO_OR_PROTOBUF, f"Avro in single-object encoding; {_ONLY_JSON}"),
    b"\x1f\x8b": (RejectReason.NOT_JSON, f"compressed by its producer (gzip); {_ONLY_JSON}"),
    b"\x28\xb5\x2f\xfd": (RejectReason.NOT_JSON, f"compressed by its producer (zstd); {_ONLY_JSON}"),
}
_TEXT_CONTROLS: Final = b"\t\n\r"
_FIRST_PRINTABLE: Final = 0x20


class Unusable(NamedTuple):
    """Why a value cannot be read; `detail` repeats no payload."""

    reason: RejectReason
    detail: str


def json_text_in(value: bytes) -> bytes:
    """Return the value without Confluent's header if a JSON object may follow it, else the whole value."""
    return value[_HEADER_BYTES:] if value[:1] == b"\0" and value[_HEADER_BYTES : _HEADER_BYTES + 1] == b"{" else value


def foreign_binary(value: bytes) -> Unusable | None:
    """Return the format of a value that is no JSON, or None if it is probably broken JSON."""
    if value[:1] == b"\0" and len(value) >= _HEADER_BYTES:
        schema = int.from_bytes(value[1:_HEADER_BYTES], "big")
        detail = f"Confluent's wire format with schema {schema}, probably Avro or Protobuf; {_ONLY_JSON}"
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
