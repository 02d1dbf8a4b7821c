"""Extracts the values at a dotted path of many decoded JSON objects as one column.

A path is first a literal name, then nested fields. Values of one type keep it; mixed ones become text by the rules of
`streams.columns.scalar`.
"""

import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import msgspec
import polars as pl

from streams.columns.scalar import EXACT_BELOW, NON_SCALAR, to_text
from streams.columns.scalar_match import mixed_values

__all__ = ["JsonObjects", "json_series", "typed_series"]

_NUMBER: Final = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*")


class JsonObjects:
    """Objects (or list elements of any type), and their values by path. Columns are cached."""

    def __init__(self, objects: Sequence[Any]) -> None:
        self.objects = objects
        self._columns: dict[str, list[Any]] = {}
        self._nested: dict[str, JsonObjects] = {}
        self._known: set[str] | None = None

    def column(self, path: str) -> list[Any]:
        """Return one value per object; None where it is missing or null."""
        found = self._columns.get(path)
        if found is None:
            found = _pick(self.objects, path) if path in self._names else [None] * len(self.objects)
            end = path.rfind(".")
            while end >= 0 and None in found:
                below = self._below(path[:end])
                if below is not None:
                    found = _filled(found, below.column(path[end + 1 :]))
                end = path.rfind(".", 0, end)
            self._columns[path] = found
        return found

    @property
    def _names(self) -> set[str]:
        """All names that any of the objects has; a set, because most paths that are tried literally do not exist."""
        if self._known is None:
            is_plain = set(map(type, self.objects)) == {dict}
            self._known = set().union(
                *(self.objects if is_plain else [value for value in self.objects if type(value) is dict])
            )
        return self._known

    def _below(self, name: str) -> "JsonObjects | None":
        """Return the values under one literal name, or None if no object has it."""
        if name not in self._names:
            return None
        if name not in self._nested:
            self._nested[name] = JsonObjects(_pick(self.objects, name))
        below = self._nested[name]
        return None if all(value is None for value in below.objects) else below


def _filled(found: list[Any], others: list[Any]) -> list[Any]:
    """Return the values found, and the others where a value is None."""
    if found.count(None) == len(found):
        return others
    return [value if value is not None else other for value, other in zip(found, others, strict=True)]


def _pick(objects: Sequence[Any], name: str) -> list[Any]:
    try:
        return list(map(dict.get, objects, repeat(name)))
    except TypeError:  # not all of them are objects
        return [value.get(name) if type(value) is dict else None for value in objects]


def json_series(values: list[Any], *, is_identity: bool, is_moment: bool = False) -> pl.Series:
    """Return decoded JSON values as a tidied column.

    Args:
        values: None, str, int, float, bool, list or dict.
        is_identity: booleans and fractions among texts become the empty text, which is no valid identity.
        is_moment: texts that are numbers become text that no conversion accepts.
    """
    types = set(map(type, values)) - {type(None)}
    if is_moment and str in types:
        values = [NON_SCALAR + one if type(one) is str and _NUMBER.fullmatch(one) else one for one in values]
    if types <= {str}:
        return pl.Series(values, dtype=pl.String)
    if types == {bool}:
        return pl.Series(values, dtype=pl.Boolean)
    if types <= {int, float}:
        numbers = _numbers(values, types)
        if numbers is not None:
            return numbers
    return _mixed(values, is_identity=is_identity)


def typed_series(values: list[Any]) -> pl.Series:
    """Return decoded JSON values as a tidied column, or as `mixed_values` where some are text and others are not."""
    series = json_series(values, is_identity=False)
    if series.dtype != pl.String or set(map(type, values)) <= {str, type(None)}:
        return series
    return mixed_values(series, pl.Series([type(value) is str for value in values], dtype=pl.Boolean))


def _numbers(values: list[Any], types: set[type]) -> pl.Series | None:
    """Return numbers as Int64, else as Float64, or None if a Float64 column would not keep all of them exactly."""
    try:
        if types == {int}:
            return pl.Series(values, dtype=pl.Int64)
        numbers = pl.Series(values, dtype=pl.Float64, strict=False)
    except (OverflowError, TypeError):
        return None
    if int not in types:
        return numbers
    # an integer beyond the range of doubles has become null
    is_kept = (numbers.abs() < EXACT_BELOW) | ~numbers.is_finite()
    return numbers if is_kept.all() and numbers.null_count() == values.count(None) else None


def _mixed(values: list[Any], *, is_identity: bool) -> pl.Series:
    floats = {value for value in values if type(value) is float}
    texts = dict(zip(floats, to_text(pl.Series(list(floats), dtype=pl.Float64)), strict=True))

    def text(value: object) -> str | None:
        if value is None or type(value) is str:
            return value
        if type(value) is bool:
            return "" if is_identity else str(value).lower()
        if type(value) is int:
            return str(value)
        if type(value) is float:
            is_whole = value.is_integer() and abs(value) < EXACT_BELOW
            return texts[value] if is_whole or not is_identity else ""
        return NON_SCALAR + msgspec.json.encode(value).decode()

    return pl.Series([text(value) for value in values], dtype=pl.String)
