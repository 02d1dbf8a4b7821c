"""The flow of labels: first labels by when they came and how old their predictions were; of all, by slice, by source.

`count_label_flow` counts them in cells, `monitor.cells.flow_cells` reads them together with the predictions that could
have got one then: as many as passed through each age. Their ratio is the share of predictions that gets a label at that
age, whatever the traffic is. `monitor.coverage.loss` judges by it whether labels are missing.

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
from monitor.cells.cohort import day_starts_ms
from monitor.cells.packing import sum_by
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.source_name import SOURCE_MEASURE

__all__ = [
    "ARRIVED",
    "BLOCK_HOURS",
    "DAY_BLOCKS",
    "PREDICTED",
    "LabelFlow",
    "Series",
    "block_ends_ms",
    "count_label_flow",
    "count_predicted_blocks",
    "flow_edges_ms",
]

BLOCK_HOURS = 3

ARRIVED = "arrived_block"
PREDICTED = "predicted_block"
"""Measures of first labels and of predictions by block."""
_EDGES_PER_AGE = 4
"""Age bins that are counted as one: an age is then about 1.6 times the one before, and a block has few cells."""

DAY_BLOCKS = 24 // BLOCK_HOURS
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
        keys = codebook.sizes | {"bin": DAY_BLOCKS * AGES_MAX}
        counts = codebook.sum_by_slices(rows, keys, [], plan.slices)
        yield codebook.encoded_cells(counts.with_columns(measure=codebook.measure(ARRIVED)), kind.name, kind.definition)
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
    sizes = {"version": codebook.sizes["version"], "day": codebook.sizes["day"], "bin": DAY_BLOCKS}
    counts = codebook.sum_by_slices(eligible.with_columns(bin=_block()), sizes, [], plan.slices)
    yield codebook.encoded_cells(counts.with_columns(measure=codebook.measure(PREDICTED)), kind.name, kind.definition)


def _block() -> pl.Expr:
    return (pl.col("pane") // BLOCK_HOURS).clip(0, DAY_BLOCKS - 1)


def _own(codebook: Codebook, kind: KindPlan) -> int:
    return codebook.definitions.index(kind.definition)


def flow_edges_ms(kind: KindPlan) -> list[int]:
    """Return the upper edges of the ages; labels beyond the last are counted, and never read."""
    edges = [edge for edge in kind.age_edges_ms if edge < kind.horizon_ms]
    return [*edges[::_EDGES_PER_AGE], kind.horizon_ms]


def block_ends_ms(days: Sequence[date], timezone: str, per_day: int = DAY_BLOCKS) -> _Counts:
    """Return the first instants after the blocks of days in a row; `per_day` is 8 or 1.

    >>> ends = block_ends_ms([date(2013, 3, 10)], "America/New_York")
    >>> [int(end - ends[0]) // 3_600_000 for end in ends]
    [0, 3, 6, 9, 12, 15, 18, 20]
    """
    starts = np.asarray(day_starts_ms([*days, days[-1] + timedelta(days=1)], timezone), np.int64)
    inner = BLOCK_HOURS * _HOUR_MS * np.arange(1, per_day, dtype=np.int64)
    return np.column_stack([starts[:-1, np.newaxis] + inner, starts[1:]]).ravel()
