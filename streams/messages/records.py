"""Between columns and records: frames of canonical messages become the join's records, effects become frames.

The join sees only what joining needs. What an outcome repeats of its prediction (version, output, slices)
travels through it as an opaque tuple, laid out by `Projection`. Must not decide anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import polars as pl
from confluent_kafka import murmur2

from joins import Effects, LabelRecord, Op, OutcomeRow, PredictionRecord
from joins.record import LabelValue
from schemas.config.loop import LoopConfig
from streams.mapping.record_file import RecordFile

__all__ = [
    "Projection",
    "label_records",
    "label_rows",
    "label_values",
    "mapping_reject_rows",
    "outcome_rows",
    "partition_of",
    "prediction_records",
    "prediction_rows",
    "reject_rows",
]

_OPS = {op.value: op for op in Op}
_MOMENT = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Projection:
    """Which columns of a prediction its outcomes repeat, in the order of the tuple that carries them."""

    columns: tuple[str, ...]
    schema: dict[str, pl.DataType]
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, config: LoopConfig) -> "Projection":
        """Return the projection of a loop: version, weight, one output per kind, slices."""
        kinds = {kind: output.task for kind, output in config.predictions.outputs.items()}
        schema: dict[str, pl.DataType] = {"version": pl.String(), "weight": pl.Float64()}
        for kind, task in kinds.items():
            schema[f"output_{kind}"] = pl.String() if task == "multiclass" else pl.Float64()
        schema |= {f"slice_{name}": pl.String() for name in config.predictions.slices}
        return cls(tuple(schema), schema, kinds)


def partition_of(keys: pl.Series, partitions: int) -> pl.Series:
    """Return the partition of every key, as Kafka's own clients would place it (murmur2)."""
    placed = [0 if key is None else murmur2(key.encode(), partitions) for key in keys.to_list()]
    return pl.Series("partition", placed, dtype=pl.Int32)


def prediction_records(frame: pl.DataFrame, projection: Projection) -> list[PredictionRecord]:
    """Return the frame's rows as the join reads them."""
    projected = zip(*(frame[name].to_list() for name in projection.columns), strict=True)
    keys = frame["key"].to_list()
    # ids are keys unless a key has several predictions: then half of the texts need not be made
    ids = keys if frame["id"].equals(frame["key"], check_names=False) else frame["id"].to_list()
    rest = [frame[name].to_list() for name in ("offset", "time_ms", "digest", "eligible")]
    columns = (rest[0], keys, ids, *rest[1:])
    return cast("list[PredictionRecord]", list(zip(*columns, projected, strict=True)))


def label_records(frame: pl.DataFrame) -> list[LabelRecord]:
    """Return the frame's rows as the join reads them."""
    columns = (
        frame["offset"].to_list(),
        frame["key"].fill_null("").to_list(),
        frame["kind"].to_list(),
        frame["definition"].to_list(),
        [_OPS[op] for op in frame["op"].to_list()],
        label_values(frame),
        frame["time_ms"].to_list(),
        frame["order_ms"].to_list(),
    )
    return cast("list[LabelRecord]", list(zip(*columns, strict=True)))


def label_values(frame: pl.DataFrame) -> list[LabelValue]:
    """Return the values of a frame's rows, which are in a number column and a class column."""
    values = frame["value"].to_list()
    if frame["value_class"].null_count() < frame.height:
        classes = frame["value_class"].to_list()
        values = [number if name is None else name for number, name in zip(values, classes, strict=True)]
    return values


def prediction_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return canonical predictions in the lake's columns."""
    return (
        frame.with_columns(_moment("time_ms").alias("predicted_at"), _moment("arrived_at_ms").alias("arrived_at"))
        .rename({"row": "source_row"})
        .drop("time_ms", "arrived_at_ms", "order_ms")
    )


def label_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return canonical labels in the lake's columns."""
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


_TEXTS = ("key", "id", "kind", "definition", "status", "reason", "previous_status")
_TIMES = ("predicted_at", "known_at", "label_time")


def outcome_rows(effects: Sequence[tuple[int, Effects]], projection: Projection) -> pl.DataFrame:
    """Return the revisions of several partitions' effects in the lake's columns."""
    frames = [_outcomes_of(partition, effect, projection) for partition, effect in effects]
    return pl.concat(frames) if frames else _outcomes_of(0, Effects([], []), projection)


def _outcomes_of(partition: int, effects: Effects, projection: Projection) -> pl.DataFrame:
    values = zip(*effects.outcomes, strict=True) if effects.outcomes else ((),) * len(OutcomeRow._fields)
    columns: dict[str, Sequence[Any]] = dict(zip(OutcomeRow._fields, values, strict=True))
    projected = list(zip(*columns["projection"], strict=True)) or [()] * len(projection.columns)
    data = {name: pl.Series(name, columns[name], dtype=pl.String) for name in _TEXTS}
    data |= _values("value", columns["value"], projection) | _values("previous", columns["previous"], projection)
    for name in _TIMES:
        times_ms = pl.Series(columns[f"{name}_ms"], dtype=pl.Int64)
        data[name] = times_ms.cast(pl.Datetime("ms", "UTC")).cast(_MOMENT)
    for name in ("revision", "prediction_offset", "label_offset"):
        data[name] = pl.Series(columns[name], dtype=pl.Int64)
    data["eligible"] = pl.Series(columns["eligible"], dtype=pl.Boolean)
    for at, (name, dtype) in enumerate(projection.schema.items()):
        data[name] = pl.Series(projected[at], dtype=dtype)
    return _with_output(pl.DataFrame(data), projection).with_columns(
        pl.lit(partition, dtype=pl.Int32).alias("partition")
    )


def _values(name: str, values: Sequence[float | str | None], projection: Projection) -> dict[str, pl.Series]:
    """Split label values into a number column and a class column."""
    if "multiclass" not in projection.kinds.values():
        return {
            name: pl.Series(values, dtype=pl.Float64),
            f"{name}_class": pl.Series([None] * len(values), dtype=pl.String),
        }
    numbers = [None if isinstance(value, str) else value for value in values]
    classes = [value if isinstance(value, str) else None for value in values]
    return {
        name: pl.Series(numbers, dtype=pl.Float64),
        f"{name}_class": pl.Series(classes, dtype=pl.String),
    }


def _with_output(frame: pl.DataFrame, projection: Projection) -> pl.DataFrame:
    """Put the output that belongs to each row's kind into one column of its type."""
    number: pl.Expr = pl.lit(None, dtype=pl.Float64)
    name: pl.Expr = pl.lit(None, dtype=pl.String)
    for kind, task in projection.kinds.items():
        mine = pl.col("kind") == kind
        if task == "multiclass":
            name = pl.when(mine).then(f"output_{kind}").otherwise(name)
        else:
            number = pl.when(mine).then(f"output_{kind}").otherwise(number)
    outputs = [f"output_{kind}" for kind in projection.kinds]
    return frame.with_columns(number.alias("output"), name.alias("output_class")).drop(outputs)


def reject_rows(effects: Sequence[tuple[int, Effects]], batch: Sequence[pl.DataFrame | None]) -> pl.DataFrame:
    """Return what ended without an outcome, in the lake's columns.

    Args:
        effects: per partition.
        batch: the step's predictions and labels, for the source positions of their own records; what came
            in an earlier step is found by (input, partition, offset).
    """
    rows = [
        (row.input, partition, row.offset, row.reason, row.kind)
        for partition, effect in effects
        for row in effect.rejects
    ]
    frame = pl.DataFrame(
        rows,
        schema={
            "input": pl.String,
            "partition": pl.Int32,
            "offset": pl.Int64,
            "reason": pl.String,
            "kind": pl.String,
        },
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
    )


def mapping_reject_rows(file: RecordFile, rejects: pl.DataFrame) -> pl.DataFrame:
    """Return what a file could not deliver, in the lake's columns."""
    none = {"partition": pl.Int32, "offset": pl.Int64, "kind": pl.String, "sequence": pl.Int64}
    return rejects.rename({"row": "source_row"}).with_columns(
        pl.lit(file.role).alias("input"),
        pl.lit("mapping").alias("stage"),
        pl.lit(file.sha256).alias("source"),
        *(pl.lit(None, dtype=dtype).alias(name) for name, dtype in none.items()),
    )


def _moment(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Datetime("ms", "UTC")).cast(_MOMENT)
