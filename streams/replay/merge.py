"""Aligns two logs in time: batches of both, so that neither input runs ahead of the other.

Alignment keeps the join's state small; the result is correct without it.
"""

from collections.abc import Iterator

import polars as pl

__all__ = ["AlignedBatch", "aligned_batches", "cut_first", "following_offset", "window"]

AlignedBatch = tuple[pl.DataFrame | None, pl.DataFrame | None]
"""Predictions and labels; None for an input without records."""

_END = 1 << 62
"""Greater than every offset."""


def aligned_batches(predictions: Iterator[pl.DataFrame], labels: Iterator[pl.DataFrame]) -> Iterator[AlignedBatch]:
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


def cut_first(
    batches: Iterator[AlignedBatch], predictions: tuple[int, int], labels: tuple[int, int]
) -> Iterator[AlignedBatch]:
    """Yield a batch with exactly these offset ranges, the first ones of the logs, then the rest as it is aligned."""
    buffered: tuple[list[pl.DataFrame], list[pl.DataFrame]] = ([], [])
    ranges = (predictions, labels)
    for batch in batches:
        for frames, frame, (start, _) in zip(buffered, batch, ranges, strict=True):
            if (part := window(frame, start)) is not None:
                frames.append(part)
        if all(
            start == end or (frames and following_offset(frames[-1], 0) >= end)
            for frames, (start, end) in zip(buffered, ranges, strict=True)
        ):
            break
    first, second = (pl.concat(frames) if frames else None for frames in buffered)
    yield window(first, *predictions), window(second, *labels)
    yield window(first, predictions[1]), window(second, labels[1])
    yield from batches


def window(frame: pl.DataFrame | None, first: int, following: int = _END) -> pl.DataFrame | None:
    """Return the part of a log with offsets in [first, following), or None if there is none."""
    if frame is None:
        return None
    part = frame.filter(pl.col("offset").is_between(first, following, closed="left"))
    return None if part.is_empty() else part


def following_offset(frame: pl.DataFrame | None, first: int) -> int:
    """Return the offset after a frame's last record, or `first` where there is none."""
    return first if frame is None else int(frame["offset"][-1]) + 1


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
