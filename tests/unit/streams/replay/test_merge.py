"""Two logs are aligned in time, whichever ends first, and every record comes once and in order."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.replay.merge import aligned_batches

Log = Sequence[Sequence[int]]
"""Slices of a log; each record is its time."""

Batch = tuple[list[int], list[int]]


def frames(log: Log) -> Iterator[pl.DataFrame]:
    """Yield the slices of a log as frames."""
    return (pl.DataFrame({"order_ms": times}, schema={"order_ms": pl.Int64}) for times in log)


def batches(predictions: Log, labels: Log) -> list[Batch]:
    """Return the aligned batches as the times of both inputs."""
    pairs = aligned_batches(frames(predictions), frames(labels))
    return [tuple([] if frame is None else frame["order_ms"].to_list() for frame in pair) for pair in pairs]


def sliced(times: Iterable[int], size: int) -> Log:
    """Return sorted times in slices of a size."""
    ordered = sorted(times)
    return [ordered[first : first + size] for first in range(0, len(ordered), size)]


def test_neither_input_runs_ahead() -> None:
    """Each batch ends where the first of the two buffers does."""
    assert batches([[1, 5], [6, 9]], [[2, 3], [5, 7], [12]]) == [
        ([1], [2, 3]),
        ([5], [5]),
        ([6], [7]),
        ([9], []),
        ([], [12]),
    ]


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [([], []), ([[1, 2]], []), ([], [[1, 2]]), ([[1], [2], [3]], [[7], [8]]), ([[7], [8]], [[1], [2], [3]])],
)
def test_an_input_that_ends_leaves_the_rest_of_the_other(predictions: Log, labels: Log) -> None:
    """Whichever it is."""
    firsts, seconds = zip(*batches(predictions, labels), strict=True) if predictions or labels else ((), ())
    assert [time for part in firsts for time in part] == [time for part in predictions for time in part]
    assert [time for part in seconds for time in part] == [time for part in labels for time in part]


times = st.lists(st.integers(0, 30), max_size=40)


@given(times, times, st.integers(1, 7), st.integers(1, 7))
def test_every_record_comes_once_and_none_before_a_record_of_an_earlier_batch(
    first: list[int], second: list[int], size: int, other: int
) -> None:
    """Both inputs in their own order; a batch holds nothing that is earlier than the end of the batch before."""
    found = batches(sliced(first, size), sliced(second, other))
    assert [time for batch in found for time in batch[0]] == sorted(first)
    assert [time for batch in found for time in batch[1]] == sorted(second)
    for before, after in itertools.pairwise(found):
        assert max(before[0] + before[1]) <= min(after[0] + after[1])
    assert all(batch[0] or batch[1] for batch in found)
