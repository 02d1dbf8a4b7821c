"""Sums of digests equal those of the library."""

import numpy as np
import pytest
from xxhash import xxh3_64_intdigest

from joins.xxh3 import sum_of_digests

EDGES = [0, 1, -1, (1 << 63) - 1, -(1 << 63), 0x0123_4567_89AB_CDEF]


@pytest.mark.parametrize("count", [1, 127, 128, 1_006])
@pytest.mark.parametrize("columns", [3, 5])
def test_the_sum_is_that_of_the_librarys_digests(columns: int, count: int) -> None:
    """Of random rows, and of rows at the edges."""
    rows = np.random.default_rng(columns).integers(-(1 << 63), (1 << 63) - 1, (1_000, columns), endpoint=True)
    rows = np.concatenate([rows, np.array([np.roll(EDGES, at)[:columns] for at in range(len(EDGES))])])
    rows = rows[-count:]
    expected = sum(xxh3_64_intdigest(row.astype("<i8").tobytes()) for row in rows)
    assert sum_of_digests(*rows.T) == expected % (1 << 64)


@pytest.mark.parametrize("columns", [3, 5])
def test_nothing_adds_up_to_nothing(columns: int) -> None:
    """An empty column is no error."""
    assert sum_of_digests(*np.empty((columns, 0), np.int64)) == 0
