"""Metrics of whole loops, from files to table, JSON and view: their values, and the rows that they rest on."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lake import connect
from truthloop.__main__ import app
from truthloop.config.settings import load_settings

PREDICTED, LABELLED = "2024-03-01T10:00:00Z", "2024-03-01T12:00:00Z"


def call(*words: str) -> str:
    """Run a command that succeeds; return what it prints."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def replay(folder: Path, task: str, rows: Sequence[tuple[Any, Any]], **more: str) -> None:
    """Replay one prediction and one label for each pair of output and truth into a lake in `folder`."""
    sections = "".join(f"{name}: {text}\n" for name, text in more.items())
    (folder / "truthloop.yaml").write_text(
        "version: 1\nloop: values\nclock: event\npartitions: 2\n"
        f"predictions: {{outputs: {{y: {{task: {task}}}}}}}\n"
        f"labels: {{y: {{definition: d1, horizon: 3d, retain: 30d}}}}\n{sections}",
        "utf-8",
    )
    files = {"p": ("time,version,key,outputs.y", PREDICTED + ",m"), "l": ("time,key,value", LABELLED)}
    for name, (head, start) in files.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            write = csv.writer(file).writerow
            write(head.split(","))
            for number, row in enumerate(rows):
                write([*start.split(","), f"k{number}", row[0] if name == "p" else number_of(row[1])])
    call("replay", "-p", "p.csv", "-l", "l.csv")


def number_of(truth: Any) -> Any:
    """Return a truth as the file has it."""
    return int(truth) if isinstance(truth, bool) else truth


def metrics_of() -> dict[str, dict[str, Any]]:
    """Return the rows of `truthloop metrics --json` by name."""
    return {row["name"]: row for row in json.loads(call("metrics", "--json"))["metrics"]}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_outlier_of_any_magnitude_counts(folder: Path) -> None:
    """One error of 1.2e13 beside three of 1."""
    replay(folder, "regression", [(10, 11), (11, 12), (12, 13), (12e12, 0)])
    found = metrics_of()
    assert (found["mae"]["value"], found["mae"]["n"], found["mae"]["labelled"]) == (pytest.approx(3e12), 4, 4)
    assert found["mse"]["value"] == pytest.approx(3.6e25)


def test_a_hundred_classes_are_counted_exactly(folder: Path) -> None:
    """Fifty classes that are always right, then fifty that never are."""
    rows = [(f"c{n:02d}", f"c{n:02d}") for n in range(50)] + [("wrong", f"c{n:02d}") for n in range(50, 100)]
    replay(folder, "multiclass", rows)
    found = metrics_of()
    assert found["balanced_accuracy"]["value"] == pytest.approx(0.5)
    assert found["macro_f1"]["value"] == pytest.approx(50 / 101)


def test_an_area_of_scores_that_are_close_together_is_exact(folder: Path) -> None:
    """Click rates in perfect order."""
    replay(folder, "binary", [(0.01 + n * 1e-4, n >= 12) for n in range(25)])
    assert (metrics_of()["roc_auc"]["value"], metrics_of()["roc_auc"]["bound"]) == (1.0, 0.0)


def test_a_value_that_cannot_be_given_has_a_reason(folder: Path) -> None:
    """In the JSON, and below the table."""
    replay(folder, "regression", [(1e200, 0), (1, 2)])
    found = metrics_of()
    assert (found["mse"]["value"], found["mse"]["reason"]) == (None, "beyond the largest number")
    assert (found["rmse"]["value"], found["rmse"]["reason"]) == (pytest.approx(1e200 / 2**0.5), None)
    assert "mse: beyond the largest number" in call("metrics")


def test_n_is_shown_beside_labelled_where_rows_cannot_be_used(folder: Path) -> None:
    """Two of three labels have scores that no metric can use: the value rests on the third alone."""
    replay(folder, "binary", [("0,87", 1), (1.5, 0), (0.5, 1)])
    found = metrics_of()["log_loss"]
    assert (found["n"], found["labelled"], found["predictions"]) == (1, 3, 3)
    head, row = (re.split(r" {2,}", line.strip()) for line in call("metrics").splitlines()[1:3])
    shown = dict(zip(head, row, strict=True))
    assert (shown["labelled"], shown["n"], shown["predictions"]) == ("3", "1", "3")
    with connect(load_settings(folder / "truthloop.yaml").lake) as views:
        rows = views.sql("SELECT n, labelled, log_loss FROM metrics").fetchall()
    assert rows == [(1, 3, pytest.approx(found["value"]))]
