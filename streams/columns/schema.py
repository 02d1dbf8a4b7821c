"""The canonical frames' columns: what every mapped chunk looks like, whatever file it came from.

This module names columns and types; it must not compute any.
"""

from typing import Literal

import polars as pl

from schemas.config.loop import LoopConfig

__all__ = ["REJECTS_SCHEMA", "Role", "feature_dtype", "known_at_ms", "output_dtype", "records_schema"]

Role = Literal["predictions", "labels"]

REJECTS_SCHEMA = pl.Schema({"row": pl.Int64(), "reason": pl.String(), "detail": pl.String(), "digest": pl.Int64()})
"""Records that never became a message. `detail` holds no payload; `digest`: signed xxh3-64 of the record."""

_FEATURE_DTYPES: dict[str, pl.DataType] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "string": pl.String(),
    "bool": pl.Boolean(),
}


def feature_dtype(declared: str) -> pl.DataType:
    """Return the column type of a feature that the contract declares as `declared`."""
    return _FEATURE_DTYPES[declared]


def output_dtype(task: str) -> pl.DataType:
    """Return the column type of the output of a kind with this task."""
    return pl.String() if task == "multiclass" else pl.Float64()


def records_schema(role: Role, config: LoopConfig) -> pl.Schema:
    """Return names and types of the canonical frame of `role`, in column order.

    Times are Int64 milliseconds since the epoch (UTC); `row` is the 1-based record number in the file.
    """
    if role == "labels":
        return pl.Schema(
            {
                "row": pl.Int64(),
                "key": pl.String(),
                "kind": pl.String(),
                "definition": pl.String(),
                "value": pl.Float64(),
                "value_class": pl.String(),
                "op": pl.String(),
                "time_ms": pl.Int64(),
                "arrived_at_ms": pl.Int64(),
                "happened_at_ms": pl.Int64(),
                "label_source": pl.String(),
                "origin": pl.String(),
                "batch_id": pl.String(),
                "flags": pl.List(pl.String()),
            }
        )
    contract = config.predictions
    columns: dict[str, pl.DataType] = {
        "row": pl.Int64(),
        "key": pl.String(),
        "id": pl.String(),
        "time_ms": pl.Int64(),
        "arrived_at_ms": pl.Int64(),
        "version": pl.String(),
        "eligible": pl.Boolean(),
        "weight": pl.Float64(),
    }
    columns |= {f"output_{kind}": output_dtype(output.task) for kind, output in contract.outputs.items()}
    columns |= {f"slice_{name}": pl.String() for name in contract.slices}
    columns |= {f"feature_{name}": feature_dtype(feature.type) for name, feature in contract.features.items()}
    columns |= {"extras": pl.String(), "digest": pl.Int64(), "flags": pl.List(pl.String())}
    return pl.Schema(columns)


def known_at_ms(config: LoopConfig) -> pl.Expr:
    """Return the column that says when a label could be known: its time, or its arrival if that is later."""
    if config.clock == "event":
        return pl.col("time_ms")
    return pl.max_horizontal("time_ms", "arrived_at_ms")
