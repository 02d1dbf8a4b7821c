"""Cells of arrivals that are kept: the same as if all were read, and only days that have changed are."""

from datetime import date
from types import SimpleNamespace
from typing import Any

import polars as pl
from evaluation_case import Era, Story, day_of, plain_config
from frame_cells import FrameCells
from polars.testing import assert_frame_equal

from monitor.cells.count_arrivals import IS_OF_ARRIVALS
from truthloop.evidence.arrival_cells import ArrivalCellReader


class AskedCells(FrameCells):
    """Cells that tell of which days they were asked for."""

    def __init__(self, cells: pl.DataFrame) -> None:
        super().__init__(cells)
        self.asked: list[tuple[date, date]] = []

    def rows_of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of some days, and note them."""
        self.asked.append((first, last))
        return self.of_days(first, last, *conditions)


STORY = Story(plain_config(), [Era("v1", 0, 12, 200)])


def evidence_of(cells: pl.DataFrame, rulings: tuple[Any, ...] = ()) -> Any:
    """Return what the reader needs of the evidence."""
    return SimpleNamespace(plan=STORY.plan, cells=AskedCells(cells), rulings=rulings)


def read(reader: ArrivalCellReader, evidence: Any) -> list[tuple[date, date]]:
    """Read, see that the cells are those of all days, and return the days that were asked for."""
    found = reader.read(evidence)
    asked = [*evidence.cells.asked]
    whole = evidence.cells.of_days(date.min, date.max, pl.col("kind") == "late", IS_OF_ARRIVALS)
    assert_frame_equal(found.sort(found.columns), whole.sort(whole.columns), check_column_order=False)
    return asked


def test_only_days_that_have_changed_are_read() -> None:
    """All at first, then the newest; nothing if nothing is new, and an old day that gets labels later."""
    reader = ArrivalCellReader("late")
    assert read(reader, evidence_of(STORY.cells_after(8))) == [(day_of(0), day_of(8))]
    assert read(reader, evidence_of(STORY.cells_after(8))) == []
    assert read(reader, evidence_of(STORY.cells_after(10))) == [(day_of(9), day_of(10))]
    late = STORY.cells_after(10)
    is_arrival = (pl.col("day") == day_of(3)) & (pl.col("measure") == "arrived")
    more = late.with_columns(amount=pl.when(is_arrival).then(pl.col("amount") + 1).otherwise("amount"))
    assert read(reader, evidence_of(more)) == [(day_of(3), day_of(3))]
    assert read(reader, evidence_of(late)) == [(day_of(3), day_of(3))]


def test_after_a_ruling_all_days_are_read_again() -> None:
    """It may change cells whose number stays."""
    reader = ArrivalCellReader("late")
    read(reader, evidence_of(STORY.cells_after(8)))
    assert read(reader, evidence_of(STORY.cells_after(8), ("ruled",))) == [(day_of(0), day_of(8))]
