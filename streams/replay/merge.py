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
    inputs = [_Buffer(predictions), _Buffer(labels)]
    while any(buffer.fill() for buffer in inputs):
        bound = min(buffer.last_ms for buffer in inputs if buffer.frame is not None)
        first, second = (buffer.take_until(bound) for buffer in inputs)
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
        self.frame: pl.DataFrame | None = None

    def fill(self) -> bool:
        """Read the next slice if the buffer is empty; return False at the end of the log."""
        if self.frame is None:
            self.frame = next(self._slices, None)
        return self.frame is not None

    @property
    def last_ms(self) -> int:
        """Greatest `order_ms` in the buffer."""
        if self.frame is None:
            raise ValueError("the log has ended")
        return int(self.frame["order_ms"][-1])

    def take_until(self, bound_ms: int) -> pl.DataFrame | None:
        """Remove and return the records up to and including `bound_ms`."""
        if self.frame is None:
            return None
        count = int(self.frame["order_ms"].search_sorted(bound_ms, side="right"))
        taken, rest = self.frame[:count], self.frame[count:]
        self.frame = None if rest.is_empty() else rest
        return None if taken.is_empty() else taken
