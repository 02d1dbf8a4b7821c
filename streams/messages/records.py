"""Converts frames of canonical records into the join's records.

A record holds only the fields that joining needs. The columns that an outcome repeats of its prediction (version,
weight, outputs, slices) pass through the join as an opaque tuple, in the order of `Projection`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import polars as pl
from confluent_kafka import murmur2

from joins import LabelRecord, Op, PredictionRecord
from joins.record import LabelValue
from schemas.config.loop import LoopConfig

__all__ = ["Projection", "label_records", "label_values", "partition_of", "prediction_records", "value_columns"]

_OPS = {op.value: op for op in Op}


@dataclass(frozen=True)
class Projection:
    """The columns of a prediction that its outcomes repeat, in the order of the tuple that carries them.

    Attributes:
        columns: version, weight, one output per label kind, slices.
        schema: types of the columns.
        kinds: task of each label kind.
    """

    columns: tuple[str, ...]
    schema: dict[str, pl.DataType]
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, config: LoopConfig) -> "Projection":
        """Return the projection of a config's loop."""
        kinds = {kind: output.task for kind, output in config.predictions.outputs.items()}
        schema: dict[str, pl.DataType] = {"version": pl.String(), "weight": pl.Float64()}
        for kind, task in kinds.items():
            schema[f"output_{kind}"] = pl.String() if task == "multiclass" else pl.Float64()
        schema |= {f"slice_{name}": pl.String() for name in config.predictions.slices}
        return cls(tuple(schema), schema, kinds)


def partition_of(keys: pl.Series, partitions: int) -> pl.Series:
    """Return the partition of every key, the same that Kafka's own clients choose (murmur2)."""
    numbers = [0 if key is None else murmur2(key.encode(), partitions) for key in keys.to_list()]
    return pl.Series("partition", numbers, dtype=pl.Int32)


def prediction_records(frame: pl.DataFrame, projection: Projection) -> list[PredictionRecord]:
    """Return canonical predictions as the join's records."""
    projected = zip(*(frame[name].to_list() for name in projection.columns), strict=True)
    keys = frame["key"].to_list()
    # where no key has several predictions, ids equal keys: half of the texts are enough
    ids = keys if frame["id"].equals(frame["key"], check_names=False) else frame["id"].to_list()
    rest = [frame[name].to_list() for name in ("offset", "time_ms", "digest", "eligible")]
    columns = (rest[0], keys, ids, *rest[1:])
    return cast("list[PredictionRecord]", list(zip(*columns, projected, strict=True)))


def label_records(frame: pl.DataFrame) -> list[LabelRecord]:
    """Return canonical labels as the join's records."""
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
    """Return the label values of a frame, from their column of numbers and their column of class names."""
    values = frame["value"].to_list()
    if frame["value_class"].null_count() < frame.height:
        classes = frame["value_class"].to_list()
        values = [number if name is None else name for number, name in zip(values, classes, strict=True)]
    return values


def value_columns(name: str, values: Sequence[LabelValue], *, has_classes: bool = True) -> dict[str, pl.Series]:
    """Split label values or outputs into a column of numbers and a column of class names."""
    numbers = values
    classes: list[str | None] = [None] * len(values)
    if has_classes:
        numbers = [None if isinstance(value, str) else value for value in values]
        classes = [value if isinstance(value, str) else None for value in values]
    return {name: pl.Series(numbers, dtype=pl.Float64), f"{name}_class": pl.Series(classes, dtype=pl.String)}
