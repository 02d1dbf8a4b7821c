"""Backups of a lake that is written and maintained meanwhile, and their restoration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from lake_builder import LakeBuilder, loop_config
from maintenance_case import Killed, content, fill, maintain, make_older, now_ms, scored, sweep
from polars.testing import assert_frame_equal

from lake import Lake
from lake.disk import log_file
from lake.maintenance.backup import back_up, check_files
from lake.table import TABLES
from schemas.errors import LakeError


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake with many files."""
    return fill(tmp_path / "lake")


def same(found: Lake, expected: dict[str, pl.DataFrame]) -> None:
    """Assert that all rows of all tables are the same."""
    rows = content(found)
    for table in TABLES:
        assert_frame_equal(rows[table], expected[table])


def faults(path: Path) -> list[str]:
    """Return what is wrong with the files of a lake."""
    return [fault for one in check_files(path) for fault in one.faults]


def while_copying(builder: LakeBuilder, step: str) -> Callable[[str], None]:
    """Write, maintain and sweep at a step of a backup."""

    def work(name: str) -> None:
        if name == step:
            builder.label("k9", 9, 9).reject("labels", 9, "stale").entry(7, 7)
            maintain(builder.lake.path, now_ms())
            sweep(builder.lake.path)

    return work


@pytest.mark.parametrize("step", ["pinned", "ledger copied", "labels copied"])
def test_a_backup_is_of_one_moment_whatever_happens_meanwhile(builder: LakeBuilder, tmp_path: Path, step: str) -> None:
    """Writers write, files are rewritten, and what is older than it is swept."""
    maintain(builder.lake.path, now_ms())
    make_older(builder.lake.path, 3)
    builder.entry(0, 0)
    before, view = content(builder.lake), scored(builder.lake.path)
    copied = back_up(builder.lake.path, tmp_path / "backup", while_copying(builder, step))
    assert [one.table for one in copied] == [*reversed(TABLES)]
    assert faults(tmp_path / "backup") == []
    same(Lake.open(tmp_path / "backup"), before)
    assert scored(tmp_path / "backup") == view


def test_a_restored_lake_goes_on_where_the_backup_was(builder: LakeBuilder, tmp_path: Path) -> None:
    """The drill: the lake is lost, the backup is copied back, and its writer repeats what it lacks."""
    back_up(builder.lake.path, tmp_path / "backup")
    builder.label("k9", 9, 9).label("k8", 8, 8)
    expected = content(builder.lake)
    shutil.rmtree(builder.lake.path)
    shutil.copytree(tmp_path / "backup", builder.lake.path)
    assert faults(builder.lake.path) == []
    restored = LakeBuilder(builder.lake.path, loop_config())
    restored._written = builder._written | {"labels": restored.lake.applied("labels", "builder")}
    restored.label("k9", 9, 9).label("k8", 8, 8)
    same(restored.lake, expected)
    maintain(builder.lake.path, now_ms())
    same(Lake.open(builder.lake.path), expected)


@pytest.mark.parametrize("step", ["pinned", "deliveries copied", "predictions copied", "rejects copied"])
def test_a_backup_that_is_killed_is_no_lake_and_is_continued(builder: LakeBuilder, tmp_path: Path, step: str) -> None:
    """The second attempt is of its own moment, and copies only what the first has not."""

    def crash(name: str) -> None:
        if name == step:
            raise Killed

    target = tmp_path / "backup"
    with pytest.raises(Killed):
        back_up(builder.lake.path, target, crash)
    with pytest.raises(LakeError, match="there is no lake here"):
        list(check_files(target))
    builder.label("k9", 9, 9)
    maintain(builder.lake.path, now_ms())
    back_up(builder.lake.path, target)
    assert faults(target) == []
    same(Lake.open(target), content(builder.lake))


def test_a_folder_with_something_else_is_refused(builder: LakeBuilder, tmp_path: Path) -> None:
    """A finished backup is, too: nothing of it is overwritten."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    with pytest.raises(LakeError, match=r"the folder holds 'notes\.txt'"):
        back_up(builder.lake.path, tmp_path / "full")
    back_up(builder.lake.path, tmp_path / "backup")
    with pytest.raises(LakeError, match=r"the folder holds 'truthloop\.json'"):
        back_up(builder.lake.path, tmp_path / "backup")


def test_each_kind_of_damage_is_named(tmp_path: Path) -> None:
    """Missing, cut off, another footer, other rows."""
    builder = LakeBuilder(tmp_path / "lake")
    for number in range(4):
        builder.predict(f"k{number}", number, number)
    path = builder.lake.path
    assert faults(path) == []
    entry = log_file(path / "predictions", 4)
    entry.write_text(entry.read_text().replace('"{\\"numRecords\\":1', '"{\\"numRecords\\":2'))
    files = [
        path
        / "predictions"
        / str(json.loads(log_file(path / "predictions", at).read_text().splitlines()[1])["add"]["path"])
        for at in (1, 2, 3, 4)
    ]
    missing, cut, torn, other = files
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    torn.write_bytes(torn.read_bytes()[:-4] + b"XXXX")
    (path / "predictions" / "notes.txt").write_text("no data file")
    found = faults(path)
    assert len(found) == 4
    assert f"{missing} is missing" in found
    size = cut.stat().st_size
    assert f"{cut} has {size:,} bytes, and the log says {size + 1:,}" in found
    assert f"{other} has 1 rows, and the log says 2" in found
    assert any(one.startswith(f"{torn} is damaged") for one in found)
