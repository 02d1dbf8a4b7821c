"""The places of cells as whole numbers: grouping and sorting by one number is many times faster than by texts.

This module must not know what is counted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

__all__ = ["CELL_SCHEMA", "ORDERS", "PLACE", "decoded", "merge", "sums"]

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

PLACE = ["version", "slice", "day", "kind", "definition", "measure"]
"""What a cell is of, in the order in which cells are sorted; within it they are sorted by bin."""

ORDERS = 2**23
"""More than any bin of a pane, the largest numbers by which parts are sorted."""

_PACKED_MAX = 2**62


def merge(*cells: pl.DataFrame) -> pl.DataFrame:
    """Return the sum of `cells`: one row per place, sorted, without those that add up to zero.

    Columns beyond `CELL_SCHEMA` (such as the lake's `plan`) are left out.
    """
    rows = pl.concat([CELL_SCHEMA.to_frame(), *(frame.select(CELL_SCHEMA.names()) for frame in cells)])
    values = {name: rows.get_column(name).unique().sort() for name in PLACE}
    places = {name: len(values[name]) for name in PLACE}
    coded = rows.lazy().with_columns(_number(name, values[name]) for name in PLACE)
    keys = ["place"] if _fits(places) else PLACE
    if _fits(places):
        coded = coded.select(_packed(places).alias("place"), "bin", "amount")
    added = coded.group_by(*keys, "bin").agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    return _with_texts(added.sort(*keys, "bin").collect(), values)


def decoded(parts: Iterable[pl.LazyFrame], values: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Return cells, sorted and without zeros, from parts whose places are numbers and different from each other.

    Args:
        parts: `PLACE` as numbers, bin, amount, and `order`: a number from 0, less than `ORDERS`, that grows with
            the bin.
        values: by column of `PLACE`, what the numbers stand for, sorted.
    """
    sizes = {name: len(values[name]) for name in PLACE}
    found = [part.filter(pl.col("amount") != 0) for part in parts]
    if not _fits(sizes | {"order": ORDERS}):
        return _with_texts(pl.concat(pl.collect_all(found)).sort(*PLACE, "order"), values)
    number = _packed(sizes | {"order": ORDERS}).alias("number")
    rows = pl.concat(pl.collect_all(part.select(number, "bin", "amount") for part in found)).sort("number")
    return _with_texts(rows.select(pl.col("number") // ORDERS, "bin", "amount").rename({"number": "place"}), values)


def sums(rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str]) -> pl.LazyFrame:
    """Return the sum of each of `amounts` over the rows that are equal in all `keys`.

    Args:
        rows: with whole numbers from 0 in the columns of `keys`, and whole numbers in those of `amounts`.
        keys: the columns to group by, and how many values each can have: together they are one number.
        amounts: columns to sum; without any, the rows are counted as `amount`.

    Returns:
        The columns of `keys` and `amounts`, in no order.
    """
    totals = [pl.col(name).sum() for name in amounts] or [pl.len().cast(pl.Int64).alias("amount")]
    if not _fits(keys):
        return rows.lazy().group_by(list(keys)).agg(totals)
    grouped = rows.lazy().select(_packed(keys).alias("key"), *amounts).group_by("key").agg(totals)
    return grouped.with_columns(_unpacked(keys, pl.col("key"))).drop("key")


def _packed(keys: Mapping[str, int]) -> pl.Expr:
    """Return one whole number for the values of all columns, in their order."""
    number = pl.lit(0, dtype=pl.Int64)
    for place, (name, size) in enumerate(keys.items()):
        column = pl.col(name).cast(pl.Int64)
        number = column if place == 0 else number * size + column
    return number


def _unpacked(keys: Mapping[str, int], number: pl.Expr) -> list[pl.Expr]:
    """Return the columns that `_packed` made one number of."""
    columns, below = [], 1
    for name in reversed(list(keys)):
        columns.append((number // below % keys[name]).alias(name))
        below *= keys[name]
    return columns


def _fits(sizes: Mapping[str, int]) -> bool:
    return math.prod(sizes.values()) < _PACKED_MAX


def _number(column: str, values: pl.Series) -> pl.Expr:
    if values.dtype == pl.String:
        return pl.col(column).cast(pl.Enum(values)).to_physical().cast(pl.Int64)
    return pl.lit(values).search_sorted(pl.col(column)).cast(pl.Int64).alias(column)


def _with_texts(rows: pl.DataFrame, values: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Return cells from sorted rows; cells of one place follow each other, so each text is looked up once a place."""
    sizes = {name: len(values[name]) for name in PLACE}
    if "place" in rows.columns:
        places = rows.select(pl.col("place").unique(maintain_order=True)).select(_unpacked(sizes, pl.col("place")))
        run = rows.get_column("place").rle_id()
    else:
        places = rows.select(PLACE).unique(maintain_order=True)
        run = rows.select(pl.struct(PLACE).rle_id()).to_series()
    texts = places.select(
        pl.lit(values[name]).gather(pl.col(name)).cast(CELL_SCHEMA[name]).alias(name) for name in PLACE
    )
    columns = [texts.get_column(name).gather(run) for name in PLACE]
    return rows.select("bin", "amount").with_columns(columns).select(CELL_SCHEMA.names())
