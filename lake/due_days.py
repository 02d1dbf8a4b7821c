"""What the table `scored` is behind with: days that have ended, drafts, and days that something newer touches.

It is what the views of a session say; `lake.closed_days` does it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import duckdb

from lake.by_day import DayFile, DayTable

__all__ = ["DayRange", "DueFiles", "ScoredFiles", "next_days"]

ROWS_PER_FILE: Final = 500_000
"""A day with more has a file of its own. Readers of a key read a part of each file, those of a day all of its file."""

REVISIONS_PER_ROW: Final = 1 / 64
"""A draft is written again when so many revisions have come since: they cost each reader more than its rows do."""

DRAFT_AGE_MS: Final = 3 * 86_400_000
"""A draft with any revisions since is written again after so long: readers look through all that was recorded since."""

_DUE_DAYS: Final = """
SELECT "day", count(*), coalesce(epoch_ms(truthloop_begin("day" + 1)) <= (SELECT until_ms FROM truthloop_passed), false)
FROM truthloop_expected_open
WHERE predicted_at >= truthloop_begin(?::DATE) AND predicted_at < truthloop_begin(?::DATE)
  AND epoch_ms(truthloop_begin("day" + 1)) <= (SELECT until_ms FROM truthloop_ended)
GROUP BY "day" ORDER BY "day"
"""
_OPEN_DAYS: Final = """
SELECT
  truthloop_day(min(coalesce((least ->> '$.predicted_at')::TIMESTAMPTZ, to_timestamp(0)))),
  (SELECT truthloop_day(epoch_ms(until_ms) AT TIME ZONE 'UTC') FROM truthloop_ended)
FROM truthloop_open_files WHERE "table" = 'predictions'
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


@dataclass(frozen=True)
class DayRange:
    """Days that become one file."""

    first: date
    last: date
    is_draft: bool


@dataclass(frozen=True)
class DueFiles:
    """Files of one commit, in order of their days, and those that they replace."""

    parts: Sequence[DayRange]
    replaced: Sequence[DayFile]


@dataclass
class ScoredFiles:
    """What the table has, for one writer: whoever exchanges files says so, and what is due next follows from that.

    Attributes:
        files: in order of their days.
        drafts: paths of those that are drafts.
        outdated: files that something newer touches.
    """

    files: Sequence[DayFile]
    drafts: Collection[str]
    outdated: Sequence[DayFile]

    @classmethod
    def of(cls, session: duckdb.DuckDBPyConnection, table: DayTable) -> "ScoredFiles":
        """Return that of a table, as a session sees it."""
        files = sorted(table.state().files, key=lambda one: one.first)
        drafts = {path for (path,) in session.execute("SELECT file FROM truthloop_drafts").fetchall()}
        closed = {path for (path,) in session.execute("SELECT file FROM truthloop_closed").fetchall()}
        return cls(files, drafts, [one for one in files if one.path not in drafts | closed])

    def exchange(self, removed: Sequence[DayFile], added: Sequence[tuple[DayFile, bool]]) -> None:
        """Replace files, as a commit has; each of the new ones with whether it is a draft."""
        kept = [one for one in self.files if one not in removed]
        self.files = sorted([*kept, *(one for one, _ in added)], key=lambda one: one.first)
        self.drafts = {*self.drafts, *(one.path for one, is_draft in added if is_draft)}

    def due(self, session: duckdb.DuckDBPyConnection) -> Iterator[DueFiles]:
        """Yield what is due of files that are not outdated, each after the one before is exchanged."""
        yield from self.due_drafts(session)
        yield from self._due_days(session)

    def due_drafts(self, session: duckdb.DuckDBPyConnection) -> Iterator[DueFiles]:
        """Yield drafts that are to be closed, in part at least, or written again; each is the last in `replaced`."""
        known = {one.path: one for one in self.files}
        for path, closes, later, age_ms in session.execute(_DRAFTS).fetchall():
            file = known[path]
            if closes is not None:
                grown = self._grown(file.first, file.rows, is_draft=False)
                parts = [DayRange(grown[0].first if grown else file.first, closes, is_draft=False)]
                if closes < file.last:
                    parts.append(DayRange(closes + timedelta(days=1), file.last, is_draft=True))
                yield DueFiles(parts, [*grown, file])
            elif later and (later >= file.rows * REVISIONS_PER_ROW or age_ms >= DRAFT_AGE_MS):
                yield DueFiles([DayRange(file.first, file.last, is_draft=True)], [file])

    def _due_days(self, session: duckdb.DuckDBPyConnection) -> Iterator[DueFiles]:
        """Yield the days of one file after the other, from the first that is due; the first go into the file before."""
        due: DueFiles | None = None
        rows = 0
        for day, count, is_final in next_days(session):
            if due is not None:
                (part,) = due.parts
                is_next = not any(part.last < one.first <= day for one in self.files)
                if is_next and part.is_draft != is_final and _has_room(rows + count):
                    due, rows = DueFiles([replace(part, last=day)], due.replaced), rows + count
                    continue
                yield due
            grown = self._grown(day, count, is_draft=not is_final)
            due = DueFiles([DayRange(grown[0].first if grown else day, day, is_draft=not is_final)], grown)
            rows = count + sum(one.rows for one in grown)
        if due is not None:
            yield due

    def _grown(self, first: date, rows: int, *, is_draft: bool) -> Sequence[DayFile]:
        """Return the file before a day, if it is of the kind that is written and has room for so many more rows."""
        before = [one for one in self.files if one.last < first][-1:]
        return [one for one in before if (one.path in self.drafts) == is_draft and _has_room(one.rows + rows)]


def next_days(session: duckdb.DuckDBPyConnection) -> Iterator[tuple[date, int, bool]]:
    """Yield the days that are due, with their numbers of rows, and whether they are closed.

    A part of the time is read, then one of double length: a writer needs the first days first.
    """
    ((first, end),) = session.execute(_OPEN_DAYS).fetchall()
    length = timedelta(days=1)
    while first is not None and end is not None and first <= end:
        until = min(first + length, end + timedelta(days=1))
        yield from session.execute(_DUE_DAYS, [first, until]).fetchall()
        first, length = until, 2 * length


def _has_room(rows: int) -> bool:
    return rows <= ROWS_PER_FILE
