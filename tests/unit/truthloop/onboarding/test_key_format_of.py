"""The form of a topic's keys, guessed from a sample: `truthloop.onboarding.profiles.topic`."""

import pytest

from schemas.base.status import RejectReason
from streams.readers.avro import AvroDecoder
from streams.readers.format import Unusable, ValueFormat
from truthloop.onboarding.profiles.topic import key_format_of

DECODERS = {1: AvroDecoder('"string"')}
REGISTRY = ValueFormat(lambda schema: DECODERS.get(schema, Unusable(RejectReason.UNKNOWN_SCHEMA, "")))  # type: ignore[call-overload]
AVRO_KEYS = [b"\0\0\0\0\x01\x04ab", b"\0\0\0\0\x01\x04cd"]


@pytest.mark.parametrize(
    ("keys", "form"),
    [
        (AVRO_KEYS, "registry"),
        ([*AVRO_KEYS, None], "registry"),
        ([(number).to_bytes(8, "big") for number in range(9)], "int64"),
        ([(2**32 + number).to_bytes(8, "big") for number in range(9)], "int64"),
        ([b'{"id":1}', None, b'{"id":2}'], "json"),
        ([b'{"id":1}', b"x"], "text"),
        ([None], "text"),
        ([], "text"),
    ],
)
def test_keys_with_a_registry_at_hand(keys: list[bytes | None], form: str) -> None:
    """Eight bytes of a small integer begin as the id of a schema does: the registry knows better."""
    assert key_format_of(keys, REGISTRY) == form


def test_keys_without_a_registry() -> None:
    """What begins with an id is then of eight bytes, and no text."""
    assert key_format_of(AVRO_KEYS, ValueFormat()) == "int64"
