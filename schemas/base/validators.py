"""Pydantic validators of single fields of configs and messages.

Each returns its value unchanged, or raises ValueError, which pydantic turns into a message with the field's path.
"""

import math
import re
from collections.abc import Hashable
from itertools import pairwise
from typing import TypeVar

from pydantic import JsonValue

from schemas.base.duration import format_duration
from schemas.base.location import BucketUri

__all__ = [
    "each_once",
    "folder_or_bucket",
    "growing",
    "is_finite_json",
    "is_identifier",
    "is_no_bool",
    "keys_without_repeats",
    "local_folder",
    "without_repeats",
]

IDENTIFIER_BYTES_MAX = 1_024
"""Keys and ids are kept in memory for as long as their labels may arrive."""

Item = TypeVar("Item", bound=Hashable)
Value = TypeVar("Value")


def is_no_bool(value: object) -> object:
    """Refuse true and false, which equal 1 and 0 in Python, and so in pydantic's Literal."""
    if isinstance(value, bool):
        raise ValueError(f"must be a whole number, not {str(value).lower()}")  # noqa: TRY004 - pydantic turns only ValueError into a message with a path
    return value


def without_repeats(names: list[str]) -> list[str]:
    """Refuse names that differ in case only: they become columns, and SQL ignores case."""
    seen: dict[str, str] = {}
    for name in names:
        folded = name.lower()
        if seen.get(folded) == name:
            raise ValueError(f"{name!r} is listed twice")
        if folded in seen:
            raise ValueError(f"{seen[folded]!r} and {name!r} differ only in case, and SQL ignores case")
        seen[folded] = name
    return names


def keys_without_repeats(named: dict[str, Value]) -> dict[str, Value]:
    """Refuse keys that differ in case only."""
    without_repeats(list(named))
    return named


def each_once(items: list[Item]) -> list[Item]:
    """Refuse repeated items."""
    seen: set[Item] = set()
    for item in items:
        if item in seen:
            raise ValueError(f"{item!r} is listed twice")
        seen.add(item)
    return items


def growing(ages_ms: list[int]) -> list[int]:
    """Refuse durations that are not in growing order."""
    for before, after in pairwise(ages_ms):
        if after <= before:
            raise ValueError(f"must grow, and {format_duration(after)} comes after {format_duration(before)}")
    return ages_ms


def local_folder(uri: str) -> str:
    """Refuse a URI that is not the path of a local folder."""
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri):
        raise ValueError(f"must be a local folder, not {scheme[0]}; write a path such as ./state")
    if "\0" in uri:
        raise ValueError("a path cannot hold a NUL character")
    return uri


def folder_or_bucket(uri: str) -> str:
    """Refuse a URI that is neither the path of a local folder nor one of S3."""
    if uri.startswith("s3://"):
        return str(BucketUri.parse(uri))
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri):
        raise ValueError(f"must be a local folder or s3://BUCKET/KEY, not {scheme[0]}")
    return local_folder(uri)


def is_identifier(text: str) -> str:
    """Refuse keys and ids that some store or client could not hold or compare."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("a key or id must be valid Unicode, without lone surrogates") from None
    if not 1 <= size <= IDENTIFIER_BYTES_MAX:
        raise ValueError(f"a key or id has 1 to {IDENTIFIER_BYTES_MAX} bytes of UTF-8, and this one {size}")
    if "\0" in text:
        raise ValueError("a key or id cannot hold a NUL character")
    return text


def is_finite_json(value: JsonValue) -> JsonValue:
    """Refuse NaN and infinities at any depth, which pydantic's JSON parser accepts."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        is_finite_json(inner)
    return value
