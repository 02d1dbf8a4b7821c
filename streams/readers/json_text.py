"""Writes decoded records as JSON texts, which all other readers then take as they take a producer's own JSON."""

import base64
import json
import math
from typing import Any

import msgspec

from streams.readers.format import UndecodableError

__all__ = ["has_not_finite", "json_text"]


def json_text(value: Any, *, has_floats: bool) -> bytes:  # noqa: ANN401 - any decoded value
    """Return a value as JSON text; bytes become base64, as in the JSON forms of Protobuf and Kafka Connect.

    Args:
        has_floats: whether a number in it may be infinite or NaN, which JSON has no form for; it is written as
            `json.dumps` does, and spoils its own field.

    Raises:
        UndecodableError: a part of the value has no JSON form.
    """
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UndecodableError(f"a value has no JSON form ({type(error).__name__})") from None
    # the encoder writes null for a number that is not finite, and a field that has one is to be flagged
    if has_floats and b"null" in text and has_not_finite(value):
        return json.dumps(value, default=_base64).encode()
    return text


def _base64(value: object) -> str:
    """Return the text of bytes, as msgspec writes it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


def has_not_finite(value: object) -> bool:
    """Tell whether a number in a decoded value, at any depth, is infinite or NaN."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(has_not_finite, value.values()))
    return isinstance(value, list) and any(map(has_not_finite, value))
