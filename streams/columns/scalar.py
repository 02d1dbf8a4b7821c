"""Converts raw columns of any type to text, numbers, booleans and identities.

One rule makes all file formats agree: a value is equal to its text, so `"12"`, `12` and `12.0` are the same number and
the same key. Decimals keep their scale as text: `10.40` is a code, and another one than `10.4`. A value that is no
scalar (a list, an object, bytes that are not UTF-8) is kept as text with the prefix `NON_SCALAR`, which no conversion
accepts.
"""

from typing import Final

import msgspec
import polars as pl
from polars.datatypes import DataType, DataTypeClass

from schemas.config.mapping import Scalar

__all__ = [
    "EXACT_BELOW",
    "NON_SCALAR",
    "TEXT_BOOLS",
    "json_text",
    "scalar_text",
    "tidy",
    "to_bool",
    "to_identity",
    "to_int",
    "to_number",
    "to_text",
    "to_whole_text",
]

NON_SCALAR: Final = "\x00"
"""Prefix of the JSON text of a list or an object, and of a number that is not finite; bytes that are not UTF-8 become
this character alone."""
EXACT_BELOW: Final = 2.0**53
"""Whole floats below it are exact, so they can be read and written as integers."""
_JSON_PREFIX: Final = '{"v":'
_JSON_DTYPES: Final = (pl.String, pl.Boolean, pl.Null, pl.Date, pl.Datetime)
_YES: Final = ("true", "t", "yes", "y")
_NO: Final = ("false", "f", "no", "n")
TEXT_BOOLS: Final = {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}
"""Words that read as a boolean, in lower case."""
_WHOLE: Final = r"^(?:\+|(?<sign>-))?0*(?<digits>0|[1-9][0-9]*)(?:\.0*)?$"
_SHORT_FLOATS: Final = (pl.Float16, pl.Float32)


def tidy(series: pl.Series) -> pl.Series:
    """Reduce a column to String, integers, Decimal, Float64, Boolean or Datetime.

    Shorter floats become the number that they are written as: a score of 0.9 in 32 bits is 0.9, not 0.8999999761581421.
    Other values become `NON_SCALAR` text.
    """
    dtype = series.dtype
    if dtype in (pl.String, pl.Boolean, pl.Datetime, pl.Float64) or dtype.is_integer() or dtype.is_decimal():
        return series
    if dtype in _SHORT_FLOATS:
        return series.cast(pl.String).cast(pl.Float64)
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Null)):
        return series.cast(pl.String)
    if dtype == pl.Date:
        return series.cast(pl.Datetime("ms"))
    if dtype == pl.Binary:
        return pl.Series([None if value is None else _decoded(value) for value in series], dtype=pl.String)
    return _choose(series.is_not_null(), NON_SCALAR + json_text(series), None)


def json_text(series: pl.Series) -> pl.Series:
    """Return each value as JSON; null stays null. Decimals are numbers that keep their scale."""
    if series.dtype.is_decimal():
        return series.cast(pl.String)
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
    """Return values as text: whole floats without a point, decimals with their scale, booleans as true and false."""
    if series.dtype == pl.String:
        return series
    if series.dtype != pl.Float64:
        return series.cast(pl.String)
    whole = _is_whole(series)
    integers = series.cast(pl.Int64, strict=False).cast(pl.String)
    if whole.all():
        return integers
    texts = series.cast(pl.String)
    return _choose(whole, integers, _choose(series.is_finite(), texts, NON_SCALAR + texts))


def to_identity(series: pl.Series) -> pl.Series:
    """Return texts, whole numbers and decimals as text; all else becomes the empty text, which is no valid identity."""
    if series.dtype == pl.String or series.dtype.is_integer() or series.dtype.is_decimal():
        return to_text(series)
    if series.dtype == pl.Float64:
        return _choose(series.is_null() | _is_whole(series), to_text(series), "")
    return _choose(series.is_not_null(), "", pl.Series([None], dtype=pl.String))


def to_whole_text(series: pl.Series) -> pl.Series:
    """Return identities that are whole numbers without a point, a plus or leading zeros; others become the empty text.

    >>> to_whole_text(pl.Series(["101.0", "007", "-3", "1.5", "a", "", None])).to_list()
    ['101', '7', '-3', '', '', '', None]
    """
    parts = series.str.extract_groups(_WHOLE).struct.unnest()
    digits = pl.col("digits")
    sign = pl.when(digits != "0").then("sign").otherwise(pl.lit(""))
    whole = pl.concat_str(sign.fill_null(""), digits)
    return parts.select(
        pl.when(digits.is_not_null()).then(whole).when(pl.lit(series.is_not_null())).then(pl.lit("")).alias("v")
    ).to_series()


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
    if series.dtype != pl.String and not series.dtype.is_decimal():
        return whole
    texts = series if series.dtype == pl.String else to_whole_text(to_text(series))
    exact = texts.cast(pl.Int64, strict=False)
    return _choose(exact.is_not_null(), exact, whole)


def to_bool(series: pl.Series) -> pl.Series:
    """Return booleans: true, t, yes, y and 1, false, f, no, n and 0, as such or as text in any case; else null."""
    if series.dtype == pl.Boolean:
        return series
    if series.dtype == pl.String:
        words = series.str.to_lowercase().str.replace(r"^([01])\.0+$", "$1")
        return words.replace_strict(TEXT_BOOLS | {"1": True, "0": False}, default=None, return_dtype=pl.Boolean)
    numbers = to_number(series)
    return _choose(numbers.is_in([0.0, 1.0]), numbers == 1.0, None)


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
