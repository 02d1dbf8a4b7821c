"""`truthloop lake`: maintenance by hand, and the status of the lake. Covers `lake.maintenance.status`."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lake_builder import CONFIG_TEXT, LakeBuilder
from maintenance_case import add_predictions, content, files_by_day, make_older
from polars.testing import assert_frame_equal
from typer.testing import CliRunner, Result

from lake import Lake
from streams.runtime.crash_point import EXIT_CODE
from truthloop.__main__ import app

DAY = datetime.now(UTC).date() - timedelta(days=2)
"""The younger of the days on which rows are recorded: by the clock of the commands it is over, and its month is not."""

DAYS = {str(DAY - timedelta(days=1)): 1, str(DAY): 1}


@pytest.fixture
def loop(tmp_path: Path) -> LakeBuilder:
    """Return a lake with two days of many files, and its config."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    builder = LakeBuilder(tmp_path / "the lake")
    for days in (0, 1):
        add_predictions(builder, 5, day=DAY - timedelta(days=days), first=5 * days)
    return builder


def run(loop: LakeBuilder, *words: str) -> Result:
    """Run a command of the group."""
    return CliRunner().invoke(app, ["lake", *words, "--config", str(loop.lake.path.with_name("truthloop.yaml"))])


def test_status_says_what_there_is_and_what_is_due(loop: LakeBuilder) -> None:
    """Before and after maintenance, and when everything old is gone."""

    def predictions() -> dict[str, int]:
        document = json.loads(run(loop, "status", "--json").stdout)
        (found,) = [one for one in document["tables"] if one["table"] == "predictions"]
        return {name: value for name, value in found.items() if isinstance(value, int)} | {
            "oldest": document["oldest_readable_ms"]
        }

    before = predictions()
    assert {name: before[name] for name in ("files", "rows", "day_files", "dead_files", "due_files", "log_files")} == {
        "files": 10,
        "rows": 20,
        "day_files": 5,
        "dead_files": 0,
        "due_files": 10,
        "log_files": 11,
    }
    folder = loop.lake.path / "predictions"
    assert before["size"] == sum(file.stat().st_size for file in folder.glob("recorded_on=*/*"))
    assert before["log_size"] == sum(file.stat().st_size for file in (folder / "_delta_log").iterdir())
    run(loop, "maintain")
    after = predictions()
    assert (after["files"], after["rows"], after["day_files"], after["due_files"]) == (2, 20, 1, 0)
    assert (after["dead_files"], after["dead_size"], after["expired_size"]) == (10, before["size"], 0)
    assert after["oldest"] == before["oldest"]
    make_older(loop.lake.path, 3)
    loop.reject("labels", 99, "stale")
    assert predictions()["expired_size"] > before["size"]
    run(loop, "maintain")
    last = predictions()
    assert (last["dead_files"], last["rows"]) == (0, 20)
    assert last["oldest"] > before["oldest"] - 3 * 86_400_000
    result = run(loop, "status")
    assert result.exit_code == 0
    assert [line.split()[:4] for line in result.stdout.splitlines() if line.startswith("pred")] == [
        ["predictions", "20", "2", "1"]
    ]
    assert "Every version since" in result.stderr


def test_status_warns_of_a_lake_that_nobody_maintains(loop: LakeBuilder) -> None:
    """By its exit code, too; also while nothing may be deleted because nothing was written for days."""
    add_predictions(loop, 201, day=DAY, first=10)
    make_older(loop.lake.path, 5)
    result = run(loop, "status")
    assert result.exit_code == 1
    assert "table predictions has 206 files of one day" in result.stderr


def test_a_backup_is_verified_and_restored_by_copying_it(loop: LakeBuilder, tmp_path: Path) -> None:
    """And damage of either is told by the exit code."""
    before = content(loop.lake)["predictions"]
    target = str(tmp_path / "backup")
    assert run(loop, "backup", target).exit_code == 0
    checked = json.loads(run(loop, "verify", target, "--json").stdout)["tables"]
    assert {(one["files"], one["rows"]) for one in checked if one["table"] == "predictions"} == {(10, 20)}
    shutil.rmtree(loop.lake.path)
    shutil.copytree(target, loop.lake.path)
    assert run(loop, "verify").exit_code == 0
    assert_frame_equal(content(Lake.open(loop.lake.path))["predictions"], before)
    next((tmp_path / "backup" / "predictions").rglob("part-*.parquet")).unlink()
    result = run(loop, "verify", target)
    assert result.exit_code == 1
    assert "is missing" in result.stderr
    assert run(loop, "backup", target).exit_code == 1


def test_a_dry_run_says_what_is_due_and_changes_nothing(loop: LakeBuilder) -> None:
    """As a table, and as JSON."""
    result = run(loop, "maintain", "--dry-run")
    assert result.exit_code == 0
    assert [" ".join(line.split()) for line in result.stdout.splitlines()[1:]] == [
        f"predictions rewritten as one file {day} 5 10 0.0" for day in DAYS
    ]
    assert "Nothing was changed" in result.stderr
    found = json.loads(run(loop, "maintain", "--dry-run", "--json").stdout)
    assert found["is_done"] is False
    assert [one["recorded_on"] for one in found["rewritten"]] == list(DAYS)
    assert set(files_by_day(loop.lake, "predictions").values()) == {5}


def test_what_is_due_is_done_once(loop: LakeBuilder) -> None:
    """Then nothing is due."""
    before = content(loop.lake)
    found = json.loads(run(loop, "maintain", "--json").stdout)
    assert found["is_done"] is True
    assert [(one["table"], one["files"], one["rows"]) for one in found["rewritten"]] == [("predictions", 5, 10)] * 2
    assert files_by_day(loop.lake, "predictions") == DAYS
    assert_frame_equal(content(loop.lake)["predictions"], before["predictions"])
    assert "Nothing is due." in run(loop, "maintain").stderr


def test_what_no_reader_needs_is_deleted(loop: LakeBuilder) -> None:
    """And counted; a dry run says the same beforehand."""
    run(loop, "maintain")
    make_older(loop.lake.path, 3)
    loop.reject("labels", 99, "stale")
    before = content(loop.lake)
    (due,) = json.loads(run(loop, "maintain", "--dry-run", "--json").stdout)["deleted"]
    assert (due["table"], due["files"] > 10, due["bytes"] > 10_000) == ("predictions", True, True)
    document = json.loads(run(loop, "maintain", "--json").stdout)
    assert (document["deleted"], document["refused"]) == ([due], None)
    assert_frame_equal(content(loop.lake)["predictions"], before["predictions"])
    assert "Nothing is due." in run(loop, "maintain").stderr


def test_a_clock_that_cannot_be_trusted_is_a_warning(loop: LakeBuilder) -> None:
    """Rewrites go on; nothing is deleted."""
    make_older(loop.lake.path, 3)
    result = run(loop, "maintain")
    assert result.exit_code == 0
    assert "nothing is removed: by this machine's clock the newest commit is 72 h old" in result.stderr
    assert files_by_day(loop.lake, "predictions") == DAYS
    assert json.loads(run(loop, "maintain", "--json").stdout)["refused"].startswith("nothing is removed")


def test_without_a_lake_it_says_so(tmp_path: Path) -> None:
    """And exits as other commands do."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    result = CliRunner().invoke(app, ["lake", "maintain", "--config", str(tmp_path / "truthloop.yaml")])
    assert result.exit_code == 1
    assert "there is no lake here" in result.stderr


@pytest.mark.parametrize("step", ["predictions rewritten", "predictions replaced", "predictions checkpointed"])
def test_a_process_that_is_killed_leaves_all_rows_and_is_continued(loop: LakeBuilder, step: str) -> None:
    """At each step, by the end of the process itself."""
    before = content(loop.lake)["predictions"]
    config = str(loop.lake.path.with_name("truthloop.yaml"))
    environ = os.environ | {"TRUTHLOOP_CRASH_AT": f"maintain:{step}:1"}
    command = [sys.executable, "-m", "truthloop", "lake", "maintain", "--config", config]
    assert subprocess.run(command, env=environ, check=False).returncode == EXIT_CODE
    assert_frame_equal(content(loop.lake)["predictions"], before)
    assert run(loop, "maintain").exit_code == 0
    assert_frame_equal(content(loop.lake)["predictions"], before)
    assert files_by_day(loop.lake, "predictions") == DAYS
