"""Files that maintenance writes: order of rows, row groups, types, statistics, unusual folders."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from lake_builder import RECORDED_AT, LakeBuilder, hour
from maintenance_case import DAY, moment
from polars.testing import assert_frame_equal

from lake import Claim
from lake.append import TableWriter
from lake.maintenance.commit import DataFile
from lake.maintenance.plan import ActiveFile, Group
from lake.maintenance.rewrite import ROWS_PER_GROUP, write_sorted
from lake.maintenance.table_state import TableState
from lake.storage.folder import FolderStorage
from lake.table import PARTITION_COLUMN
from schemas.errors import LakeError


def rewrite(builder: LakeBuilder, table: str, *statistics: str) -> tuple[DataFile, pl.DataFrame]:
    """Rewrite all files of a table as one, and return it with its rows in their order."""
    folder = builder.lake.path / table
    state = TableState.of(TableWriter(folder).handle, table)
    file = write_sorted(FolderStorage(folder), table, Group(DAY, tuple(state.files)), statistics or state.statistics)
    return file, pl.read_parquet(folder / file.path, glob=False)


def predict_many(builder: LakeBuilder, count: int) -> None:
    """Append predictions of three days, in two commits; keys and times in no order."""
    numbers = pl.int_range(count, eager=True).sample(fraction=1, shuffle=True, seed=1)
    schema = builder.lake.schema("predictions")
    rows = pl.DataFrame({"number": numbers}).select(
        partition=pl.lit(0, pl.Int32),
        offset=pl.col("number"),
        source=pl.lit("f"),
        source_row=pl.col("number"),
        key=pl.format("tx-{}", (pl.col("number") * 7919 % 100_003).cast(pl.String).str.zfill(6)),
        id=pl.col("number").cast(pl.String),
        predicted_at=pl.lit(hour(0)).cast(schema["predicted_at"]) + pl.duration(seconds=pl.col("number") % 3 * 86_400),
        version=pl.lit("v1"),
        eligible=pl.lit(value=True),
        weight=pl.lit(1.0),
        digest=pl.col("number"),
        flags=pl.lit([], pl.List(pl.String)),
    )
    half = count // 2
    for first, part in ((0, rows.head(half)), (half, rows.tail(count - half))):
        claim = Claim("one", first, first + part.height)
        builder.lake.append("predictions", part, [claim], recorded_at=RECORDED_AT)


def test_rows_are_in_order_of_day_and_key(tmp_path: Path) -> None:
    """The day of the prediction, not of its recording."""
    builder = LakeBuilder(tmp_path / "lake")
    predict_many(builder, 5_000)
    _, rows = rewrite(builder, "predictions")
    expected = rows.sort(pl.col("predicted_at").dt.date(), "key", "partition", "offset")
    assert_frame_equal(rows, expected)
    assert rows["key"].n_unique() == 5_000


def test_a_reader_of_a_key_opens_one_row_group_of_a_day(tmp_path: Path) -> None:
    """Ranges of groups hardly overlap; in the order of writing every group has every key."""
    builder = LakeBuilder(tmp_path / "lake")
    predict_many(builder, 100_000)
    file, rows = rewrite(builder, "predictions")
    footer = pq.read_metadata(builder.lake.path / "predictions" / file.path)
    column = rows.columns.index("key")
    ranges = [footer.row_group(at).column(column).statistics for at in range(footer.num_row_groups)]
    assert footer.num_row_groups == -(-100_000 // ROWS_PER_GROUP)
    for key in rows["key"].sample(50, seed=2):
        assert sum(one.min <= key <= one.max for one in ranges) <= 3 + 2  # one a day, and groups that begin a day


def test_types_and_values_are_kept(tmp_path: Path) -> None:
    """Of every table: nulls, lists, dates, numbers at their limits, texts with quotes."""
    builder = LakeBuilder(tmp_path / "lake")
    builder.predict("k\"'\\", 0, 2**62, flags=["a", "b"], weight=-0.0).predict("é☃", 1, 1, extras='{"a": null}')
    builder.label(None, 0, 0, op="heartbeat").label("k", 1, 1, value=float("inf"))
    builder.outcome("k", "joined", 1, 2**63 - 1).reject("labels", 0, "stale").entry(0, 0).entry(1, 1, close_at=hour(3))
    builder.add("cells", _cell(1), _cell(2))
    for table in ("predictions", "labels", "outcomes", "rejects", "ledger", "cells"):
        before = builder.lake.scan(table).drop(PARTITION_COLUMN).collect()
        _, rows = rewrite(builder, table)
        assert rows.schema == before.schema
        by = [name for name in before.columns if name != "flags"]
        assert_frame_equal(rows.sort(by), before.sort(by))


def _cell(amount: int) -> dict[str, object]:
    row = {"version": "v1", "slice": "", "day": date(2026, 3, 1), "kind": "fraud", "definition": "d"}
    return row | {"measure": "n", "bin": 0, "amount": amount, "plan": "p"}


def test_statistics_bound_the_values(tmp_path: Path) -> None:
    """Times to the millisecond, downwards and upwards; what is not a number gives no range."""
    builder = LakeBuilder(tmp_path / "lake")
    builder.predict("b", 0, 5, weight=float("nan")).predict("a", 1, 3, weight=2.0)
    table = builder.lake.path / "predictions"
    for path in table.rglob("part-*.parquet"):
        frame = pl.read_parquet(path)
        frame.with_columns(pl.col("predicted_at") + pl.duration(microseconds=1)).write_parquet(path)
    file, _ = rewrite(builder, "predictions", "key", "predicted_at", "weight", "extras", "flags", "unknown")
    assert json.loads(file.stats) == {
        "numRecords": 2,
        "minValues": {"key": "a", "predicted_at": "2026-03-01T08:00:00.000Z"},
        "maxValues": {"key": "b", "predicted_at": "2026-03-01T09:00:00.001Z"},
        "nullCount": {"key": 0, "predicted_at": 0, "weight": 0, "extras": 2, "flags": 0},
    }


def test_columns_that_came_later_are_null_in_older_rows(tmp_path: Path) -> None:
    """Files with and without the column are rewritten together."""
    builder = LakeBuilder(tmp_path / "lake").predict("a", 0, 0).predict("b", 1, 1)
    first = min((builder.lake.path / "predictions").rglob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    pl.read_parquet(first).drop("extras").write_parquet(first)
    _, rows = rewrite(builder, "predictions")
    assert rows.select("key", "extras").rows() == [("a", None), ("b", None)]


@pytest.mark.parametrize("name", ["a *?{} folder", "quote's", "ünï☃", "100%", "a#b", "$x ${y}"])
def test_a_folder_may_have_any_name_that_a_lake_may_have(tmp_path: Path, name: str) -> None:
    """DuckDB takes none of it for a pattern."""
    builder = LakeBuilder(tmp_path / name / "lake").predict("a", 0, 0).predict("b", 1, 1)
    assert rewrite(builder, "predictions")[1]["key"].to_list() == ["a", "b"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """And nothing is written."""
    builder = LakeBuilder(tmp_path / "lake").predict("a", 0, 0).predict("b", 1, 1)
    lost = next((builder.lake.path / "predictions").rglob("part-*.parquet"))
    lost.unlink()
    with pytest.raises(LakeError, match=f"2 files could not be rewritten as one.*{lost.name}"):
        rewrite(builder, "predictions")
    assert not list((builder.lake.path / "predictions").rglob("level-*"))


def test_a_new_file_is_of_the_next_level(tmp_path: Path) -> None:
    """Above the highest of its files."""
    builder = LakeBuilder(tmp_path / "lake").predict("a", 0, 0)
    first, _ = rewrite(builder, "predictions")
    again = ActiveFile(first.path, DAY, first.size, 1, moment())
    folder = builder.lake.path / "predictions"
    second = write_sorted(FolderStorage(folder), "predictions", Group(DAY, (again,)), [])
    assert second.path.startswith("recorded_on=2026-03-02/level-2-")
    assert json.loads(second.stats)["numRecords"] == 1
