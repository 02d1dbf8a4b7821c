"""Files whose two sides spell the same values differently, from `truthloop replay` to views and metrics.

Covers `monitor.cells.class_spelling`, `monitor.cells.class_vocabulary`, `truthloop.evidence.class_warnings`, and with
them the macro `truthloop_class` of the views.
"""

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from monitor.cells import plan
from monitor.metrics.table import metrics
from streams.columns import digest
from streams.readers import parquet
from truthloop.__main__ import app
from truthloop.config.settings import load_settings
from truthloop.evidence import outcomes as outcome_rows
from truthloop.evidence.cells import read_evidence
from truthloop.evidence.class_warnings import class_warnings

CONFIG = """\
version: 1
loop: spelled
clock: event
partitions: 2
predictions: {outputs: {y: {task: TASK}}}
labels: {y: {definition: d1, horizon: 3d, retain: 30d}}
"""


def replayed(folder: Path, task: str, outputs: list[tuple[str, str]], labels: list[tuple[str, str]]) -> dict[str, Any]:
    """Replay (key, value) pairs of both sides as CSV files and return the command's JSON document."""
    (folder / "truthloop.yaml").write_text(CONFIG.replace("TASK", task))
    made = [f"{key},2024-03-01T10:00:00Z,m,{value}\n" for key, value in outputs]
    known = [f"{key},2024-03-01T1{at}:00:00Z,{value}\n" for at, (key, value) in enumerate(labels, start=1)]
    (folder / "p.csv").write_text("key,time,version,outputs.y\n" + "".join(made))
    (folder / "l.csv").write_text("key,time,value\n" + "".join(known))
    words = ["replay", "-c", "truthloop.yaml", "-p", "p.csv", "-l", "l.csv", "--json"]
    words = [str(folder / word) if word.endswith((".yaml", ".csv")) else word for word in words]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def accuracy(folder: Path) -> float:
    """Return the accuracy of all labels so far."""
    evidence = read_evidence(load_settings(folder / "truthloop.yaml", {}))
    found = metrics(evidence.cells.whole(), evidence.plan, [], {})
    value: float = found.filter(found["name"] == "accuracy")["value"].item()
    return value


def scored(folder: Path, view: str = "scored") -> list[tuple[Any, ...]]:
    """Return key, label and output of each prediction, as an analyst's DuckDB reads them."""
    connection = duckdb.connect()
    connection.execute((folder / "lake" / "views.sql").read_text())
    return connection.sql(f"SELECT key, value_class, output_class FROM {view} ORDER BY key").fetchall()  # noqa: S608 - a name of ours


def test_a_lake_of_the_version_before_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells have classes in both spellings."""
    with monkeypatch.context() as before:
        before.setattr(plan, "_FORMAT", 5)
        before.setattr(outcome_rows, "with_one_spelling", lambda outcomes: outcomes)
        replayed(tmp_path, "multiclass", [("1", "3"), ("2", "4")], [("1", "3.0"), ("2", "4.0")])
        assert accuracy(tmp_path) == 0.0
    assert accuracy(tmp_path) == 1.0


def test_a_prediction_that_was_read_otherwise_is_no_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake of the version before has scores of 32 bits as 0.8999999761581421; the nightly job sends them again."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG.replace("TASK", "binary"))
    frame = pl.DataFrame({"key": ["a", "b"], "time": ["2024-03-01T10:00:00Z"] * 2, "version": ["m", "m"]})
    frame = frame.with_columns(pl.Series("outputs.y", [0.9, 0.1], dtype=pl.Float32))
    for name, rows in (("one", frame), ("two", frame.reverse())):
        rows.write_parquet(tmp_path / f"{name}.parquet")

    def counters(name: str) -> dict[str, int]:
        words = ["replay", "-c", tmp_path / "truthloop.yaml", "-p", tmp_path / f"{name}.parquet", "--json"]
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        found: dict[str, int] = json.loads(result.stdout)["counters"]["predictions"]
        return found

    with monkeypatch.context() as before:
        before.setattr(digest, "_READING", 1)
        before.setattr(parquet, "tidy", lambda series: series.cast(pl.Float64) if series.dtype.is_float() else series)
        assert counters("one")["consumed"] == 2
    found = counters("two")
    assert (found["consumed"], found["duplicate"], found["conflict"]) == (4, 2, 0)


@pytest.mark.parametrize("float_side", ["labels", "outputs"])
def test_classes_that_one_side_spells_as_floats_meet(tmp_path: Path, float_side: str) -> None:
    """A column of classes with a gap is one of floats in a data frame; also after a correction."""
    whole, floats = [("1", "3"), ("2", "4"), ("3", "5")], [("1", "3.0"), ("2", "4.0"), ("3", "4.0")]
    outputs, labels = (whole, floats) if float_side == "labels" else (floats, whole)
    replayed(tmp_path, "multiclass", outputs, labels)
    assert accuracy(tmp_path) == pytest.approx(2 / 3)
    expected = [("1", "3", "3"), ("2", "4", "4"), ("3", *(("4", "5") if float_side == "labels" else ("5", "4")))]
    assert scored(tmp_path) == scored(tmp_path, "scored_at('2024-04-01')") == expected
    (tmp_path / "l2.csv").write_text(f"key,time,value\n3,2024-03-02T10:00:00Z,{outputs[2][1]}\n")
    result = CliRunner().invoke(app, ["replay", "-c", str(tmp_path / "truthloop.yaml"), "-l", str(tmp_path / "l2.csv")])
    assert result.exit_code == 0, result.output
    assert accuracy(tmp_path) == 1.0


def test_classes_that_are_text_on_both_sides_are_kept(tmp_path: Path) -> None:
    """1.0 and 1.1 are names; nothing says that they are numbers."""
    names = [("1", "1.0"), ("2", "1.1"), ("3", "1.10")]
    document = replayed(tmp_path, "multiclass", names, names)
    assert scored(tmp_path) == [(key, name, name) for key, name in names]
    assert accuracy(tmp_path) == 1.0
    assert document["warnings"] == []


def test_classes_that_never_meet_are_said(tmp_path: Path) -> None:
    """An accuracy of 0 would look like a bad model."""
    labels = [("1", "cat"), ("2", "dog"), ("3", "dog")]
    document = replayed(tmp_path, "multiclass", [("1", "0"), ("2", "1"), ("3", "1")], labels)
    sentence = "none of 3 labels has a class that is ever predicted: labels say 'dog', 'cat', predictions say '1', '0'"
    assert document["warnings"] == [f"kind y: {sentence}"]
    evidence = read_evidence(load_settings(tmp_path / "truthloop.yaml", {}))
    assert class_warnings(evidence, "y") == [f"kind y: {sentence}"]
    assert class_warnings(evidence, "other") == []


def test_one_common_class_is_enough(tmp_path: Path) -> None:
    """A model may be wrong each time."""
    labels = [("1", "b"), ("2", "a"), ("3", "b")]
    document = replayed(tmp_path, "multiclass", [("1", "a"), ("2", "c"), ("3", "c")], labels)
    assert document["warnings"] == []


def test_keys_that_are_spelled_as_floats_are_said(tmp_path: Path) -> None:
    """They join nothing; the sentence says what to write."""
    document = replayed(tmp_path, "binary", [("101", "0.5"), ("102", "0.5")], [("101.0", "1"), ("102.0", "0")])
    assert document["counters"]["outcomes"]["y"]["joined"] == 0
    [warning] = document["warnings"]
    assert warning.startswith("l.csv: 2 keys are text like 101.0")
    assert "key: {path: ..., type: int}" in warning
