"""A lake of the version before, which lacks a table: it is read as it is, and gets the table when it is written to."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from lake_builder import LakeBuilder, loop_config

from lake.closed_days import close_days
from lake.maintenance.maintainer import Maintainer
from lake.present import tables_in
from lake.session import connect
from lake.store import Lake
from lake.table import TABLES


def test_a_table_that_came_later_may_be_missing(tmp_path: Path) -> None:
    """Everything else must be there."""
    builder = LakeBuilder(tmp_path / "lake").predict("a", 0, 0)
    path = builder.lake.path
    shutil.rmtree(path / "scored")
    shutil.rmtree(path / "ledger")
    assert set(TABLES) - set(tables_in(path)) == {"scored"}


def test_a_lake_without_it_is_read_and_maintained(tmp_path: Path) -> None:
    """Nobody waits for the first writer."""
    builder = LakeBuilder(tmp_path / "lake").predict("a", 0, 0)
    path = builder.lake.path
    shutil.rmtree(path / "scored")
    assert Lake.open(path).scan("predictions").collect().height == 1
    assert {one.table for one in Maintainer(path, 1).status(0)} == set(TABLES) - {"scored"}
    assert list(close_days(path, datetime(2026, 3, 9, tzinfo=UTC))) == []
    with connect(path) as connection:
        assert connection.sql("SELECT key FROM scored").fetchall() == [("a",)]
    Lake.create(path, loop_config())
    assert tables_in(path) == TABLES
