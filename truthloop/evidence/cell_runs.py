"""Keeps the table of cells small: what folds have appended is added to the days it belongs to, in files of their own.

A fold appends one file, a run: what is to be added to cells of any day. Runs are few: from time to time they are added
up, and what they add to a day goes into the file of that day once it is a good part of it; the rest stays in one run.
So a cell is written again a few times, however long the loop has run, and a day that nothing is added to is not
touched. Days long past share files, as many as fit in memory together.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final

import polars as pl

from lake import Claim
from lake.by_day import DayFile, DayTable, DayTableState
from lake.staged_file import StagedFile
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.plan import CellPlan
from monitor.cells.summary import SUMMARY_DAY
from schemas.errors import LakeConflict

__all__ = ["MERGE_APP", "merge_runs", "runs_are_due", "stage_cells", "stage_days"]

MERGE_APP: Final = "cells-merged"
"""Application whose position counts the merges, so that no two are made from the same files."""

RUNS_MAX: Final = 32
RUN_ROWS_MAX: Final = 50_000
"""So many runs, or so many rows of new ones, are added up."""

_PART: Final = 4
"""A file is written again when a quarter of its rows has come to its days."""

_COLD: Final = timedelta(days=31)
"""Days that are longer before the newest one share files."""
SHARED_ROWS_MAX: Final = 200_000
"""Rows of a file that days share. A day with more than half of them has a file of its own."""
SHARED_FILES_MIN: Final = 8
"""So many files become one, or fewer if they fill it."""


def runs_are_due(files: Sequence[DayFile]) -> bool:
    """Return whether there are so many runs that they should be added up."""
    rows = [one.rows for one in files if not one.is_merged]
    largest = max(rows, default=0)
    return len(rows) > RUNS_MAX or sum(rows) - largest > max(RUN_ROWS_MAX, largest)


def merge_runs(table: DayTable, state: DayTableState, plan: CellPlan, recorded_at: datetime) -> bool:
    """Add up the runs and the files of days that they have much to add to, and bring days long past together.

    Args:
        table: of the cells.
        state: its newest.
        plan: that the cells are counted by; files of days before `since`, which may have another, stay as they are.
        recorded_at: of the new files.

    Returns:
        False if another process has changed these files meanwhile: nothing is lost, and nothing was merged.
    """
    work = _Work.of(state, plan.since)
    if not work.removed:
        return True
    staged = [
        stage_cells(table, rows, plan.digest, recorded_at, is_merged=is_merged) for rows, is_merged in work.parts()
    ]
    position = state.applied[MERGE_APP]
    claims = [Claim(MERGE_APP, position, position + 1)]
    try:
        return table.exchange(staged, work.removed, claims, is_change=False, recorded_at=recorded_at)
    except LakeConflict:
        table.discard(staged)
        return False


def stage_days(table: DayTable, runs: Sequence[StagedFile], plan: str, recorded_at: datetime) -> Iterator[StagedFile]:
    """Stage the sum of staged files as files of days; yield them one by one, so that memory holds one.

    Args:
        table: of the cells.
        runs: staged files of cells; they stay.
        plan: digest of the plan that the cells are counted by.
        recorded_at: of the new files.
    """
    rows = table.scan_staged(runs)
    days = [*rows.group_by("day").agg(pl.len().cast(pl.Int64)).sort("day").collect().iter_rows()]
    newest = max((day for day, _ in days), default=SUMMARY_DAY)
    for first, last in _spans(days, newest):
        found = merge(rows.filter(pl.col("day").is_between(first, last)).select(CELL_SCHEMA.names()).collect())
        if found.height:
            yield stage_cells(table, found, plan, recorded_at, is_merged=True)


def stage_cells(
    table: DayTable, rows: pl.DataFrame, plan: str, recorded_at: datetime, *, is_merged: bool
) -> StagedFile:
    """Stage a file of cells, sorted so that those of a day are found together.

    Args:
        table: of the cells.
        rows: at least one.
        plan: digest of the plan that they are counted by.
        recorded_at: of the file.
        is_merged: whether they are all there is of their days, each once.
    """
    by_day = rows.sort("day", maintain_order=True).with_columns(plan=pl.lit(plan))
    return table.stage(by_day, recorded_at, is_merged=is_merged)


@dataclass(frozen=True)
class _Work:
    """What a merge writes again.

    Attributes:
        state: of the table.
        added: the sum of the runs, sorted by day.
        spans: first and last day of each new file of days.
        removed: the files that are replaced.
    """

    state: DayTableState
    added: pl.DataFrame
    spans: Sequence[tuple[date, date]]
    removed: Sequence[DayFile]

    @classmethod
    def of(cls, state: DayTableState, since: date) -> "_Work":
        runs = [one for one in state.files if not one.is_merged]
        added = merge(_rows(state, runs)).sort("day", maintain_order=True)
        amounts = dict(added.group_by("day", maintain_order=True).len().iter_rows())
        kept = (one for one in state.files if one.is_merged and (one.last >= since or one.first == SUMMARY_DAY))
        known = sorted(kept, key=lambda one: one.first)
        spans, removed = list[tuple[date, date]](), list[DayFile](runs)
        for one in known:
            news = sum(amounts.pop(day) for day in [*amounts] if one.first <= day <= one.last)
            if news * _PART >= one.rows and news:
                spans.append((one.first, one.last))
                removed.append(one)
        newest = max([*amounts, *(one.last for one in known)], default=SUMMARY_DAY)
        for days in _between([*amounts.items()], known):
            spans += _spans(days, newest)
        if cold := _coldest(known, newest):
            whole = cold[0].first, cold[-1].last
            spans = [span for span in spans if not whole[0] <= span[0] <= whole[1]] + [whole]
            removed += [one for one in cold if one not in removed]
        return cls(state, added, sorted(spans), removed)

    def parts(self) -> Iterator[tuple[pl.DataFrame, bool]]:
        """Yield the rows of each new file, and whether they are all there is of their days."""
        merged = [one for one in self.removed if one.is_merged]
        days, rest, begins = self.added.get_column("day"), [], 0
        for first, last in self.spans:
            since, until = days.search_sorted(first, "left"), days.search_sorted(last, "right")
            own = _rows(self.state, [one for one in merged if one.overlaps(first, last)])
            rows = merge(own, self.added[since:until])
            rest.append(self.added[begins:since])
            begins = until
            if rows.height:
                yield rows, True
        few = pl.concat([*rest, self.added[begins:]])
        if few.height:
            yield few, False


def _between(days: Sequence[tuple[date, int]], files: Sequence[DayFile]) -> Iterator[list[tuple[date, int]]]:
    """Yield sorted days, which are in no file, in groups: between those of a group no file has days."""
    starts = sorted(one.first for one in files)
    for _, group in groupby(days, key=lambda one: bisect(starts, one[0])):
        yield [*group]


def _coldest(files: Sequence[DayFile], newest: date) -> Sequence[DayFile]:
    """Return the oldest neighbours that are to share a file; none if there are too few."""
    small = list[DayFile]()
    for one in files:
        if not _may_share(one.last, one.rows, newest):
            if len(small) >= SHARED_FILES_MIN:
                return small
            small = []
        elif sum(other.rows for other in small) + one.rows > SHARED_ROWS_MAX:
            return small
        else:
            small.append(one)
    return small if len(small) >= SHARED_FILES_MIN else []


def _spans(days: Sequence[tuple[date, int]], newest: date) -> Iterator[tuple[date, date]]:
    """Yield first and last day of the files that sorted days are kept in, given the rows of each."""
    shared: list[tuple[date, int]] = []
    for day, rows in days:
        may_share = _may_share(day, rows, newest)
        if shared and (not may_share or sum(count for _, count in shared) + rows > SHARED_ROWS_MAX):
            yield shared[0][0], shared[-1][0]
            shared = []
        if may_share:
            shared.append((day, rows))
        else:
            yield day, day
    if shared:
        yield shared[0][0], shared[-1][0]


def _may_share(day: date, rows: int, newest: date) -> bool:
    return day != SUMMARY_DAY and day < newest - _COLD and rows <= SHARED_ROWS_MAX // 2


def _rows(state: DayTableState, files: Sequence[DayFile]) -> pl.DataFrame:
    return state.scan_some(files).select(CELL_SCHEMA.names()).collect()
