"""Resolves dotted paths in the schema of a file with columns: first as a literal name, then as nested fields."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from schemas.errors import InputError

__all__ = ["field_at", "find_path", "leaf_names", "missing_column"]

_SHOWN = 80
"""Characters of a column name that an error message shows."""


def find_path(path: str, schema: Mapping[str, pl.DataType]) -> tuple[str, ...] | None:
    """Return the names from a column down to the nested field, or None if there is no such field."""
    if path in schema:
        return (path,)
    end = path.rfind(".")
    while end >= 0:
        inner = schema.get(path[:end])
        if isinstance(inner, pl.Struct):
            below = find_path(path[end + 1 :], {field.name: _dtype(field) for field in inner.fields})
            if below is not None:
                return (path[:end], *below)
        end = path.rfind(".", 0, end)
    return None


def field_at(series: pl.Series, names: Iterable[str]) -> pl.Series:
    """Return a nested field by exact names; Polars' own lookup treats `*` and `^...$` as patterns."""
    for name in names:
        series = series.struct.unnest().get_column(name)
    return series


def leaf_names(schema: Mapping[str, pl.DataType], prefix: str = "") -> list[str]:
    """Return the dotted paths of all fields that hold values."""
    names: list[str] = []
    for name, dtype in schema.items():
        if isinstance(dtype, pl.Struct):
            names += leaf_names({field.name: _dtype(field) for field in dtype.fields}, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def missing_column(path: str, names: list[str], file: Path) -> InputError:
    """Return the error for a path that the file does not have; it names the most similar column."""
    near = get_close_matches(path[:_SHOWN], [name[:_SHOWN] for name in names], n=1, cutoff=0.0)
    hint = f"The nearest column is {near[0]!r}." if near else "The file has no columns."
    return InputError(f"there is no column {path[:_SHOWN]!r}", where=str(file), hint=hint)


def _dtype(field: pl.Field) -> pl.DataType:
    dtype = field.dtype
    return dtype if isinstance(dtype, pl.DataType) else dtype()
