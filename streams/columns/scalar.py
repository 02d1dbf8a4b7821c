"""Converts raw columns of any type to text, numbers, booleans and identities.

One rule makes all file formats agree: a value is equal to its text, so `"12"`, `12` and `12.0` are the same number and
the same key. A value that is no scalar (a list, an object, bytes that are not UTF-8) is kept as text with the prefix
`NON_SCALAR`, which no conversion accepts.
"""

from typing import Final

import msgspec
import polars as pl
from polars.datatypes import DataType, DataTypeClass

from schemas.config.mapping import Scalar

__all__ = [
    "EXACT_BELOW",
    "NON_SCALAR",
    "json_text",
    "scalar_text",
    "tidy",
    "to_bool",
    "to_identity",
    "to_int",
    "to_number",
    "to_text",
]

NON_SCALAR: Final = "\x00"
"""Prefix of the JSON text of a list or an object; bytes that are not UTF-8 become this character alone."""
EXACT_BELOW: Final = 2.0**53
"""Whole floats below it are exact, so they can be read and written as integers."""
_JSON_PREFIX: Final = '{"v":'
_JSON_DTYPES: Final = (pl.String, pl.Boolean, pl.Null, pl.Date, pl.Datetime)
_BOOLS: Final = {"true": True, "false": False}


def tidy(series: pl.Series) -> pl.Series:
    """Reduce a column to String, integers, Float64, Boolean or Datetime; other values become `NON_SCALAR` text."""
    dtype = series.dtype
    if dtype in (pl.String, pl.Boolean, pl.Datetime) or dtype.is_integer():
        return series
    if dtype.is_float() or dtype.is_decimal():
        return series.cast(pl.Float64)
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Null)):
        return series.cast(pl.String)
    if dtype == pl.Date:
        return series.cast(pl.Datetime("ms"))
    if dtype == pl.Binary:
        return pl.Series([None if value is None else _decoded(value) for value in series], dtype=pl.String)
    return _choose(series.is_not_null(), NON_SCALAR + json_text(series), None)


def json_text(series: pl.Series) -> pl.Series:
    """Return each value as JSON; null stays null."""
    if not _has_json_form(series.dtype):
        texts = [
            None if value is None else msgspec.json.encode(value, enc_hook=str).decode() for value in series.to_list()
        ]
        return pl.Series(texts, dtype=pl.String)
    encoded = series.alias("v").to_frame().select(pl.struct("v").struct.json_encode()).to_series()
    text = encoded.str.strip_prefix(_JSON_PREFIX).str.head(-1)
    return _choose(series.is_null(), None, text) if series.null_count() else text


def scalar_text(value: Scalar) -> str:
    """Return a value of the config as the text that an equal value of a record has."""
    return str(to_text(pl.Series([value]))[0])


def to_text(series: pl.Series) -> pl.Series:
    """Return values as text: whole floats without a point, booleans as true and false."""
    if series.dtype == pl.String:
        return series
    if series.dtype != pl.Float64:
        return series.cast(pl.String)
    whole = _is_whole(series)
    integers = series.cast(pl.Int64, strict=False).cast(pl.String)
    return integers if whole.all() else _choose(whole, integers, series.cast(pl.String))


def to_identity(series: pl.Series) -> pl.Series:
    """Return texts and whole numbers as text; all else becomes the empty text, which is no valid identity."""
    if series.dtype == pl.String or series.dtype.is_integer():
        return to_text(series)
    if series.dtype == pl.Float64:
        return _choose(series.is_null() | _is_whole(series), to_text(series), "")
    return _choose(series.is_not_null(), "", pl.Series([None], dtype=pl.String))


def to_number(series: pl.Series) -> pl.Series:
    """Return finite numbers as Float64 and null for everything else."""
    if series.dtype in (pl.Boolean, pl.Datetime):
        return pl.repeat(None, len(series), dtype=pl.Float64, eager=True)
    numbers = series.cast(pl.Float64, strict=False)
    finite = numbers.is_finite()
    return numbers if finite.all() else _choose(finite, numbers, None)


def to_int(series: pl.Series) -> pl.Series:
    """Return whole numbers as Int64 and null for everything else, those past 64 bits included."""
    if series.dtype.is_integer():
        return series.cast(pl.Int64, strict=False)
    numbers = to_number(series)
    whole = _choose(_is_whole(numbers), numbers, None).cast(pl.Int64, strict=False)
    if series.dtype != pl.String:
        return whole
    exact = series.cast(pl.Int64, strict=False)
    return _choose(exact.is_not_null(), exact, whole)


def to_bool(series: pl.Series) -> pl.Series:
    """Return true, false, 0, 1 and their texts (in any case) as Boolean, null for everything else."""
    if series.dtype == pl.Boolean:
        return series
    numbers = to_number(series)
    from_numbers = _choose(numbers.is_in([0.0, 1.0]), numbers == 1.0, None)
    if series.dtype != pl.String:
        return from_numbers
    from_texts = series.str.to_lowercase().replace_strict(_BOOLS, default=None, return_dtype=pl.Boolean)
    return _choose(from_texts.is_not_null(), from_texts, from_numbers)


def _has_json_form(dtype: DataType | DataTypeClass) -> bool:
    """Return whether Polars can encode the type as JSON; on bytes, for example, it panics."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _has_json_form(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return all(_has_json_form(field.dtype) for field in dtype.fields)
    return dtype in _JSON_DTYPES or dtype.is_float() or (dtype.is_integer() and dtype != pl.Int128)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NON_SCALAR


def _is_whole(series: pl.Series) -> pl.Series:
    return ((series == series.floor()) & (series.abs() < EXACT_BELOW)).fill_null(value=False)


def _choose(mask: pl.Series, yes: pl.Series | str | None, no: pl.Series | str | None) -> pl.Series:
    """Return `yes` where the mask is true, else `no`."""
    sides = [pl.lit(side) for side in (yes, no)]
    return pl.select(pl.when(mask).then(sides[0]).otherwise(sides[1]).alias("v")).to_series()
