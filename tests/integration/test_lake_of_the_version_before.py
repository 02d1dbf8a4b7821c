"""A lake whose cells an earlier version counted: they are counted anew from its predictions and outcomes.

The archive was written by the version whose cells kept sums in units of 2^-32 and at most fifty classes. It holds sixty
predictions, with weights from 1 to 3, and their labels; one fare is 3e9.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from lake_archive import unpack_lake
from typer.testing import CliRunner

from lake import Claim, Lake
from lake.properties import table_properties
from lake.table import TABLES
from truthloop.__main__ import app
from truthloop.config.settings import load_settings
from truthloop.evidence.cells import read_evidence

ARCHIVE = Path(__file__).parents[1] / "lakes" / "cells_before_exact_sums.tar.gz"
LABELS = 60
NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of the lake the working directory."""
    unpack_lake(ARCHIVE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values() -> dict[tuple[str, str], Any]:
    """Return the rows of `truthloop metrics --json` by kind and name."""
    done = CliRunner().invoke(app, ["metrics", "--json"])
    assert done.exit_code == 0, done.stderr
    return {(row["kind"], row["name"]): row for row in json.loads(done.stdout)["metrics"]}


def statistics(table: Path) -> list[str]:
    """Return the statistics of each file that the log of a table adds, in order."""
    entries = [
        json.loads(line)
        for log in sorted((table / "_delta_log").glob("*.json"))
        for line in log.read_text("utf-8").splitlines()
    ]
    return [entry["add"]["stats"] for entry in entries if "add" in entry]


def test_the_lake_holds_cells_of_the_version_before(folder: Path) -> None:
    """Else this module would test nothing."""
    cells = Lake.open(load_settings(folder / "truthloop.yaml").lake).scan("cells").collect()
    assert {"error", "absolute_error", "truth"} < set(cells["measure"])


def test_metrics_are_those_of_its_predictions_and_labels() -> None:
    """Also of what those cells had lost."""
    found = values()
    assert {row["n"] for row in found.values()} == {LABELS}
    assert found["fare", "mae"]["value"] == pytest.approx((LABELS - 1 + 3e9 - 8) / LABELS)


def test_the_cells_are_replaced_once(folder: Path) -> None:
    """No row of the old form is left, and the next look changes nothing."""
    settings = load_settings(folder / "truthloop.yaml")
    evidence = read_evidence(settings)
    table = Lake.open(settings.lake).scan("cells").collect()
    assert table.get_column("plan").unique().to_list() == [evidence.plan.digest]
    assert not {"error", "absolute_error", "truth"} & set(table["measure"])
    assert read_evidence(settings).version == evidence.version


def test_its_tables_get_the_properties_of_new_ones(folder: Path) -> None:
    """So later commits have statistics of the columns that prune, and no others; no row changes."""
    settings = load_settings(folder / "truthloop.yaml")
    before = Lake.open(settings.lake)
    ledger = before.scan("ledger").collect()
    assert any("point" in text for text in statistics(settings.lake / "ledger"))
    lake = Lake.create(settings.lake, settings.config)
    for table in TABLES:
        configuration = DeltaTable(str(settings.lake / table)).metadata().configuration
        assert configuration == table_properties(table, settings.config.lake.keep_readable)
    assert before.append("ledger", ledger.drop("recorded_on", "recorded_at"), [Claim("test", 0, 1)], recorded_at=NOW)
    assert set(json.loads(statistics(settings.lake / "ledger")[-1])["maxValues"]) == {
        "partition",
        "sequence",
        "recorded_at",
    }
    assert lake.scan("ledger").collect().height == 2 * ledger.height
    versions = {table: lake.version(table) for table in TABLES}
    again = Lake.create(settings.lake, settings.config)
    assert {table: again.version(table) for table in TABLES} == versions


def test_weights_that_no_metric_used_before_count_where_the_config_says_so(folder: Path) -> None:
    """The weights of its predictions are in the lake: cells are counted anew, and the plain metric stays beside."""
    plain = values()["fare", "mae"]["value"]
    config = folder / "truthloop.yaml"
    config.write_text(config.read_text("utf-8") + "metrics: {fare: [mae, {metric: mae, by: weight}]}\n", "utf-8")
    found = values()
    weights = [1 + number % 3 for number in range(LABELS)]
    errors = [3e9 - 8 if number == 7 else 1 for number in range(LABELS)]
    expected = sum(weight * error for weight, error in zip(weights, errors, strict=True)) / sum(weights)
    row = found["fare", "mae (by weight)"]
    assert row["value"] == pytest.approx(expected)
    assert row["n"] == LABELS
    assert row["n_effective"] == pytest.approx(sum(weights) ** 2 / sum(weight**2 for weight in weights))
    assert found["fare", "mae"]["value"] == plain
    assert "mae (by weight)" in CliRunner().invoke(app, ["metrics"]).stdout
