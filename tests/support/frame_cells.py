"""Cells by day that are all in memory, as `monitor.cells.cells_by_day.CellsByDay`."""

from datetime import date
from functools import cached_property

import polars as pl

from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.packing import merge
from monitor.cells.summary import CellSummary, summarise

__all__ = ["FrameCells"]


class FrameCells(CellsByDay):
    """Cells that are all in memory.

    Args:
        cells: merged.
    """

    def __init__(self, cells: pl.DataFrame) -> None:
        self._cells = cells

    @cached_property
    def summary(self) -> CellSummary:
        """The summary of all cells."""
        return CellSummary().plus(summarise(self._cells))

    def of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of some days, both included."""
        return merge(self._cells.filter(pl.col("day").is_between(first, last), *conditions))
