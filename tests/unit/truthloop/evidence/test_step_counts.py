"""Counts by time go on where they stopped, and count each step once."""

import polars as pl

from truthloop.evidence.step_counts import NewSteps, StepCounts

BLOCK_MS = 10
ROWS = pl.DataFrame(
    {"partition": [0, 0, 0, 1, 1], "sequence": [0, 1, 2, 0, 5], "at_ms": [3, 12, 19, 3, 40]},
    schema={"partition": pl.Int32, "sequence": pl.Int64, "at_ms": pl.Int64},
)


def test_each_step_is_read_once_and_a_restored_lake_is_read_anew() -> None:
    """What is asked for is what had not been read; a lake that went back is another lake."""
    asked: list[dict[int, tuple[int, int]]] = []

    def read(steps: NewSteps) -> pl.Series:
        asked.append(dict(steps.bounds))
        return steps.among(ROWS.lazy()).collect()["at_ms"]

    counts = StepCounts("block_ms", BLOCK_MS, read)
    assert counts.until({0: 2}).rows() == [(0, 1), (10, 1)]
    assert counts.until({0: 3, 1: 1}).rows() == [(0, 2), (10, 2)]
    assert counts.until({0: 3, 1: 1}).rows() == [(0, 2), (10, 2)]
    assert counts.until({0: 3, 1: 9}).rows() == [(0, 2), (10, 2), (40, 1)]
    assert asked == [{0: (0, 2)}, {0: (2, 3), 1: (0, 1)}, {1: (1, 9)}]
    assert counts.until({0: 1}).rows() == [(0, 1)]
    assert asked[-1] == {0: (0, 1)}


def test_nothing_read_has_a_schema() -> None:
    """A frame without rows has the columns that one with rows has."""
    empty = StepCounts("block_ms", BLOCK_MS, lambda _: pl.Series(dtype=pl.Int64)).until({})
    assert empty.schema == {"block_ms": pl.Int64(), "count": pl.Int64()}


def test_new_steps_are_within_their_bounds() -> None:
    """Of each partition from the first to before the end; `around` spans them all."""
    steps = NewSteps({0: (1, 3), 1: (5, 6)})
    assert steps.around == (1, 5)
    assert steps.among(ROWS.lazy()).select("partition", "sequence").collect().rows() == [(0, 1), (0, 2), (1, 5)]
