"""Bytes of a fixed size in a Parquet file, as text: Polars reads them as plain bytes and drops what they stand for.

A UUID becomes its text. Other bytes of a fixed size become text where they are printable UTF-8, else hexadecimal
digits; what a value becomes depends on the value alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import pyarrow as pa
from pyarrow import parquet

__all__ = ["ELEMENT", "fixed_bytes"]

ELEMENT: Final = "element"
"""Stands in a path for the elements of a list."""

_UUID: Final = "arrow.uuid"


def fixed_bytes(path: Path) -> dict[tuple[str, ...], Callable[[bytes], str]]:
    """Return the decoder of each field that holds bytes of a fixed size, by the names that lead to it.

    Raises:
        pyarrow.ArrowException: not a whole Parquet file.
    """
    try:
        schema = parquet.read_schema(path)
    except pa.ArrowNotImplementedError:
        # a type of Polars' own, such as integers of 128 bits: Polars writes no bytes of a fixed size
        return {}
    return {names: decode for field in schema for names, decode in _decoders(field, ())}


def _decoders(field: pa.Field, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Callable[[bytes], str]]]:
    names, kind = (*above, field.name), field.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == _UUID:
            yield names, _uuid_text
    elif pa.types.is_fixed_size_binary(kind):
        yield names, _text_or_hex
    elif pa.types.is_struct(kind):
        for inner in kind:
            yield from _decoders(inner, names)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _decoders(kind.value_field.with_name(ELEMENT), names)


def _uuid_text(value: bytes) -> str:
    return str(UUID(bytes=value))


def _text_or_hex(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()
