"""Rows of Parquet files have the limit that lines have: what is larger is a reject, and is not copied."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mapping_case import loop, map_file, reasons, source_map

from streams.readers.row_size import large_rows
from streams.readers.text_lines import MAX_LINE_BYTES

LARGE = "x" * MAX_LINE_BYTES
SHORT = "x"


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (LARGE, LARGE + "x"),
        ("é" * (MAX_LINE_BYTES // 2), "é" * (MAX_LINE_BYTES // 2 + 1)),
        (LARGE.encode(), LARGE.encode() + b"x"),
        ([LARGE, None, ""], [LARGE, "x"]),
        ({"a": LARGE, "b": None}, {"a": LARGE, "b": "x"}),
        ([{"a": [LARGE]}], [{"a": ["", LARGE]}, {"a": ["x"]}]),
    ],
    ids=["text", "bytes of a text", "bytes", "list", "struct", "nested"],
)
def test_a_row_may_have_as_many_bytes_as_a_line(small: Any, large: Any) -> None:
    """Not one more, wherever they are; all cells of a row count together."""
    values = pl.Series("v", [None, small, large, None], strict=False)
    assert large_rows(pl.DataFrame([values[:2]])) is None
    is_large = large_rows(pl.DataFrame([values]))
    assert is_large is not None
    assert is_large.to_list() == [False, False, True, False]
    beside = pl.DataFrame([values[:2], pl.Series("w", [None, SHORT * (MAX_LINE_BYTES + 1)])])
    both = large_rows(beside)
    assert both is not None
    assert both.to_list() == [False, True]


def test_categories_count_as_text() -> None:
    """Each is stored once, however often it occurs."""
    values = pl.DataFrame({"v": pl.Series([LARGE + "x", "a", None], dtype=pl.Categorical)})
    is_large = large_rows(values)
    assert is_large is not None
    assert is_large.to_list() == [True, False, False]


def test_a_table_without_text_has_no_large_row() -> None:
    """Nor has an empty one."""
    assert large_rows(pl.DataFrame({"v": range(1_000_000)})) is None
    assert large_rows(pl.DataFrame()) is None


def test_a_large_row_of_a_file_is_a_reject_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    """With its number, also where a list makes records, and the same digest whenever it is read."""
    items = [[{"id": "a"}], [{"id": LARGE + "x"}], [{"id": "b"}, {"id": "c"}]]
    frame = pl.DataFrame({"t": [10**12] * 3, "items": items})
    frame.write_parquet(tmp_path / "a.parquet")
    source = source_map(each="items", map={"key": "items.id", "time": {"path": "t", "unit": "ms"}})
    chunk = map_file(tmp_path / "a.parquet", None, loop(), [source])
    assert chunk.records.select("row", "key").rows() == [(1, "a"), (3, "b"), (3, "c")]
    assert reasons(chunk) == [(2, "too_large")]
    assert chunk.rejects["detail"][0] == "longer than 1,048,576 bytes"
    assert (chunk.rows_read, chunk.filtered) == (3, 0)
    again = map_file(tmp_path / "a.parquet", None, loop(), [source])
    assert again.rejects.equals(chunk.rejects)
