"""Reads revisions of outcomes from the lake, with what their labels declare about backfills."""

from collections.abc import Mapping

import polars as pl

from lake import Lake
from monitor.cells.class_spelling import with_one_spelling
from monitor.cells.of_record import BACKFILL_COLUMNS

__all__ = ["OUTCOME", "for_evidence", "read_outcomes_of", "with_backfill_columns"]

OUTCOME = ["partition", "prediction_offset", "kind"]
"""Columns that identify an outcome."""


def read_outcomes_of(lake: Lake, predictions: pl.DataFrame, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return all revisions of some outcomes, in the lake's columns and those of `BACKFILL_COLUMNS`.

    The lake keeps every outcome there ever was. Only files that may hold one of these predictions are read, and all
    columns only of rows with one of these offsets. Measured with 3 million outcomes in 1,000 files on a busy machine:
    0.2 s instead of 3.5.

    Args:
        predictions: the outcomes' columns `OUTCOME`.
        steps: by partition, how many of its first steps to read; nothing is read of a partition that is missing.
    """
    wanted = predictions.filter(pl.col("partition").is_in(list(steps)))
    if wanted.is_empty():
        return for_evidence(lake, pl.DataFrame(schema=lake.schema("outcomes")))
    offsets = wanted["prediction_offset"].unique().sort()
    before = pl.DataFrame(
        {"partition": list(steps), "before": list(steps.values())},
        schema={"partition": pl.Int32, "before": pl.Int64},
    )
    found = (
        lake.scan("outcomes", {"prediction_offset": (offsets[0], offsets[-1])})
        .filter(pl.col("prediction_offset").is_in(offsets.implode()))
        .join(before.lazy(), on="partition")
        .filter(pl.col("sequence") < pl.col("before"))
        .drop("before")
        .join(wanted.lazy().select(OUTCOME).unique(), on=OUTCOME, how="semi")
        .collect()
    )
    return for_evidence(lake, found)


def for_evidence(lake: Lake, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with what their labels declare, and with one spelling of classes."""
    return with_backfill_columns(lake, with_one_spelling(outcomes))


def with_backfill_columns(lake: Lake, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with `monitor.cells.of_record.BACKFILL_COLUMNS`: what their labels declare.

    Where no label is declared, only the labels' column `origin` is read, and only in files that may hold one of them.
    """
    offsets = outcomes["label_offset"].drop_nulls().sort()
    if offsets.is_empty():
        return outcomes.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in BACKFILL_COLUMNS.items())
    declared = (
        lake.scan("labels", {"offset": (offsets[0], offsets[-1])})
        .filter(pl.col("origin") == "backfill")
        .select("partition", "batch_id", label_offset="offset", is_declared=pl.lit(value=True))
        .unique(["partition", "label_offset"])
        .collect()
    )
    return outcomes.join(declared, on=["partition", "label_offset"], how="left").with_columns(
        pl.col(name) for name in BACKFILL_COLUMNS
    )
