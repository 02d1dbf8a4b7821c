"""The cells of a lake as of one commit: their summary, and on request those of some days.

Rows of one cell lie in several files: each fold appends what is to be added. They are added up when they are read.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Final

import polars as pl

from lake import Lake
from lake.by_day import DayTableState
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.plan import CellPlan
from monitor.cells.rank_bin import IS_SCORE, Owner, atoms_among
from monitor.cells.readers import CellReaders, no_values
from monitor.cells.slots import ValueCounter, is_slot
from monitor.cells.summary import SUMMARY_DAY, CellSummary
from streams.ledger.lake_kind import cells_app
from truthloop.evidence.cell_runs import MERGE_APP

__all__ = ["APP", "FIRST_DAY", "LakeCells", "cells_of_slices", "read_cells", "ruling_app", "scored_labels"]

APP: Final = "cells"
"""Application whose position counts the table's commits of cells, so that no two are made from the same cells."""

FIRST_DAY: Final = SUMMARY_DAY + timedelta(days=1)
_ALL_DAYS: Final = (FIRST_DAY, date.max)

_RANGES_KEPT: Final = 2
"""Ranges of days whose cells stay in memory; what is added to them is added up when they are asked for again."""


@dataclass(frozen=True, eq=False)
class LakeCells:
    """The cells as of one commit of their table.

    Attributes:
        state: the files of the table, and up to where they count.
        plan: digest of the plan that they count by; cells of another one, whose records have left, are not read.
        summary: of all of them.
        is_other_plan: they count by another plan and must be counted anew; the summary has only the slots then.
    """

    state: DayTableState
    plan: str
    summary: CellSummary = field(default_factory=CellSummary)
    is_other_plan: bool = False
    _kept: dict[tuple[date, date], list[pl.DataFrame]] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """Version of the Delta table."""
        return self.state.version

    @property
    def applied(self) -> Mapping[str, int]:
        """Positions of the applications: of `APP`, `cells_app` and `ruling_app`."""
        return self.state.applied

    def counts(self, partition: int) -> bool:
        """Return whether the position of a partition is known."""
        return cells_app(partition) in self.state.applied

    def of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of some days, both included, merged.

        What is asked for without conditions is kept, for those who ask for the same days next.

        Args:
            conditions: on columns of `monitor.cells.packing.CELL_KEY`: they are met before cells are added up.
        """
        if conditions or self.is_other_plan:
            return merge(self.rows_of_days(first, last, *conditions))
        days = max(first, FIRST_DAY), last
        parts = self._kept.pop(days, None) or [self.rows_of_days(*days)]
        while len(self._kept) >= _RANGES_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[days] = [merge(*parts)]
        return self._kept[days][0]

    def rows_of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of some days, both included, that meet some conditions, as they lie in the files.

        A cell has as many rows as it has been added to: for readers that add them up themselves.
        """
        if self.is_other_plan:
            return CELL_SCHEMA.to_frame()
        return self._scan((max(first, FIRST_DAY), last)).filter(*conditions).collect()

    def whole(self, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of all days, as `of_days` does; what it costs grows with the loop's age."""
        return self.of_days(*_ALL_DAYS, *conditions)

    def admitted(self, plan: CellPlan, versions: Iterable[str] = (), values: ValueCounter = no_values) -> CellPlan:
        """Return a plan with what these cells count separately; rank bins are those of some versions.

        Args:
            values: counts the values of slices; of a plan that rows are folded with.
        """
        readers = CellReaders(self._atoms_of, partial(cells_of_slices, self._scan(_ALL_DAYS)), values)
        return plan.with_admitted(self.summary.of_versions(versions), readers)

    def grown(self, state: DayTableState, rows: pl.DataFrame, summary: pl.DataFrame) -> "LakeCells":
        """Return the cells after a commit.

        Args:
            state: after it.
            rows: what it has added.
            summary: the summary of these.
        """
        kept = {days: [*parts, rows.filter(pl.col("day").is_between(*days))] for days, parts in self._kept.items()}
        worth = {days: parts for days, parts in kept.items() if sum(map(len, parts[1:])) <= len(parts[0])}
        return LakeCells(state, self.plan, self.summary.plus(summary), _kept=worth)

    def in_files(self, state: DayTableState) -> "LakeCells":
        """Return the same cells in other files."""
        return replace(self, state=state)

    def _scan(self, days: tuple[date, date]) -> pl.LazyFrame:
        return self.state.scan(*days).filter(plan=self.plan).select(CELL_SCHEMA.names())

    def _atoms_of(self, owners: Collection[Owner]) -> pl.DataFrame:
        return scored_labels(self._scan(_ALL_DAYS), owners)


def read_cells(lake: Lake, plan: CellPlan, partitions: Iterable[int]) -> LakeCells:
    """Return the lake's newest cells. Only their summary is read.

    Args:
        plan: what cells should count.
        partitions: those whose positions are wanted.
    """
    apps = [APP, MERGE_APP, *map(cells_app, partitions), *(ruling_app(kind.name) for kind in plan.kinds)]
    state = lake.by_day("cells").state(apps)
    rows = state.scan(SUMMARY_DAY, SUMMARY_DAY).select(*CELL_SCHEMA.names(), "plan").collect()
    plans = rows.get_column("plan").unique().to_list()
    if plans != [plan.digest] and any(one.rows for one in state.files):
        return LakeCells(state, plan.digest, CellSummary().plus(rows.filter(is_slot())), is_other_plan=True)
    return LakeCells(state, plan.digest, CellSummary().plus(rows))


def scored_labels(cells: pl.LazyFrame, owners: Collection[Owner]) -> pl.DataFrame:
    """Return the cells of labels by score of some kinds and versions, of all days, merged; none of the summary."""
    is_theirs = pl.col("version").is_in(sorted({version for _, version in owners}))
    is_score = pl.col("measure").str.contains(IS_SCORE)
    return atoms_among(_merged(cells, is_theirs, is_score), owners)


def cells_of_slices(cells: pl.LazyFrame, texts: Collection[str], condition: pl.Expr) -> pl.DataFrame:
    """Return the cells of some slices that meet a condition, of all days, merged; none of the summary."""
    return _merged(cells, pl.col("slice").is_in(sorted(texts)), condition)


def _merged(cells: pl.LazyFrame, *conditions: pl.Expr) -> pl.DataFrame:
    return merge(cells.filter(pl.col("day") >= FIRST_DAY, *conditions).select(CELL_SCHEMA.names()).collect())


def ruling_app(kind: str) -> str:
    """Return the application whose position is the number of a log's entries whose rulings the cells follow."""
    return f"rulings:{kind}"
