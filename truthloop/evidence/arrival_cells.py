"""The cells of a kind's arrivals, kept from one reading to the next: a day that has not changed is not read again.

The summary tells by day how many labels arrived, how many predictions were made, and what came again, and so which
days have changed.
"""

from typing import Final

import polars as pl

from monitor.cells.count_arrivals import IS_OF_ARRIVALS
from monitor.cells.packing import CELL_SCHEMA
from truthloop.evidence.cells import Evidence

__all__ = ["ArrivalCellReader"]

_NOTHING: Final = pl.DataFrame(schema={"measure": pl.String, "day": pl.Date, "amount": pl.Int64})


class ArrivalCellReader:
    """Reads the cells of one kind that `monitor.cells.count_arrivals.read_hourly_arrivals` takes."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._counted = _NOTHING
        self._cells = CELL_SCHEMA.to_frame()
        self._of: tuple[str, list[object]] | None = None

    def read(self, evidence: Evidence) -> pl.DataFrame:
        """Return the cells of all days as of some evidence, as they lie in the files.

        After a change of the plan or a ruling, all of them are read again.
        """
        of: tuple[str, list[object]] = evidence.plan.digest, [*evidence.rulings]
        if of != self._of:
            self._counted, self._cells = _NOTHING, CELL_SCHEMA.to_frame()
        counted = _counts_by_day(evidence, self._kind)
        keys = _NOTHING.columns
        changed = pl.concat(
            [
                counted.join(self._counted, on=keys, how="anti"),
                self._counted.join(counted, on=keys, how="anti"),
            ]
        )["day"]
        if not changed.is_empty():
            ordered = changed.sort()
            first, last = ordered[0], ordered[-1]
            new = evidence.cells.rows_of_days(first, last, pl.col("kind") == self._kind, IS_OF_ARRIVALS)
            self._cells = pl.concat([self._cells.filter(~pl.col("day").is_between(first, last)), new])
        self._counted, self._of = counted, of
        return self._cells


def _counts_by_day(evidence: Evidence, kind: str) -> pl.DataFrame:
    """Return by measure and day how much there is."""
    summary = evidence.cells.summary
    made = summary.predictions(kind).group_by("day").agg(pl.col("amount").sum())
    arrived = summary.arrivals(kind).group_by("day").agg(pl.col("amount").sum())
    again = summary.again(kind).group_by("day").agg(pl.col("amount").sum())
    return pl.concat(
        [
            rows.select(pl.lit(name).alias("measure"), "day", "amount")
            for name, rows in (("predictions", made), ("arrived", arrived), ("again", again))
        ]
    )
