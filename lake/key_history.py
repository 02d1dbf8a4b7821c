"""History of one key in the lake: its predictions, labels, revisions and current outcomes.

`truthloop.cli.commands.explain` presents it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb

__all__ = ["CurrentOutcome", "KeyHistory", "LabelFate", "near_keys", "read_key_history"]

NEAR_KEYS_MAX = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class LabelFate:
    """One label of the key, and what the join did with it.

    Attributes:
        row: the label's columns.
        rejected: reason of its rejection; None if it was not rejected.
        record_of: ids of predictions whose newest revision comes from it.
        once_of: ids of predictions with only an older revision from it.
        waits_until: when it expires if no prediction arrives; None if it does not wait for one.
    """

    row: Row
    rejected: str | None
    record_of: tuple[str, ...]
    once_of: tuple[str, ...]
    waits_until: datetime | None


@dataclass(frozen=True)
class CurrentOutcome:
    """Current outcome of one prediction and label kind.

    Attributes:
        row: columns of the view `scored`.
        deadline: when the outcome is final without a label.
        is_overdue: it is pending, although the newest ledger entry is later than the deadline.
        label: the label of record; None without one.
    """

    row: Row
    deadline: datetime
    is_overdue: bool
    label: Row | None


@dataclass(frozen=True)
class KeyHistory:
    """History of one key; every list is in order of time.

    Attributes:
        predictions: rows of the table, each with `rejected`: the reason of its rejection, or None.
        labels: all labels of the key.
        revisions: of all definitions.
        outcomes: one for each accepted prediction and each kind.
    """

    key: str
    predictions: list[Row]
    labels: list[LabelFate]
    revisions: list[Row]
    outcomes: list[CurrentOutcome]


def read_key_history(connection: duckdb.DuckDBPyConnection, key: str) -> KeyHistory | None:
    """Read the history of `key` from the lake's views; None if the key does not occur."""
    predictions = _rows(connection, _WITH_REASON.format(table="predictions", order="predicted_at"), key)
    labels = _rows(connection, _WITH_REASON.format(table="labels", order="known_at"), key)
    if not predictions and not labels:
        return None
    revisions = _rows(connection, _REVISIONS, key)
    scored = _rows(connection, _EXPECTED, key)
    newest = {_chain(row): row for row in revisions}
    outcomes = []
    for row in scored:
        deadline = row["predicted_at"] + timedelta(milliseconds=row.pop("horizon_ms"))
        now = row.pop("ledger_now")
        revision = newest.get(_chain(row))
        offset = None if revision is None else revision["label_offset"]
        label = next((label for label in labels if label["offset"] == offset), None)
        is_overdue = row["status"] == "pending" and now is not None and now > deadline
        outcomes.append(CurrentOutcome(row, deadline, is_overdue, label))
    retain = {row["kind"]: timedelta(milliseconds=row["retain_ms"]) for row in _rows(connection, _RETAIN)}
    fates = [_fate(label, revisions, newest, retain) for label in labels]
    _keep_one_waiting(fates)
    return KeyHistory(key, predictions, fates, revisions, outcomes)


def near_keys(connection: duckdb.DuckDBPyConnection, key: str) -> list[str]:
    """Return a few keys that begin like `key`, the most similar first."""
    beginning = key[: max(1, len(key) * 2 // 3)]
    rows = _rows(connection, _NEAR, beginning, key, key, NEAR_KEYS_MAX)
    return [row["key"] for row in rows]


_WITH_REASON = """
    SELECT t.*, r.reason AS rejected
    FROM all_{table} AS t
    LEFT JOIN (
      -- a stale label that was withdrawn later has two rows
      SELECT "partition", "offset", arg_max(reason, coalesce("sequence", -1)) AS reason
      FROM all_rejects WHERE "input" = '{table}' GROUP BY "partition", "offset"
    ) AS r USING ("partition", "offset")
    WHERE t.key = ? ORDER BY t.{order}, t."offset"
"""
_REVISIONS = 'SELECT * FROM all_outcomes WHERE "key" = ? ORDER BY revision, id, kind, definition'
"""The label of a key with several predictions makes one revision of each, with the same number."""
_EXPECTED = """
    SELECT s.*, k.horizon_ms, stand."now" AS ledger_now
    FROM scored AS s
    INNER JOIN (SELECT kind, horizon_ms FROM truthloop_kinds) AS k USING (kind)
    LEFT JOIN (SELECT "partition", "now" FROM truthloop_stand) AS stand USING ("partition")
    WHERE s.key = ? ORDER BY s.predicted_at, s.prediction_offset, s.kind
"""
_RETAIN = "SELECT kind, retain_ms FROM truthloop_kinds"
_NEAR = """
    SELECT DISTINCT key FROM (SELECT key FROM all_predictions UNION ALL SELECT key FROM all_labels)
    WHERE starts_with(key, ?)
    ORDER BY starts_with(key, ?) DESC, jaro_winkler_similarity(key, ?) DESC, key
    LIMIT ?
"""


def _rows(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[Row]:
    # by way of Arrow, because DuckDB itself needs pytz to return times with a zone
    return [row for batch in connection.sql(query, params=list(values)).to_arrow_reader() for row in batch.to_pylist()]


def _chain(row: Row) -> tuple[str, str, str]:
    return (row["id"], row["kind"], row["definition"])


def _fate(
    label: Row, revisions: list[Row], newest: dict[tuple[str, str, str], Row], retain: dict[str, timedelta]
) -> LabelFate:
    mine = [row for row in revisions if row["label_offset"] == label["offset"] and row["kind"] == label["kind"]]
    record_of = {row["id"] for row in mine if newest[_chain(row)] is row}
    once_of = {row["id"] for row in mine} - record_of
    facts = dict(label)
    rejected = facts.pop("rejected")
    waits = rejected is None and not mine and label["kind"] in retain
    waits_until = label["known_at"] + retain[label["kind"]] if waits else None
    return LabelFate(facts, rejected, tuple(sorted(record_of)), tuple(sorted(once_of)), waits_until)


def _keep_one_waiting(fates: list[LabelFate]) -> None:
    """Clear `waits_until` of all labels but those of record: only they wait for a prediction."""
    greatest: dict[tuple[str, str], tuple[datetime, int]] = {}
    for fate in fates:
        chain, rank = _chain_and_rank(fate)
        if fate.rejected is None:
            greatest[chain] = max(greatest.get(chain, rank), rank)
    for index, fate in enumerate(fates):
        chain, rank = _chain_and_rank(fate)
        if fate.waits_until is not None and rank < greatest[chain]:
            fates[index] = replace(fate, waits_until=None)


def _chain_and_rank(fate: LabelFate) -> tuple[tuple[str, str], tuple[datetime, int]]:
    row = fate.row
    return (row["kind"], row["definition"]), (row["label_time"], row["offset"])
