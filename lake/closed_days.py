"""Writes days that nothing changes any more to the table `scored`, whole and in bounded parts, and takes them back.

The rows are those of the views, so there is one way of making them. A commit sets what they follow from: the steps and
predictions of each partition, the rulings, the config. By these positions readers find out whether something newer
touches a day (`views.sql.template`), so the table may lag behind, and no answer depends on how far.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import duckdb

from lake.append import Claim
from lake.by_day import DayFile, DayTable
from lake.failure import lake_error
from lake.present import tables_in
from lake.session import connect
from lake.store import Lake
from schemas.base.location import Location
from schemas.errors import LakeConflict

__all__ = ["CLOSED_TABLE", "ClosedStep", "close_days"]

CLOSED_TABLE: Final = "scored"

ROWS_PER_FILE: Final = 500_000
"""A day with more has a file of its own. Readers of a key read a part of each file, those of a day all of its file."""

_TURNS: Final = "turns:"
"""Application whose position counts the commits: of two writers of the same turn one is refused."""

_POSITIONS: Final = """
SELECT 'steps:' || "partition", "sequence" + 1 FROM truthloop_stand
UNION ALL SELECT 'predictions:' || "partition", predictions_next FROM truthloop_stand
UNION ALL SELECT 'rulings:' || kind, max(number) + 1 FROM truthloop_ruled GROUP BY kind
UNION ALL SELECT 'recorded:', max(recorded_ms) FROM truthloop_stand
UNION ALL SELECT 'plan:', getvariable('truthloop_plan')
UNION ALL SELECT 'turns:', 1 + coalesce((SELECT position FROM truthloop_followed WHERE what = 'turns'), 0)
"""
_DUE: Final = """
SELECT "day", count(*) FROM truthloop_expected_open
WHERE epoch_ms(truthloop_begin("day" + 1)) <= (SELECT until_ms FROM truthloop_passed)
GROUP BY "day" ORDER BY "day"
"""
_ROWS: Final = """
FROM truthloop_scored WHERE predicted_at >= truthloop_begin(?::DATE) AND predicted_at < truthloop_begin(?::DATE + 1)
ORDER BY key, predicted_at, prediction_offset, "partition", kind
"""


@dataclass(frozen=True)
class ClosedStep:
    """One commit.

    Attributes:
        first: the first day that it wrote, or took back.
        last: the last one.
        rows: in the new file; 0 if days were taken back, to be written again by a later step.
    """

    first: date
    last: date
    rows: int


def close_days(path: Location, recorded_at: datetime) -> Iterator[ClosedStep]:
    """Bring the table up to date, and give each step after it is done; where another writer was first, end.

    Args:
        path: of the lake.
        recorded_at: wall-clock time, for people.

    A lake of an earlier version has no such table before a role or replay has written to it: then nothing is done.

    Raises:
        LakeError: the lake cannot be read or written; what was given is done.
    """
    if CLOSED_TABLE not in tables_in(path):
        return
    table = Lake.open(path).by_day(CLOSED_TABLE)
    while True:
        with connect(path) as session:
            try:
                session.execute("SET threads = 1")  # it stands back behind the roles
                step = _step(session, table, recorded_at)
            except LakeConflict:
                return
            except duckdb.Error as error:
                hint = "Nothing has changed, and it is tried again; if it fails again, check the lake's files."
                raise lake_error("closed days could not be read", error, path, hint) from error
        if step is None:
            return
        yield step


def _step(session: duckdb.DuckDBPyConnection, table: DayTable, recorded_at: datetime) -> ClosedStep | None:
    """Take back the days that something newer touches, else write the next ones; None if nothing is due.

    Raises:
        LakeConflict: another writer was first.
    """
    claims = _claims(session)
    files = {one.path: one for one in table.state().files}
    closed = {path for (path,) in session.execute("SELECT file FROM truthloop_closed").fetchall()}
    if outdated := [one for path, one in files.items() if path not in closed]:
        if not table.exchange([], outdated, claims, is_change=True, recorded_at=recorded_at):
            return None
        return ClosedStep(min(one.first for one in outdated), max(one.last for one in outdated), 0)
    due = session.execute(_DUE).fetchall()
    if not due:
        return None
    first, last, grown = _next(due, sorted(files.values(), key=lambda one: one.first))
    rows = session.sql(_ROWS, params=[first, last]).pl()
    staged = table.stage(rows, recorded_at)
    is_done = False
    try:
        is_done = table.exchange([staged], grown, claims, is_change=True, recorded_at=recorded_at)
    finally:
        if not is_done:
            table.discard([staged])
    return ClosedStep(first, last, rows.height) if is_done else None


def _claims(session: duckdb.DuckDBPyConnection) -> Sequence[Claim]:
    """Return the positions that a session's rows follow from; only the turn must not have been taken meanwhile."""
    positions = [
        (app, int(following)) for app, following in session.execute(_POSITIONS).fetchall() if following is not None
    ]
    return [Claim(app, following - 1 if app == _TURNS else None, following) for app, following in positions]


def _next(due: Sequence[tuple[date, int]], files: Sequence[DayFile]) -> tuple[date, date, list[DayFile]]:
    """Return the days of the next file, from the first that is due; and what of the file before becomes part of it.

    Args:
        due: days and their rows, in order.
        files: that the table has, in order of their days.
    """
    first, rows = due[0]
    last = first
    before = [one for one in files if one.last < first]
    limit = min((one.first for one in files if one.first > first), default=date.max)
    grown = before[-1:] if before and before[-1].rows + rows <= ROWS_PER_FILE else []
    rows += sum(one.rows for one in grown)
    for day, count in due[1:]:
        rows += count
        if day >= limit or rows > ROWS_PER_FILE:
            break
        last = day
    return (grown[0].first if grown else first), last, grown
