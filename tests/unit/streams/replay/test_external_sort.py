"""Frames are sorted as one stable sort would sort them, whatever fits into memory, and files are gone afterwards."""

import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.errors import InputError
from streams.replay import external_sort
from streams.replay.external_sort import ExternalSort


def frame(times: Sequence[int], first: int = 0) -> pl.DataFrame:
    """Return records with a number each, and texts of various lengths, as views of one buffer."""
    numbers = range(first, first + len(times))
    texts = [["a" * (number % 40)] if number % 3 else None for number in numbers]
    return pl.DataFrame(
        {"order_ms": times, "number": numbers, "flags": texts},
        schema={"order_ms": pl.Int64, "number": pl.Int64, "flags": pl.List(pl.String)},
    )


def frames(times: Sequence[int], size: int) -> list[pl.DataFrame]:
    """Return records in frames of a size."""
    return [frame(times[first : first + size], first) for first in range(0, len(times), size)]


@settings(deadline=None)
@given(
    times=st.lists(st.integers(-3, 12), max_size=80),
    size=st.integers(1, 20),
    run_bytes=st.integers(1, 1_500),
    part_bytes=st.integers(1, 200),
    merged_max=st.integers(2, 4),
)
def test_it_is_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory,
    times: list[int],
    size: int,
    run_bytes: int,
    part_bytes: int,
    merged_max: int,
) -> None:
    """Of any runs, parts and merges."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "RUN_BYTES", run_bytes)
        patch.setattr(external_sort, "PART_BYTES", part_bytes)
        patch.setattr(external_sort, "MERGED_MAX", merged_max)
        sort = ExternalSort(folder)
        for one in frames(times, size):
            sort.add(one)
        found = pl.concat([frame([]), *sort.sorted()])
    assert_frame_equal(found, frame(times).sort("order_ms", maintain_order=True))
    assert list(folder.iterdir()) == []


def peak_parts(folder: Path, times: Sequence[int]) -> int:
    """Sort records in runs of a hundred and parts of ten; return the greatest number of parts in memory."""
    held, greatest = 0, 0
    read, take = external_sort._Run.read, external_sort._Run.take

    def counted_read(run: external_sort._Run) -> bool:
        nonlocal held, greatest
        found = read(run)
        held += found
        greatest = max(greatest, held)
        return found

    def counted_take(run: external_sort._Run, until_ms: int, *, is_inclusive: bool) -> pl.DataFrame | None:
        nonlocal held
        before = run.part
        found = take(run, until_ms, is_inclusive=is_inclusive)
        held -= before is not None and run.part is None
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort._Run, "read", counted_read)
        patch.setattr(external_sort._Run, "take", counted_take)
        patch.setattr(external_sort, "RUN_BYTES", frame(range(100)).estimated_size())
        patch.setattr(external_sort, "PART_BYTES", frame(range(10)).estimated_size())
        patch.setattr(external_sort, "MERGED_MAX", 8)
        sort = ExternalSort(folder)
        for one in frames(times, 100):
            sort.add(one)
        assert sum(one.height for one in sort.sorted()) == len(times)
    return greatest


@pytest.mark.parametrize("runs", [10, 40])
def test_memory_does_not_grow_with_the_records(tmp_path: Path, runs: int) -> None:
    """Of files in order, one part is in memory; of files in no order, as many as runs are merged at once."""
    times = range(100 * runs)
    assert peak_parts(tmp_path, times) == 1
    assert peak_parts(tmp_path, random.Random(runs).sample(times, len(times))) == 8


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setattr(external_sort, "RUN_BYTES", 1)
    with pytest.raises(InputError, match="put aside to be sorted") as error:
        ExternalSort(tmp_path / "gone").add(frame([1, 2]))
    assert "TMPDIR" in str(error.value)
