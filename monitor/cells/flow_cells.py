"""Reads the flow of labels (`monitor.cells.label_flow`) from cells, together with the predictions that may get one."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import AGES_MAX
from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.label_flow import (
    ARRIVED,
    BLOCK_HOURS,
    DAY_BLOCKS,
    PREDICTED,
    LabelFlow,
    Series,
    block_ends_ms,
    flow_edges_ms,
)
from monitor.cells.plan import CellPlan
from monitor.cells.source_name import SOURCE_MEASURE

__all__ = ["FlowCells"]

_HOUR_MS = 3_600_000
_DAY = timedelta(days=1)
_IS_OF_LABELS = (pl.col("measure") == ARRIVED) | pl.col("measure").str.starts_with(SOURCE_MEASURE)
_NO_CELLS = pl.DataFrame(
    schema={"measure": pl.String, "slice": pl.String, "day": pl.Date, "bin": pl.Int64, "amount": pl.Int64}
)

_Key = TypeVar("_Key")
_Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


class FlowCells:
    """The cells of one kind that flows are read from; days outside of the window are read when they are asked for.

    Args:
        cells: of the loop.
        plan: the plan they were folded with.
        kind: name of a kind of the plan.
        window: days that many flows will be read of; those of each series are made once.

    Attributes:
        days: the first and the last day with a prediction or a label; None if there is none.
        per_day: number of blocks in a day.
    """

    def __init__(self, cells: CellsByDay, plan: CellPlan, kind: str, window: tuple[date, date]) -> None:
        self._cells = cells
        self._window = window
        self._whole: dict[Series, LabelFlow] = {}
        self._kind = plan.kind(kind)
        self._timezone = plan.timezone
        self._edges_ms = np.asarray(flow_edges_ms(self._kind), np.int64)
        self.per_day = DAY_BLOCKS if self._kind.has_hourly_panes else 1
        self.days = cells.summary.days(kind, self._kind.definition)
        self._known: tuple[date, date] | None = None
        self._panes = _NO_CELLS
        self._arrived: dict[Series, pl.DataFrame] = {}
        self._predictions: dict[str, pl.DataFrame] = {}
        self._blocks: dict[str, pl.DataFrame] = {}
        self._arrived_by_day: dict[Series, _DailySums] = {}
        self._made_by_day: dict[str, _DailySums] = {}
        # answers about whole days, which are asked for again at each block of a day
        self._listed: dict[date, Sequence[Series]] = {}
        self._medians_ms: dict[tuple[date, date], int] = {}

    def series(self, until: date) -> Sequence[Series]:
        """Return every series that had labels by the end of a day, sorted."""
        if until not in self._listed:
            self._listed[until] = self._list(until)
        return self._listed[until]

    def predictions(self, slice_: str, days: tuple[date, date]) -> int:
        """Return the number of eligible predictions of a slice on some days."""
        self._need(*days)
        made = self._made_by_day.get(slice_)
        return 0 if made is None else made.between(*days)

    def median_ms(self, days: tuple[date, date]) -> int:
        """Return the age by which half of the labels of some days came; 0 without any."""
        if days not in self._medians_ms:
            self._medians_ms[days] = self._median_ms(days)
        return self._medians_ms[days]

    def _list(self, until: date) -> Sequence[Series]:
        labels: dict[Series, int] = {}
        measures = self._cells.summary.measures(self._kind.name).filter(_IS_OF_LABELS)
        for measure, slice_, amount in measures.select("measure", "slice", "amount").iter_rows():
            labels[_series_of(measure, slice_)] = amount
        if self.days is None or until >= self.days[1]:
            return sorted(labels)
        self._need(until + _DAY, self.days[1])
        for series, arrived in self._arrived_by_day.items():
            labels[series] -= arrived.between(until + _DAY, date.max)
        return sorted(series for series, amount in labels.items() if amount > 0)

    def _median_ms(self, days: tuple[date, date]) -> int:
        self._need(*days)
        rows = self._arrived.get(Series("kind", ALL))
        if rows is None:
            return 0
        ages = np.zeros(len(self._edges_ms) + 1, np.int64)
        rows = rows.filter(pl.col("day").is_between(*days))
        np.add.at(ages, rows["bin"].to_numpy() % AGES_MAX, rows["amount"].to_numpy())
        half = int(np.searchsorted(np.cumsum(ages), ages.sum() / 2))
        return int(self._edges_ms[min(half, len(self._edges_ms) - 1)]) if ages.any() else 0

    def flow(self, series: Series, days: tuple[date, date]) -> LabelFlow:
        """Return the flow of a series on some days, both included."""
        first, last = self._window
        if not first <= days[0] <= days[1] <= last:
            return self._read(series, days)
        if series not in self._whole:
            self._whole[series] = self._read(series, self._window)
        begin, end = ((day - first).days * self.per_day for day in (days[0], days[1] + timedelta(days=1)))
        return self._whole[series][begin:end]

    def _read(self, series: Series, days: tuple[date, date]) -> LabelFlow:
        first, last = days
        self._need(first - self._before, last)
        every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        ends = block_ends_ms(every, self._timezone, self.per_day)
        slots = (np.array([[day.weekday()] for day in every]) * self.per_day + np.arange(self.per_day)).ravel()
        arrived = np.zeros((len(ends), len(self._edges_ms) + 1), np.int64)
        rows = self._arrived.get(series)
        if rows is not None:
            rows = rows.filter(pl.col("day").is_between(first, last))
            block, age = np.divmod(rows["bin"].to_numpy(), AGES_MAX)
            number = (rows["day"] - first).dt.total_days().to_numpy() * self.per_day + block
            np.add.at(arrived, (number, age), rows["amount"].to_numpy())
        exposed = self._exposed(series.name if series.scope == "slice" else ALL, every, ends)
        return LabelFlow(ends, slots, arrived[:, :-1], exposed)

    def _exposed(self, slice_: str, days: Sequence[date], ends: _Counts) -> _Floats:
        """Return how many predictions passed through each age in each block.

        Predictions are taken as evenly spread over their hour, or over their day where it is counted as a whole.
        """
        knots, made = self._made(slice_, days[0] - self._before, days[-1])
        total = np.concatenate([[0.0], np.cumsum(made)])
        width = np.maximum(np.diff(knots), 1.0)
        area = np.concatenate([[0.0], np.cumsum((total[:-1] + total[1:]) / 2 * width)])

        def integral(at: _Floats) -> _Floats:
            at = np.clip(at, knots[0], knots[-1])
            place = np.minimum(np.searchsorted(knots, at, side="right") - 1, len(width) - 1)
            into = at - knots[place]
            return np.asarray(area[place] + total[place] * into + made[place] / width[place] * into**2 / 2)

        starts = day_starts_ms(days[:1], self._timezone)
        bounds = np.concatenate([starts, ends]).astype(np.float64)
        passed = np.diff(integral(bounds[:, np.newaxis] - self._edges_ms.astype(np.float64)), axis=0)
        new = np.diff(np.interp(bounds, knots, total))
        return np.column_stack([new, (passed[:, :-1] - passed[:, 1:]) / np.diff(self._edges_ms)])

    def _made(self, slice_: str, first: date, last: date) -> tuple[_Floats, _Floats]:
        """Return instants, and the number of predictions of a slice between each and the next."""
        days = [first + timedelta(days=number) for number in range((last - first).days + 2)]
        starts = np.asarray(day_starts_ms(days, self._timezone), np.float64)
        if not self._kind.has_hourly_panes:
            return starts, self._counts(self._predictions.get(slice_), days[:-1], 1).ravel()
        blocks = self._counts(self._blocks.get(slice_), days[:-1], DAY_BLOCKS)
        hourly = self._counts(self._panes, days[:-1], 24).reshape(-1, DAY_BLOCKS, BLOCK_HOURS)
        share = hourly / np.maximum(hourly.sum(axis=2, keepdims=True), 1)
        hours = starts[:-1, np.newaxis] + _HOUR_MS * np.arange(24)
        knots = np.append(np.minimum(hours, starts[1:, np.newaxis]).ravel(), starts[-1])  # a day may have 23 hours
        return knots, (share * blocks[:, :, np.newaxis]).ravel()

    def _counts(self, cells: pl.DataFrame | None, days: Sequence[date], bins: int) -> _Floats:
        """Return the amounts of cells by day and bin; what lies beyond the last bin is of the last."""
        counts = np.zeros((len(days), bins))
        if cells is not None:
            rows = cells.filter(pl.col("day").is_between(days[0], days[-1]))
            number = (rows["day"] - days[0]).dt.total_days().to_numpy()
            np.add.at(counts, (number, np.minimum(rows["bin"].to_numpy(), bins - 1)), rows["amount"].to_numpy())
        return counts

    @property
    def _before(self) -> timedelta:
        """How long before its label a prediction was made at most, in whole days."""
        return timedelta(days=timedelta(milliseconds=int(self._edges_ms[-1])) // _DAY + 2)

    def _need(self, first: date, last: date) -> None:
        """Read the cells of days that were not read yet; the first time, those of the whole window."""
        if self._known is None:
            first, last = min(first, self._window[0] - self._before), max(last, self._window[1])
            missing = [(first, last)]
            self._known = first, last
        else:
            known = self._known
            missing = [(first, known[0] - _DAY), (known[1] + _DAY, last)]
            self._known = min(first, known[0]), max(last, known[1])
        conditions = (
            pl.col("kind") == self._kind.name,
            pl.col("definition") == self._kind.definition,
            _IS_OF_LABELS | pl.col("measure").is_in(["predictions", PREDICTED, "pane_predictions"]),
        )
        for span in missing:
            if span[0] <= span[1]:
                self._add(self._cells.of_days(*span, *conditions))

    def _add(self, cells: pl.DataFrame) -> None:
        rows = cells.group_by("measure", "slice", "day", "bin").agg(pl.col("amount").sum())
        for (measure, slice_), part in rows.partition_by("measure", "slice", as_dict=True).items():
            if measure == "pane_predictions":
                self._panes = pl.concat([self._panes, part])
            elif measure == "predictions":
                _extend(self._predictions, slice_, part)
                self._made_by_day[slice_] = _DailySums(self._predictions[slice_])
            elif measure == PREDICTED:
                _extend(self._blocks, slice_, part)
            else:
                series = _series_of(measure, slice_)
                _extend(self._arrived, series, part)
                self._arrived_by_day[series] = _DailySums(self._arrived[series])


class _DailySums:
    """Amounts of cells by day, added up over spans of days: the same cells are asked about at every block of a day."""

    def __init__(self, cells: pl.DataFrame) -> None:
        rows = cells.sort("day")
        self._days = rows["day"].to_numpy()
        self._before = np.concatenate([[0], np.cumsum(rows["amount"].to_numpy())])

    def between(self, first: date, last: date) -> int:
        """Return the sum over some days, both included."""
        begin = np.searchsorted(self._days, np.datetime64(first))
        end = np.searchsorted(self._days, np.datetime64(last), side="right")
        return int(self._before[end] - self._before[begin])


def _extend(found: dict[_Key, pl.DataFrame], key: _Key, part: pl.DataFrame) -> None:
    found[key] = pl.concat([found[key], part]) if key in found else part


def _series_of(measure: str, slice_: str) -> Series:
    if measure == ARRIVED:
        return Series("kind" if slice_ == ALL else "slice", slice_)
    return Series("source", measure.removeprefix(SOURCE_MEASURE))
