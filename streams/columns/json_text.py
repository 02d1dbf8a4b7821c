"""Builds one JSON object per record from columns, such as `extras`: unknown features and values of a wrong type."""

import json
from collections.abc import Sequence
from typing import Final

import polars as pl

from streams.columns.scalar import json_text

__all__ = ["as_object", "json_member", "text_as_json"]

_JSON_NUMBER: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def json_member(name: str, values: pl.Series) -> pl.Series:
    """Return `"name":value` for each JSON value; null stays null."""
    prefix = json.dumps(name, ensure_ascii=False) + ":"
    return values.alias("v").to_frame().select(pl.concat_str(pl.lit(prefix), "v")).to_series()


def as_object(members: Sequence[pl.Series], length: int) -> pl.Series:
    """Join the members (`"name":value`) of each record to a JSON object; null where a record has no members.

    Args:
        members: one column per name; null where a record does not have the member.
        length: number of records.
    """
    if not members:
        return pl.repeat(None, length, dtype=pl.String, eager=True)
    frame = pl.DataFrame([column.alias(f"m{index}") for index, column in enumerate(members)])
    joined = frame.select(pl.concat_str(pl.all(), separator=",", ignore_nulls=True).alias("v"))
    return joined.select(pl.when(pl.col("v") != "").then(pl.concat_str(pl.lit("{"), "v", pl.lit("}")))).to_series()


def text_as_json(texts: pl.Series) -> pl.Series:
    """Return the cells of a text file as JSON: texts that look like a number or boolean as such, others as strings."""
    cell = pl.col("v")
    is_number = cell.str.contains(_JSON_NUMBER) & cell.cast(pl.Float64, strict=False).is_finite()
    is_plain = is_number | cell.is_in(["true", "false"])
    frame = pl.DataFrame([texts.alias("v"), json_text(texts).alias("json")])
    return frame.select(pl.when(is_plain).then("v").otherwise("json")).to_series()
