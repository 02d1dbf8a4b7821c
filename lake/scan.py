"""Scans files of a table: those that may hold rows within bounds, by the statistics in Delta's log."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from lake.storage.location import polars_options, storage_at
from lake.table import PARTITION_COLUMN
from schemas.base.location import Location

__all__ = ["Bounds", "files_of", "holding", "scan_files"]

Bounds = tuple[int, int] | tuple[datetime, datetime] | tuple[str, str]
"""Least and greatest value of a column."""


def files_of(handle: DeltaTable) -> pl.DataFrame:
    """Return the data files of a handle's version: `path`, `size_bytes`, `num_records`, and their statistics."""
    return pl.DataFrame(handle.get_add_actions(flatten=True))


def holding(files: pl.DataFrame, within: Mapping[str, Bounds]) -> pl.DataFrame:
    """Return the files without those whose statistics show that no row is within the bounds."""
    for name, (least, greatest) in within.items():
        if f"min.{name}" in files.columns:
            overlaps = (pl.col(f"max.{name}") >= pl.lit(least)) & (pl.col(f"min.{name}") <= pl.lit(greatest))
            files = files.filter(overlaps.fill_null(value=True))
    return files


def scan_files(folder: Location, files: pl.DataFrame, schema: pl.Schema, within: Mapping[str, Bounds]) -> pl.LazyFrame:
    """Return the rows of some files of the table in `folder` that are within the bounds."""
    if files.is_empty():
        return pl.LazyFrame(schema=schema)
    storage = storage_at(folder)
    rows = pl.scan_parquet(
        [storage.location(unquote(path)) for path in files["path"]],
        glob=False,
        schema=schema,
        hive_partitioning=True,
        hive_schema={PARTITION_COLUMN: schema[PARTITION_COLUMN]},
        missing_columns="insert",
        **polars_options(folder),
    ).select(schema.names())
    return rows.filter(
        *(pl.col(name).is_between(pl.lit(least), pl.lit(greatest)) for name, (least, greatest) in within.items())
    )
