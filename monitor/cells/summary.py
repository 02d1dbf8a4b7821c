"""The summary of a loop's cells: what a fold and a look need to know of all days, in a few cells of no day.

It is a sum over the cells, so a fold adds the summary of what it adds. It tells which slice values, classes, sources
and rank bins are counted separately (`CellPlan.with_admitted` reads the same from it as from all cells), how many
predictions each version made on which day, and on which days labels arrived. Its size follows the number of days,
versions and slices; not that of the cells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Final

import polars as pl

from monitor.cells.class_name import IS_OF_CLASS
from monitor.cells.cohort import ALL, day_numbers, numbered_days
from monitor.cells.count_again import CAME_AGAIN, RESTATED
from monitor.cells.label_flow import ARRIVED
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.rank_bin import GRID
from monitor.cells.slots import is_slot
from monitor.cells.source_name import SOURCE_MEASURE

__all__ = ["SUMMARY_DAY", "CellSummary", "summarise"]

SUMMARY_DAY: Final = date(1970, 1, 1)
"""Stands in for the day of the summary's cells. No record is of a time before 1971."""

_PREDICTIONS: Final = "predictions"
_ARRIVED: Final = "arrived"
_ROWS: Final = "rows"
_ANY_VERSION: Final = ""

_ARRIVALS: Final = ["arrived", "arrived_corrected"]
_OF_EVERY_SLICE: Final = ["predictions", "ineligible", "labels", "expired", "retracted"]
"""Measures that are never below zero, and of which each slice with a cell of predictions has one."""
_BY_SCORE: Final = ["score_0", "score_1", GRID]


def summarise(cells: pl.DataFrame) -> pl.DataFrame:
    """Return the summary of cells: cells of `SUMMARY_DAY`, sorted, without zeros.

    The summary of a sum is the sum of the summaries. By key of the cells:

    - `predictions` of version and kind: eligible predictions; `bin` is the day, counted from 1970.
    - `arrived` of kind and definition: labels that arrived, changes included; `bin` is the day.
    - `arrived_again`, `arrived_conflict`, `arrived_restated` of kind: labels and predictions that came again; `bin` is
      the day.
    - `rows`, of the slice of all and of others: above zero where the slice has cells.
    - `class_true CLASS` and `class_predicted CLASS` of a kind, also at ages.
    - `arrived_block` of kind and slice, `arrived_from SOURCE` of a kind: first labels.
    - `slot`, `slots_ranked`, `slots_decided` of slices, as in the cells.
    - `score_0`, `score_1` of version and kind: labelled outcomes by rank bin. `score_grid`: the grid of these bins.

    >>> key = dict.fromkeys(CELL_SCHEMA.names(), "") | {"day": date(2013, 3, 12), "bin": 0, "amount": 3}
    >>> cells = pl.DataFrame([key | {"version": "v1", "kind": "late", "measure": "predictions"}], schema=CELL_SCHEMA)
    >>> summarise(cells).filter(version="v1").select("version", "kind", "measure", "bin", "amount").rows()
    [('v1', 'late', 'predictions', 15776, 3)]
    """
    measure, is_all = pl.col("measure"), pl.col("slice") == ALL
    day = day_numbers("day")
    none = pl.lit(0)
    parts: list[tuple[pl.Expr, list[str], dict[str, pl.Expr]]] = [
        (is_all & (measure == _PREDICTIONS), ["version", "kind"], {"bin": day}),
        (is_all & measure.is_in(_ARRIVALS), ["kind", "definition"], {"bin": day, "measure": pl.lit(_ARRIVED)}),
        (measure.is_in(CAME_AGAIN), ["kind"], {"bin": day}),
        (measure.is_in(_OF_EVERY_SLICE), ["slice"], {"bin": none, "measure": pl.lit(_ROWS)}),
        (is_all & measure.str.contains(IS_OF_CLASS), ["kind"], {"bin": none}),
        (measure == ARRIVED, ["kind", "slice"], {"bin": none}),
        (measure.str.starts_with(SOURCE_MEASURE), ["kind"], {"bin": none}),
        (is_all & measure.is_in(_BY_SCORE), ["version", "kind"], {}),
        (is_slot(), ["slice"], {}),
    ]
    texts = ("version", "slice", "kind", "definition")
    found = [
        cells.lazy()
        .filter(condition)
        .with_columns(*(pl.lit("").alias(name) for name in texts if name not in kept), **columns)
        .with_columns(day=pl.lit(SUMMARY_DAY))
        .select(pl.col(name).cast(dtype) for name, dtype in CELL_SCHEMA.items())
        for condition, kept, columns in parts
    ]
    return merge(*pl.collect_all(found))


@dataclass(frozen=True, eq=False)
class _VersionPart:
    """The cells of the summary that have one version."""

    rows: pl.DataFrame

    def plus(self, rows: pl.DataFrame) -> "_VersionPart":
        return _VersionPart(merge(self.rows, rows))

    @cached_property
    def predictions(self) -> pl.DataFrame:
        return _by_day(self.rows, _PREDICTIONS)


_NOTHING: Final = _VersionPart(CELL_SCHEMA.to_frame())


@dataclass(frozen=True, eq=False)
class CellSummary:
    """A summary that grows. `CellSummary().plus(rows)` makes it.

    Attributes:
        parts: its cells by version; those that have none under an empty text.
    """

    parts: Mapping[str, _VersionPart] = field(default_factory=dict)

    def plus(self, rows: pl.DataFrame) -> "CellSummary":
        """Return the sum of this summary and the cells of another; it costs what the versions of these have."""
        found = dict(self.parts)
        for (version,), part in rows.partition_by("version", as_dict=True).items():
            found[str(version)] = found.get(str(version), _NOTHING).plus(part)
        return CellSummary(found)

    def of_versions(self, versions: Iterable[str]) -> pl.DataFrame:
        """Return what belongs to some versions, and what belongs to none: enough for a fold of their rows."""
        wanted = [_ANY_VERSION, *sorted({*versions} - {_ANY_VERSION})]
        return pl.concat([_NOTHING.rows, *(self.parts[one].rows for one in wanted if one in self.parts)])

    def predictions(self, kind: str, last: date = date.max) -> pl.DataFrame:
        """Return version, day and amount of the eligible predictions of a kind up to a day."""
        every = self._predictions
        return every.filter(pl.col("kind") == kind, pl.col("day") <= last).select("version", "day", "amount")

    def arrivals(self, kind: str) -> pl.DataFrame:
        """Return day and amount of the labels of a kind that arrived, changes included, for each definition."""
        return _by_day(self._of_all, _ARRIVED).filter(pl.col("kind") == kind).select("day", "amount")

    def again(self, kind: str) -> pl.DataFrame:
        """Return day and amount of the labels and predictions of a kind that came again, for each measure."""
        mine = self._again.filter(pl.col("kind") == kind)
        return mine.select(numbered_days("bin").alias("day"), "amount")

    def restated_days(self, kind: str) -> list[date]:
        """Return the days on which labels became known that are a backfill by their own fields, in order."""
        mine = self._again.filter(pl.col("kind") == kind)
        return _by_day(mine, RESTATED).get_column("day").unique().sort().to_list()

    def days(self, kind: str, definition: str) -> tuple[date, date] | None:
        """Return the first and the last day with an eligible prediction of a kind, or an arrival of a definition of it.

        None without any.
        """
        arrivals = _by_day(self._of_all.filter(pl.col("definition") == definition), _ARRIVED)
        every = pl.concat([self._predictions, arrivals]).filter(pl.col("kind") == kind)
        days = every.get_column("day").unique().sort()
        return None if days.is_empty() else (days[0], days[-1])

    def measures(self, kind: str) -> pl.DataFrame:
        """Return slice, measure and amount of what is counted for a kind over all versions and days."""
        return self._of_all.filter(pl.col("kind") == kind).select("slice", "measure", "amount")

    @cached_property
    def slices(self) -> list[str]:
        """Texts of all slices but that of all, sorted."""
        rows = self._of_all.filter(pl.col("measure") == _ROWS, pl.col("slice") != ALL)
        return rows.get_column("slice").unique().sort().to_list()

    @property
    def slots(self) -> pl.DataFrame:
        """The cells that keep slots."""
        return self._of_all.filter(is_slot())

    @property
    def _of_all(self) -> pl.DataFrame:
        return self.parts.get(_ANY_VERSION, _NOTHING).rows

    @cached_property
    def _again(self) -> pl.DataFrame:
        return self._of_all.filter(pl.col("measure").is_in(CAME_AGAIN))

    @cached_property
    def _predictions(self) -> pl.DataFrame:
        return pl.concat([_NOTHING.predictions, *(part.predictions for part in self.parts.values())])


def _by_day(rows: pl.DataFrame, measure: str) -> pl.DataFrame:
    return rows.filter(pl.col("measure") == measure).select("version", "kind", "amount", day=numbered_days("bin"))
