"""A night that brings no new file reads no state, and what it reads does not depend on how old the lake is."""

import shutil
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from gate_case import entry
from live_lake import settings_of
from opened_files import opened_files
from replay_case import NOW_MS, START_MS, Files, run, table, write_files

from lake import Claim, Lake
from lake.scan import files_of
from retrain.decision_log import DecisionLog
from schemas.events.evidence import Event, GateState
from streams.ledger.row import RunFile, RunRecord
from streams.ledger.table import REPLAY_APP, STEP_TABLES, ReplayLedger
from streams.replay import replay as replay_module
from streams.replay.replay import ReplaySummary
from truthloop.evidence.cells import read_evidence
from truthloop.run.replay_files import replay_files

YOUNG, OLD = 3, 80
"""Nights of a lake: more files of the ledger than are opened at once."""

TABLES = ("predictions", "labels", "outcomes", "rejects", "ledger")


def lived(folder: Path, nights: int) -> tuple[Path, Files]:
    """Return a lake of so many nights, one of them with records, and the last one's files."""
    folder.mkdir()
    files = write_files(folder, nights=2)
    path = folder / "lake"
    run(path, files.prediction_files[:1], files.label_files[:1])
    lake = Lake.open(path)
    step = ReplayLedger(lake).last
    assert step is not None
    none = {name: lake.scan(name).head(0).drop("recorded_on", "recorded_at").collect() for name in STEP_TABLES}
    log = DecisionLog(lake, "click")
    for night in range(nights):
        number = step.sequence + 1 + night
        read = RunRecord(
            step.predictions[1], step.labels[1], [RunFile("other", f"{night:064x}", "labels")], finished=True
        )
        at = datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(days=nights - night)
        rows = replace(
            step,
            sequence=number,
            predictions=(step.predictions[1],) * 2,
            labels=(step.labels[1],) * 2,
            run=read,
        ).rows()
        for name, frame in [("ledger", rows), *none.items()]:
            lake.append(name, frame, [Claim(REPLAY_APP, number, number + 1)], recorded_at=at)
        judged = entry(night, Event.EVALUATED, GateState.IDLE, kind="click", loop="test")
        assert log.append([judged], round(at.timestamp() * 1000))
    run(path, files.prediction_files[1:], files.label_files[1:])
    return path, files


def night(lake: Path, files: Files) -> tuple[ReplaySummary, Counter[str]]:
    """Return what a night with the last night's files says, and how many files of each table it opens.

    It does what `truthloop replay` does: the labels of rejected backfills, the replay, and the cells.
    """
    settings = settings_of(lake)
    read_evidence(settings)
    with opened_files() as opened:
        last = [files.prediction_files[-1]], [files.label_files[-1]]
        summary = replay_files(settings, *last, now_ms=NOW_MS, close_at_ms=None)
        read_evidence(settings)
    return summary, opened


def test_what_it_reads_does_not_grow_with_the_lakes_age(tmp_path: Path) -> None:
    """A few rows of the ledger: no record, no outcome, no entry of the gate's log."""
    (_, young), (_, old) = (night(*lived(tmp_path / str(nights), nights)) for nights in (YOUNG, OLD))
    assert young == old
    assert set(+old) == {"ledger"}
    assert old["ledger"] <= 8


def test_it_restores_nothing_and_says_what_the_night_before_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counters are in the ledger; the lake stays as it is."""
    files = write_files(tmp_path, nights=2)
    path = tmp_path / "lake"
    for one in (0, 1):
        before = run(path, [files.prediction_files[one]], [files.label_files[one]])
    tables = {name: table(path, name) for name in TABLES}
    versions = {name: Lake.open(path).version(name) for name in TABLES}
    monkeypatch.setattr(replay_module, "restore", lambda *_: pytest.fail("a state was restored"))
    summary, _ = night(path, files)
    older = run(path, files.prediction_files, files.label_files)
    assert summary.counters == older.counters == before.counters
    assert (summary.files, summary.steps, summary.redone) == ([], 0, False)
    assert summary.skipped == ["predictions-1.jsonl", "labels-1.jsonl"]
    assert older.skipped == [file.name for file in [*files.prediction_files, *files.label_files]]
    assert {name: Lake.open(path).version(name) for name in TABLES} == versions
    assert all(table(path, name).equals(rows) for name, rows in tables.items())


def test_a_file_of_long_ago_is_known(tmp_path: Path) -> None:
    """Where the newest runs do not name a file, all of them are asked."""
    path, files = lived(tmp_path / "lake", OLD)
    summary = run(path, files.prediction_files, files.label_files)
    assert (len(summary.skipped), summary.steps) == (4, 0)


def test_a_night_with_files_opens_no_records_that_left_the_state(tmp_path: Path) -> None:
    """With their files overwritten it counts the same."""
    files = write_files(tmp_path, count=240, nights=24)
    nights = list(zip(files.prediction_files, files.label_files, strict=True))
    for predictions, labels in nights[:-1]:
        run(tmp_path / "lake", [predictions], [labels])
    shutil.copytree(tmp_path / "lake", tmp_path / "whole")
    left = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(hours=10)
    for name, time in (("predictions", "predicted_at"), ("labels", "known_at"), ("outcomes", "predicted_at")):
        known = files_of(DeltaTable(str(tmp_path / "lake" / name)))
        old = known.filter(pl.col(f"max.{time}") < left)["path"]
        assert old.len() > 5
        for path in old:
            (tmp_path / "lake" / name / path).write_bytes(b"")
    last = nights[-1]
    counted = [run(tmp_path / lake, [last[0]], [last[1]]).counters for lake in ("lake", "whole")]
    assert counted[0] == counted[1]
