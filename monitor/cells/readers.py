"""What a fold seldom needs of all cells, and of all predictions: so it need not know them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

import polars as pl

from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.rank_bin import Owner, atoms_among
from monitor.cells.slots import ValueCounter

__all__ = ["NO_CELLS", "CellReaders", "no_values"]


def no_values(_name: str, _first: date, _last: date) -> pl.DataFrame:
    """Return counts of no predictions."""
    return pl.DataFrame(schema={"day": pl.Date, "value": pl.String, "rows": pl.UInt32})


@dataclass(frozen=True)
class CellReaders:
    """Reads what a fold seldom needs.

    Attributes:
        atoms_of: returns the cells of labels by score of some kinds and versions, of all days and slices. It is asked
            once in the life of a version, when a grid takes the place of its scores.
        of_slices: returns the cells of some slices (their texts) that meet a condition. It is asked when a slice name
            gets too many values.
        values: counts the values of a slice name; asked once a day for each name with too many.
    """

    atoms_of: Callable[[Collection[Owner]], pl.DataFrame]
    of_slices: Callable[[Collection[str], pl.Expr], pl.DataFrame]
    values: ValueCounter = no_values

    @classmethod
    def of_cells(cls, cells: pl.DataFrame) -> "CellReaders":
        """Return readers of merged cells in memory. There are no predictions to count values of."""

        def of_slices(texts: Collection[str], condition: pl.Expr) -> pl.DataFrame:
            return cells.filter(pl.col("slice").is_in(sorted(texts)), condition)

        return cls(partial(atoms_among, cells), of_slices)


NO_CELLS: Final = CellReaders.of_cells(CELL_SCHEMA.to_frame())
"""Readers of a loop that has no cells yet."""
