"""File replay end to end: real files, a real lake, and every way to interrupt it.

Covers `streams.replay.merge`, `streams.replay.writer`, `streams.state_store.restore`.
"""

import itertools
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from effort import THOROUGH
from polars.testing import assert_frame_equal
from replay_case import (
    CLOSE_MS,
    CONFIG,
    NOW_MS,
    START_MS,
    Files,
    finals,
    lose_state,
    oracle_of,
    run,
    table,
    write_files,
)

from lake import Claim, Lake
from lake.session import connect
from schemas.errors import ConfigError, InputError, LakeError
from streams.mapping import mapper
from streams.readers import text_lines
from streams.replay import external_sort, sorted_input
from streams.replay import replay as replay_module

TABLES = ("predictions", "labels", "outcomes", "rejects")


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many steps of few records."""
    monkeypatch.setattr(sorted_input, "ROWS_PER_SLICE", 20)


@pytest.mark.parametrize("seed", range(5))
def test_a_replay_leaves_the_oracles_outcomes_in_the_lake(tmp_path: Path, seed: int) -> None:
    """After mapping, partitions, steps and tables, the outcomes are those of a naive join of the same records."""
    files = write_files(tmp_path, seed=seed)
    summary = run(tmp_path / "lake", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    assert summary.counters.violations() == []
    assert finals(tmp_path / "lake") == oracle_of(files)


@pytest.mark.parametrize("nights", [2, 5])
@pytest.mark.parametrize("is_kept", [True, False], ids=["state kept", "state lost"])
def test_night_after_night_gives_what_one_run_gives(tmp_path: Path, nights: int, *, is_kept: bool) -> None:
    """A nightly job goes on with its state, or restores and verifies it every time."""
    files = write_files(tmp_path, nights=nights)
    for predictions, labels in zip(files.prediction_files, files.label_files, strict=True):
        run(tmp_path / "lake", [predictions], [labels])
        if not is_kept:
            lose_state(tmp_path / "lake")
    run(tmp_path / "lake", [], [], close_at_ms=CLOSE_MS)
    assert finals(tmp_path / "lake") == oracle_of(files)


def test_a_night_without_records_is_an_empty_file(tmp_path: Path) -> None:
    """Every night again, of both inputs, and first of all: it is neither an error nor a file that was read before."""
    files = write_files(tmp_path, nights=2)
    none, no_labels = tmp_path / "none.jsonl", tmp_path / "none.ndjson"
    none.touch()
    no_labels.touch()
    summary = run(tmp_path / "lake", [none], [no_labels])
    assert [(file.name, file.read) for file in summary.files] == [("none.jsonl", 0), ("none.ndjson", 0)]
    run(tmp_path / "lake", [files.prediction_files[0]], [files.label_files[0], no_labels])
    summary = run(tmp_path / "lake", [none], [files.label_files[1]])
    assert (summary.skipped, [file.name for file in summary.files]) == ([], [files.label_files[1].name, "none.jsonl"])
    run(tmp_path / "lake", [files.prediction_files[1]], [no_labels], close_at_ms=CLOSE_MS)
    assert finals(tmp_path / "lake") == oracle_of(files)


def test_a_state_with_deletions_is_restored_from_the_lake(tmp_path: Path) -> None:
    """Those that deleted something and those that did not: the next night finds the state that the ledger names."""

    def write(name: str, *rows: dict) -> Path:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    def label(key: str, minute: int, **parts: object) -> dict:
        return {"key": key, "kind": "click", "time": START_MS + minute * 60_000} | parts

    prediction = {"version": "v", "outputs": {"click": 0.5}, "time": START_MS}
    predictions = write("p.jsonl", *({"key": key} | prediction for key in "abc"))
    first = write(
        "l.jsonl",
        label("a", 1, value=1),
        label("a", 2, op="delete"),
        label("a", 3, op="delete"),
        label("b", 4, op="delete"),
        label("c", 5, value=1),
    )
    run(tmp_path / "lake", [predictions], [first])
    lose_state(tmp_path / "lake")
    second = write("m.jsonl", label("a", 6, op="delete"), label("b", 7, value=0), label("c", 8, op="delete"))
    run(tmp_path / "lake", [], [second], close_at_ms=CLOSE_MS)
    with connect(tmp_path / "lake") as connection:
        found = connection.sql("SELECT key, status, value FROM scored WHERE kind = 'click' ORDER BY key").fetchall()
        as_of = connection.sql(
            "SELECT key, status, value FROM scored_at('2099-01-01') WHERE kind = 'click' ORDER BY key"
        )
        rejects = connection.sql("SELECT source_row, reason FROM rejects ORDER BY source, source_row").fetchall()
        assert found == [("a", "retracted", None), ("b", "joined", 0.0), ("c", "retracted", None)] == as_of.fetchall()
    assert sorted(rejects) == [(1, "duplicate"), (3, "duplicate"), (4, "nothing_to_retract")]


def test_files_that_were_read_are_skipped_by_content_and_change_nothing(tmp_path: Path) -> None:
    """The same bytes under another name are the same records; the lake stays as it is."""
    files = write_files(tmp_path)
    lake = tmp_path / "lake"
    run(lake, files.prediction_files, files.label_files)
    versions = {name: Lake.open(lake).version(name) for name in TABLES}
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_bytes(files.prediction_files[0].read_bytes())
    summary = run(lake, [renamed], files.label_files)
    assert summary.skipped == ["renamed.jsonl", "labels-0.jsonl"]
    assert {name: Lake.open(lake).version(name) for name in TABLES} == versions


def appends_of(tmp_path: Path, files: Files) -> int:
    """Return how many appends an uninterrupted run makes, leaving its lake at 'whole'."""
    calls = 0
    append = Lake.append

    def counted(lake: Lake, *args: object, **how: object) -> bool:
        nonlocal calls
        calls += 1
        return append(lake, *args, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "append", counted)
        run(tmp_path / "whole", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    return calls


def crashing_append(append: Callable[..., bool], crash_at: int) -> Callable[..., bool]:
    """Return an append that works `crash_at` times and then no more."""
    calls = itertools.count()

    def crashing(lake: Lake, *args: object, **how: object) -> bool:
        if next(calls) >= crash_at:
            raise LakeError("the disk is full")
        return append(lake, *args, **how)

    return crashing


def test_a_crash_at_any_append_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written before the crash, the same command again gives the rows of an uninterrupted run.

    A step appends to five tables: every third append is one of each.
    """
    files = write_files(tmp_path, count=30)
    total = appends_of(tmp_path, files)
    assert total > 20
    append = Lake.append
    for crash_at in range(0, total, 1 if THOROUGH else 3):
        lake = tmp_path / f"lake-{crash_at}"
        monkeypatch.setattr(Lake, "append", crashing_append(append, crash_at))
        with pytest.raises(LakeError, match="disk is full"):
            run(lake, files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
        monkeypatch.setattr(Lake, "append", append)
        run(lake, files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
        for name in TABLES:
            assert_frame_equal(table(lake, name), table(tmp_path / "whole", name))


@pytest.mark.parametrize("crash_at", [1, 3, 6, 9, 14])
def test_a_single_failing_append_is_harmless_although_later_ones_would_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    """A full disk often has room for the next small file: nothing is written after a missing append."""
    files = write_files(tmp_path, count=30)
    run(tmp_path / "whole", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    append, calls = Lake.append, itertools.count()

    def failing_once(lake: Lake, *args: object, **how: object) -> bool:
        if next(calls) == crash_at:
            raise LakeError("the disk is full")
        return append(lake, *args, **how)

    monkeypatch.setattr(Lake, "append", failing_once)
    with pytest.raises(LakeError, match="disk is full"):
        run(tmp_path / "lake", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    run(tmp_path / "lake", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    for name in TABLES:
        assert_frame_equal(table(tmp_path / "lake", name), table(tmp_path / "whole", name))


def test_a_close_in_the_future_is_refused(tmp_path: Path) -> None:
    """The floor never goes back: one wrong digit in a year would close the loop forever."""
    files = write_files(tmp_path)
    with pytest.raises(InputError, match="lies in the future"):
        run(tmp_path / "lake", files.prediction_files, [], close_at_ms=NOW_MS + 1)
    assert not (tmp_path / "lake").exists()


def test_other_files_are_refused_while_a_run_is_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step may be half written: only the same files can finish it, and the message names them."""
    files = write_files(tmp_path, nights=2)
    append = Lake.append

    def crashing(lake: Lake, name: str, *args: object, **how: object) -> bool:
        if name == "outcomes":
            raise LakeError("the disk is full")
        return append(lake, name, *args, **how)

    monkeypatch.setattr(Lake, "append", crashing)
    with pytest.raises(LakeError):
        run(tmp_path / "lake", files.prediction_files[:1], files.label_files[:1])
    monkeypatch.setattr(Lake, "append", append)
    with pytest.raises(InputError, match=r"--predictions predictions-0.jsonl --labels labels-0.jsonl"):
        run(tmp_path / "lake", files.prediction_files[1:], files.label_files[1:])


def test_a_killed_process_is_finished_by_the_same_command(tmp_path: Path) -> None:
    """After kill -9 in the middle of writing, the rerun gives the rows of an uninterrupted run."""
    files = write_files(tmp_path, count=200)
    run(tmp_path / "whole", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    program = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from replay_case import CLOSE_MS, run
from lake import Lake
from streams.replay import sorted_input
sorted_input.ROWS_PER_SLICE = 20
append, calls = Lake.append, 0
def killing(lake, *args, **how):
    global calls
    calls += 1
    if calls == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    return append(lake, *args, **how)
Lake.append = killing
folder = Path({str(tmp_path)!r})
run(folder / "lake", sorted(folder.glob("predictions-*")), sorted(folder.glob("labels-*")), close_at_ms=CLOSE_MS)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    summary = run(tmp_path / "lake", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    assert summary.redone
    for name in TABLES:
        assert_frame_equal(table(tmp_path / "lake", name), table(tmp_path / "whole", name))


def test_rows_removed_without_the_ledger_are_detected(tmp_path: Path) -> None:
    """The restored state has another fingerprint, and the next run fails instead of continuing."""
    files = write_files(tmp_path, nights=2)
    lake = tmp_path / "lake"
    run(lake, files.prediction_files[:1], files.label_files[:1])
    opened = Lake.open(lake)
    rows = opened.scan("predictions").collect()
    newest = rows.sort("predicted_at").head(rows.height - 1)
    applied = opened.applied("predictions", "replay")
    opened.replace(
        "predictions",
        newest.drop("recorded_on", "recorded_at"),
        [Claim("replay", applied, applied + 1)],
        recorded_at=rows["recorded_at"][0],
    )
    with pytest.raises(LakeError, match="table predictions"):
        run(lake, files.prediction_files[1:], files.label_files[1:])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"labels": {"click": {"horizon": 7_200_000}}},
            r"labels\.click\.horizon_ms was 3600000 and is 7200000",
        ),
        ({"labels": {"click": {"definition": "c2"}}}, r"labels\.click\.definition was 'c1' and is 'c2'"),
        ({"labels": {"sale": {"retain": 40_000_000}}}, r"labels\.sale\.retain_ms"),
        ({"partitions": 4}, r"partitions was 3 and is 4"),
    ],
)
def test_other_rules_on_a_lake_with_outcomes_are_refused_by_name(tmp_path: Path, change: dict, named: str) -> None:
    """Outcomes decided under one rule are not decided again under another."""
    files = write_files(tmp_path, nights=2)
    run(tmp_path / "lake", files.prediction_files[:1], files.label_files[:1])
    changed = CONFIG.model_copy(update={name: value for name, value in change.items() if name != "labels"})
    if "labels" in change:
        labels = dict(CONFIG.labels)
        for kind, update in change["labels"].items():
            labels[kind] = labels[kind].model_copy(update=update)
        changed = changed.model_copy(update={"labels": labels})
    with pytest.raises(ConfigError, match=named):
        run(tmp_path / "lake", files.prediction_files[1:], files.label_files[1:], config=changed)


def test_a_new_feature_in_the_contract_is_a_new_column_and_no_conflict(tmp_path: Path) -> None:
    """The contract may grow between runs, and a prediction that is sent again with the new one is a duplicate."""
    files = write_files(tmp_path)
    lake = tmp_path / "lake"
    run(lake, files.prediction_files, files.label_files)
    features = dict(CONFIG.predictions.features)
    features["other"] = features["amount"]
    grown = CONFIG.model_copy(update={"predictions": CONFIG.predictions.model_copy(update={"features": features})})
    again = tmp_path / "again.jsonl"
    newest = files.prediction_files[0].read_text("utf-8").splitlines()[-1]
    again.write_text(newest + "\n\n", "utf-8")
    run(lake, [again], [], config=grown)
    assert "feature_other" in Lake.open(lake).schema("predictions")
    reasons = table(lake, "rejects").filter(pl.col("input") == "predictions")["reason"].to_list()
    assert set(reasons) == {"duplicate"}


def test_every_bad_record_leaves_a_row_with_its_position_and_nothing_else_is_lost(tmp_path: Path) -> None:
    """The good lines of a file are joined, and each bad one is a reject with row and reason."""
    files = write_files(tmp_path, count=20)
    lines = files.prediction_files[0].read_bytes().splitlines()
    bad_lines = [
        b"{",
        b"[1]",
        b'{"key": ""}',
        b'{"key": "a", "time": 1e999}',
        b"\xff\xfe",
        b'{"key":"a","key":"b","time":1000000000001}',
    ]
    for index, line in enumerate(bad_lines):
        lines.insert(3 * index, line)
    file_with_bad_lines = tmp_path / "bad-lines.jsonl"
    file_with_bad_lines.write_bytes(b"\n".join(lines) + b"\n")
    summary = run(tmp_path / "lake", [file_with_bad_lines], files.label_files, close_at_ms=CLOSE_MS)
    assert finals(tmp_path / "lake") == oracle_of(files)
    rejects = table(tmp_path / "lake", "rejects").filter(pl.col("stage") == "mapping").sort("source_row")
    assert rejects["source_row"].to_list() == [1, 4, 7, 10, 13, 16]
    assert rejects["reason"].to_list() == [
        "not_json",
        "not_an_object",
        "bad_key",
        "bad_time",
        "not_json",
        "duplicate_json_key",
    ]
    (file, _) = summary.files
    assert (file.read, file.mapped, file.rejected) == (len(lines), len(lines) - 6, 6)


def test_two_replays_at_once_are_refused(tmp_path: Path) -> None:
    """A second replay fails with a message instead of waiting or writing in between."""
    files = write_files(tmp_path)
    lake = tmp_path / "lake"
    run(lake, files.prediction_files, files.label_files)
    program = f"""
import sys
from pathlib import Path
from filelock import FileLock
with FileLock(Path({str(lake)!r}) / "replay.lock"):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LakeError, match="another replay is running"):
            run(lake, [], [], close_at_ms=CLOSE_MS)
        holder.communicate()


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("crash_at", [None, 3, 17, 33])
def test_bounds_of_memory_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int | None, *, shuffled: bool
) -> None:
    """Records that are sorted in tiny runs, and states that leave memory after every step: the lake is the same.

    Rows, steps, checkpoints with their fingerprints, and after a crash, too.
    """
    files = write_files(tmp_path, count=120, nights=3)
    for file in [*files.prediction_files, *files.label_files] if shuffled else ():
        lines = file.read_text("utf-8").splitlines()
        random.Random(1).shuffle(lines)
        file.write_text("".join(f"{line}\n" for line in [*lines, "no record"]), "utf-8")
    whole, lake = tmp_path / "whole", tmp_path / "lake"
    arguments = files.prediction_files, files.label_files
    summary = run(whole, *arguments, close_at_ms=CLOSE_MS)
    for module, name, bound in (
        (external_sort, "RUN_BYTES", 500),
        (external_sort, "PART_BYTES", 200),
        (external_sort, "MERGED_MAX", 2),
        (replay_module, "KEYS_IN_MEMORY", 0),
    ):
        monkeypatch.setattr(module, name, bound)
    monkeypatch.setattr(mapper.Mapper.chunks, "__defaults__", (7,))
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 600)
    if crash_at is not None:
        with monkeypatch.context() as patch:
            patch.setattr(Lake, "append", crashing_append(Lake.append, crash_at))
            with pytest.raises(LakeError, match="disk is full"):
                run(lake, *arguments, close_at_ms=CLOSE_MS)
    assert run(lake, *arguments, close_at_ms=CLOSE_MS).counters == summary.counters
    for name in (*TABLES, "ledger"):
        assert_frame_equal(table(lake, name), table(whole, name))
    run(lake, [], [], close_at_ms=CLOSE_MS + 1)  # the fingerprint of the state that is restored is checked


def test_a_time_far_ahead_of_now_is_rejected_and_moves_nothing(tmp_path: Path) -> None:
    """A clock that is wrong by a year leaves a reject and does not move the watermark."""
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(f'{{"key": "a", "version": "v1", "time": {NOW_MS + 3_600_001}}}\n', "utf-8")
    run(tmp_path / "lake", [wrong], [])
    assert table(tmp_path / "lake", "rejects")["reason"].to_list() == ["future"]
