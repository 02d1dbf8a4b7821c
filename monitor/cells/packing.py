"""Cells as a table: their schema, how they are merged, and grouping by several columns packed into one integer.

Grouping and sorting by one integer is many times faster than by texts. The packed key of a cell is the integer made of
its `CELL_KEY` columns, each replaced by its index among the sorted values.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

__all__ = ["CELL_KEY", "CELL_SCHEMA", "decode_cells", "merge", "sum_by"]

CELL_SCHEMA = pl.Schema(
    {
        "version": pl.String(),
        "slice": pl.String(),
        "day": pl.Date(),
        "kind": pl.String(),
        "definition": pl.String(),
        "measure": pl.String(),
        "bin": pl.Int64(),
        "amount": pl.Int64(),
    }
)

CELL_KEY = ["version", "slice", "day", "kind", "definition", "measure"]
"""The key of a cell, in the order in which cells are sorted; cells of one key are sorted by bin."""

_BIN_ORDERS = 2**23
"""More than any bin of a pane, the largest numbers in the column `bin_order`."""

_PACKED_MAX = 2**62


def merge(*cells: pl.DataFrame) -> pl.DataFrame:
    """Return the sum of `cells`: one row per key and bin, sorted, without rows that add up to zero.

    Columns beyond `CELL_SCHEMA` (such as the lake's `plan`) are dropped.

    >>> key = dict.fromkeys(CELL_SCHEMA.names(), "") | {"day": None, "bin": 0}
    >>> one, two, less = (pl.DataFrame([key | {"amount": n}], schema=CELL_SCHEMA) for n in (1, 2, -1))
    >>> merge(one, two)["amount"].to_list(), merge(one, less).height
    ([3], 0)
    """
    rows = pl.concat([CELL_SCHEMA.to_frame(), *(frame.select(CELL_SCHEMA.names()) for frame in cells)])
    values = {name: rows.get_column(name).unique().sort() for name in CELL_KEY}
    sizes = {name: len(values[name]) for name in CELL_KEY}
    coded = rows.lazy().with_columns(_index_among(name, values[name]) for name in CELL_KEY)
    keys = ["key"] if _fits(sizes) else CELL_KEY
    if _fits(sizes):
        coded = coded.select(_pack(sizes).alias("key"), "bin", "amount")
    summed = coded.group_by(*keys, "bin").agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    return _with_texts(summed.sort(*keys, "bin").collect(), values)


def decode_cells(parts: Iterable[pl.LazyFrame], values: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Return cells, sorted and without zeros, from encoded ones. No key and bin may occur twice.

    Args:
        parts: `CELL_KEY` as indexes into `values`, bin, amount, and `bin_order`: an integer that grows with the bin,
            from 0 to below `_BIN_ORDERS`.
        values: the sorted values of each column of `CELL_KEY`.
    """
    sizes = {name: len(values[name]) for name in CELL_KEY}
    nonzero = [part.filter(pl.col("amount") != 0) for part in parts]
    if not _fits(sizes | {"bin_order": _BIN_ORDERS}):
        return _with_texts(pl.concat(pl.collect_all(nonzero)).sort(*CELL_KEY, "bin_order"), values)
    number = _pack(sizes | {"bin_order": _BIN_ORDERS}).alias("number")
    rows = pl.concat(pl.collect_all(part.select(number, "bin", "amount") for part in nonzero)).sort("number")
    return _with_texts(rows.select((pl.col("number") // _BIN_ORDERS).alias("key"), "bin", "amount"), values)


def sum_by(rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str]) -> pl.LazyFrame:
    """Return the sum of each of `amounts` over the rows that are equal in all `keys`.

    Args:
        rows: with integers from 0 in the columns of `keys`, and integers in those of `amounts`.
        keys: the columns to group by, each with the number of values it can have.
        amounts: columns to sum; without any, rows are counted as `amount`.

    Returns:
        The columns of `keys` and `amounts`, in no order.

    >>> rows = pl.DataFrame({"day": [0, 0, 1], "bin": [5, 5, 5]})
    >>> sum_by(rows, {"day": 2, "bin": 64}, []).select("day", "bin", "amount").sort("day").collect().rows()
    [(0, 5, 2), (1, 5, 1)]
    """
    totals = [pl.col(name).sum() for name in amounts] or [pl.len().cast(pl.Int64).alias("amount")]
    if not _fits(keys):
        return rows.lazy().group_by(list(keys)).agg(totals)
    grouped = rows.lazy().select(_pack(keys).alias("key"), *amounts).group_by("key").agg(totals)
    return grouped.with_columns(_unpack(keys, pl.col("key"))).drop("key")


def _fits(sizes: Mapping[str, int]) -> bool:
    """Return whether columns with these numbers of values can be packed into one Int64."""
    return math.prod(sizes.values()) < _PACKED_MAX


def _pack(sizes: Mapping[str, int]) -> pl.Expr:
    """Return one integer for the values of all columns; it sorts as the columns do, in their order."""
    number = pl.lit(0, dtype=pl.Int64)
    for index, (name, size) in enumerate(sizes.items()):
        column = pl.col(name).cast(pl.Int64)
        number = column if index == 0 else number * size + column
    return number


def _unpack(sizes: Mapping[str, int], number: pl.Expr) -> list[pl.Expr]:
    """Return the columns that `_pack` made one integer of."""
    columns, below = [], 1
    for name in reversed(list(sizes)):
        columns.append((number // below % sizes[name]).alias(name))
        below *= sizes[name]
    return columns


def _index_among(column: str, values: pl.Series) -> pl.Expr:
    """Return the index of a column's value among sorted values."""
    if values.dtype == pl.String:
        return pl.col(column).cast(pl.Enum(values)).to_physical().cast(pl.Int64)
    return pl.lit(values).search_sorted(pl.col(column)).cast(pl.Int64).alias(column)


def _with_texts(rows: pl.DataFrame, values: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Return cells from rows sorted by key. Rows of one key are adjacent, so each key is decoded once."""
    sizes = {name: len(values[name]) for name in CELL_KEY}
    if "key" in rows.columns:
        keys = rows.select(pl.col("key").unique(maintain_order=True)).select(_unpack(sizes, pl.col("key")))
        run = rows.get_column("key").rle_id()
    else:
        keys = rows.select(CELL_KEY).unique(maintain_order=True)
        run = rows.select(pl.struct(CELL_KEY).rle_id()).to_series()
    texts = keys.select(
        pl.lit(values[name]).gather(pl.col(name)).cast(CELL_SCHEMA[name]).alias(name) for name in CELL_KEY
    )
    columns = [texts.get_column(name).gather(run) for name in CELL_KEY]
    return rows.select("bin", "amount").with_columns(columns).select(CELL_SCHEMA.names())
