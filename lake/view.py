"""Writes the lake's `views.sql`, by which DuckDB alone can read it, from `views.sql.template` and the config.

All names and values are put into SQL by `quote_name` and `quote_text`.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from string import Template

import polars as pl

from lake.storage.location import storage_at
from lake.table import PARTITION_COLUMN, RECORDED_AT, TABLES, column_type_of, scored_columns
from schemas.base.location import Location
from schemas.config.loop import LoopConfig

__all__ = ["PLACEHOLDERS", "VIEWS_FILE", "quote_name", "quote_text", "render_views", "write_views"]

VIEWS_FILE = "views.sql"

_TEMPLATE = Path(__file__).with_name("views.sql.template")
PLACEHOLDERS = "views"

_CHECKPOINT_SCHEMA = {
    "add": pl.Struct({"path": pl.String(), "stats": pl.String()}),
    "txn": pl.Struct({"appId": pl.String(), "version": pl.Int64()}),
}
"""Columns of a Delta checkpoint that the views read."""

_IS_HISTORY = "predicted_at >= getvariable('truthloop_history')"
_COMPLETE = """getvariable('truthloop_complete')["partition"]"""
_IS_COMPLETE = {
    "predictions": f'"offset" < {_COMPLETE}.predictions',
    "labels": f'"offset" < {_COMPLETE}.labels',
    "outcomes": f'"sequence" < {_COMPLETE}.steps',
    "ledger": f'"sequence" < {_COMPLETE}.steps',
    "rejects": f'("sequence" IS NULL OR "sequence" < {_COMPLETE}.steps)',
}
"""Condition of rows that belong to complete steps. Where nothing is torn, DuckDB drops it before it reads a row."""
_SCORED_FORMAT = 3
"""Greater with each change of what the views make of the same rows of the lake."""

_LOG = "INSERT INTO truthloop_entries FROM truthloop_log('{table}');\n"
_TABLE = Template("""
SET VARIABLE truthloop_schema_$table = MAP {
    $columns
};
CREATE OR REPLACE TEMP MACRO truthloop_rows_$table(files) AS TABLE
  SELECT CAST(recorded_at AT TIME ZONE 'UTC' AS DATE) AS recorded_on, *
  FROM read_parquet(files, hive_partitioning = false, schema = getvariable('truthloop_schema_$table'))$condition;
SET VARIABLE truthloop_$table = (SELECT truthloop_read('$table', file) FROM truthloop_files WHERE "table" = '$table');
CREATE OR REPLACE TEMP VIEW all_$table AS FROM truthloop_rows_$table(getvariable('truthloop_$table'));
""")


def quote_name(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return `text` as an SQL string.

    Raises:
        ValueError: the text holds a NUL, which no SQL string can.
    """
    if "\x00" in text:
        raise ValueError("a NUL character cannot be written in SQL")
    return "'" + text.replace("'", "''") + "'"


def write_views(path: Location, config: LoopConfig, schemas: Mapping[str, pl.Schema]) -> None:
    """Write `views.sql`, and the empty files that it reads in place of missing ones."""
    storage = storage_at(path)
    none = io.BytesIO()
    pl.DataFrame(schema=_CHECKPOINT_SCHEMA).write_parquet(none)
    storage.put(f"{PLACEHOLDERS}/none.json", b"")
    storage.put(f"{PLACEHOLDERS}/none.parquet", none.getvalue())
    storage.put(VIEWS_FILE, render_views(path, config, schemas).encode())


def render_views(path: Location, config: LoopConfig, schemas: Mapping[str, pl.Schema]) -> str:
    """Return the SQL of the views of the lake in `path`, whose tables have these columns."""
    slices = [f"slice_{name}" for name in config.predictions.slices]
    features = [f"feature_{name}" for name in config.predictions.features]
    kept = [quote_name(name) for name in (*slices, *features)]
    names = [quote_name(name) for name in scored_columns(slices, features)]
    template = Template(_TEMPLATE.read_text("utf-8"))
    decisive = {
        "timezone": quote_text(config.timezone),
        "kinds": _kinds(config),
        "output": _output(config, "DOUBLE", {"binary", "regression"}),
        "output_class": _output(config, "VARCHAR", {"multiclass"}),
        "scored": ", ".join(names),
        "ages": _ages(config),
        "reached": _reached(config),
    }
    return template.substitute(
        **decisive,
        drafted=", ".join(f"d.{name}" for name in names),
        opened=", ".join(f"o.{name}" for name in names),
        plan=_plan(decisive),
        path=quote_text(str(path)),
        loop_comment=config.loop,
        retain_ms=config.greatest_retain_ms,
        logs="".join(_LOG.format(table=table) for table in reversed(TABLES)),
        tables="".join(_table(table, schemas[table]) for table in TABLES),
        projection="".join(f",\n    p.{name}" for name in kept),
        columns="".join(f",\n    e.{name}" for name in kept),
    )


def _plan(decisive: Mapping[str, str]) -> int:
    """Return a number for what rows of `scored` depend on beside the lake: a table of another one is not read."""
    text = "\n".join([str(_SCORED_FORMAT), *decisive.values()])
    return int(hashlib.sha256(text.encode()).hexdigest()[:14], 16)


def _table(table: str, schema: pl.Schema) -> str:
    columns = [(name, dtype) for name, dtype in schema.items() if name != PARTITION_COLUMN]
    columns.sort(key=lambda column: column[0] != RECORDED_AT)
    entries = [
        f"{quote_text(name)}: {{name: {quote_text(name)}, type: {quote_text(column_type_of(dtype).duckdb)}, "
        "default_value: NULL}"
        for name, dtype in columns
    ]
    conditions = [_IS_HISTORY] if "predicted_at" in schema else []
    if table in _IS_COMPLETE:
        conditions.append(f"(NOT getvariable('truthloop_is_torn') OR {_IS_COMPLETE[table]})")
    where = f"\n  WHERE {' AND '.join(conditions)}" if conditions else ""
    return _TABLE.substitute(table=table, columns=",\n    ".join(entries), condition=where)


def _kinds(config: LoopConfig) -> str:
    return ", ".join(
        f"({quote_text(kind)}, {quote_text(label.definition)}, "
        f"{label.horizon}::BIGINT, {label.retain}::BIGINT, {label.early}::BIGINT, {_threshold(config, kind)}, "
        f"{_implied(config, kind)})"
        for kind, label in config.labels.items()
    )


def _threshold(config: LoopConfig, kind: str) -> str:
    output = config.predictions.outputs[kind]
    if output.task != "binary":
        return "NULL::DOUBLE"
    return f"{0.5 if output.threshold is None else output.threshold!r}::DOUBLE"


def _implied(config: LoopConfig, kind: str) -> str:
    """Return the SQL of the value and of the class that are implied at the deadline; both null where it expires."""
    implied = config.labels[kind].implied_value(config.predictions.outputs[kind].task)
    if isinstance(implied, str):
        return f"NULL::DOUBLE, {quote_text(implied)}"
    return f"{'NULL' if implied is None else repr(implied)}::DOUBLE, NULL::VARCHAR"


def _ages_of(config: LoopConfig, kind: str) -> list[int]:
    """Return the ages at which coverage is shown: those of the cohorts and of the goals, and the horizon."""
    goals = (goal.age for goal in config.coverage if goal.label == kind)
    return sorted({*config.cohorts.ages, *goals, config.labels[kind].horizon})


def _ages(config: LoopConfig) -> str:
    pairs = [(kind, age_ms) for kind in sorted(config.labels) for age_ms in _ages_of(config, kind)]
    return ", ".join(f"({quote_text(kind)}, {age_ms}::BIGINT)" for kind, age_ms in pairs)


def _reached(config: LoopConfig) -> str:
    """Return the SQL of the least of these ages at which an outcome had a value; null where there is none."""
    cases = "".join(
        f" WHEN {quote_text(kind)} THEN CASE"
        + "".join(f" WHEN r.value_age_ms <= {age_ms} THEN {age_ms}" for age_ms in _ages_of(config, kind))
        + " END"
        for kind in config.labels
    )
    return f"CAST(CASE r.kind{cases} END AS BIGINT)"


def _output(config: LoopConfig, duckdb_type: str, tasks: set[str]) -> str:
    """Return the SQL expression of a kind's output, which is in a column of its own."""
    cases = "".join(
        f" WHEN {quote_text(kind)} THEN p.{quote_name(f'output_{kind}')}"
        for kind, output in config.predictions.outputs.items()
        if output.task in tasks
    )
    return f"CAST(CASE k.kind{cases} END AS {duckdb_type})" if cases else f"CAST(NULL AS {duckdb_type})"
