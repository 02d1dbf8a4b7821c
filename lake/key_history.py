"""Everything the lake knows about one key, as it stands there.

Must not put it into words (`truthloop.cli.commands.explain` does) and must not decide what it means.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb

__all__ = ["KeyHistory", "LabelFate", "PendingOutcome", "near_keys", "read_key_history"]

NEAR_KEYS_MAX = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class LabelFate:
    """One label of the key, and where it ended.

    Attributes:
        row: the label's columns.
        rejected: why the join put it aside; None if it did not.
        record_of: prediction ids whose newest revision rests on it.
        once_of: prediction ids with an older revision that does.
        waits_until: when it is let go if no prediction comes; None if it does not wait.
    """

    row: Row
    rejected: str | None
    record_of: tuple[str, ...]
    once_of: tuple[str, ...]
    waits_until: datetime | None


@dataclass(frozen=True)
class PendingOutcome:
    """One prediction and label kind as it stands now.

    Attributes:
        row: the columns of the view `scored`.
        deadline: when it is final without a label.
        is_overdue: pending, though the newest ledger entry was made after the deadline.
        label: the label of record; None without one.
    """

    row: Row
    deadline: datetime
    is_overdue: bool
    label: Row | None


@dataclass(frozen=True)
class KeyHistory:
    """What is known about one key; every list in order of time.

    Attributes:
        key: the key.
        predictions: rows of the table, each with `rejected`: why it does not count, or None.
        labels: all that came for the key.
        revisions: of all definitions.
        expectations: one for each prediction that counts and each kind.
    """

    key: str
    predictions: list[Row]
    labels: list[LabelFate]
    revisions: list[Row]
    expectations: list[PendingOutcome]


def read_key_history(connection: duckdb.DuckDBPyConnection, key: str) -> KeyHistory | None:
    """Return what the lake's views know about `key`; None if it never occurs."""
    predictions = _rows(connection, _WITH_REASON.format(table="predictions", order="predicted_at"), key)
    labels = _rows(connection, _WITH_REASON.format(table="labels", order="known_at"), key)
    if not predictions and not labels:
        return None
    revisions = _rows(connection, _REVISIONS, key)
    scored = _rows(connection, _EXPECTED, key)
    newest = {_chain(row): row for row in revisions}
    expectations = []
    for row in scored:
        deadline = row["predicted_at"] + timedelta(milliseconds=row.pop("horizon_ms"))
        now = row.pop("ledger_now")
        revision = newest.get(_chain(row))
        offset = None if revision is None else revision["label_offset"]
        label = next((label for label in labels if label["offset"] == offset), None)
        is_overdue = row["status"] == "pending" and now is not None and now > deadline
        expectations.append(PendingOutcome(row, deadline, is_overdue, label))
    retain = {row["kind"]: timedelta(milliseconds=row["retain_ms"]) for row in _rows(connection, _RETAIN)}
    fates = [_fate(label, revisions, newest, retain) for label in labels]
    _let_only_the_newest_wait(fates)
    return KeyHistory(key, predictions, fates, revisions, expectations)


def near_keys(connection: duckdb.DuckDBPyConnection, key: str) -> list[str]:
    """Return a few keys that begin as `key` does, the most alike first."""
    beginning = key[: max(1, len(key) * 2 // 3)]
    rows = _rows(connection, _NEAR, beginning, key, key, NEAR_KEYS_MAX)
    return [row["key"] for row in rows]


_WITH_REASON = """
    SELECT t.*, r.reason AS rejected
    FROM all_{table} AS t
    LEFT JOIN (SELECT "partition", "offset", reason FROM all_rejects WHERE "input" = '{table}') AS r
      USING ("partition", "offset")
    WHERE t.key = ? ORDER BY t.{order}, t."offset"
"""
_REVISIONS = 'SELECT * FROM all_outcomes WHERE "key" = ? ORDER BY revision, id, kind, definition'
"""A label of a key with several predictions makes revisions of equal number: one of each."""
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
    # by way of Arrow: DuckDB alone needs pytz to hand over times with a zone
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


def _let_only_the_newest_wait(fates: list[LabelFate]) -> None:
    """Of several labels that joined nothing, only the one of record waits for a prediction."""
    greatest: dict[tuple[str, str], tuple[datetime, int]] = {}
    for fate in fates:
        name, place = _place(fate)
        if fate.rejected is None:
            greatest[name] = max(greatest.get(name, place), place)
    for index, fate in enumerate(fates):
        name, place = _place(fate)
        if fate.waits_until is not None and place < greatest[name]:
            fates[index] = replace(fate, waits_until=None)


def _place(fate: LabelFate) -> tuple[tuple[str, str], tuple[datetime, int]]:
    row = fate.row
    return (row["kind"], row["definition"]), (row["label_time"], row["offset"])
