"""Counts label arrivals by the hour in which the label became known, and reads the counts as hourly series.

An arrival is an event that is counted once: later revisions of the same prediction subtract nothing. Labels that are
declared as a backfill are not arrivals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import AGES_MAX, OVERFLOW_AGE_MS
from monitor.cells.codebook import DAY_PANES, Codebook
from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.count_again import SENT_AGAIN, TOLD_AGAIN
from monitor.cells.packing import sum_by
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.source_name import source_name
from schemas.base.status import Reason, Status

__all__ = [
    "COHORT",
    "IS_OF_ARRIVALS",
    "HourlyArrivals",
    "arrivals_of",
    "count_arrivals",
    "read_hourly_arrivals",
    "read_hourly_conflicts",
]

COHORT = ["version", "definition", "predicted_at"]
"""Columns of arrivals that a codebook encodes. `predicted_at` holds the time of arrival: the cell's day follows it."""

_FIRST = "arrived"
_CHANGED = "arrived_corrected"
_FIRST_REASONS = [Reason.FIRST.value, Reason.LATE.value, Reason.EARLY.value]
_SPANNING = ["predictions", _FIRST, _CHANGED]
"""Measures whose days have hours in a series; what comes again has only those after the first of these."""
IS_OF_ARRIVALS = (pl.col("slice") == ALL) & pl.col("measure").is_in([*_SPANNING, TOLD_AGAIN, SENT_AGAIN])
"""Whether `read_hourly_arrivals` or `read_hourly_conflicts` reads a cell."""

_LABELLED = [Status.JOINED.value, Status.IMPLIED.value]
_HOUR_MS = 3_600_000
_TIME = pl.Datetime("us", "UTC")

_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HourlyArrivals:
    """Live labels of a kind's own definition, of all versions, by the hour in which they became known.

    `read_hourly_arrivals` makes it. The series starts with the first day that has a prediction or an arrival.

    Attributes:
        edges_ms: upper edges of the age bins, increasing, shape (ages,).
        hour_ms: first instant of each hour, increasing, shape (hours,); the last hour of a day may be shorter.
        hour_of_day: 0 to 24, counted from the first instant of the day in the loop's time zone, shape (hours,).
        first: first labels of their predictions, by age, shape (hours, ages).
        changed: labels that changed a value or retracted it, shape (hours,).
        retimed: labels that told a known one again with another time, shape (hours,).
    """

    edges_ms: _Counts
    hour_ms: _Counts
    hour_of_day: _Counts
    first: _Counts
    changed: _Counts
    retimed: _Counts


def arrivals_of(outcomes: pl.DataFrame, slices: Sequence[str] = ()) -> pl.DataFrame:
    """Return the revisions that are arrivals.

    An arrival is a revision of an eligible prediction, made by a live label: the first label of the prediction (reason
    `first`, `late` or `early`), or a label that changed the value or retracted it. A label that repeats the value is
    not an arrival.

    Args:
        outcomes: revisions in the lake's columns, `is_declared` and `label_source`; without these columns nothing is
            declared, and no label names a source.
        slices: names of slices.

    Returns:
        kind, `COHORT`, age_ms (time known minus time predicted), is_first, source, and the slices' columns.
    """
    is_first = pl.col("reason").is_in(_FIRST_REASONS)
    differs = pl.col("value").ne_missing(pl.col("previous")) | pl.col("value_class").ne_missing(
        pl.col("previous_class")
    )
    is_changed = (pl.col("reason") == Reason.CORRECTION.value) & differs
    is_retracted = (pl.col("reason") == Reason.RETRACTION.value) & pl.col("previous_status").is_in(_LABELLED)
    is_live = pl.col("label_offset").is_not_null()
    if "is_declared" in outcomes.columns:
        is_live &= ~pl.col("is_declared").fill_null(value=False)
    if "label_source" not in outcomes.columns:
        outcomes = outcomes.with_columns(label_source=pl.lit(None, dtype=pl.String))
    return (
        outcomes.lazy()
        .filter(is_live, pl.col("eligible"), is_first | is_changed | is_retracted)
        .select(
            "kind",
            "version",
            "definition",
            source_name("label_source"),
            *(f"slice_{name}" for name in slices),
            is_first=is_first,
            age_ms=(pl.col("known_at") - pl.col("predicted_at")).dt.total_milliseconds(),
            predicted_at=pl.col("known_at").cast(_TIME),
        )
        .collect()
    )


def count_arrivals(plan: CellPlan, codebook: Codebook, arrivals: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Yield encoded cells of arrivals by kind and hour; of first labels also by age.

    Args:
        plan: with the kinds.
        codebook: one that has codes for the arrivals' `COHORT`.
        arrivals: as `arrivals_of` returns them.
    """
    if arrivals.is_empty():
        return
    coded = replace(codebook, admitted={}).encode(arrivals)
    for kind in plan.kinds:
        rows = coded.filter(pl.col("kind") == kind.name)
        hours = codebook.sizes | {"pane": DAY_PANES}
        first = rows.filter("is_first").with_columns(edge=_edge_index(kind))
        by_age = sum_by(first, hours | {"edge": len(kind.age_edges_ms)}, []).with_columns(
            bin=pl.col("pane") * AGES_MAX + pl.col("edge"), measure=codebook.measure(_FIRST)
        )
        yield codebook.encoded_cells(by_age, kind.name, kind.definition)
        changed = sum_by(rows.filter(~pl.col("is_first")), hours, [])
        changed = changed.with_columns(bin=pl.col("pane"), measure=codebook.measure(_CHANGED))
        yield codebook.encoded_cells(changed, kind.name, kind.definition)


def read_hourly_arrivals(cells: pl.DataFrame, plan: CellPlan, kind: str) -> HourlyArrivals:
    """Return the arrivals of a kind's own definition, hour by hour.

    Args:
        cells: at least those of `IS_OF_ARRIVALS`; a cell may have several rows.
        plan: the plan the cells were folded with.
        kind: name of a kind of the plan.

    Raises:
        ValueError: the plan has no such kind.
    """
    own = plan.kind(kind)
    mine = cells.lazy().filter(kind=kind, definition=own.definition, slice=ALL)
    measures = [*_SPANNING, TOLD_AGAIN]
    parts = [mine.filter(measure=measure).select("day", "bin", "amount") for measure in measures]
    predictions, ages, corrected, again = pl.collect_all(parts)
    days = pl.concat([part.get_column("day") for part in (predictions, ages, corrected)])
    again = again.filter(pl.col("day") >= pl.lit(days.min(), dtype=pl.Date))
    last = pl.concat([days, again.get_column("day")]).max()
    edges_ms = np.asarray(own.age_edges_ms, dtype=np.int64)
    hours = _Hours.of(days.min(), last, plan.timezone)
    first = np.zeros((len(hours.hour_ms), len(edges_ms)), dtype=np.int64)
    numbers, edges = np.divmod(ages.get_column("bin").to_numpy(), AGES_MAX)
    np.add.at(first, (hours.index(ages, numbers), edges), ages.get_column("amount").to_numpy())
    changed = hours.amounts(corrected)
    return HourlyArrivals(edges_ms, hours.hour_ms, hours.hour_of_day, first, changed, hours.amounts(again))


def read_hourly_conflicts(cells: pl.DataFrame, plan: CellPlan, kind: str) -> pl.DataFrame:
    """Return hour_ms, the first instant of an hour, growing, and count of the predictions that were sent again.

    Args:
        cells: at least those of `IS_OF_ARRIVALS`; a cell may have several rows.
        plan: the plan the cells were folded with.
        kind: any kind of the plan: these predictions are those of all kinds.
    """
    mine = cells.filter(pl.col("kind") == kind, pl.col("measure") == SENT_AGAIN, pl.col("slice") == ALL)
    days = mine.get_column("day")
    hours = _Hours.of(days.min(), days.max(), plan.timezone)
    counts = hours.amounts(mine)
    return pl.DataFrame({"hour_ms": hours.hour_ms[counts > 0], "count": counts[counts > 0]})


@dataclass(frozen=True, eq=False)
class _Hours:
    """The hours of all days from a first to a last.

    Attributes:
        first: the first day; None without any.
        hour_ms: first instant of every hour.
        hour_of_day: its number in its day.
        day_ms: first instant of every day.
    """

    first: object
    hour_ms: _Counts
    hour_of_day: _Counts
    day_ms: _Counts

    @classmethod
    def of(cls, first: object, last: object, timezone: str) -> "_Hours":
        if not isinstance(first, date) or not isinstance(last, date):
            nothing = np.zeros(0, dtype=np.int64)
            return cls(None, nothing, nothing, nothing)
        days = [first + timedelta(days=number) for number in range((last - first).days + 2)]
        starts = day_starts_ms(days, timezone)
        spans = [np.arange(start, end, _HOUR_MS, dtype=np.int64) for start, end in pairwise(starts)]
        numbers = [np.arange(len(span), dtype=np.int64) for span in spans]
        return cls(first, np.concatenate(spans), np.concatenate(numbers), np.asarray(starts[:-1], dtype=np.int64))

    def index(self, rows: pl.DataFrame, numbers: _Counts) -> _Counts:
        """Return the index of each row's hour from its number in the row's day.

        An hour number beyond the end of its day is an hour of the next day.
        """
        days = rows.select((pl.col("day") - pl.lit(self.first, dtype=pl.Date)).dt.total_days()).to_series().to_numpy()
        found: _Counts = np.searchsorted(self.hour_ms, self.day_ms[days] + numbers * _HOUR_MS, side="right") - 1
        return found

    def amounts(self, rows: pl.DataFrame) -> _Counts:
        """Return the sum of the amounts of each hour; a row's bin is the number of its hour."""
        found = np.zeros(len(self.hour_ms), dtype=np.int64)
        np.add.at(found, self.index(rows, rows.get_column("bin").to_numpy()), rows.get_column("amount").to_numpy())
        return found


def _edge_index(kind: KindPlan) -> pl.Expr:
    """Return the index of the least age edge at or above the age."""
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    return edges.search_sorted(pl.col("age_ms").clip(upper_bound=OVERFLOW_AGE_MS), side="left").cast(pl.Int64)
