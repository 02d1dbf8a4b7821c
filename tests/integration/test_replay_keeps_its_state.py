"""A replay keeps its state: the next night reads no old records, and whatever happened to it, the lake is the same.

Covers `streams.state_store.kept` beneath `streams.replay.replay`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal
from replay_case import CLOSE_MS, Files, finals, lose_state, oracle_of, run, table, write_files
from restatement_case import Killed, killed_at
from rocksdict import WriteBatch

from joins import Partition
from lake import Lake
from schemas.errors import StateError
from streams.replay import replay as replay_module
from streams.replay import sorted_input
from streams.state_store.database import RocksDatabase

TABLES = ("predictions", "labels", "outcomes", "rejects")
NIGHTS = 4


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several steps of a night."""
    monkeypatch.setattr(sorted_input, "ROWS_PER_SLICE", 20)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return the files of some nights."""
    return write_files(tmp_path_factory.mktemp("files"), seed=3, count=120, nights=NIGHTS)


@pytest.fixture(scope="module")
def whole(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the lake of a loop whose state is lost after every night."""
    lake = tmp_path_factory.mktemp("whole") / "lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_input, "ROWS_PER_SLICE", 20)
        for number in range(NIGHTS):
            night(lake, files, number)
            lose_state(lake)
    return lake


def night(lake: Path, files: Files, number: int) -> None:
    """Replay the files of a night; time closes with the last one."""
    close_at_ms = CLOSE_MS if number + 1 == NIGHTS else None
    run(lake, [files.prediction_files[number]], [files.label_files[number]], close_at_ms=close_at_ms)


def same(lake: Path, whole: Path) -> None:
    """Check that two lakes hold the same rows."""
    for name in TABLES:
        assert_frame_equal(table(lake, name), table(whole, name))


@contextmanager
def restores(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int | None]]:
    """Note the step at which each restore begins; a new lake has none."""
    real, begun = replay_module.restore, []

    def noted(lake: Lake, policy: Any, projection: Any, step: Any, *words: Any) -> list[Partition]:
        begun.append(None if step is None else step.sequence)
        return real(lake, policy, projection, step, *words)

    with monkeypatch.context() as patched:
        patched.setattr(replay_module, "restore", noted)
        yield begun


@pytest.mark.parametrize("in_memory", [1 << 30, 0], ids=["all in memory", "spilled after every step"])
def test_nights_go_on_with_the_state_of_the_night_before(
    files: Files, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """Nothing is restored after the first one, and the lake is that of a loop that always restores."""
    monkeypatch.setattr(replay_module, "KEYS_IN_MEMORY", in_memory)
    lake = tmp_path / "lake"
    with restores(monkeypatch) as begun:
        for number in range(NIGHTS):
            night(lake, files, number)
    assert begun == [None]
    same(lake, whole)
    assert finals(lake) == oracle_of(files)


def test_killed_while_the_state_is_kept_the_next_night_restores_it(
    files: Files, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, between and after the writes of the partitions' stores; the lake has everything by then."""
    real = RocksDatabase.write
    killed = 0
    for step in count():
        lake = tmp_path / str(step) / "lake"
        lake.parent.mkdir()
        night(lake, files, 0)
        writes = count()

        def write(database: RocksDatabase, batch: WriteBatch) -> None:
            if next(writes) == step:  # noqa: B023 - called in this round alone
                raise Killed
            real(database, batch)

        with monkeypatch.context() as patched:
            patched.setattr(RocksDatabase, "write", write)
            try:
                night(lake, files, 1)
            except Killed:
                killed += 1
        with restores(monkeypatch) as begun:
            for number in range(1, NIGHTS):
                night(lake, files, number)
        same(lake, whole)
        if killed == step:  # this one was not killed
            assert begun == []
            break
        assert len(begun) == 1
    assert killed == 3  # a write of each partition


def test_a_night_that_was_killed_leaves_a_state_behind_the_lake_that_is_not_used(
    files: Files, whole: Path, tmp_path: Path
) -> None:
    """At any commit: what is kept is of the night before, and the lake says more."""
    for step in range(-1, 60, 7):
        lake = tmp_path / str(step) / "lake"
        lake.parent.mkdir()
        night(lake, files, 0)
        with killed_at(step), suppress(Killed):
            night(lake, files, 1)
        for number in range(1, NIGHTS):
            night(lake, files, number)
        same(lake, whole)


def test_a_state_ahead_of_a_lake_from_a_backup_is_not_used(
    files: Files, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of a lake that is gone: the new one begins anew."""
    lake = tmp_path / "lake"
    night(lake, files, 0)
    backup = shutil.copytree(lake, tmp_path / "backup")
    night(lake, files, 1)
    shutil.rmtree(lake)
    shutil.copytree(backup, lake)
    with restores(monkeypatch) as begun:
        for number in range(1, NIGHTS):
            night(lake, files, number)
    assert len(begun) == 1
    same(lake, whole)
    shutil.rmtree(lake)
    with restores(monkeypatch) as begun:
        for number in range(NIGHTS):
            night(lake, files, number)
    assert begun == [None]
    same(lake, whole)


def test_a_state_that_cannot_be_kept_fails_nothing(
    files: Files, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lake has everything: a warning says that the next night takes longer."""
    lake = tmp_path / "lake"
    night(lake, files, 0)

    def refused(_database: RocksDatabase, _batch: WriteBatch) -> None:
        raise StateError("the disk is full", where="here")

    with monkeypatch.context() as patched:
        patched.setattr(RocksDatabase, "write", refused)
        night(lake, files, 1)
    assert "the next run restores the state from the lake" in caplog.text
    for number in range(2, NIGHTS):
        night(lake, files, number)
    same(lake, whole)
