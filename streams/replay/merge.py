"""Aligns two logs in time: batches of both, so that neither input runs ahead of the other.

Alignment keeps the join's state small; the result is correct without it.
"""

from collections.abc import Iterator

import polars as pl

__all__ = ["aligned_batches", "window"]


def aligned_batches(
    predictions: Iterator[pl.DataFrame], labels: Iterator[pl.DataFrame]
) -> Iterator[tuple[pl.DataFrame | None, pl.DataFrame | None]]:
    """Yield (predictions, labels) up to growing bounds of `order_ms`; None for an input without records in between.

    Args:
        predictions: slices of a log, sorted by `order_ms`.
        labels: the same.
    """
    inputs = (_Buffer(predictions), _Buffer(labels))
    while True:
        for buffer in inputs:
            buffer.fill()
        ends = [buffer.last_ms for buffer in inputs if buffer.last_ms is not None]
        if not ends:
            return
        first, second = (buffer.take_until(min(ends)) for buffer in inputs)
        yield first, second


def window(frame: pl.DataFrame | None, first: int, following: int) -> pl.DataFrame | None:
    """Return the part of a log with offsets in [first, following), or None if there is none."""
    if frame is None:
        return None
    part = frame.filter(pl.col("offset").is_between(first, following, closed="left"))
    return None if part.is_empty() else part


class _Buffer:
    """Records of one log that have been read and not yet yielded."""

    def __init__(self, slices: Iterator[pl.DataFrame]) -> None:
        self._slices = slices
        self._frame: pl.DataFrame | None = None

    def fill(self) -> None:
        """Read the next slice if the buffer is empty; at the end of the log it stays empty."""
        if self._frame is None:
            self._frame = next(self._slices, None)

    @property
    def last_ms(self) -> int | None:
        """Greatest `order_ms` in the buffer; None if it is empty."""
        return None if self._frame is None else int(self._frame["order_ms"][-1])

    def take_until(self, bound_ms: int) -> pl.DataFrame | None:
        """Remove and return the records up to and including `bound_ms`."""
        if self._frame is None:
            return None
        count = int(self._frame["order_ms"].search_sorted(bound_ms, side="right"))
        taken, rest = self._frame[:count], self._frame[count:]
        self._frame = None if rest.is_empty() else rest
        return None if taken.is_empty() else taken
