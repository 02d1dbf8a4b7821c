"""Tables of the lake: their names, columns and column types. Pure.

A table's columns follow from the loop's config; columns are added and never removed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from schemas.config.loop import LoopConfig

__all__ = [
    "DAY_TABLES",
    "LATER_TABLES",
    "PARTITION_COLUMN",
    "RECORDED_AT",
    "TABLES",
    "TIME",
    "TYPES",
    "ColumnType",
    "column_type_of",
    "column_type_of_delta",
    "required_columns",
    "schemas_of",
    "scored_columns",
]

TABLES = (
    *("rejects", "labels", "predictions", "outcomes", "cells", "ledger"),
    *("evidence", "diffs", "decisions", "deliveries", "scored"),
)
"""All tables, in the order in which the rows of one step are written: a duplicate never lacks its rejection, and what a
ledger row refers to is there. A replay is different: it writes its ledger rows first, because whatever is missing after
a crash is rebuilt from them; its steps count once every table has them.

Then come four that the feedback role writes, after everything that they refer to, and `scored`, which follows from all
others (`lake.closed_days`).

Readers read the tables in the opposite order, so they have all rows of each step that the ledger holds; the views leave
out those of later steps.
"""

LATER_TABLES = frozenset({"scored"})
"""Tables that a lake of an earlier version lacks."""

DAY_TABLES = frozenset({"cells", "scored"})
"""Tables with files of the days that rows belong to (`lake.by_day`): whoever writes them brings them together."""

PARTITION_COLUMN = "recorded_on"
RECORDED_AT = "recorded_at"

TIME = pl.Datetime("us", "UTC")
"""Type of all columns of times."""

_COMMON: dict[str, pl.DataType] = {PARTITION_COLUMN: pl.Date(), RECORDED_AT: TIME}
_POSITION: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "source": pl.String(),
    "source_row": pl.Int64(),
}
_PREDICTIONS: dict[str, pl.DataType] = _POSITION | {
    "key": pl.String(),
    "id": pl.String(),
    "predicted_at": TIME,
    "arrived_at": TIME,
    "version": pl.String(),
    "eligible": pl.Boolean(),
    "weight": pl.Float64(),
    "extras": pl.String(),
    "digest": pl.Int64(),
    "flags": pl.List(pl.String()),
}
_LABELS: dict[str, pl.DataType] = _POSITION | {
    "key": pl.String(),
    "kind": pl.String(),
    "definition": pl.String(),
    "value": pl.Float64(),
    "value_class": pl.String(),
    "op": pl.String(),
    "label_time": TIME,
    "known_at": TIME,
    "arrived_at": TIME,
    "happened_at": TIME,
    "label_source": pl.String(),
    "origin": pl.String(),
    "batch_id": pl.String(),
    "flags": pl.List(pl.String()),
}
_OUTCOMES: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "key": pl.String(),
    "id": pl.String(),
    "kind": pl.String(),
    "definition": pl.String(),
    "status": pl.String(),
    "reason": pl.String(),
    "value": pl.Float64(),
    "value_class": pl.String(),
    "previous": pl.Float64(),
    "previous_class": pl.String(),
    "previous_status": pl.String(),
    "predicted_at": TIME,
    "known_at": TIME,
    "revision": pl.Int64(),
    "prediction_offset": pl.Int64(),
    "label_offset": pl.Int64(),
    "label_time": TIME,
    "version": pl.String(),
    "eligible": pl.Boolean(),
    "weight": pl.Float64(),
    "output": pl.Float64(),
    "output_class": pl.String(),
    "sequence": pl.Int64(),
}
_REJECTS: dict[str, pl.DataType] = {
    "input": pl.String(),
    "stage": pl.String(),
    "reason": pl.String(),
    "detail": pl.String(),
    **_POSITION,
    "source_partition": pl.Int32(),
    "kind": pl.String(),
    "digest": pl.Int64(),
    "sequence": pl.Int64(),
}
_LEDGER: dict[str, pl.DataType] = {
    "sequence": pl.Int64(),
    "partition": pl.Int32(),
    "now": TIME,
    "predictions_first": pl.Int64(),
    "predictions_next": pl.Int64(),
    "labels_first": pl.Int64(),
    "labels_next": pl.Int64(),
    "commands_first": pl.Int64(),
    "commands_next": pl.Int64(),
    "floor": TIME,
    "policy": pl.String(),
    "marks": pl.String(),
    "cursors": pl.String(),
    "counters": pl.String(),
    "fingerprint": pl.Int64(),
    "point": pl.String(),
    "run": pl.String(),
    "close_at": TIME,
    "idle": pl.String(),
    "withdrawals": pl.String(),
}
_CELLS: dict[str, pl.DataType] = {
    "version": pl.String(),
    "slice": pl.String(),
    "day": pl.Date(),
    "kind": pl.String(),
    "definition": pl.String(),
    "measure": pl.String(),
    "bin": pl.Int64(),
    "amount": pl.Int64(),
    "plan": pl.String(),
}
_EVIDENCE: dict[str, pl.DataType] = {
    "evidence_at": TIME,
    "day": pl.Date(),
    "kind": pl.String(),
    "version": pl.String(),
    "name": pl.String(),
    "subject": pl.String(),
    "level": pl.String(),
    "value": pl.Float64(),
    "limit": pl.Float64(),
    "text": pl.String(),
}
_DECISIONS: dict[str, pl.DataType] = {
    "number": pl.Int64(),
    "kind": pl.String(),
    "evidence_at": TIME,
    "event": pl.String(),
    "state": pl.String(),
    "decision": pl.String(),
    "reason": pl.String(),
    "version": pl.String(),
    "document": pl.String(),
}
_DIFFS: dict[str, pl.DataType] = {
    "number": pl.Int64(),
    "kind": pl.String(),
    "episode": pl.String(),
    "sha256": pl.String(),
    "document": pl.String(),
}
_DELIVERIES: dict[str, pl.DataType] = {
    "number": pl.Int64(),
    "decision": pl.String(),
    "attempt": pl.Int64(),
    "attempted_at": TIME,
    "outcome": pl.String(),
    "http_status": pl.Int64(),
    "retry_after_ms": pl.Int64(),
    "detail": pl.String(),
}
_SCORED: dict[str, pl.DataType] = {
    **dict.fromkeys(("key", "id", "kind", "definition", "version"), pl.String()),
    "predicted_at": TIME,
    **dict.fromkeys(("status", "reason"), pl.String()),
    "value": pl.Float64(),
    "value_class": pl.String(),
    "output": pl.Float64(),
    "output_class": pl.String(),
    **dict.fromkeys(("known_at", "first_known_at"), TIME),
    **dict.fromkeys(("age_ms", "label_age_ms", "value_age_ms"), pl.Int64()),
    **dict.fromkeys(("is_mature", "eligible"), pl.Boolean()),
    "weight": pl.Float64(),
    "day": pl.Date(),
    "revision": pl.Int64(),
}
_SCORED_POSITION: dict[str, pl.DataType] = {"partition": pl.Int32(), "prediction_offset": pl.Int64()}
_DRAFT: dict[str, pl.DataType] = {
    "is_revised": pl.Boolean(),
    **dict.fromkeys(("output_class_sent", "value_class_sent"), pl.String()),
    "waits": pl.Boolean(),
    "follows": pl.String(),
}
"""What the views need to put newer revisions on top of a row; see `views.sql.template`."""

_FIXED: dict[str, dict[str, pl.DataType]] = {
    "rejects": _REJECTS,
    "labels": _LABELS,
    "predictions": _PREDICTIONS,
    "outcomes": _OUTCOMES,
    "cells": _CELLS,
    "ledger": _LEDGER,
    "evidence": _EVIDENCE,
    "diffs": _DIFFS,
    "decisions": _DECISIONS,
    "deliveries": _DELIVERIES,
    "scored": _SCORED | _SCORED_POSITION | _DRAFT,
}
_OPTIONAL: dict[str, set[str]] = {
    "rejects": {
        *("detail", "partition", "offset", "source", "source_row", "source_partition"),
        *("kind", "digest", "sequence"),
    },
    "labels": {
        *("key", "value", "value_class", "arrived_at", "happened_at"),
        *("label_source", "batch_id"),
    },
    "predictions": {"arrived_at", "extras"},
    "outcomes": {
        *("value", "value_class", "previous", "previous_class", "label_offset", "label_time"),
        *("output", "output_class"),
    },
    "cells": set(),
    "ledger": {"commands_first", "commands_next", "floor", "run", "close_at", "idle", "withdrawals"},
    "evidence": {"version", "value", "limit"},
    "diffs": set(),
    "decisions": {"decision", "version"},
    "deliveries": {"http_status", "retry_after_ms", "detail"},
    "scored": {
        *("reason", "value", "value_class", "output", "output_class", "known_at", "first_known_at"),
        *("age_ms", "label_age_ms", "value_age_ms", "revision"),
        *("output_class_sent", "value_class_sent", "waits", "follows"),
    },
}
_FEATURES: dict[str, pl.DataType] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "string": pl.String(),
    "bool": pl.Boolean(),
}


@dataclass(frozen=True)
class ColumnType:
    """A column type in Polars, Delta and DuckDB.

    Attributes:
        polars: data type in frames.
        delta: name in Delta's schema; for a list, that of its elements.
        duckdb: name in DuckDB.
    """

    polars: pl.DataType
    delta: str
    duckdb: str

    @property
    def is_list(self) -> bool:
        """Whether the column holds lists."""
        return isinstance(self.polars, pl.List)


TYPES = (
    ColumnType(pl.Boolean(), "boolean", "BOOLEAN"),
    ColumnType(pl.Int32(), "integer", "INTEGER"),
    ColumnType(pl.Int64(), "long", "BIGINT"),
    ColumnType(pl.Float64(), "double", "DOUBLE"),
    ColumnType(pl.String(), "string", "VARCHAR"),
    ColumnType(pl.Date(), "date", "DATE"),
    ColumnType(TIME, "timestamp", "TIMESTAMP WITH TIME ZONE"),
    ColumnType(pl.List(pl.String()), "string", "VARCHAR[]"),
)


def column_type_of(dtype: pl.DataType) -> ColumnType:
    """Return the column type of a Polars type.

    Raises:
        KeyError: no table has a column of this type.
    """
    for column_type in TYPES:
        if column_type.polars == dtype:
            return column_type
    raise KeyError(str(dtype))


def column_type_of_delta(name: str, *, is_list: bool) -> ColumnType:
    """Return the column type of a Delta type, from its name or that of its elements.

    Raises:
        KeyError: no table has a column of this type.
    """
    for column_type in TYPES:
        if (column_type.delta, column_type.is_list) == (name, is_list):
            return column_type
    raise KeyError(name)


def required_columns(table: str) -> frozenset[str]:
    """Return the columns of `table` that are never null. Columns from the config may always be."""
    return frozenset(_COMMON) | (frozenset(_FIXED[table]) - _OPTIONAL[table])


def scored_columns(slices: Iterable[str], features: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of the view `scored`, in order, of a loop with some columns of slices and of features."""
    return (*_SCORED, *slices, *features, *_SCORED_POSITION)


def schemas_of(config: LoopConfig) -> Mapping[str, pl.Schema]:
    """Return each table's columns for a config, in order; times are UTC in microseconds."""
    own = {table: dict(columns) for table, columns in _FIXED.items()}
    for kind, output in config.predictions.outputs.items():
        own["predictions"][f"output_{kind}"] = pl.String() if output.task == "multiclass" else pl.Float64()
    for name in config.predictions.slices:
        own["predictions"][f"slice_{name}"] = pl.String()
        own["outcomes"][f"slice_{name}"] = pl.String()
        own["scored"][f"slice_{name}"] = pl.String()
    for name, feature in config.predictions.features.items():
        own["predictions"][f"feature_{name}"] = own["scored"][f"feature_{name}"] = _FEATURES[feature.type]
    return MappingProxyType({table: pl.Schema(_COMMON | own[table]) for table in TABLES})
