"""Maintenance of whole lakes: no row changes, whoever else writes and wherever the process ends.

Covers `lake.maintenance.table_state` and `lake.maintenance.commit`.
"""

import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import RECORDED_AT, LakeBuilder
from maintenance_case import (
    DAY,
    KEEP_READABLE_MS,
    Killed,
    add_predictions,
    changes,
    content,
    files_by_day,
    fill,
    kill_at_call,
    maintain,
    moment,
    scored,
)
from polars.testing import assert_frame_equal

from lake import Claim, Lake
from lake.disk import log_file
from lake.maintenance.commit import claim_of
from lake.maintenance.maintainer import Maintainer, Rewritten
from lake.session import connect
from schemas.errors import LakeError

STEPS = ("predictions rewritten", "predictions replaced", "predictions checkpointed")
TABLE = "predictions"


def same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    """Assert that all rows of all tables are the same."""
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert_frame_equal(found[table], rows)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake with 70 files of predictions, not to be changed."""
    return fill(tmp_path_factory.mktemp("filled") / "lake").lake.path


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(filled, tmp_path / "lake"))


def test_many_files_become_one_and_no_row_changes(path: Path) -> None:
    """In every reader: Polars over files, delta-rs, and DuckDB's views; before and after other appends."""
    lake = Lake.open(path)
    before, view, version = content(lake), scored(path), lake.version(TABLE)
    (done,) = maintain(path)
    assert (done.table, len(done.group.files), done.group.rows) == (TABLE, 70, 140)
    assert files_by_day(lake, TABLE) == {str(DAY): 1}
    same(content(lake), before)
    assert scored(path) == view
    assert pl.DataFrame(DeltaTable(str(path / TABLE)).to_pyarrow_table()).height == 140
    assert pl.scan_delta(str(path / TABLE)).select(pl.len()).collect().item() == 140
    assert lake.version(TABLE) == version + 1
    assert lake.applied(TABLE, "builder") == 140


def test_the_change_feed_stays_silent(path: Path) -> None:
    """Whoever follows it sees each row once, however far behind."""
    lake = Lake.open(path)
    version = lake.version(TABLE)
    maintain(path)
    assert changes(lake, TABLE, version + 1) == 0
    assert changes(lake, TABLE, version) == 2
    assert changes(lake, TABLE) == 140


def test_what_was_read_before_is_still_readable(path: Path) -> None:
    """A session that loaded the views before, and a version of the table."""
    lake = Lake.open(path)
    rows, version = lake.scan(TABLE), lake.version(TABLE)
    maintain(path)
    assert rows.collect().height == 140
    assert pl.DataFrame(DeltaTable(str(path / TABLE), version=version).to_pyarrow_table()).height == 140


def test_statistics_are_those_that_a_writer_of_the_same_rows_would_give(path: Path, tmp_path: Path) -> None:
    """So that files are left out by them exactly as before."""
    maintain(path)
    other = fill(tmp_path / "other", 0)
    rows = Lake.open(path).scan(TABLE).drop("recorded_on", "recorded_at").collect()
    other.lake.append(TABLE, rows, [Claim("one", 0, 1)], recorded_at=RECORDED_AT)

    def statistics(lake: Path) -> pl.DataFrame:
        actions = pl.DataFrame(DeltaTable(str(lake / TABLE)).get_add_actions(flatten=True))
        names = sorted(name for name in actions.columns if name.startswith(("min", "max", "null", "num")))
        return actions.select(name for name in names if "recorded_at" not in name)

    assert_frame_equal(statistics(path), statistics(other.lake.path))


def test_small_days_of_a_past_month_share_a_file_and_no_row_changes(tmp_path: Path) -> None:
    """Their folder is that of the first; when each row was recorded stays, and a later day is not touched."""
    builder = LakeBuilder(tmp_path / "lake")
    for number in range(31):
        add_predictions(builder, 2, day=date(2025, 12, 1) + timedelta(days=number), first=2 * number)
    add_predictions(builder, 1, day=DAY, first=62)
    path, lake = builder.lake.path, builder.lake
    before, view, version = content(lake)[TABLE].drop("recorded_on"), scored(path), lake.version(TABLE)
    (done,) = maintain(path)
    assert (done.group.day, len(done.group.files), done.group.rows) == (date(2025, 12, 1), 62, 124)
    assert files_by_day(Lake.open(path), TABLE) == {"2025-12-01": 1, str(DAY): 1}
    after = content(Lake.open(path))[TABLE].drop("recorded_on")
    assert_frame_equal(after.sort(after.columns), before.sort(before.columns))
    with connect(path) as session:
        days = session.execute("SELECT count(DISTINCT recorded_on) FROM all_predictions").fetchone()
    assert days == (32,)
    assert scored(path) == view
    assert changes(lake, TABLE, version + 1) == 0
    assert maintain(path) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_maintainer_that_is_killed_at_a_step_is_continued(path: Path, step: str) -> None:
    """Nothing half-written is visible, and the next one does what is left."""
    before = content(Lake.open(path))

    def crash(name: str) -> None:
        if name == step:
            raise Killed

    with pytest.raises(Killed):
        list(Maintainer(path, KEEP_READABLE_MS, crash).steps(moment))
    same(content(Lake.open(path)), before)
    maintain(path)
    same(content(Lake.open(path)), before)
    assert files_by_day(Lake.open(path), TABLE) == {str(DAY): 1}
    assert maintain(path) == []


@pytest.mark.parametrize("is_after", [False, True])
def test_a_maintainer_that_is_killed_between_any_two_writes_is_continued(
    filled: Path, tmp_path: Path, *, is_after: bool
) -> None:
    """Before and after each change of a folder, on two days with files of two tables."""
    before = content(Lake.open(filled))
    number = 1
    while True:
        path = Path(shutil.copytree(filled, tmp_path / f"{number}"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at_call(patch, number, is_after=is_after)
            try:
                maintain(path, moment(DAY + timedelta(days=1)))
            except Killed:
                is_killed = True
            else:
                is_killed = False
        same(content(Lake.open(path)), before)
        maintain(path, moment(DAY + timedelta(days=1)))
        same(content(Lake.open(path)), before)
        assert max(files_by_day(Lake.open(path), TABLE).values()) == 1
        if not is_killed:
            break
        number += 1
    assert number > 6  # three tables, and at least two changes of each


def at_step(path: Path, step: str, act: Callable[[], object], times: int = 1) -> list[Rewritten]:
    """Maintain a lake, and do something as somebody else at a step."""
    left = times

    def meddle(name: str) -> None:
        nonlocal left
        if name == step and left:
            left -= 1
            act()

    return list(Maintainer(path, KEEP_READABLE_MS, meddle).steps(moment))


def test_of_two_maintainers_of_the_same_files_one_succeeds(path: Path) -> None:
    """The other has changed nothing and left nothing behind; without the claim the rows would be there twice."""
    before = content(Lake.open(path))
    inner: list[Rewritten] = []
    outer = at_step(path, "predictions rewritten", lambda: inner.extend(maintain(path)))
    assert ([one.table for one in inner], outer) == ([TABLE], [])
    same(content(Lake.open(path)), before)
    assert Lake.open(path).applied(TABLE, claim_of(TABLE)) == 1
    assert len(list((path / TABLE).rglob("level-*"))) == 1


def test_a_maintainer_gives_way_to_another_one_of_the_same_table(path: Path) -> None:
    """Also where their files differ: the table has one maintainer at a time."""
    builder = fill(path.with_name("second"), 70)
    lake = builder.lake

    def other() -> None:
        add_predictions(builder, 100, day=DAY - timedelta(days=1), first=70)
        assert next(Maintainer(lake.path, KEEP_READABLE_MS).steps(moment)).group.day == DAY - timedelta(days=1)

    assert at_step(lake.path, "predictions rewritten", other) == []
    assert files_by_day(lake, TABLE) == {"2026-03-01": 1, "2026-03-02": 70}
    maintain(lake.path)
    assert lake.applied(TABLE, claim_of(TABLE)) == 2


def test_two_maintainers_at_once_change_no_row(path: Path) -> None:
    """Each round both have the same to do."""
    builder = fill(path.with_name("second"), 0)
    lake = builder.lake
    for day in range(3):
        add_predictions(builder, 70, day=DAY + timedelta(days=day), first=70 * day)
        before = content(lake)
        barrier = threading.Barrier(2)

        def work(day: int = day, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            maintain(lake.path, moment(DAY + timedelta(days=day)))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        same(content(lake), before)
        assert files_by_day(lake, TABLE)[str(DAY + timedelta(days=day))] == 1


def test_a_maintainer_beside_appenders_loses_and_doubles_nothing(path: Path) -> None:
    """They write all the time, each as an application of its own; a change feed shows each row once."""
    stop = threading.Event()
    written = [0, 0]

    def append(worker: int) -> None:
        lake = Lake.open(path)
        row = lake.scan(TABLE).filter(pl.col("offset") == 3).drop("recorded_on", "recorded_at").collect()
        while not stop.is_set() and written[worker] < 300:
            at = written[worker]
            rows = row.with_columns(offset=pl.lit(1_000_000 * (worker + 1) + at, dtype=pl.Int64))
            assert lake.append(TABLE, rows, [Claim(f"w{worker}", at, at + 1)], recorded_at=RECORDED_AT)
            written[worker] += 1

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    rewrites = 0
    while min(written) < 200 or rewrites < 3:
        rewrites += len(maintain(path))
    stop.set()
    for thread in threads:
        thread.join()
    maintain(path)
    lake = Lake.open(path)
    offsets = lake.scan(TABLE).select("offset").collect()["offset"]
    assert (len(offsets), offsets.n_unique()) == (140 + sum(written),) * 2
    assert changes(lake, TABLE) == 140 + sum(written)
    assert [lake.applied(TABLE, f"w{worker}") for worker in range(2)] == written


def test_rows_that_somebody_deletes_meanwhile_stay_deleted(path: Path) -> None:
    """The rewrite gives way; the next one begins with what is left."""
    lake = Lake.open(path)

    def delete() -> None:
        DeltaTable(str(path / TABLE)).delete("key = 'k000'")

    before = content(lake)[TABLE]
    assert before.filter(pl.col("key") == "k000").height == 1
    assert at_step(path, "predictions rewritten", delete) == []
    left = before.filter(pl.col("key") != "k000")
    assert_frame_equal(content(lake)[TABLE], left)
    maintain(path)
    assert_frame_equal(content(lake)[TABLE], left)
    assert files_by_day(lake, TABLE) == {str(DAY): 1}


def test_columns_that_are_added_meanwhile_are_no_harm(path: Path) -> None:
    """The rewrite gives way once."""
    lake = Lake.open(path)
    before = content(lake)[TABLE]

    def add_column() -> None:
        from deltalake import Field  # noqa: PLC0415 - of this case alone

        DeltaTable(str(path / TABLE)).alter.add_columns([Field("slice_new", "string")])

    assert at_step(path, "predictions rewritten", add_column) == []
    assert [one.table for one in maintain(path)] == [TABLE]
    found = content(Lake.open(path))[TABLE]
    assert_frame_equal(found.drop("slice_new"), before, check_row_order=False)


def test_a_commit_into_a_log_that_was_swept_meanwhile_is_taken_back(path: Path) -> None:
    """The process stood still for days: its entry would be below the oldest one that readers begin with."""
    lake = Lake.open(path)

    def sweep() -> None:
        for number in range(2):
            append_again(lake, number)
        DeltaTable(str(path / TABLE)).create_checkpoint()
        for version in range(lake.version(TABLE)):
            log_file(path / TABLE, version).unlink(missing_ok=True)

    assert at_step(path, "predictions rewritten", sweep) == []
    version = lake.version(TABLE)
    logs = sorted(file.name for file in (path / TABLE / "_delta_log").glob("*.json"))
    assert logs == [f"{version:020d}.json"]
    assert lake.scan(TABLE).select(pl.len()).collect().item() == 142


def append_again(lake: Lake, number: int) -> None:
    """Append one more prediction."""
    row = lake.scan(TABLE).filter(pl.col("offset") == 3).head(1).drop("recorded_on", "recorded_at").collect()
    assert lake.append(TABLE, row, [Claim("later", number, number + 1)], recorded_at=RECORDED_AT)


def test_a_file_with_other_rows_than_the_log_says_is_not_rewritten(path: Path) -> None:
    """Somebody has replaced it; the rewrite would make the loss look right."""
    lake = Lake.open(path)
    files = sorted((path / TABLE).rglob("part-*.parquet"))
    frame = pl.read_parquet(files[0])
    frame.head(1).write_parquet(files[0])
    with pytest.raises(LakeError, match="70 files have 139 rows, and the log says 140"):
        maintain(path)
    assert lake.version(TABLE) == 70
    assert not list((path / TABLE).rglob("level-*"))


@contextmanager
def full_disk(at_bytes: int) -> Iterator[None]:
    """Let no file grow beyond some bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("at_bytes", [100, 7_000])
def test_a_full_disk_changes_nothing(path: Path, at_bytes: int) -> None:
    """Neither while the new file is written nor while the log entry is; with room it is done."""
    before = content(Lake.open(path))
    with full_disk(at_bytes), pytest.raises(LakeError, match=r"predictions|_delta_log"):
        maintain(path)
    same(content(Lake.open(path)), before)
    assert [one.table for one in maintain(path)] == [TABLE]
    same(content(Lake.open(path)), before)


def test_what_is_due_is_said_without_doing_it(path: Path) -> None:
    """The same that is done afterwards."""
    lake = Lake.open(path)
    maintainer = Maintainer(path, KEEP_READABLE_MS)
    due = maintainer.due(moment())
    assert lake.version(TABLE) == 70
    assert list(maintainer.steps(moment)) == due
    assert maintainer.due(moment()) == []


def test_a_day_that_ends_is_due_without_another_commit(path: Path) -> None:
    """And the days' folders stay apart."""
    maintainer = Maintainer(path, KEEP_READABLE_MS)
    assert len(list(maintainer.steps(moment))) == 1
    builder_day = DAY + timedelta(days=1)
    assert maintainer.due(moment(builder_day)) != []
    assert {one.table for one in maintainer.steps(lambda: moment(builder_day))} == {"labels", "outcomes"}


def test_times_of_commits_are_those_of_the_clock_that_is_given(path: Path) -> None:
    """Of the log entry."""
    maintain(path)
    newest = DeltaTable(str(path / TABLE)).history(1)[0]
    assert (newest["operation"], newest["timestamp"]) == ("OPTIMIZE", moment())
    assert datetime.fromtimestamp(newest["timestamp"] / 1000, UTC).date() == DAY
