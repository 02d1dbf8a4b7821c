"""SQL that reads a panel's numbers from the lake's views; every name and value in it is quoted.

A query is empty if no view has the numbers, or if a name has a character that SQL cannot quote.
"""

from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Final

import polars as pl

from lake.view import quote_name, quote_text
from monitor.cells.cohort import ALL, read_slice
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.snapshot import REJECTS_DAYS

__all__ = [
    "comparison_query",
    "coverage_query",
    "decision_query",
    "drift_query",
    "flow_query",
    "maturity_query",
    "metric_query",
    "quality_query",
    "shared_days",
]

SHARED_DAYS = 60
"""Maximum number of newest days on which two versions are compared: older days say little about today."""

_IS_LABELLED = "status IN ('joined', 'implied')"
_IS_USABLE: Final = {
    "binary": '"output" BETWEEN 0 AND 1 AND value IN (0, 1)',
    "multiclass": "output_class IS NOT NULL AND value_class IS NOT NULL",
    "regression": 'isfinite("output") AND isfinite(value)',
}
"""Condition of the labelled rows that metrics use, as in `monitor.cells.scoring`."""
_OF_VIEW = frozenset({"accuracy", "precision", "recall", "log_loss", "brier"})
_PROBABILITY = 'greatest(1e-15, least(1 - 1e-15, "output"))'
_EXPRESSIONS: Final = {
    "binary": {
        "accuracy": "avg((is_positive = (value = 1))::INT)",
        "precision": "coalesce(avg(value) FILTER (is_positive), 0.0)",
        "recall": "coalesce(avg(is_positive::INT) FILTER (value = 1), 0.0)",
        "f1": "coalesce(2 * count(*) FILTER (is_positive AND value = 1) "
        "/ nullif(count(*) FILTER (is_positive) + count(*) FILTER (value = 1), 0), 0.0)",
        "log_loss": f"avg(-ln(CASE value WHEN 1 THEN {_PROBABILITY} ELSE 1 - {_PROBABILITY} END))",
        "brier": 'avg(("output" - value) ** 2)',
    },
    "multiclass": {"accuracy": "avg((output_class = value_class)::INT)"},
    "regression": {
        "mae": 'avg(abs(value - "output"))',
        "mse": 'avg((value - "output") ** 2)',
        "rmse": 'sqrt(avg((value - "output") ** 2))',
    },
}
_LOSSES: Final = {
    "binary": f"-ln(CASE value WHEN 1 THEN {_PROBABILITY} ELSE 1 - {_PROBABILITY} END)",
    "multiclass": "(output_class <> value_class)::INT::DOUBLE",
    "regression": 'abs(value - "output")',
}


def _empty_if_unquotable(build: Callable[..., str]) -> Callable[..., str]:
    """Make a query function return an empty text if a name has a NUL character."""

    @wraps(build)
    def quoted(*arguments: object) -> str:
        try:
            return build(*arguments)
        except ValueError:
            return ""

    return quoted


@_empty_if_unquotable
def coverage_query(scope: Scope) -> str:
    """Return the query of the coverage panel."""
    if scope.is_of_all:
        columns = '"day", version, age_ms, predictions, labelled, coverage, due'
        return f'SELECT {columns}\nFROM coverage\nWHERE {_where(scope)}\nORDER BY "day", version, age_ms'
    if not _slice(scope):
        return ""
    ages = f"(SELECT age_ms FROM truthloop_ages WHERE kind = {quote_text(scope.kind.name)}) AS ages"  # noqa: S608 - quoted
    known = "count(*) FILTER (value_age_ms <= ages.age_ms)"
    return (
        f'SELECT "day", version, ages.age_ms, count(*) AS predictions, {known} AS labelled\n'
        f"FROM scored CROSS JOIN {ages}\n"
        f'WHERE {_where(scope)}{_slice(scope)} AND eligible\nGROUP BY ALL\nORDER BY "day", version, ages.age_ms'
    )


@_empty_if_unquotable
def maturity_query(scope: Scope) -> str:
    """Return the query of the panel of label age."""
    return (
        "SELECT age_ms, sum(labelled) / sum(predictions) AS expected\nFROM coverage\n"
        f"WHERE kind = {quote_text(scope.kind.name)} AND due\nGROUP BY age_ms\n"
        "HAVING sum(predictions) > 0\nORDER BY age_ms"
    )


@_empty_if_unquotable
def metric_query(scope: Scope) -> str:
    """Return the query of the metric, empty where SQL does not have it."""
    name, task = scope.selection.metric, scope.kind.task
    order = 'ORDER BY "day", version, definition'
    if task == "binary" and name in _OF_VIEW and scope.is_of_all:
        columns = f'"day", version, definition, {quote_name(name)}, n, labelled, predictions, status'
        return f"SELECT {columns}\nFROM metrics\nWHERE {_where(scope)}\n{order}"
    expression = _EXPRESSIONS[task].get(name)
    if expression is None or not (scope.is_of_all or _slice(scope)):
        return ""
    is_positive = f', "output" >= {scope.kind.threshold!r} AS is_positive' if task == "binary" else ""
    return (
        f'SELECT "day", version, definition, {expression} AS {quote_name(name)}, count(*) AS n\n'  # noqa: S608 - quoted
        f"FROM (SELECT *{is_positive} FROM scored)\n"
        f"WHERE {_where(scope)}{_slice(scope)} AND eligible AND {_IS_LABELLED} AND {_IS_USABLE[task]}\n"
        f'GROUP BY "day", version, definition\n{order}'
    )


@_empty_if_unquotable
def drift_query(scope: Scope) -> str:
    """Return the query of the findings of error drift and shift."""
    return _findings(scope, "'error_drift', 'shift'")


@_empty_if_unquotable
def quality_query(scope: Scope) -> str:
    """Return the query of the findings of data quality."""
    return _findings(scope, "'quality'")


@_empty_if_unquotable
def decision_query(scope: Scope) -> str:
    """Return the query of the gate's log."""
    return (
        "SELECT number, evidence_at, event, state, decision, reason\nFROM decisions\n"
        f"WHERE kind = {quote_text(scope.kind.name)}\nORDER BY number DESC"
    )


@_empty_if_unquotable
def flow_query(_scope: Scope) -> str:
    """Return the query of the rejects."""
    newest = f"(SELECT max(recorded_at) FROM rejects) - INTERVAL {REJECTS_DAYS} DAY"  # noqa: S608 - a number
    return (
        'SELECT "input", reason, count(*) AS records, max(recorded_at) AS last\n'
        f"FROM rejects\nWHERE recorded_at >= {newest}\nGROUP BY ALL\nORDER BY records DESC"
    )


def shared_days(scope: Scope, first: str, second: str) -> list[date]:
    """Return the newest days on which both versions predicted, in order."""
    days = [set(scope.predictions.filter(pl.col("version") == one)["day"]) for one in (first, second)]
    return sorted(days[0] & days[1])[-SHARED_DAYS:]


@_empty_if_unquotable
def comparison_query(scope: Scope, first: str, second: str) -> str:
    """Return the query of the losses of two versions, one row for each label that they share.

    If a version predicted a key more than once, its newest prediction is used. Labels of different definitions are not
    shared: what is of record may be of one for one version's prediction and of another for the other's.
    """
    task = scope.kind.task
    since = min(shared_days(scope, first, second), default=scope.first)
    losses = (
        f'SELECT key, version, definition, predicted_at, "day", {_LOSSES[task]} AS loss\n  FROM scored\n'  # noqa: S608 - quoted
        f"  WHERE kind = {quote_text(scope.kind.name)} AND version IN ({quote_text(first)}, {quote_text(second)})\n"
        f'    AND "day" >= DATE {quote_text(str(since))} AND eligible AND {_IS_LABELLED} AND {_IS_USABLE[task]}\n'
        "  QUALIFY row_number() OVER (PARTITION BY key, version ORDER BY predicted_at DESC, prediction_offset DESC) = 1"
    )
    return (
        f"WITH losses AS (\n  {losses}\n)\n"
        'SELECT a."day", a.loss AS loss_a, b.loss AS loss_b\n'
        "FROM losses AS a INNER JOIN losses AS b ON b.key = a.key AND b.definition = a.definition\n"
        f"WHERE a.version = {quote_text(first)} AND b.version = {quote_text(second)}"
    )


def _findings(scope: Scope, names: str) -> str:
    columns = '"day", version, name, "subject", "level", "value", "limit", "text"'
    return (
        f"SELECT {columns}\nFROM evidence\n"
        f"WHERE kind = {quote_text(scope.kind.name)} AND name IN ({names})\n"
        'ORDER BY "day" DESC, name, "subject"'
    )


def _where(scope: Scope) -> str:
    conditions = [f"kind = {quote_text(scope.kind.name)}"]
    if scope.selection.version:
        conditions.append(f"version = {quote_text(scope.selection.version)}")
    if scope.first is not None:
        conditions.append(f'"day" >= DATE {quote_text(str(scope.first))}')
    return " AND ".join(conditions)


def _slice(scope: Scope) -> str:
    """Return the condition of the selected slice; empty for all, and for "other", which no column has."""
    text = scope.selection.slice
    if text == ALL:
        return ""
    if (real := read_slice(text)) is not None:
        return f" AND {quote_name(f'slice_{real[0]}')} = {quote_text(real[1])}"
    name, _, value = text.partition("=")
    return "" if value.startswith("*") else f" AND {quote_name(f'slice_{name}')} IS NULL"
