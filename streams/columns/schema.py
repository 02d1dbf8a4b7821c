"""Column names and types of the canonical frames: every mapped chunk has them, whatever its source."""

from typing import Literal

import polars as pl

from schemas.config.loop import LoopConfig

__all__ = ["REJECTS_SCHEMA", "Role", "feature_dtype", "known_at_ms", "records_schema"]

Role = Literal["predictions", "labels"]

REJECTS_SCHEMA = pl.Schema({"row": pl.Int64(), "reason": pl.String(), "detail": pl.String(), "digest": pl.Int64()})
"""Records that could not be mapped. `detail` holds no payload; `digest`: signed xxh3-64 of the record."""

_FEATURE_DTYPES: dict[str, pl.DataType] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "string": pl.String(),
    "bool": pl.Boolean(),
}


def feature_dtype(declared: str) -> pl.DataType:
    """Return the column type of a feature whose type in the contract is `declared`."""
    return _FEATURE_DTYPES[declared]


def records_schema(role: Role, config: LoopConfig) -> pl.Schema:
    """Return the columns of a canonical frame, in order.

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
    # classes are text, scores and amounts are numbers
    columns |= {
        f"output_{kind}": pl.String() if output.task == "multiclass" else pl.Float64()
        for kind, output in contract.outputs.items()
    }
    columns |= {f"slice_{name}": pl.String() for name in contract.slices}
    columns |= {f"feature_{name}": feature_dtype(feature.type) for name, feature in contract.features.items()}
    columns |= {"extras": pl.String(), "digest": pl.Int64(), "flags": pl.List(pl.String())}
    return pl.Schema(columns)


def known_at_ms(config: LoopConfig) -> pl.Expr:
    """Return when a label could be known: its time, or its arrival if that is later and the clock is `arrival`."""
    if config.clock == "event":
        return pl.col("time_ms")
    return pl.max_horizontal("time_ms", "arrived_at_ms")
