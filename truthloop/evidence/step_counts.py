"""Counts by time of what the steps of a lake have told; each step is read once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

__all__ = ["NewSteps", "StepCounts"]

_STEPS: dict[str, pl.DataType] = {"partition": pl.Int32(), "first": pl.Int64(), "end": pl.Int64()}


@dataclass(frozen=True)
class NewSteps:
    """Steps that have not been read.

    Attributes:
        bounds: by partition, the first of them and the one after the last; at least one partition.
    """

    bounds: Mapping[int, tuple[int, int]]

    @property
    def around(self) -> tuple[int, int]:
        """The least and the greatest of them, of any partition."""
        firsts, ends = zip(*self.bounds.values(), strict=True)
        return min(firsts), max(ends) - 1

    def among(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the rows, with partition and sequence, that belong to these steps."""
        steps = pl.LazyFrame([(number, *own) for number, own in self.bounds.items()], schema=_STEPS, orient="row")
        is_new = pl.col("sequence").is_between(pl.col("first"), pl.col("end"), closed="left")
        return rows.join(steps, on="partition").filter(is_new)


class StepCounts:
    """Counts times; continues where it stopped.

    Args:
        column: name of the blocks of time that are counted.
        block_ms: their length.
        read: returns the times of what some steps have told, in ms UTC.
    """

    def __init__(self, column: str, block_ms: int, read: Callable[[NewSteps], pl.Series]) -> None:
        self._column = column
        self._block_ms = block_ms
        self._read = read
        self._steps: dict[int, int] = {}
        self._counts = pl.DataFrame(schema={column: pl.Int64, "count": pl.Int64})

    def until(self, steps: Mapping[int, int]) -> pl.DataFrame:
        """Return the blocks, by their first instants in ms UTC, growing, and count.

        Args:
            steps: by partition, how many of its first steps to read.
        """
        if any(steps.get(number, 0) < count for number, count in self._steps.items()):  # an older lake was restored
            self._steps, self._counts = {}, self._counts.clear()
        known = {number: (self._steps.get(number, 0), end) for number, end in steps.items()}
        new = {number: bounds for number, bounds in known.items() if bounds[1] > bounds[0]}
        if new:
            block = (self._read(NewSteps(new)) // self._block_ms * self._block_ms).alias(self._column)
            counted = block.to_frame().group_by(self._column).agg(count=pl.len().cast(pl.Int64))
            every = pl.concat([self._counts, counted]).group_by(self._column)
            self._counts = every.agg(pl.col("count").sum()).sort(self._column)
            self._steps |= dict(steps)
        return self._counts
