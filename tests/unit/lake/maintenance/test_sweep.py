"""What is deleted, what stays, and that readers, writers and followers go on beside it.

Covers `lake.maintenance.expiry`.
"""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from lake_builder import RECORDED_AT, LakeBuilder
from maintenance_case import (
    Killed,
    changes,
    content,
    fill,
    kill_at_call,
    maintain,
    make_older,
    now_ms,
    scored,
    sweep,
)
from polars.testing import assert_frame_equal

from lake import Claim, Lake, connect
from lake.append import TableWriter
from lake.log_path import LOG
from lake.maintenance.maintainer import Swept
from lake.maintenance.sweep import ClockAheadError
from schemas.errors import LakeError

TABLE = "predictions"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake whose 70 files became one three days ago, with a commit of today; not to be changed."""
    builder = fill(tmp_path_factory.mktemp("rewritten") / "lake")
    maintain(builder.lake.path, now_ms())
    make_older(builder.lake.path, 3)
    builder.reject("labels", 99, "stale")
    return builder.lake.path


@pytest.fixture
def path(rewritten: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(rewritten, tmp_path / "lake"))


def data_files(path: Path, table: str = TABLE) -> set[str]:
    """Return the names of all data files of a table, readable or not."""
    return {file.name for file in (path / table).rglob("*.parquet") if file.parent.name != LOG}


def log_files(path: Path, table: str = TABLE) -> list[str]:
    """Return the names of the files of a table's log."""
    return sorted(file.name for file in (path / table / LOG).iterdir())


def append(lake: Lake, at: int, app: str = "w") -> None:
    """Append one more prediction."""
    row = lake.scan(TABLE).head(1).drop("recorded_on", "recorded_at").collect()
    assert lake.append(TABLE, row, [Claim(app, at, at + 1)], recorded_at=RECORDED_AT)


def same(path: Path, expected: dict[str, pl.DataFrame]) -> None:
    """Assert that all rows of all tables are the same."""
    found = content(Lake.open(path))
    for table, rows in expected.items():
        assert_frame_equal(found[table], rows)


def test_what_was_replaced_long_ago_goes_with_its_part_of_the_log(path: Path) -> None:
    """Rows, positions and views stay as they are."""
    lake = Lake.open(path)
    before, view, position = content(lake), scored(path), lake.applied(TABLE, "builder")
    (dead,) = [one for one in sweep(path) if one.table == TABLE]
    # 70 files, 71 log entries (one made the table), the checkpoint of version 50
    assert dead == Swept(TABLE, 70 + 71 + 1, dead.size)
    assert {name.split("-")[0] for name in data_files(path)} == {"level"}
    names = [f"{71:020d}.checkpoint.parquet", f"{71:020d}.json"]
    assert log_files(path) == [*names, "_last_checkpoint"]
    same(path, before)
    assert scored(path) == view
    assert Lake.open(path).applied(TABLE, "builder") == position
    assert sweep(path) == []


def test_nothing_goes_that_a_reader_of_two_days_ago_may_use(tmp_path: Path) -> None:
    """With files that were replaced yesterday."""
    builder = fill(tmp_path / "lake")
    maintain(builder.lake.path, now_ms())
    make_older(builder.lake.path, 1.9)
    builder.reject("labels", 99, "stale")
    files, log = data_files(builder.lake.path), log_files(builder.lake.path)
    assert sweep(builder.lake.path) == []
    assert (data_files(builder.lake.path), log_files(builder.lake.path)) == (files, log)


def test_a_session_that_was_loaded_before_reads_on(path: Path) -> None:
    """Of the version that is still current; and a lazy frame, and a version by its number."""
    lake = Lake.open(path)
    with connect(path) as session:
        frame, version = lake.scan(TABLE), lake.version(TABLE)
        append(lake, 0)
        sweep(path)
        assert session.sql("SELECT count(*) FROM scored").fetchall() == [(140,)]
    assert frame.select(pl.len()).collect().item() == 140
    assert DeltaTable(str(path / TABLE), version=version).version() == version


def test_a_writer_whose_handle_is_older_than_the_log_appends_on(tmp_path: Path) -> None:
    """It has not written for days; no commit of others is lost to it."""
    builder = fill(tmp_path / "lake", 5)
    lake = builder.lake
    old = Lake.open(lake.path)
    append(old, 0, "old")
    for at in range(60):
        append(lake, at)
    maintain(lake.path, now_ms())
    make_older(lake.path, 3)
    append(lake, 60)
    sweep(lake.path)
    assert not (lake.path / TABLE / LOG / f"{6:020d}.json").exists()
    append(old, 1, "old")
    assert old.scan(TABLE).select(pl.len()).collect().item() == 10 + 61 + 2
    assert (Lake.open(lake.path).applied(TABLE, "w"), old.applied(TABLE, "old")) == (61, 2)


def test_a_follower_within_the_log_misses_nothing_and_one_behind_it_gets_an_error(path: Path) -> None:
    """Never a part of the changes."""
    lake = Lake.open(path)
    sweep(path)
    append(lake, 0)
    append(lake, 1)
    assert changes(lake, TABLE, 71) == 2
    for version in (0, 1, 50, 70):
        with pytest.raises(DeltaError, match=f"Invalid table version: {version}"):
            changes(lake, TABLE, version)


def test_files_of_the_change_feed_go_with_their_entries(path: Path) -> None:
    """A row was deleted by somebody: its entry names a file beside the rows."""
    DeltaTable(str(path / TABLE)).delete("offset = 3")
    (feed,) = (path / TABLE / "_change_data").rglob("*.parquet")
    version = Lake.open(path).version(TABLE)
    sweep(path)
    assert feed.exists()
    assert changes(Lake.open(path), TABLE, version) == 1
    make_older(path, 3)
    lake = Lake.open(path)
    for at in range(60):
        append(lake, at)
    make_older(path, 3)
    append(lake, 60)
    sweep(path)
    assert not feed.exists()
    assert lake.scan(TABLE).select(pl.len()).collect().item() == 139 + 61


def orphan(path: Path, name: str, days: float) -> Path:
    """Put a file into a day's folder that no commit names."""
    file = path / TABLE / "recorded_on=2026-03-02" / name
    file.write_bytes(b"")
    at_s = now_ms() / 1000 - days * 86_400
    os.utime(file, (at_s, at_s))
    return file


@pytest.mark.parametrize("name", ["part-1.parquet", "tmp_level-1-x.parquet", "level-1-" + "0" * 32 + ".parquet"])
def test_a_file_that_no_entry_names_goes_after_seven_days(path: Path, name: str) -> None:
    """Before, it may be of a commit under way."""
    young, old = orphan(path, "6" + name, 6.9), orphan(path, "7" + name, 7.1)
    sweep(path)
    assert (young.exists(), old.exists()) == (True, False)


def test_what_is_no_data_file_stays(path: Path) -> None:
    """Whoever put it there."""
    note = orphan(path, "notes.txt", 100)
    sweep(path)
    assert note.exists()


def test_drafts_of_the_log_go_after_seven_days(path: Path) -> None:
    """Ours, and those of the Delta library."""
    old = [orphan(path, name, 8) for name in (".x.json.1.draft", "00000000000000000099.json#1", "_commit_1.json.tmp")]
    young = orphan(path, ".y.json.2.draft", 1)
    for file in (*old, young):
        file.rename(path / TABLE / LOG / file.name)
    sweep(path)
    assert {".y.json.2.draft"} == {name for name in log_files(path) if name[0] in "._"} - {"_last_checkpoint"}


def test_a_clock_that_is_ahead_of_the_newest_commit_removes_nothing(path: Path) -> None:
    """By more than a day; and says so."""
    files, log = data_files(path), log_files(path)
    with pytest.raises(ClockAheadError, match="by this machine's clock the newest commit is 25 h old"):
        sweep(path, now_ms() + DAY_MS + 3_600_000)
    assert (data_files(path), log_files(path)) == (files, log)
    assert sweep(path, now_ms() + DAY_MS - 3_600_000) != []


def test_rewrites_are_no_sign_that_the_clock_is_right(path: Path) -> None:
    """A maintainer with a wrong clock makes commits, too."""
    ahead_ms = now_ms() + 30 * DAY_MS
    builder = LakeBuilder.__new__(LakeBuilder)
    builder.lake, builder.config = Lake.open(path), None  # type: ignore[assignment]  # only its lake is used
    for at in range(5):
        append(builder.lake, at)
    assert maintain(path, ahead_ms) != []
    with pytest.raises(ClockAheadError):
        sweep(path, ahead_ms)


def test_a_clock_that_steps_back_removes_nothing(path: Path) -> None:
    """Before a sweep and after one."""
    before = content(Lake.open(path))
    assert sweep(path, now_ms() - 30 * DAY_MS) == []
    sweep(path)
    assert sweep(path, now_ms() - 30 * DAY_MS) == []
    same(path, before)


def test_a_log_that_another_tool_has_shortened_removes_nothing(path: Path) -> None:
    """What its own checkpoint names cannot be known; it would look forgotten."""
    log = path / TABLE / LOG
    whole = log / f"{71:020d}.checkpoint.parquet"
    whole.rename(log / f"{71:020d}.checkpoint.0000000001.0000000001.parquet")
    (log / f"{50:020d}.checkpoint.parquet").unlink()
    (log / "_last_checkpoint").write_text('{"version":71,"size":74,"parts":1}')
    for version in range(60):
        (log / f"{version:020d}.json").unlink()
    before, files = content(Lake.open(path)), data_files(path)
    orphan(path, "old.parquet", 30)
    with pytest.raises(LakeError, match="the log has no entry of version 0, so nothing is removed"):
        sweep(path)
    assert data_files(path) == {*files, "old.parquet"}
    same(path, before)


def test_a_table_with_few_commits_is_swept_too(tmp_path: Path) -> None:
    """It gets a Delta checkpoint once a day instead of every 50 commits; nightly loops have only such tables."""
    builder = LakeBuilder(tmp_path / "lake")
    for night in range(6):
        for row in range(2):
            builder.predict(f"k{night}-{row}", night, 2 * night + row)
        maintain(builder.lake.path, now_ms())
        sweep(builder.lake.path)
        make_older(builder.lake.path, 1)
    builder.predict("last", 9, 99)
    before = content(builder.lake)
    maintain(builder.lake.path, now_ms())
    sweep(builder.lake.path)
    # the versions of the last two days, and what they began with
    assert len([name for name in log_files(builder.lake.path) if name.endswith(".json")]) <= 9
    assert len(data_files(builder.lake.path)) <= 9
    same(builder.lake.path, before)


@pytest.mark.parametrize("is_after", [False, True])
def test_a_sweep_that_is_killed_between_any_two_deletions_is_taken_up_again(
    path: Path, tmp_path: Path, *, is_after: bool
) -> None:
    """Whatever it has deleted; in the end it is the same as if it had not been killed."""
    orphan(path, "old.parquet", 9)
    append(Lake.open(path), 0)
    TableWriter(path / TABLE).checkpoint()  # so that only entries that go say which files are dead
    make_older(path, 2.5)
    append(Lake.open(path), 1)
    before = content(Lake.open(path))
    whole = Path(shutil.copytree(path, tmp_path / "whole"))
    sweep(whole)
    for number in (1, 2, 35, 70, 71, 72, 73, 100, 141, 142):
        copy = Path(shutil.copytree(path, tmp_path / f"{number}"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at_call(patch, number, is_after=is_after)
            with pytest.raises(Killed):
                sweep(copy)
        same(copy, before)
        sweep(copy)
        assert (data_files(copy), log_files(copy)) == (data_files(whole), log_files(whole))
        shutil.rmtree(copy)


def test_two_sweeps_at_once_are_no_harm(path: Path) -> None:
    """What one has deleted is not missed by the other."""
    before = content(Lake.open(path))
    with pytest.MonkeyPatch.context() as patch:
        from lake.storage.folder import FolderStorage  # noqa: PLC0415 - patched here alone

        delete, calls = FolderStorage.delete, []

        def both(self: FolderStorage, name: str) -> None:
            calls.append(name)
            if len(calls) == 1:
                sweep(path)
            delete(self, name)

        patch.setattr(FolderStorage, "delete", both)
        sweep(path)
    same(path, before)
    assert sweep(path) == []
