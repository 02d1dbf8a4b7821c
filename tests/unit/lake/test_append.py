"""Exactly-once append in one process: positions, refusals, and the effects of power loss and a full disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from threading import Thread

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from lake_builder import RECORDED_AT, LakeBuilder, hour, loop_config

from lake.append import COMMITS_PER_CHECKPOINT, Claim
from lake.disk import log_file
from lake.store import Lake
from schemas.errors import LakeConflict, LakeError

ROW = {"partition": 0, "offset": 0, "source_row": 1, "input": "labels", "reason": "stale", "stage": "join"}


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake")


def rejects(builder: LakeBuilder, *offsets: int) -> pl.DataFrame:
    """Return a frame of rejects with these offsets."""
    return builder.frame("rejects", [ROW | {"source": "f", "offset": offset} for offset in offsets])


def append(builder: LakeBuilder, frame: pl.DataFrame, first: int, following: int, app: str = "p0") -> bool:
    """Append to rejects."""
    return builder.lake.append("rejects", frame, [Claim(app, first, following)], recorded_at=RECORDED_AT)


def offsets(lake: Lake) -> list[int]:
    """Return the offsets in rejects."""
    return sorted(lake.scan("rejects").select("offset").collect()["offset"].to_list())


def test_rows_and_position_are_written_together(builder: LakeBuilder) -> None:
    """In one commit; each application has its own position."""
    assert builder.lake.applied("rejects", "p0") == 0
    assert append(builder, rejects(builder, 0, 1), 0, 2)
    assert builder.lake.version("rejects") == 1
    assert builder.lake.applied("rejects", "p0") == 2
    assert builder.lake.applied("rejects", "p1") == 0
    assert append(builder, rejects(builder, 5), 0, 1, app="p1")
    assert offsets(Lake.open(builder.lake.path)) == [0, 1, 5]


def test_the_same_range_again_writes_nothing(builder: LakeBuilder) -> None:
    """A redo is silent, also one of an older range."""
    append(builder, rejects(builder, 0), 0, 1)
    append(builder, rejects(builder, 1), 1, 2)
    assert not append(builder, rejects(builder, 0), 0, 1)
    assert not append(builder, rejects(builder, 0, 1), 0, 2)
    assert offsets(builder.lake) == [0, 1]
    assert builder.lake.version("rejects") == 2


@pytest.mark.parametrize(("first", "following"), [(0, 9), (2, 9), (4, 9)])
def test_a_range_that_does_not_fit_names_the_lakes_position(builder: LakeBuilder, first: int, following: int) -> None:
    """Neither a gap nor an overlap is written."""
    append(builder, rejects(builder, 0), 0, 3)
    with pytest.raises(LakeConflict, match=rf"'p0' has written up to 3, and these rows are \[{first}, 9\)"):
        append(builder, rejects(builder, 8), first, following)
    assert offsets(builder.lake) == [0]


def test_an_empty_frame_commits_the_position(builder: LakeBuilder) -> None:
    """A step without rows moves the position, or the next one would be a conflict."""
    assert append(builder, rejects(builder), 0, 7)
    assert builder.lake.applied("rejects", "p0") == 7
    assert offsets(builder.lake) == []
    assert append(builder, rejects(builder, 7), 7, 8)


def test_rows_need_a_range(builder: LakeBuilder) -> None:
    """They would be dropped as already written."""
    with pytest.raises(ValueError, match="1 rows need a range"):
        append(builder, rejects(builder, 0), 0, 0)
    with pytest.raises(ValueError, match="cannot end before"):
        append(builder, rejects(builder), 2, 1)
    assert not append(builder, rejects(builder), 0, 0)
    assert builder.lake.version("rejects") == 0


def test_a_replacement_replaces_all_rows_once(builder: LakeBuilder) -> None:
    """`replace` follows the rules of `append`, and one without rows empties the table."""
    append(builder, rejects(builder, 0, 1), 0, 2)
    replace, claims = builder.lake.replace, [Claim("p0", 2, 3)]
    assert replace("rejects", rejects(builder, 9), claims, recorded_at=RECORDED_AT)
    assert not replace("rejects", rejects(builder, 8), claims, recorded_at=RECORDED_AT)
    assert offsets(builder.lake) == [9]
    assert replace("rejects", rejects(builder), [Claim("p0", 3, 4)], recorded_at=RECORDED_AT)
    assert offsets(builder.lake) == []


def test_the_day_of_recording_is_that_of_utc(builder: LakeBuilder) -> None:
    """A writer in another time zone uses the same partition folder."""
    at = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    builder.lake.append("rejects", rejects(builder, 0), [Claim("p0", 0, 1)], recorded_at=at)
    row = builder.lake.scan("rejects").select("recorded_on", "recorded_at").collect().row(0)
    assert row == (date(2026, 3, 2), datetime(2026, 3, 2, 1, 30, tzinfo=UTC))
    with pytest.raises(ValueError, match="time zone"):
        builder.lake.append(
            "rejects",
            rejects(builder, 1),
            [Claim("p0", 1, 2)],
            recorded_at=at.replace(tzinfo=None),
        )


Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.with_columns(colour=pl.lit("red")), "has no column 'colour'"),
        (lambda frame: frame.drop("reason", "stage"), "lack 'reason', 'stage'"),
        (lambda frame: frame.with_columns(reason=pl.lit(None, pl.String)), "'reason' must never be null"),
        (lambda frame: frame.with_columns(reason=pl.lit(None)), "'reason' must never be null"),
        (lambda frame: frame.with_columns(source_row=pl.lit("1")), "'source_row' is String, and .* Int64"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_by_name(builder: LakeBuilder, change: Change, message: str) -> None:
    """Nothing is written, and the position stays."""
    with pytest.raises(LakeError, match=message):
        append(builder, change(rejects(builder, 0)), 0, 1)
    assert builder.lake.version("rejects") == 0


def test_optional_columns_may_be_left_out(builder: LakeBuilder) -> None:
    """A column of untyped nulls, or none at all, is null in the lake."""
    append(builder, rejects(builder, 0).drop("detail", "digest").with_columns(kind=pl.lit(None)), 0, 1)
    row = builder.lake.scan("rejects").select("detail", "digest", "kind").collect().row(0)
    assert row == (None, None, None)


def test_an_append_after_columns_were_added_elsewhere_goes_through(builder: LakeBuilder) -> None:
    """The handle is outdated, Delta refuses, the table is opened again and the range is written once."""
    append(builder, rejects(builder, 0), 0, 1)
    config = loop_config(predictions={"outputs": {"fraud": {"task": "binary"}}, "slices": ["country"]})
    Lake.create(builder.lake.path, config)
    builder.predict("a", 0, 0).outcome("a", "joined", 1, 1, value=1.0)
    assert builder.lake.scan("predictions").collect()["slice_country"].to_list() == [None]


def test_a_commit_of_another_writer_after_the_check_is_noticed(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta refuses the second commit, and the range turns out to be written."""
    rival = Lake.open(builder.lake.path)
    writer = builder.lake._writers["rejects"]
    commit = writer._commit
    frame = rejects(builder, 0)

    def commit_late(*arguments: object) -> None:
        monkeypatch.setattr(writer, "_commit", commit)
        rival.append("rejects", frame, [Claim("p0", 0, 1)], recorded_at=RECORDED_AT)
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_commit", commit_late)
    assert not append(builder, frame, 0, 1)
    assert offsets(builder.lake) == [0]


def test_of_two_threads_with_the_same_range_one_writes(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a handle, so Delta would see no conflict: the second one waits for the first, and finds it written."""
    writer = builder.lake._writers["rejects"]
    commit = writer._commit
    frame = rejects(builder, 0)
    found: list[bool] = []
    other = Thread(target=lambda: found.append(append(builder, frame, 0, 1)))

    def commit_late(*arguments: object) -> None:
        monkeypatch.setattr(writer, "_commit", commit)
        other.start()
        other.join(timeout=0.5)  # without a lock it ends within this time
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_commit", commit_late)
    assert append(builder, frame, 0, 1)
    other.join()
    assert found == [False]
    assert offsets(builder.lake) == [0]


def test_written_by_uri_the_same_race_doubles_the_rows(builder: LakeBuilder) -> None:
    """Why the handle matters: Delta accepts a write by URI after a check on another handle."""
    folder = builder.lake.path / "rejects"
    handles = [DeltaTable(str(folder)) for _ in range(2)]
    assert [handle.transaction_version("p0") for handle in handles] == [None, None]
    rows = rejects(builder, 0).with_columns(recorded_on=date(2026, 3, 2), recorded_at=RECORDED_AT)
    for _ in handles:
        write_deltalake(
            str(folder),
            rows,
            mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction("p0", 1)]),
        )
    assert offsets(builder.lake) == [0, 0]


def test_delta_checkpoints_are_written_at_intervals(builder: LakeBuilder) -> None:
    """A reader never has to read the whole log, and positions are in the Delta checkpoint."""
    for step in range(COMMITS_PER_CHECKPOINT + 1):
        append(builder, rejects(builder, step), step, step + 1)
    log = builder.lake.path / "rejects" / "_delta_log"
    assert [file.name for file in log.glob("*.checkpoint.parquet")] == [
        f"{COMMITS_PER_CHECKPOINT:020d}.checkpoint.parquet"
    ]
    reopened = Lake.open(builder.lake.path)
    assert reopened.applied("rejects", "p0") == COMMITS_PER_CHECKPOINT + 1
    assert offsets(reopened) == list(range(COMMITS_PER_CHECKPOINT + 1))


def test_an_append_returns_when_its_commit_is_durable(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, log entries and their folders are synced, also those of another process."""
    synced: list[Path] = []

    def record(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    for lake in (builder.lake, Lake.open(builder.lake.path)):
        synced.clear()
        lake.append("rejects", rejects(builder, 0), [Claim("p0", 0, 1)], recorded_at=RECORDED_AT)
        file = _newest_file(builder.lake)
        logs = [log_file(builder.lake.path / "rejects", version) for version in (0, 1)]
        assert set(synced) == {file, file.parent, file.parent.parent, *logs, logs[0].parent}


def _newest_file(lake: Lake) -> Path:
    return max((lake.path / "rejects").glob("recorded_on=*/*.parquet"), key=lambda file: file.stat().st_mtime_ns)


@pytest.mark.parametrize("damage", ["cut", "gone", "zeros", "log"])
def test_a_torn_commit_is_found_and_can_be_repaired(builder: LakeBuilder, damage: str) -> None:
    """The message names the log entry; once it is moved away, the same range is written again."""
    append(builder, rejects(builder, 0), 0, 1)
    append(builder, rejects(builder, 1), 1, 2)
    log = builder.lake.path / "rejects" / "_delta_log" / f"{2:020d}.json"
    file = _newest_file(builder.lake)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "gone":
        file.unlink()
    elif damage == "zeros":
        file.write_bytes(bytes(file.stat().st_size))
    else:
        log.write_bytes(b"")
    with pytest.raises(LakeError, match=r"torn") as caught:
        Lake.open(builder.lake.path)
    assert caught.value.where == str(log if damage == "log" else file)
    assert str(log) in caught.value.hint
    log.rename(builder.lake.path.parent / log.name)
    mended = Lake.open(builder.lake.path)
    assert mended.applied("rejects", "p0") == 1
    mended.append("rejects", rejects(builder, 1), [Claim("p0", 1, 2)], recorded_at=RECORDED_AT)
    assert offsets(mended) == [0, 1]


def test_damage_below_later_commits_is_not_taken_for_a_power_cut(builder: LakeBuilder) -> None:
    """Moving a log entry away would then be wrong, and the message does not recommend it."""
    append(builder, rejects(builder, 0), 0, 1)
    _newest_file(builder.lake).unlink()
    append(builder, rejects(builder, 1), 1, 2)
    with pytest.raises(LakeError, match="has committed since") as caught:
        Lake.create(builder.lake.path, builder.config)
    assert "backup" in caught.value.hint


def test_an_unreadable_log_is_a_lake_error(builder: LakeBuilder) -> None:
    """No exception of the Delta library reaches the command line."""
    lake = Lake.open(builder.lake.path)
    shutil.rmtree(builder.lake.path / "rejects")
    with pytest.raises(LakeError, match="cannot be read"):
        lake.applied("rejects", "p0")


FULL_DISK = """
import resource, sys
from pathlib import Path
import polars as pl
from lake import Claim, Lake
from schemas.errors import LakeError
from lake_builder import RECORDED_AT
lake = Lake.open(Path(sys.argv[1]))
frame = pl.read_parquet(sys.argv[2])
write = lambda: lake.append("rejects", frame, [Claim("p0", 1, 2)], recorded_at=RECORDED_AT)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    write()
except LakeError as error:
    assert "room" in error.hint, error
else:
    sys.exit("the disk was not full")
assert lake.scan("rejects").collect().height == 1
assert lake.applied("rejects", "p0") == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert write()
"""


@pytest.mark.parametrize("limit", [0, 1_000, 30_000])
def test_a_full_disk_leaves_nothing_half_written(builder: LakeBuilder, tmp_path: Path, limit: int) -> None:
    """The append fails with advice, readers see the previous version, and the next append works."""
    append(builder, rejects(builder, 0), 0, 1)
    many = builder.frame("rejects", [ROW | {"source": f"{n:x}" * 9, "offset": n} for n in range(1, 20_000)])
    many.write_parquet(tmp_path / "many.parquet")
    command = [sys.executable, "-c", FULL_DISK, builder.lake.path, tmp_path / "many.parquet", limit]
    path = f"{Path(__file__).parents[3]}:{Path(__file__).parents[2] / 'support'}"
    done = subprocess.run(
        [str(part) for part in command], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert offsets(Lake.open(builder.lake.path)) == list(range(20_000))


def test_times_keep_their_microseconds(builder: LakeBuilder) -> None:
    """They are read as written, to the last digit."""
    exact = hour(0) + timedelta(microseconds=1)
    builder.predict("a", 0, 0, predicted_at=exact)
    assert builder.lake.scan("predictions").collect()["predicted_at"].item() == exact
