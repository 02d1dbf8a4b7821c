"""Extras: features outside the contract and values that did not fit it, as one JSON object a record.

This module must not decide what belongs there.
"""

import json
from collections.abc import Sequence
from typing import Final

import polars as pl

from streams.columns.scalar import json_text

__all__ = ["as_object", "json_member", "text_as_json"]

_JSON_NUMBER: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def json_member(name: str, values: pl.Series) -> pl.Series:
    """Return `"name":value` of each JSON value; null stays null."""
    head = json.dumps(name, ensure_ascii=False) + ":"
    return values.alias("v").to_frame().select(pl.concat_str(pl.lit(head), "v")).to_series()


def as_object(members: Sequence[pl.Series], length: int) -> pl.Series:
    """Join the members of each record to an object; null where a record has none.

    Args:
        members: columns of members (`"name":value`), null where a record has none of that name.
        length: number of records.
    """
    if not members:
        return pl.repeat(None, length, dtype=pl.String, eager=True)
    frame = pl.DataFrame([column.alias(f"m{index}") for index, column in enumerate(members)])
    joined = frame.select(pl.concat_str(pl.all(), separator=",", ignore_nulls=True).alias("v"))
    return joined.select(pl.when(pl.col("v") != "").then(pl.concat_str(pl.lit("{"), "v", pl.lit("}")))).to_series()


def text_as_json(texts: pl.Series) -> pl.Series:
    """Return the cells of a text file as JSON: numbers and booleans as themselves, all else as strings."""
    cell = pl.col("v")
    is_number = cell.str.contains(_JSON_NUMBER) & cell.cast(pl.Float64, strict=False).is_finite()
    is_plain = is_number | cell.is_in(["true", "false"])
    frame = pl.DataFrame([texts.alias("v"), json_text(texts).alias("json")])
    return frame.select(pl.when(is_plain).then("v").otherwise("json")).to_series()
