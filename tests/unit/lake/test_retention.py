"""For how long a table says that it keeps what was replaced; Covers `lake.store`."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from lake_builder import RECORDED_AT, LakeBuilder, loop_config

from lake import Claim, Lake
from lake.table import TABLES

BEFORE = {
    "delta.enableExpiredLogCleanup": "true",
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}
"""Properties of tables of the version before; the first is Delta's default."""


def properties(path: Path, table: str) -> dict[str, str]:
    """Return the properties of a table."""
    return dict(DeltaTable(str(path / table)).metadata().configuration)


@pytest.mark.parametrize(("kept", "seconds"), [("2d", 172_800), ("12h", 43_200)])
def test_tables_say_for_how_long_they_keep_what_was_replaced(tmp_path: Path, kept: str, seconds: int) -> None:
    """For other tools; positions of applications are kept for ever."""
    path = LakeBuilder(tmp_path / "lake", loop_config(lake={"keep_readable": kept})).lake.path
    for table in TABLES:
        found = properties(path, table)
        assert found["delta.logRetentionDuration"] == f"interval {seconds} seconds"
        assert found["delta.deletedFileRetentionDuration"] == f"interval {seconds} seconds"
        assert found["delta.enableExpiredLogCleanup"] == "false"
        assert "delta.setTransactionRetentionDuration" not in found


def test_a_lake_of_the_version_before_is_taken_along_beside_a_writer(tmp_path: Path) -> None:
    """Once; the writer, whose handle is older, goes on."""
    builder = LakeBuilder(tmp_path / "lake").reject("labels", 0, "stale")
    path = builder.lake.path
    for table in TABLES:
        DeltaTable(str(path / table)).alter.set_table_properties(BEFORE)
    writer = Lake.open(path)
    assert writer.append("rejects", builder.frame("rejects", []), [Claim("w", 0, 1)], recorded_at=RECORDED_AT)
    Lake.create(path, loop_config())
    assert properties(path, "rejects")["delta.logRetentionDuration"] == "interval 172800 seconds"
    assert writer.append("rejects", builder.frame("rejects", []), [Claim("w", 1, 2)], recorded_at=RECORDED_AT)
    versions = [writer.version(table) for table in TABLES]
    Lake.create(path, loop_config())
    assert [writer.version(table) for table in TABLES] == versions
    assert writer.applied("rejects", "builder") == 1
