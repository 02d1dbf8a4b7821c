"""Converts canonical records, the join's effects and the mapping's rejects into rows of the lake's tables."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from joins import Effects, OutcomeRow
from lake.table import TIME
from streams.mapping.record_file import RecordFile
from streams.messages.records import Projection, value_columns

__all__ = ["label_rows", "mapping_reject_rows", "outcome_rows", "prediction_rows", "reject_rows"]

_TEXTS = ("key", "id", "kind", "definition", "status", "reason", "previous_status")
_TIMES = ("predicted_at", "known_at", "label_time")


def prediction_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return canonical predictions as rows of the lake."""
    return (
        frame.with_columns(_moment("time_ms").alias("predicted_at"), _moment("arrived_at_ms").alias("arrived_at"))
        .rename({"row": "source_row"})
        .drop("time_ms", "arrived_at_ms", "order_ms")
    )


def label_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return canonical labels as rows of the lake."""
    return (
        frame.with_columns(
            _moment("time_ms").alias("label_time"),
            _moment("order_ms").alias("known_at"),
            _moment("arrived_at_ms").alias("arrived_at"),
            _moment("happened_at_ms").alias("happened_at"),
        )
        .rename({"row": "source_row"})
        .drop("time_ms", "arrived_at_ms", "happened_at_ms", "order_ms")
    )


def outcome_rows(effects: Sequence[tuple[int, Effects]], projection: Projection) -> pl.DataFrame:
    """Return the outcome revisions of each partition's effects as rows of the lake."""
    frames = [_outcomes_of(partition, effect, projection) for partition, effect in effects]
    return pl.concat(frames) if frames else _outcomes_of(0, Effects([], []), projection)


def reject_rows(effects: Sequence[tuple[int, Effects]], batch: Sequence[pl.DataFrame | None]) -> pl.DataFrame:
    """Return the rejects of each partition's effects as rows of the lake.

    Args:
        effects: pairs of partition and effects.
        batch: the step's predictions and labels, which give source positions; rejects of records of an earlier step
            have none, and are identified by (input, partition, offset).
    """
    rows = [
        (row.input, partition, row.offset, row.reason, row.kind)
        for partition, effect in effects
        for row in effect.rejects
    ]
    frame = pl.DataFrame(
        rows,
        schema={"input": pl.String, "partition": pl.Int32, "offset": pl.Int64, "reason": pl.String, "kind": pl.String},
        orient="row",
    )
    positions = [
        part.select(pl.lit(name).alias("input"), "offset", "source", pl.col("row").alias("source_row"))
        for name, part in zip(("predictions", "labels"), batch, strict=True)
        if part is not None
    ]
    empty = pl.DataFrame(schema={"input": pl.String, "offset": pl.Int64, "source": pl.String, "source_row": pl.Int64})
    return frame.join(pl.concat([empty, *positions]), on=["input", "offset"], how="left").with_columns(
        pl.lit("join").alias("stage"),
        pl.lit(None, dtype=pl.String).alias("detail"),
        pl.lit(None, dtype=pl.Int64).alias("digest"),
        pl.lit(None, dtype=pl.Int32).alias("source_partition"),
    )


def mapping_reject_rows(file: RecordFile, rejects: pl.DataFrame) -> pl.DataFrame:
    """Return the rejects of a file's mapping as rows of the lake."""
    none = {
        "partition": pl.Int32,
        "source_partition": pl.Int32,
        "offset": pl.Int64,
        "kind": pl.String,
        "sequence": pl.Int64,
    }
    return rejects.rename({"row": "source_row"}).with_columns(
        pl.lit(file.role).alias("input"),
        pl.lit("mapping").alias("stage"),
        pl.lit(file.sha256).alias("source"),
        *(pl.lit(None, dtype=dtype).alias(name) for name, dtype in none.items()),
    )


def _outcomes_of(partition: int, effects: Effects, projection: Projection) -> pl.DataFrame:
    values = zip(*effects.outcomes, strict=True) if effects.outcomes else ((),) * len(OutcomeRow._fields)
    columns: dict[str, Sequence[Any]] = dict(zip(OutcomeRow._fields, values, strict=True))
    projected = list(zip(*columns["projection"], strict=True)) or [()] * len(projection.columns)
    data = {name: pl.Series(name, columns[name], dtype=pl.String) for name in _TEXTS}
    for name in ("value", "previous"):
        data |= value_columns(name, columns[name], has_classes="multiclass" in projection.kinds.values())
    for name in _TIMES:
        times_ms = pl.Series(columns[f"{name}_ms"], dtype=pl.Int64)
        data[name] = times_ms.cast(pl.Datetime("ms", "UTC")).cast(TIME)
    for name in ("revision", "prediction_offset", "label_offset"):
        data[name] = pl.Series(columns[name], dtype=pl.Int64)
    data["eligible"] = pl.Series(columns["eligible"], dtype=pl.Boolean)
    for at, (name, dtype) in enumerate(projection.schema.items()):
        data[name] = pl.Series(projected[at], dtype=dtype)
    frame = _with_output(pl.DataFrame(data), projection)
    return frame.with_columns(pl.lit(partition, dtype=pl.Int32).alias("partition"))


def _with_output(frame: pl.DataFrame, projection: Projection) -> pl.DataFrame:
    """Replace the outputs of all kinds by the output of each row's kind, as a number or a class."""
    number: pl.Expr = pl.lit(None, dtype=pl.Float64)
    name: pl.Expr = pl.lit(None, dtype=pl.String)
    for kind, task in projection.kinds.items():
        is_kind = pl.col("kind") == kind
        if task == "multiclass":
            name = pl.when(is_kind).then(f"output_{kind}").otherwise(name)
        else:
            number = pl.when(is_kind).then(f"output_{kind}").otherwise(number)
    outputs = [f"output_{kind}" for kind in projection.kinds]
    return frame.with_columns(number.alias("output"), name.alias("output_class")).drop(outputs)


def _moment(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Datetime("ms", "UTC")).cast(TIME)
