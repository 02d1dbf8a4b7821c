"""Slots: which values of a slice name are counted separately, on which days of prediction.

As long as a name has at most `SLOTS_MAX` values, each has a slot. From the day on which it gets more, slots go by
frequency: those of a day are ranked by the predictions of the week that ended the day before the last, so they are
known before the day begins, and are the same however the predictions are divided into folds. A value that is first seen
on that day or the day after has no slot on these two. A slot is given and given up for whole days by entries among the
cells: a record is counted in the slot of its own day, whenever it comes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.cohort import cohort_day, day_ends, day_number, numbered_day, numbered_days, read_slice, slice_texts
from monitor.cells.packing import CELL_SCHEMA, merge

__all__ = [
    "LOOKBACK",
    "SLOTS_MAX",
    "Slots",
    "ValueCounter",
    "count_values",
    "entries_between",
    "entries_of_days",
    "is_slot",
    "slots_in",
]

SLOTS_MAX: Final = 100
"""Values of one slice name that are counted separately on a day; the rest is pooled as "other"."""

_KEPT_RANK: Final = 150
"""A value keeps its slot down to this rank, so that values of about the same frequency do not take turns."""

_LAG, _WINDOW = timedelta(days=2), timedelta(days=7)
LOOKBACK: Final = _LAG + _WINDOW
"""Slots of a day are ranked by the days from so long before it."""

_ON_TIME_MS: Final = 6 * 3_600_000
"""Predictions that arrive later than this after the end of their day do not count in the ranking."""

_GIVEN, _RANKED, _DECIDED = "slot", "slots_ranked", "slots_decided"
_MEASURES: Final = [_GIVEN, _RANKED, _DECIDED]

_ALWAYS: Final = 1
"""Before the first day of any prediction."""

ValueCounter = Callable[[str, date, date], pl.DataFrame]
"""Returns `day`, `value` and `rows` of a slice name on some days, both included, as `count_values` does."""


@dataclass(frozen=True)
class Slots:
    """The slots of one slice name. Days are numbers, counted from 1970.

    Attributes:
        values: all values with a slot, on any day.
        ranked_from: the first day on which slots go by frequency; None: each value has had a slot on all days so far.
        decided: the last day whose slots are decided; None where `ranked_from` is.
        entries: by value, (day, 1) from which on it has a slot, and (day, -1) from which on it has none, by day.
    """

    values: frozenset[str] = frozenset()
    ranked_from: int | None = None
    decided: int | None = None
    entries: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)

    def has(self, value: str, day: int) -> bool:
        """Return whether a value has a slot on a day."""
        if self.ranked_from is None:
            return value in self.values
        return sum(amount for since, amount in self.entries.get(value, ()) if since <= day) > 0

    def table(self, days: Sequence[date]) -> tuple[list[str], npt.NDArray[np.bool_]]:
        """Return the values that have a slot on some of the days, sorted; and [days, values]: whether one has it."""
        numbers = [*map(day_number, days)]
        values = sorted(value for value in self.values if any(self.has(value, number) for number in numbers))
        held = [[self.has(value, number) for value in values] for number in numbers]
        return values, np.asarray(held, dtype=np.bool_).reshape(len(days), len(values))

    def ranked(self, first: Mapping[str, date]) -> "Slots":
        """Return these slots where a name has got too many values: from the day on which there were too many.

        Args:
            first: all values, with the first day of prediction of each.
        """
        days = sorted(map(day_number, first.values()))
        day = days[SLOTS_MAX]
        known = {value: ((_ALWAYS, 1),) for value, since in first.items() if day_number(since) < day}
        return Slots(frozenset(known), day, day + _LAG.days - 1, known)

    def decided_until(self, last: date, counts: Callable[[date, date], pl.DataFrame]) -> "Slots":
        """Return these slots with those of all days up to `last`, which are given by frequency.

        Args:
            last: a day of predictions.
            counts: as `ValueCounter`, of this name.
        """
        if self.decided is None or day_number(last) <= self.decided:
            return self
        first = numbered_day(self.decided + 1)
        rows = counts(first - LOOKBACK + timedelta(days=1), last - _LAG)
        slots = self
        for day in _days_after(rows, first, last):
            window = rows.filter(pl.col("day").is_between(day - LOOKBACK, day - _LAG, closed="right"))
            slots = slots._given(day_number(day), _most_frequent(window))
        return slots

    def _given(self, day: int, ranking: Sequence[str]) -> "Slots":
        """Return these slots with those of a day, given the most frequent values of the days before."""
        held = {value for value in self.values if self.has(value, day)}
        kept = [value for value in ranking if value in held]
        fresh = [value for value in ranking if value not in held][: SLOTS_MAX - len(kept)]
        entries = {value: [*self.entries.get(value, ()), (day, 1)] for value in fresh}
        entries |= {value: [*self.entries[value], (day, -1)] for value in held.difference(kept)}
        return replace(self, values=self.values.union(fresh), decided=day, entries={**self.entries, **entries})

    def rows(self, name: str) -> Iterator[tuple[str, str, int, int]]:
        """Yield slice, measure, day and amount of the entries that keep these slots; none while all values have one."""
        if self.ranked_from is None or self.decided is None:
            return
        _, _, other = slice_texts(name, [])
        yield other, _RANKED, self.ranked_from, 1
        yield other, _DECIDED, self.decided, 1
        for value, entries in self.entries.items():
            [[text], _, _] = slice_texts(name, [value])
            for day, amount in entries:
                yield text, _GIVEN, day, amount


def is_slot() -> pl.Expr:
    """Return the condition that a cell is an entry that keeps slots."""
    return pl.col("measure").is_in(_MEASURES)


def slots_in(cells: pl.DataFrame, names: Iterable[str]) -> dict[str, Slots]:
    """Return the slots by slice name that cells count by.

    Args:
        cells: all of them, or their summary.
        names: of slices.
    """
    found = {name: Slots() for name in names}
    texts = cells.filter(~is_slot()).get_column("slice").unique()
    real = [one for one in map(read_slice, texts.to_list()) if one is not None and one[0] in found]
    for name in found:
        found[name] = Slots(frozenset(value for its, value in real if its == name))
    entries = cells.filter(is_slot()).group_by("slice", "measure", "bin").agg(pl.col("amount").sum())
    entries = entries.filter(pl.col("amount") != 0).sort("bin")
    for name in found:
        _, _, other = slice_texts(name, [])
        own = {measure: day for text, measure, day, _ in entries.iter_rows() if text == other}
        if _RANKED in own:
            given = _given_in(entries, name)
            found[name] = Slots(frozenset(given), own[_RANKED], own[_DECIDED], given)
    return found


def entries_between(before: Mapping[str, Slots], after: Mapping[str, Slots]) -> pl.DataFrame:
    """Return the cells to add to those of the slots before, to get those after."""
    changed = [name for name, slots in after.items() if slots != before.get(name)]
    sides = [(after, 1), *([(before, -1)] if before else [])]
    rows = [
        ("", text, numbered_day(day), "", "", measure, day, amount * sign)
        for slots, sign in sides
        for name in changed
        for text, measure, day, amount in slots.get(name, Slots()).rows(name)
    ]
    return merge(pl.DataFrame(rows, schema=CELL_SCHEMA, orient="row"))


def entries_of_days(summary: pl.DataFrame) -> pl.DataFrame:
    """Return the cells whose summary these cells that keep slots are."""
    return summary.with_columns(day=numbered_days("bin"))


def count_values(predictions: pl.LazyFrame, name: str, timezone: str, first: date, last: date) -> pl.DataFrame:
    """Return how many eligible predictions of some days, both included, have each value of a slice name.

    Those that arrived long after their day are left out: so nothing that comes later changes it.

    Args:
        predictions: with predicted_at, arrived_at (None: as it was made), eligible, and the slice.
        name: of the slice.
        timezone: of days.

    Returns:
        `day`, `value`, `rows`.
    """
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    ends = day_ends(days, timezone).lazy()
    arrived_ms = pl.coalesce("arrived_at", "predicted_at").dt.epoch("ms")
    return (
        predictions.filter("eligible")
        .select(
            pl.col(f"slice_{name}").cast(pl.String).alias("value"),
            arrived_ms.alias("at"),
            cohort_day(timezone).alias("day"),
        )
        .drop_nulls("value")
        .join(ends, on="day")
        .filter(pl.col("at") < pl.col("day_end_ms") + _ON_TIME_MS)
        .group_by("day", "value")
        .agg(pl.len().alias("rows"))
        .collect()
    )


def _days_after(rows: pl.DataFrame, first: date, last: date) -> list[date]:
    """Return the days from `first` to `last` that some of the counted days are ranked for."""
    ahead = range(_LAG.days, LOOKBACK.days)
    days = {day + timedelta(days=number) for day in rows["day"].unique().to_list() for number in ahead}
    return sorted(day for day in days if first <= day <= last)


def _most_frequent(window: pl.DataFrame) -> list[str]:
    summed = window.group_by("value").agg(pl.col("rows").sum())
    return summed.sort("rows", "value", descending=[True, False])["value"].head(_KEPT_RANK).to_list()


def _given_in(entries: pl.DataFrame, name: str) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for text, measure, day, amount in entries.iter_rows():
        real = read_slice(text)
        if measure == _GIVEN and real is not None and real[0] == name:
            found.setdefault(real[1], []).append((day, amount))
    return found
