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
from monitor.cells.codebook import Codebook
from monitor.cells.cohort import ALL, day_at, day_starts_ms
from monitor.cells.packing import sum_by
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.source_name import source_name
from schemas.base.status import Reason, Status

__all__ = ["COHORT", "IS_OF_ARRIVALS", "HourlyArrivals", "arrivals_of", "count_arrivals", "read_hourly_arrivals"]

COHORT = ["version", "definition", "predicted_at"]
"""Columns of arrivals that a codebook encodes. `predicted_at` holds the time of arrival: the cell's day follows it."""

_FIRST = "arrived"
_CHANGED = "arrived_corrected"
_FIRST_REASONS = [Reason.FIRST.value, Reason.LATE.value, Reason.EARLY.value]
IS_OF_ARRIVALS = (pl.col("slice") == ALL) & pl.col("measure").is_in(["predictions", _FIRST, _CHANGED])
"""Whether `read_hourly_arrivals` reads a cell."""

_LABELLED = [Status.JOINED.value, Status.IMPLIED.value]
_DAY_HOURS = 25
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
        hours = codebook.sizes | {"pane": _DAY_HOURS}
        first = rows.filter("is_first").with_columns(edge=_edge_index(kind))
        by_age = sum_by(first, hours | {"edge": len(kind.age_edges_ms)}, []).with_columns(
            bin=pl.col("pane") * AGES_MAX + pl.col("edge"), measure=codebook.measure(_FIRST)
        )
        yield codebook.encoded_cells(by_age, kind.name, kind.definition)
        changed = sum_by(rows.filter(~pl.col("is_first")), hours, [])
        changed = changed.with_columns(bin=pl.col("pane"), measure=codebook.measure(_CHANGED))
        yield codebook.encoded_cells(changed, kind.name, kind.definition)


def read_hourly_arrivals(cells: pl.DataFrame, plan: CellPlan, kind: str, retimed: pl.DataFrame) -> HourlyArrivals:
    """Return the arrivals of a kind's own definition, hour by hour.

    Args:
        cells: merged cells, at least those of `IS_OF_ARRIVALS`.
        plan: the plan the cells were folded with.
        kind: name of a kind of the plan.
        retimed: known_ms, growing, and count of labels that were told again with another time. Cells do not have them:
            the join refuses the stale ones.

    Raises:
        ValueError: the plan has no such kind.
    """
    own = plan.kind(kind)
    mine = cells.filter(
        pl.col("kind") == kind,
        pl.col("definition") == own.definition,
        IS_OF_ARRIVALS,
    )
    days = mine.get_column("day")
    edges_ms = np.asarray(own.age_edges_ms, dtype=np.int64)
    hour_ms, hour_of_day, day_ms = _hours(days.min(), _last_day(days, retimed, plan.timezone), plan.timezone)
    first = np.zeros((len(hour_ms), len(edges_ms)), dtype=np.int64)
    changed, again = np.zeros(len(hour_ms), dtype=np.int64), np.zeros(len(hour_ms), dtype=np.int64)
    if len(hour_ms):
        rows = mine.with_columns(day_ms=pl.lit(pl.Series(day_ms)).gather((pl.col("day") - days.min()).dt.total_days()))
        ages = rows.filter(pl.col("measure") == _FIRST)
        hours, edges = np.divmod(ages.get_column("bin").to_numpy(), AGES_MAX)
        np.add.at(first, (_hour_index(hour_ms, ages, hours), edges), ages.get_column("amount").to_numpy())
        changes = rows.filter(pl.col("measure") == _CHANGED)
        hours = _hour_index(hour_ms, changes, changes.get_column("bin").to_numpy())
        np.add.at(changed, hours, changes.get_column("amount").to_numpy())
        told = retimed.filter(pl.col("known_ms") >= hour_ms[0])
        hours = np.searchsorted(hour_ms, told.get_column("known_ms").to_numpy(), side="right") - 1
        np.add.at(again, hours, told.get_column("count").to_numpy())
    return HourlyArrivals(edges_ms, hour_ms, hour_of_day, first, changed, again)


def _last_day(days: pl.Series, retimed: pl.DataFrame, timezone: str) -> object:
    """Return the last day that has a prediction, an arrival, or a label told again; None without the first two."""
    last, newest_ms = days.max(), retimed.get_column("known_ms").max()
    if not isinstance(last, date) or not isinstance(newest_ms, int):
        return last
    return max(last, day_at(newest_ms, timezone))


def _hours(first: object, last: object, timezone: str) -> tuple[_Counts, _Counts, _Counts]:
    """Return the first instant of every hour, its number in its day, and the first instant of every day."""
    if not isinstance(first, date) or not isinstance(last, date):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    days = [first + timedelta(days=number) for number in range((last - first).days + 2)]
    starts = day_starts_ms(days, timezone)
    spans = [np.arange(start, end, _HOUR_MS, dtype=np.int64) for start, end in pairwise(starts)]
    numbers = [np.arange(len(span), dtype=np.int64) for span in spans]
    return np.concatenate(spans), np.concatenate(numbers), np.asarray(starts[:-1], dtype=np.int64)


def _hour_index(hour_ms: _Counts, rows: pl.DataFrame, hours: _Counts) -> _Counts:
    """Return the index of each row's hour. An hour number beyond the end of its day is an hour of the next day."""
    instants = rows.get_column("day_ms").to_numpy() + hours * _HOUR_MS
    return np.searchsorted(hour_ms, instants, side="right") - 1


def _edge_index(kind: KindPlan) -> pl.Expr:
    """Return the index of the least age edge at or above the age."""
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    return edges.search_sorted(pl.col("age_ms").clip(upper_bound=OVERFLOW_AGE_MS), side="left").cast(pl.Int64)
