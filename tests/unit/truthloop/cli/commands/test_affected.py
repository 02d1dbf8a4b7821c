"""`truthloop affected`: the predictions of a version, and the outcomes that a backfill changes, before and after."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from lake_builder import CONFIG_TEXT, LakeBuilder
from typer.testing import CliRunner, Result

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin, backfilled
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from streams.mapping.record_file import open_record_file
from streams.replay.replay import Places, replay
from truthloop.cli.commands.affected import affected
from truthloop.config.settings import load_settings

app = typer.Typer()
app.command()(affected)


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake with two versions, three predictions, and one label."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    builder = LakeBuilder(tmp_path / "the lake")
    builder.predict("tx-1", 0, 0, output_fraud=0.83).predict("tx-2", 30, 1, output_fraud=float("inf"))
    builder.predict("tx-3", 1, 2, output_fraud=0.1, version="v2").predict("tx-1", 0, 3).reject(
        "predictions", 3, "duplicate"
    )
    return builder.label("tx-1", 3, 0, value=1.0).outcome("tx-1", "joined", 3, 5, value=1.0, label_offset=0)


def run(builder: LakeBuilder, *arguments: str) -> Result:
    """Run the command."""
    config = builder.lake.path.parent / "truthloop.yaml"
    return CliRunner().invoke(app, ["--config", str(config), *arguments])


def rows(builder: LakeBuilder, *arguments: str) -> list[dict[str, Any]]:
    """Return the rows of the JSON document."""
    result = run(builder, "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_version_lists_its_predictions_with_their_current_outcomes(builder: LakeBuilder) -> None:
    """Once each, the oldest first; infinity is null in JSON."""
    first, second = rows(builder, "--version", "v1")
    assert first == {
        "key": "tx-1",
        "id": "tx-1",
        "kind": "fraud",
        "version": "v1",
        "predicted_at": "2026-03-01T08:00:00.000Z",
        "output": 0.83,
        "output_class": None,
        "status": "joined",
        "value": 1.0,
        "value_class": None,
    }
    assert (second["key"], second["output"], second["status"], second["value"]) == ("tx-2", None, "pending", None)


def test_csv_and_the_table_have_the_same_rows(builder: LakeBuilder) -> None:
    """The table leaves out columns of classes if there are none."""
    table = list(csv.DictReader(io.StringIO(run(builder, "--version", "v1", "--csv").stdout)))
    assert [(row["key"], row["output"], row["value"]) for row in table] == [("tx-1", "0.83", "1.0"), ("tx-2", "", "")]
    printed = run(builder, "--version", "v1")
    assert [line.split()[0] for line in printed.stdout.splitlines()] == ["key", "tx-1", "tx-2"]
    assert "class" not in printed.stdout
    assert "2 predictions" in printed.stderr


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["--since", "2026-03-02"], ["tx-2"]),
        (["--until", "2026-03-01"], ["tx-1"]),
        (["--since", "2026-03-01", "--until", "2026-03-02"], ["tx-1", "tx-2"]),
        (["--since", "2026-03-03"], []),
        (["--limit", "1"], ["tx-1"]),
    ],
)
def test_days_and_a_limit_narrow_the_list(builder: LakeBuilder, arguments: list[str], keys: list[str]) -> None:
    """Both days are inclusive."""
    assert [row["key"] for row in rows(builder, "--version", "v1", *arguments)] == keys


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a version or a backfill"),
        (["--version", "v1", "--episode", "bf-1"], "either a version or a backfill"),
        (["--version", "v1", "--since", "March"], "is not a day"),
        (["--version", "v9"], "The lake has: v1, v2"),
        (["--version", "v1' OR 'a' = 'a"], "is not in the lake"),
        (["--episode", "bf-" + "0" * 32], "no such backfill"),
        (["--version", "v1", "--json", "--csv"], "cannot both"),
    ],
)
def test_a_wrong_argument_is_reported(builder: LakeBuilder, arguments: list[str], message: str) -> None:
    """With an exit code other than 0, and nothing on stdout."""
    result = run(builder, *arguments)
    assert result.exit_code != 0
    assert message in result.stderr
    assert result.stdout == ""


MORNING_MS = 1_772_352_000_000
"""1 March 2026, 08:00 UTC."""
HOUR_MS = 3_600_000
DECLARED = Episode(
    id="bf-" + "1" * 32,
    kind="fraud",
    definition="chargeback-1",
    batch="b-7",
    causes=[Cause.DECLARED],
    since=MORNING_MS + 8 * HOUR_MS,
    until=MORNING_MS + 9 * HOUR_MS,
    labels=3,
    fingerprint=5,
)


def restated(folder: Path) -> Path:
    """Create a lake of three predictions, each labelled 0, that a declared batch restates as 1, 0 and 1."""
    (folder / "truthloop.yaml").write_text(CONFIG_TEXT.replace("partitions: 2", "partitions: 1"))
    predictions = [
        {"key": f"tx-{n}", "id": f"tx-{n}", "time": MORNING_MS + n, "version": "v1", "outputs": {"fraud": n / 10}}
        for n in range(3)
    ]
    base = {"kind": "fraud", "op": "upsert"}
    labels = [{**base, "key": f"tx-{n}", "time": MORNING_MS + 2 * HOUR_MS, "value": 0} for n in range(3)]
    again = {"origin": "backfill", "batch_id": "b-7", "time": MORNING_MS + 8 * HOUR_MS}
    labels += [{**base, **again, "key": f"tx-{n}", "value": value} for n, value in enumerate([1, 0, 1])]
    for name, rows in (("predictions", predictions), ("labels", labels)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = load_settings(folder / "truthloop.yaml", {})
    files = [open_record_file(folder / f"{name}.jsonl", name, []) for name in ("predictions", "labels")]
    replay(Places(settings.lake, settings.state / "replay"), settings.config, files, now_ms=MORNING_MS + 100 * HOUR_MS)
    return folder / "truthloop.yaml"


@pytest.mark.parametrize("verdict", [Verdict.QUARANTINED, Verdict.REJECTED, Verdict.APPROVED])
def test_a_backfill_lists_the_outcomes_it_changes_before_and_after(tmp_path: Path, verdict: Verdict) -> None:
    """Whether it counts or not; an outcome that it confirms is not listed."""
    config = restated(tmp_path)
    settings = load_settings(config, {})
    log = DecisionLog(Lake.open(settings.lake), "fraud")
    ruling = Ruling(episode=DECLARED, verdict=verdict)
    found = backfilled(EntryOrigin("card-fraud", "fraud", None), gate_of([]), ruling, ["So."], {})
    assert log.append([found], MORNING_MS)
    arguments = ["--config", str(config), "--episode", DECLARED.id]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [(row["key"], row["before_value"], row["after_value"]) for row in rows] == [
        ("tx-0", 0.0, 1.0),
        ("tx-2", 0.0, 1.0),
    ]
    assert (rows[1]["before_status"], rows[1]["after_status"], rows[1]["output"]) == ("joined", "joined", 0.2)
    assert len(json.loads(CliRunner().invoke(app, [*arguments, "--json", "--limit", "1"]).stdout)) == 1
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json", "--since", "2026-03-02"]).stdout) == []
