"""Writes days that have ended to the table `scored`, whole and in bounded parts, and takes them back.

A day is a draft until nothing is to change it any more; then it is closed. The rows are those of the views, so there is
one way of making them. A commit sets what they follow from: the predictions of each partition, the rulings, the config,
and of closed days the steps of each partition, which a draft's file says itself. By these readers find out whether
something newer touches a day, and put it on top of a draft's rows (`views.sql.template`). So the table may lag behind,
and no answer depends on how far.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import duckdb
import polars as pl

from lake.append import Claim
from lake.by_day import DayFile, DayTable
from lake.failure import lake_error
from lake.present import tables_in
from lake.session import connect
from lake.staged_file import StagedFile
from lake.store import Lake
from schemas.base.location import Location
from schemas.errors import LakeConflict

__all__ = ["CLOSED_TABLE", "ClosedStep", "close_days"]

CLOSED_TABLE: Final = "scored"

ROWS_PER_FILE: Final = 500_000
"""A day with more has a file of its own. Readers of a key read a part of each file, those of a day all of its file."""

REVISIONS_PER_ROW: Final = 1 / 16
"""A draft is written again when so many revisions have come since: they cost each reader more than its rows do."""

DRAFT_AGE_MS: Final = 3 * 86_400_000
"""A draft with any revisions since is written again after so long: readers look through all that was recorded since."""

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
_DUE_DAYS: Final = """
SELECT "day", count(*), coalesce(epoch_ms(truthloop_begin("day" + 1)) <= (SELECT until_ms FROM truthloop_passed), false)
FROM truthloop_expected_open
WHERE epoch_ms(truthloop_begin("day" + 1)) <= (SELECT until_ms FROM truthloop_ended)
GROUP BY "day" ORDER BY "day"
"""
_DRAFTS: Final = """
SELECT
  d.file,
  (
    SELECT max("day") FROM truthloop_draft_days AS o
    WHERE o.file = d.file AND epoch_ms(truthloop_begin("day" + 1)) <= (SELECT until_ms FROM truthloop_passed)
  ),
  coalesce(later, 0), (SELECT max(recorded_ms) FROM truthloop_stand) - (follows ->> '$.recorded_ms')::BIGINT
FROM truthloop_drafts AS d
LEFT JOIN (SELECT file, count(*) AS later FROM truthloop_since_draft GROUP BY file) AS s ON s.file = d.file
ORDER BY d.first_day
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
        rows: in the new files; 0 if days were taken back, to be written again by a later step.
    """

    first: date
    last: date
    rows: int


@dataclass(frozen=True)
class _DayRange:
    """Days that become one file."""

    first: date
    last: date
    is_draft: bool


@dataclass(frozen=True)
class _Due:
    """Files of one commit, in order of their days, and those that they replace."""

    parts: Sequence[_DayRange]
    replaced: Sequence[DayFile]


def close_days(path: Location, recorded_at: datetime) -> Iterator[ClosedStep]:
    """Bring the table up to date, and give each step after it is done; where another writer was first, end.

    A file that was written and is outdated at once, by rows that no step has completed yet, is left to the next call.

    Args:
        path: of the lake.
        recorded_at: wall-clock time, for people.

    A lake of an earlier version has no such table before a role or replay has written to it: then nothing is done.

    Raises:
        LakeError: the lake cannot be read or written; what was given is done.
    """
    if CLOSED_TABLE not in tables_in(path):
        return
    writer = _Writer(Lake.open(path).by_day(CLOSED_TABLE), recorded_at)
    while True:
        with connect(path) as session:
            try:
                session.execute("SET threads = 1")  # it stands back behind the roles
                step = writer.step(session)
            except LakeConflict:
                return
            except duckdb.Error as error:
                hint = "Nothing has changed, and it is tried again; if it fails again, check the lake's files."
                raise lake_error("closed days could not be read", error, path, hint) from error
        if step is None:
            return
        yield step


class _Writer:
    """Takes steps."""

    def __init__(self, table: DayTable, recorded_at: datetime) -> None:
        self._table = table
        self._recorded_at = recorded_at
        self._own: set[str] = set()

    def step(self, session: duckdb.DuckDBPyConnection) -> ClosedStep | None:
        """Take back the days that something newer touches, else write the next ones; None if nothing is due.

        Raises:
            LakeConflict: another writer was first.
        """
        claims = _claims(session)
        files = sorted(self._table.state().files, key=lambda one: one.first)
        drafts = {path for (path,) in session.execute("SELECT file FROM truthloop_drafts").fetchall()}
        closed = {path for (path,) in session.execute("SELECT file FROM truthloop_closed").fetchall()}
        if outdated := [one for one in files if one.path not in drafts | closed]:
            if any(one.path in self._own for one in outdated) or not self._exchange([], outdated, claims):
                return None
            return ClosedStep(outdated[0].first, max(one.last for one in outdated), 0)
        due = self._due_draft(session, files, drafts) or _due_days(session, files, drafts)
        return None if due is None else self._write(session, due, claims)

    def _due_draft(
        self, session: duckdb.DuckDBPyConnection, files: Sequence[DayFile], drafts: Collection[str]
    ) -> _Due | None:
        """Return the first draft that is to be closed, in part at least, or written again."""
        known = {one.path: one for one in files}
        for path, closes, later, age_ms in session.execute(_DRAFTS).fetchall():
            if path in self._own:
                continue
            file = known[path]
            if closes is not None:
                grown = _grown(files, drafts, file.first, file.rows, is_draft=False)
                parts = [_DayRange(grown[0].first if grown else file.first, closes, is_draft=False)]
                if closes < file.last:
                    parts.append(_DayRange(closes + timedelta(days=1), file.last, is_draft=True))
                return _Due(parts, [*grown, file])
            if later and (later >= file.rows * REVISIONS_PER_ROW or age_ms >= DRAFT_AGE_MS):
                return _Due([_DayRange(file.first, file.last, is_draft=True)], [file])
        return None

    def _write(self, session: duckdb.DuckDBPyConnection, due: _Due, claims: Sequence[Claim]) -> ClosedStep | None:
        staged = list[StagedFile]()
        is_done = False
        try:
            for part in due.parts:
                rows = session.sql(_ROWS, params=[part.first, part.last]).pl()
                constants = {"follows": _follows(session, rows) if part.is_draft else None}
                if rows.height:
                    staged.append(self._table.stage(rows, self._recorded_at, constants=constants))
            is_done = self._exchange(staged, due.replaced, claims)
        finally:
            if not is_done:
                self._table.discard(staged)
        self._own |= {one.path for one in staged}
        total = sum(one.rows for one in staged)
        return ClosedStep(due.parts[0].first, due.parts[-1].last, total) if is_done else None

    def _exchange(self, added: Sequence[StagedFile], removed: Sequence[DayFile], claims: Sequence[Claim]) -> bool:
        return self._table.exchange(added, removed, claims, is_change=True, recorded_at=self._recorded_at)


def _claims(session: duckdb.DuckDBPyConnection) -> Sequence[Claim]:
    """Return the positions that a session's rows follow from; only the turn must not have been taken meanwhile."""
    positions = [
        (app, int(following)) for app, following in session.execute(_POSITIONS).fetchall() if following is not None
    ]
    return [Claim(app, following - 1 if app == _TURNS else None, following) for app, following in positions]


def _due_days(session: duckdb.DuckDBPyConnection, files: Sequence[DayFile], drafts: Collection[str]) -> _Due | None:
    """Return the days of the next file, from the first that is due, and the file before if they become part of it.

    Args:
        files: that the table has, in order of their days.
        drafts: paths of those that are drafts.
    """
    due = session.execute(_DUE_DAYS).fetchall()
    if not due:
        return None
    first, rows, is_final = due[0]
    last = first
    limit = min((one.first for one in files if one.first > first), default=date.max)
    grown = _grown(files, drafts, first, rows, is_draft=not is_final)
    rows += sum(one.rows for one in grown)
    for day, count, is_as_final in due[1:]:
        rows += count
        if is_as_final != is_final or day >= limit or not _has_room(rows):
            break
        last = day
    return _Due([_DayRange(grown[0].first if grown else first, last, is_draft=not is_final)], grown)


def _grown(
    files: Sequence[DayFile], drafts: Collection[str], first: date, rows: int, *, is_draft: bool
) -> Sequence[DayFile]:
    """Return the file before a day, if it is of the kind that is written and has room for so many more rows."""
    before = [one for one in files if one.last < first][-1:]
    return [one for one in before if (one.path in drafts) == is_draft and _has_room(one.rows + rows)]


def _has_room(rows: int) -> bool:
    return rows <= ROWS_PER_FILE


def _follows(session: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> str:
    """Return what a draft follows, and the cursors by which the rows that wait will have changed."""
    stand = session.execute('SELECT "partition", "sequence" + 1, recorded_ms FROM truthloop_stand').fetchall()
    cursors = {
        (kind, number): (time_ms, offset)
        for kind, number, time_ms, offset in session.execute(
            'SELECT kind, "partition", time_ms, "offset" FROM truthloop_cursors'
        ).fetchall()
    }
    waiting = (
        rows.filter("waits")
        .group_by("kind", "partition")
        .agg(pl.col("predicted_at").min().dt.epoch("ms"))
        .sort("kind", "partition")
    )
    names = ("kind", "partition", "since_ms", "time_ms", "offset")
    return json.dumps(
        {
            "recorded_ms": max(recorded_ms for _, _, recorded_ms in stand),
            "steps": {str(number): following for number, following, _ in sorted(stand)},
            "waiting": [
                dict(zip(names, (kind, number, since_ms, *cursors.get((kind, number), (None, None))), strict=True))
                for kind, number, since_ms in waiting.iter_rows()
            ],
        },
        separators=(",", ":"),
    )
