"""Cells of which a reader asks for the days that it needs."""

from datetime import date
from typing import Protocol

import polars as pl

from monitor.cells.summary import CellSummary

__all__ = ["CellsByDay"]


class CellsByDay(Protocol):
    """The merged cells of a loop, day by day."""

    @property
    def summary(self) -> CellSummary:
        """The summary of all cells."""
        ...

    def of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the merged cells of some days, both included.

        Args:
            conditions: on columns of `monitor.cells.packing.CELL_KEY`.
        """
        ...
