"""Size of the rows of a table that was read in columns: how many bytes of text each has, nested ones included.

A text of hundreds of megabytes takes a few kilobytes in a compressed file, and every conversion would copy it.
"""

from collections.abc import Iterable
from typing import cast

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from streams.readers.text_lines import MAX_LINE_BYTES

__all__ = ["large_rows", "text_bytes"]


def large_rows(part: pl.DataFrame) -> pl.Series | None:
    """Return where a row has more than `MAX_LINE_BYTES` bytes of text or bytes; None if no row has."""
    is_large = text_bytes(part) > MAX_LINE_BYTES
    return is_large if is_large.any() else None


def text_bytes(part: pl.DataFrame) -> pl.Series:
    """Return how many bytes of text each row has."""
    sizes = None
    if not part.is_empty():
        sizes = _sum(_sizes(column) for column in part.get_columns() if _has_text(column.dtype))
    return pl.zeros(part.height, dtype=pl.Int64, eager=True) if sizes is None else sizes


def _has_text(dtype: DataType | DataTypeClass) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _has_text(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(_has_text(field.dtype) for field in dtype.fields)
    return dtype in (pl.String, pl.Binary) or isinstance(dtype, (pl.Categorical, pl.Enum))


def _sizes(values: pl.Series) -> pl.Series:
    """Return the bytes of text of each value."""
    values = values.alias("v")  # Polars takes a name such as ^k.*$ for a pattern
    dtype = values.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return values.cat.len_bytes().cast(pl.Int64).fill_null(0)
    if isinstance(dtype, pl.Array):
        values, dtype = values.arr.to_list(), pl.List(dtype.inner)
    if isinstance(dtype, pl.Struct):
        fields = [field for field in values.struct.unnest().get_columns() if _has_text(field.dtype)]
        return cast("pl.Series", _sum(map(_sizes, fields)))
    if isinstance(dtype, pl.List):
        return _list_sizes(values)
    sizes = values.str.len_bytes() if dtype == pl.String else values.bin.size()
    return sizes.cast(pl.Int64).fill_null(0)


def _list_sizes(values: pl.Series) -> pl.Series:
    rows = pl.int_range(len(values), dtype=pl.Int64, eager=True)
    elements = pl.DataFrame({"row": rows, "v": values}).filter(pl.col("v").list.len() > 0).explode("v")
    sums = elements.select("row", _sizes(elements["v"]).alias("bytes")).group_by("row").agg(pl.col("bytes").sum())
    return pl.DataFrame({"row": rows}).join(sums, on="row", how="left", maintain_order="left")["bytes"].fill_null(0)


def _sum(parts: Iterable[pl.Series]) -> pl.Series | None:
    total: pl.Series | None = None
    for part in parts:
        total = part if total is None else total + part
    return total
