"""The flow of labels: first labels by when they came and how old their predictions were; of all, by slice, by source.

`count_label_flow` counts them in cells, `FlowCells` reads them together with the predictions that could have got one
then: as many as passed through each age. Their ratio is the share of predictions that gets a label at that age,
whatever the traffic is. `monitor.coverage.loss` judges by it whether labels are missing.

A block is three hours of the day in the loop's time zone, or a day where the kind's horizon is longer than 14 days.
Once all records up to a block's end are counted, later ones change no block up to there: what is judged at the end of
any block is the same then and in a replay.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import AGES_MAX
from monitor.cells.codebook import Codebook
from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.packing import sum_by
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.source_name import SOURCE_MEASURE

__all__ = [
    "BLOCK_HOURS",
    "FlowCells",
    "LabelFlow",
    "Series",
    "block_ends_ms",
    "count_label_flow",
    "count_predicted_blocks",
    "flow_edges_ms",
]

BLOCK_HOURS = 3

_MEASURE = "arrived_block"
_PREDICTED = "predicted_block"
_EDGES_PER_AGE = 4
"""Age bins that are counted as one: an age is then about 1.6 times the one before, and a block has few cells."""

_DAY_BLOCKS = 24 // BLOCK_HOURS
_HOUR_MS = 3_600_000

_Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


class Series(NamedTuple):
    """Whose labels: all of the kind, those of a slice (its text), or those of a source (its name)."""

    scope: Literal["kind", "slice", "source"]
    name: str


@dataclass(frozen=True, eq=False)
class LabelFlow:
    """Labels of one series by block and age; B blocks, K ages.

    Attributes:
        end_ms: [B] first instant after each block, increasing.
        slot: [B] the block's place in the week, from 0.
        arrived: [B, K] first labels that came in the block, by age.
        exposed: [B, K] predictions that passed through that age in the block.
    """

    end_ms: _Counts
    slot: _Counts
    arrived: _Counts
    exposed: _Floats

    def __getitem__(self, blocks: slice | npt.NDArray[np.bool_]) -> "LabelFlow":
        """Return some blocks."""
        return LabelFlow(self.end_ms[blocks], self.slot[blocks], self.arrived[blocks], self.exposed[blocks])

    def __len__(self) -> int:
        return len(self.end_ms)

    @classmethod
    def joined(cls, parts: Sequence["LabelFlow"]) -> "LabelFlow":
        """Return the blocks of several flows, one after the other."""
        return cls(
            np.concatenate([one.end_ms for one in parts]),
            np.concatenate([one.slot for one in parts]),
            np.concatenate([one.arrived for one in parts]),
            np.concatenate([one.exposed for one in parts]),
        )


def count_label_flow(plan: CellPlan, codebook: Codebook, arrivals: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Yield encoded cells of first labels by block and age: of all, of every slice, and of every admitted source.

    Args:
        plan: with the admitted slice values and sources.
        codebook: one that has codes for the arrivals.
        arrivals: as `monitor.cells.count_arrivals.arrivals_of` returns them.
    """
    first = arrivals.filter("is_first")
    if first.is_empty():
        return
    coded = codebook.encode(first)
    for kind in plan.kinds:
        rows = coded.filter(pl.col("kind") == kind.name, pl.col("definition") == _own(codebook, kind))
        if rows.is_empty():
            continue
        block = _block() if kind.has_hourly_panes else pl.lit(0)
        edges = pl.lit(pl.Series(flow_edges_ms(kind), dtype=pl.Int64))
        rows = rows.with_columns(bin=block * AGES_MAX + edges.search_sorted(pl.col("age_ms"), side="left"))
        keys = codebook.sizes | {"bin": _DAY_BLOCKS * AGES_MAX}
        counts = codebook.sum_by_slices(rows, keys, [], plan.slices)
        yield codebook.encoded_cells(
            counts.with_columns(measure=codebook.measure(_MEASURE)), kind.name, kind.definition
        )
        for source in sorted(plan.sources.get(kind.name, ())):
            own = sum_by(rows.filter(pl.col("source") == source), keys, [])
            named = own.with_columns(measure=codebook.measure(f"{SOURCE_MEASURE}{source}"))
            yield codebook.encoded_cells(named, kind.name, kind.definition)


def count_predicted_blocks(
    plan: CellPlan, codebook: Codebook, kind: KindPlan, eligible: pl.DataFrame
) -> Iterator[pl.LazyFrame]:
    """Yield encoded cells of predictions by block, of all and of every slice, where blocks are shorter than a day.

    Args:
        plan: with the admitted slice values.
        codebook: the one that the rows are encoded with.
        kind: of the plan.
        eligible: encoded eligible predictions.
    """
    if not kind.has_hourly_panes:
        return
    sizes = {"version": codebook.sizes["version"], "day": codebook.sizes["day"], "bin": _DAY_BLOCKS}
    counts = codebook.sum_by_slices(eligible.with_columns(bin=_block()), sizes, [], plan.slices)
    yield codebook.encoded_cells(counts.with_columns(measure=codebook.measure(_PREDICTED)), kind.name, kind.definition)


def _block() -> pl.Expr:
    return (pl.col("pane") // BLOCK_HOURS).clip(0, _DAY_BLOCKS - 1)


def _own(codebook: Codebook, kind: KindPlan) -> int:
    return codebook.definitions.index(kind.definition)


def flow_edges_ms(kind: KindPlan) -> list[int]:
    """Return the upper edges of the ages; labels beyond the last are counted, and never read."""
    edges = [edge for edge in kind.age_edges_ms if edge < kind.horizon_ms]
    return [*edges[::_EDGES_PER_AGE], kind.horizon_ms]


def block_ends_ms(days: Sequence[date], timezone: str, per_day: int = _DAY_BLOCKS) -> _Counts:
    """Return the first instants after the blocks of days in a row; `per_day` is 8 or 1.

    >>> ends = block_ends_ms([date(2013, 3, 10)], "America/New_York")
    >>> [int(end - ends[0]) // 3_600_000 for end in ends]
    [0, 3, 6, 9, 12, 15, 18, 20]
    """
    starts = np.asarray(day_starts_ms([*days, days[-1] + timedelta(days=1)], timezone), np.int64)
    inner = BLOCK_HOURS * _HOUR_MS * np.arange(1, per_day, dtype=np.int64)
    return np.column_stack([starts[:-1, np.newaxis] + inner, starts[1:]]).ravel()


class FlowCells:
    """The cells of one kind that flows are read from.

    Args:
        cells: merged cells.
        plan: the plan they were folded with.
        kind: name of a kind of the plan.
        window: days that many flows will be read of; those of each series are made once.

    Attributes:
        days: the first and the last day with a prediction or a label; None if there is none.
        per_day: number of blocks in a day.
    """

    def __init__(self, cells: pl.DataFrame, plan: CellPlan, kind: str, window: tuple[date, date]) -> None:
        self._window = window
        self._whole: dict[Series, LabelFlow] = {}
        self._kind = plan.kind(kind)
        self._timezone = plan.timezone
        self._edges_ms = np.asarray(flow_edges_ms(self._kind), np.int64)
        self.per_day = _DAY_BLOCKS if self._kind.has_hourly_panes else 1
        is_flow = (pl.col("measure") == _MEASURE) | pl.col("measure").str.starts_with(SOURCE_MEASURE)
        mine = cells.filter(
            pl.col("kind") == kind,
            pl.col("definition") == self._kind.definition,
            is_flow | pl.col("measure").is_in(["predictions", _PREDICTED, "pane_predictions"]),
        )
        mine = mine.group_by("measure", "slice", "day", "bin").agg(pl.col("amount").sum()).sort("day")
        self._panes = mine.filter(pl.col("measure") == "pane_predictions")
        self._arrived: dict[Series, pl.DataFrame] = {}
        self._predictions: dict[str, pl.DataFrame] = {}
        self._blocks: dict[str, pl.DataFrame] = {}
        for (measure, slice_), rows in mine.partition_by("measure", "slice", as_dict=True).items():
            if measure == "predictions":
                self._predictions[slice_] = rows
            elif measure == _PREDICTED:
                self._blocks[slice_] = rows
            elif measure == _MEASURE:
                self._arrived[Series("kind" if slice_ == ALL else "slice", slice_)] = rows
            elif measure != "pane_predictions":
                self._arrived[Series("source", measure.removeprefix(SOURCE_MEASURE))] = rows
        self.days: tuple[date, date] | None = None if mine.is_empty() else (mine["day"][0], mine["day"][-1])

    def series(self, until: date) -> list[Series]:
        """Return every series that had labels by the end of a day, sorted."""
        return sorted(series for series, rows in self._arrived.items() if rows["day"][0] <= until)

    def predictions(self, slice_: str, days: tuple[date, date]) -> int:
        """Return the number of eligible predictions of a slice on some days."""
        rows = self._predictions.get(slice_)
        return 0 if rows is None else int(rows.filter(pl.col("day").is_between(*days))["amount"].sum())

    def median_ms(self, days: tuple[date, date]) -> int:
        """Return the age by which half of the labels of some days came; 0 without any."""
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
        before = timedelta(milliseconds=int(self._edges_ms[-1])) // timedelta(days=1) + 2
        knots, made = self._made(slice_, days[0] - timedelta(days=before), days[-1])
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
        blocks = self._counts(self._blocks.get(slice_), days[:-1], _DAY_BLOCKS)
        hourly = self._counts(self._panes, days[:-1], 24).reshape(-1, _DAY_BLOCKS, BLOCK_HOURS)
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
