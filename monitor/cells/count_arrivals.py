"""Counts labels by the hour in which they became known, and reads the counts as hourly series.

An arrival is an event: it is counted once, and what is said of the same prediction later takes nothing back. What is
declared as a backfill is none. This module must not judge, and must not look at what a label says beyond whether that
changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import AGES_MAX, BEYOND_MS
from monitor.cells.codebook import Codebook
from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.packing import sums
from monitor.cells.plan import CellPlan, KindPlan
from schemas.base.status import Reason, Status

__all__ = ["COHORT", "HourlyArrivals", "arrival_parts", "arrivals_of", "read_hourly_arrivals"]

COHORT = ["version", "definition", "predicted_at"]
"""Columns of arrivals that a book numbers. The time is the one of the arrival, so that its day is that of the cell."""

_FIRST = "arrived"
_CHANGED = "arrived_corrected"
_FIRST_REASONS = [Reason.FIRST.value, Reason.LATE.value, Reason.EARLY.value]
_LABELLED = [Status.JOINED.value, Status.IMPLIED.value]
_DAY_HOURS = 25
_HOUR_MS = 3_600_000
_TIME = pl.Datetime("us", "UTC")

_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HourlyArrivals:
    """Live labels of a kind's own definition, of all versions, by the hour in which they became known.

    `read_hourly_arrivals` makes it. The first hour is the first one of the first day with a prediction or an arrival.

    Attributes:
        edges_ms: upper edges of the age bins, growing, shape (ages,).
        hour_ms: first instant of each hour, growing, shape (hours,); one that a day is too short for is shorter.
        hour_of_day: 0 to 24, counted from the first instant of the day in the loop's time zone, shape (hours,).
        first: labels that came first for their prediction, by age, shape (hours, ages).
        changed: labels that changed or took back a value, shape (hours,).
    """

    edges_ms: _Counts
    hour_ms: _Counts
    hour_of_day: _Counts
    first: _Counts
    changed: _Counts


def arrivals_of(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the revisions that are arrivals.

    They are those of eligible predictions that a live label made: the first one for its prediction (`first`, `late`,
    `early`), or one that changed its value or took it back. The same value again is no arrival.

    Args:
        outcomes: revisions in the lake's columns, and `is_declared`; where that is missing nothing is declared.

    Returns:
        kind, `COHORT`, age_ms (when it was known, less when was predicted) and is_first.
    """
    is_first = pl.col("reason").is_in(_FIRST_REASONS)
    other = pl.col("value").ne_missing(pl.col("previous")) | pl.col("value_class").ne_missing(pl.col("previous_class"))
    is_changed = (pl.col("reason") == Reason.CORRECTION.value) & other
    is_gone = (pl.col("reason") == Reason.RETRACTION.value) & pl.col("previous_status").is_in(_LABELLED)
    is_live = pl.col("label_offset").is_not_null()
    if "is_declared" in outcomes.columns:
        is_live &= ~pl.col("is_declared").fill_null(value=False)
    return (
        outcomes.lazy()
        .filter(is_live, pl.col("eligible"), is_first | is_changed | is_gone)
        .select(
            "kind",
            "version",
            "definition",
            is_first=is_first,
            age_ms=(pl.col("known_at") - pl.col("predicted_at")).dt.total_milliseconds(),
            predicted_at=pl.col("known_at").cast(_TIME),
        )
        .collect()
    )


def arrival_parts(plan: CellPlan, book: Codebook, arrivals: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count arrivals, those of each kind by hour and, of first labels, age.

    Args:
        plan: with the kinds.
        book: that knows the arrivals' `COHORT`.
        arrivals: as `arrivals_of` returns them.
    """
    if arrivals.is_empty():
        return
    coded = replace(book, admitted={}).coded(arrivals)
    for kind in plan.kinds:
        rows = coded.filter(pl.col("kind") == kind.name)
        hours = book.sizes | {"pane": _DAY_HOURS}
        first = rows.filter("is_first").with_columns(place=_place(kind))
        by_age = sums(first, hours | {"place": len(kind.age_edges_ms)}, [])
        bin_ = pl.col("pane") * AGES_MAX + pl.col("place")
        yield book.part(by_age.with_columns(bin=bin_, measure=book.measure(_FIRST)), kind.name, kind.definition)
        changed = sums(rows.filter(~pl.col("is_first")), hours, [])
        changed = changed.with_columns(bin=pl.col("pane"), measure=book.measure(_CHANGED))
        yield book.part(changed, kind.name, kind.definition)


def read_hourly_arrivals(cells: pl.DataFrame, plan: CellPlan, kind: str) -> HourlyArrivals:
    """Return the arrivals of one kind's own definition, hour by hour.

    Args:
        cells: merged cells.
        plan: the plan the cells were folded with.
        kind: name of a kind of the plan.

    Raises:
        ValueError: the plan has no such kind.
    """
    found = [one for one in plan.kinds if one.name == kind]
    if not found:
        raise ValueError(f"the plan has no kind {kind!r}; it has {', '.join(one.name for one in plan.kinds)}")
    own = found[0]
    measures = ["predictions", _FIRST, _CHANGED]
    mine = cells.filter(
        pl.col("kind") == kind,
        pl.col("slice") == ALL,
        pl.col("definition") == own.definition,
        pl.col("measure").is_in(measures),
    )
    days = mine.get_column("day")
    edges_ms = np.asarray(own.age_edges_ms, dtype=np.int64)
    hour_ms, hour_of_day, day_ms = _hours(days.min(), days.max(), plan.timezone)
    first = np.zeros((len(hour_ms), len(edges_ms)), dtype=np.int64)
    changed = np.zeros(len(hour_ms), dtype=np.int64)
    if len(hour_ms):
        rows = mine.with_columns(day_ms=pl.lit(pl.Series(day_ms)).gather((pl.col("day") - days.min()).dt.total_days()))
        ages = rows.filter(pl.col("measure") == _FIRST)
        hours, places = np.divmod(ages.get_column("bin").to_numpy(), AGES_MAX)
        np.add.at(first, (_at(hour_ms, ages, hours), places), ages.get_column("amount").to_numpy())
        changes = rows.filter(pl.col("measure") == _CHANGED)
        at = _at(hour_ms, changes, changes.get_column("bin").to_numpy())
        np.add.at(changed, at, changes.get_column("amount").to_numpy())
    return HourlyArrivals(edges_ms, hour_ms, hour_of_day, first, changed)


def _hours(first: object, last: object, timezone: str) -> tuple[_Counts, _Counts, _Counts]:
    """Return the first instant of every hour, its number in its day, and the first instant of every day."""
    if not isinstance(first, date) or not isinstance(last, date):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    days = [first + timedelta(days=place) for place in range((last - first).days + 2)]
    starts = day_starts_ms(days, timezone)
    spans = [np.arange(start, end, _HOUR_MS, dtype=np.int64) for start, end in pairwise(starts)]
    numbers = [np.arange(len(span), dtype=np.int64) for span in spans]
    return np.concatenate(spans), np.concatenate(numbers), np.asarray(starts[:-1], dtype=np.int64)


def _at(hour_ms: _Counts, rows: pl.DataFrame, hours: _Counts) -> _Counts:
    """Return the place of each row's hour; what a day's clock counts behind its end is an hour of the next one."""
    instants = rows.get_column("day_ms").to_numpy() + hours * _HOUR_MS
    return np.searchsorted(hour_ms, instants, side="right") - 1


def _place(kind: KindPlan) -> pl.Expr:
    """Return the place of the least age edge that the age does not exceed."""
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    return edges.search_sorted(pl.col("age_ms").clip(upper_bound=BEYOND_MS), side="left").cast(pl.Int64)
