"""Files are left out by their statistics; rows are filtered all the same."""

from pathlib import Path

import polars as pl
import pytest
from lake_builder import LakeBuilder, hour

from lake.scan import Bounds, holding


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake of four predictions, in a file each."""
    builder = LakeBuilder(tmp_path / "lake")
    for number, key in enumerate("abcd"):
        builder.predict(key, number, number)
    return builder


@pytest.mark.parametrize(
    ("within", "keys"),
    [
        ({"offset": (1, 2)}, "bc"),
        ({"key": ("c", "c")}, "c"),
        ({"predicted_at": (hour(2), hour(9))}, "cd"),
        ({"offset": (1, 3), "key": ("a", "b")}, "b"),
        ({"version": ("v1", "v1")}, "abcd"),
        ({"version": ("v2", "v2")}, ""),
        ({}, "abcd"),
    ],
)
def test_rows_within_bounds(builder: LakeBuilder, within: dict[str, Bounds], keys: str) -> None:
    """Of numbers, times and texts, with statistics or without."""
    assert sorted(builder.lake.scan("predictions", within).collect()["key"]) == [*keys]
    parts = builder.lake.scan_back("predictions", within)
    assert sorted(key for part in parts for key in part.collect()["key"]) == [*keys]


@pytest.mark.parametrize(
    ("name", "bounds", "paths"),
    [("n", (3, 4), ["b", "c"]), ("n", (6, 9), ["c"]), ("other", (0, 0), ["a", "b", "c"])],
)
def test_a_file_without_statistics_may_hold_anything(name: str, bounds: Bounds, paths: list[str]) -> None:
    """A file of an earlier version is read."""
    files = pl.DataFrame({"path": ["a", "b", "c"], "min.n": [0, 3, None], "max.n": [2, 5, None]})
    assert holding(files, {name: bounds})["path"].to_list() == paths
