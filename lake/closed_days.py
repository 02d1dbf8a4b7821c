"""Writes days that have ended to the table `scored`, whole and in bounded parts, and takes them back.

A day is a draft until nothing is to change it any more; then it is closed. The rows are those of the views, so there is
one way of making them. A commit sets what they follow from: the predictions of each partition, the rulings, the config,
and of closed days the steps of each partition, which a draft's file says itself. By these readers find out whether
something newer touches a day, and put it on top of a draft's rows (`views.sql.template`). So the table may lag behind,
and no answer depends on how far.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import duckdb
import polars as pl

from lake.append import Claim
from lake.by_day import DayFile, DayTable
from lake.due_days import DueFiles, ScoredFiles, next_days
from lake.failure import lake_error
from lake.present import tables_in
from lake.session import connect
from lake.staged_file import StagedFile
from lake.store import Lake
from schemas.base.location import Location
from schemas.errors import LakeConflict

__all__ = ["CLOSED_TABLE", "ClosedStep", "close_days", "days_due"]

CLOSED_TABLE: Final = "scored"

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
_SUMS: Final = "truthloop.sums"
"""Key in a file's footer: what its rows come to, day by day."""

_SUMS_OF_PART: Final = "SELECT to_json(list(s))::VARCHAR FROM truthloop_sums_of('truthloop_part') AS s"

_ROWS: Final = """
FROM truthloop_scored_in(getvariable('truthloop_open_outcomes'))
WHERE predicted_at >= truthloop_begin(?::DATE) AND predicted_at < truthloop_begin(?::DATE + 1)
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


def close_days(path: Location, recorded_at: datetime) -> Iterator[ClosedStep]:
    """Bring the table up to date, and give each step after it is done; where another writer was first, end.

    One session serves all steps, but those that take days back: the next one sees these days as open. A file that was
    written and is outdated at once, by rows that no step has completed yet, is left to the next call.

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
    writer = _Writer(table, recorded_at)
    is_outdated = True
    while is_outdated:
        with _session(path) as session:
            try:
                session.execute("SET threads = 1")  # it stands back behind the roles
                scored = ScoredFiles.of(session, table)
                is_outdated = bool(scored.outdated)
                yield from [writer.take_back(session, scored)] if is_outdated else writer.steps(session, scored)
            except LakeConflict:
                return


def days_due(path: Location) -> Sequence[ClosedStep]:
    """Return what is due: files to take back, drafts to write anew, and new days, all in one; what is done may be more.

    Raises:
        LakeError: the lake cannot be read.
    """
    if CLOSED_TABLE not in tables_in(path):
        return []
    with _session(path) as session:
        scored = ScoredFiles.of(session, Lake.open(path).by_day(CLOSED_TABLE))
        steps = [ClosedStep(one.first, one.last, 0) for one in scored.outdated]
        steps += [
            ClosedStep(due.parts[0].first, due.parts[-1].last, sum(one.rows for one in due.replaced))
            for due in scored.due_drafts(session)
        ]
        if days := list(next_days(session)):
            steps.append(ClosedStep(days[0][0], days[-1][0], sum(rows for _, rows, _ in days)))
        return steps


@contextmanager
def _session(path: Location) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a session, and raise what goes wrong with it as a `LakeError`."""
    with connect(path) as session:
        try:
            yield session
        except duckdb.Error as error:
            hint = "Nothing has changed, and it is tried again; if it fails again, check the lake's files."
            raise lake_error("closed days could not be read", error, path, hint) from error


class _Writer:
    """Takes steps, each a commit that claims the next turn."""

    def __init__(self, table: DayTable, recorded_at: datetime) -> None:
        self._table = table
        self._recorded_at = recorded_at

    def take_back(self, session: duckdb.DuckDBPyConnection, scored: ScoredFiles) -> ClosedStep:
        """Take back the days that something newer touches, of which there are some.

        Raises:
            LakeConflict: another writer was first.
        """
        outdated = scored.outdated
        self._exchange([], outdated, _claims(session, 0))
        return ClosedStep(outdated[0].first, max(one.last for one in outdated), 0)

    def steps(self, session: duckdb.DuckDBPyConnection, scored: ScoredFiles) -> Iterator[ClosedStep]:
        """Write what is due, and yield each step after it is done.

        Raises:
            LakeConflict: another writer was first.
        """
        for number, due in enumerate(scored.due(session)):
            staged = self._write(session, due, _claims(session, number))
            scored.exchange(due.replaced, staged)
            rows = sum(file.rows for file, _ in staged)
            yield ClosedStep(due.parts[0].first, due.parts[-1].last, rows)

    def _write(
        self, session: duckdb.DuckDBPyConnection, due: DueFiles, claims: Sequence[Claim]
    ) -> Sequence[tuple[DayFile, bool]]:
        """Write what is due, and return the files, each with whether it is a draft."""
        staged = list[StagedFile]()
        files = list[tuple[DayFile, bool]]()
        is_done = False
        try:
            for part in due.parts:
                rows = session.sql(_ROWS, params=[part.first, part.last]).pl()
                constants = {"follows": _follows(session, rows) if part.is_draft else None}
                if rows.height:
                    footer = {_SUMS: _sums(session, rows)}
                    one = self._table.stage(rows, self._recorded_at, constants=constants, footer=footer)
                    first, last = rows.select(pl.col("day").min(), last=pl.col("day").max()).row(0)
                    staged.append(one)
                    files.append((DayFile(one.path, one.rows, one.size, first, last), part.is_draft))
            self._exchange(staged, due.replaced, claims)
            is_done = True
        finally:
            if not is_done:
                self._table.discard(staged)
        return files

    def _exchange(self, added: Sequence[StagedFile], removed: Sequence[DayFile], claims: Sequence[Claim]) -> None:
        if not self._table.exchange(added, removed, claims, is_change=True, recorded_at=self._recorded_at):
            raise LakeConflict(
                "another writer took this turn",
                where=CLOSED_TABLE,
                hint="It has written the same days: nothing is to be done.",
            )


def _claims(session: duckdb.DuckDBPyConnection, number: int) -> Sequence[Claim]:
    """Return the positions that a session's rows follow from, for its commit of this number.

    Only the turn must not have been taken meanwhile.
    """
    positions = [
        (app, int(following)) for app, following in session.execute(_POSITIONS).fetchall() if following is not None
    ]
    return [
        Claim(app, following - 1 + number, following + number) if app == _TURNS else Claim(app, None, following)
        for app, following in positions
    ]


def _sums(session: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> str:
    """Return what rows come to, as the views read it from a file's footer."""
    session.register("truthloop_part", rows.with_columns(pl.lit(1).alias("sign")).to_arrow())
    try:
        ((text,),) = session.sql(_SUMS_OF_PART).fetchall()
    finally:
        session.unregister("truthloop_part")
    return str(text)


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
