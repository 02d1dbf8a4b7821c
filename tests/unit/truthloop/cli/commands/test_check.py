"""`truthloop check`: its output for valid and invalid configs, as text and as JSON.

Tests `truthloop.config.summary`, too.
"""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from truthloop.cli.commands.check import check
from truthloop.config.settings import load_settings

GOOD = """\
version: 1
loop: card-fraud
lake: {uri: ./lake}
predictions:
  outputs:
    fraud: {task: binary, threshold: 0.5}
labels:
  fraud:
    definition: chargeback-10.4
    expected_delay: 30d
    horizon: 120d
    retain: 200d
ingest:
  - files: "scores-*"
    as: predictions
    where: {model: fraud}
    map:
      key: tx.id
      id: [tx.id, model.version]
      time: {path: ts, unit: ms}
      version: {constant: v1}
      outputs.fraud: {path: percent, scale: 0.01}
      eligible: {path: action, in: [APPROVE]}
  - files: "labels-*"
    as: labels
    kind: fraud
    map: {key: tx, value: {path: reason, values: {10.4: 1}}, time: {path: at, zone: UTC}}
cohorts: {ages: [1d, 30d]}
coverage:
  - {label: fraud, age: 30d, min: 0.3}
metrics: {fraud: [roc_auc]}
"""


def run(folder: Path, text: str, *options: str) -> Result:
    """Write the config and check it."""
    path = folder / "truthloop.yaml"
    path.write_text(text)
    app = typer.Typer()
    app.command()(check)
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["--config", str(path), *options])


def warnings(folder: Path, old: str, new: str) -> list[tuple[int, str]]:
    """Return line and message of each warning after one change of the valid config."""
    assert GOOD.count(old) == 1, old
    result = run(folder, GOOD.replace(old, new), "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert document["errors"] == []
    return [(found["line"], found["message"]) for found in document["warnings"]]


def test_a_valid_config_is_explained_with_a_table_of_ages(tmp_path: Path) -> None:
    """Loop, kind, definition, what happens at the deadline, ages, sources and fields."""
    result = run(tmp_path, GOOD)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    output = result.stdout
    for text in (
        "is valid.",
        "Loop card-fraud: days are days in UTC; a label is known once it has arrived here (clock: arrival).",
        f"Lake {(tmp_path / 'lake').resolve()}, 8 partitions.",
        "Kind fraud (binary, positive from 0.5), definition chargeback-10.4",
        "At 120d a prediction without a label expires",
        "Until 200d a late label still joins, replaces or retracts.",
        "Coverage: 30.0 % of labels are expected by 30d.",
        "kind   early  expected delay  horizon  retain  cohort ages",
        "fraud  1h     30d             120d     200d    1d 30d",
        "scores-* -> predictions, where model = 'fraud'",
        "id             <- tx.id | model.version",
        "time           <- ts (in ms)",
        "version        <- always 'v1'",
        "outputs.fraud  <- percent (times 0.01)",
        "eligible       <- action (true where one of 'APPROVE')",
        "labels-* -> labels of kind fraud",
        "value  <- reason (1 value mapped)",
        "time   <- at (in UTC)",
    ):
        assert text in output, text


def test_text_of_the_config_is_printed_as_it_is(tmp_path: Path) -> None:
    """Square brackets are no markup, and colons no emoji code."""
    result = run(tmp_path, GOOD.replace("chargeback-10.4", '"[bold]x[/] :smile:"'))
    assert "definition [bold]x[/] :smile:" in result.stdout


def test_an_implied_value_is_explained(tmp_path: Path) -> None:
    """What happens at the deadline."""
    result = run(tmp_path, GOOD.replace("retain: 200d", "retain: 200d\n    on_timeout: {imply: 0}"))
    assert "At 120d a prediction without a label counts as 0, if it is eligible" in result.stdout


def test_an_invalid_config_is_refused_with_file_line_and_suggestion(tmp_path: Path) -> None:
    """On stderr, with exit code 2, and nothing on stdout."""
    result = run(tmp_path, GOOD.replace("horizon: 120d", "horizn: 120d"))
    assert result.exit_code == 2
    assert result.stdout == ""
    place = f"{tmp_path / 'truthloop.yaml'}:11"
    assert f"error: {place}: labels.fraud: unknown key 'horizn'; did you mean 'horizon'?" in result.stderr


def test_json_of_an_invalid_config_is_one_document(tmp_path: Path) -> None:
    """Every error with file, line and message; exit code 2."""
    result = run(tmp_path, GOOD.replace("horizon: 120d", "horizn: 120d").replace("unit: ms", "unit: m"), "--json")
    assert result.exit_code == 2
    file = str(tmp_path / "truthloop.yaml")
    assert json.loads(result.stdout) == {
        "ok": False,
        "errors": [
            {
                "file": file,
                "line": 11,
                "message": "labels.fraud: unknown key 'horizn'; did you mean 'horizon'?",
            },
            {
                "file": file,
                "line": 20,
                "message": "ingest[0].map.time.unit: must be 's', 'ms', 'us' or 'ns', not 'm'; did you mean 'ms'?",
            },
        ],
        "warnings": [],
    }


def test_json_of_a_missing_file_has_no_line(tmp_path: Path) -> None:
    """`line` is null."""
    app = typer.Typer()
    app.command()(check)
    result = CliRunner().invoke(app, ["--config", str(tmp_path / "no.yaml"), "--json"])
    assert result.exit_code == 2
    (error,) = json.loads(result.stdout)["errors"]
    assert error == {"file": str(tmp_path / "no.yaml"), "line": None, "message": "no such file"}


def test_a_valid_config_has_no_warnings(tmp_path: Path) -> None:
    """The cases below each change one thing of it."""
    result = run(tmp_path, GOOD, "--json")
    assert json.loads(result.stdout) == {"ok": True, "errors": [], "warnings": []}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("age: 30d, min", "age: 130d, min", 30, "coverage[0].age: 130d is beyond the horizon 120d of fraud"),
        ("[1d, 30d]", "[1d, 150d]", 28, "cohorts.ages[1]: 150d is beyond the horizon of fraud"),
        (
            "retain: 200d",
            "retain: 120d",
            12,
            "labels.fraud.retain: equals the horizon, 120d: a later label",
        ),
        (
            "retain: 200d",
            "retain: 200d\n    early: 300d",
            13,
            "labels.fraud.early: 300d is longer than retain 200d",
        ),
        (
            "retain: 200d",
            "retain: 200d\n    on_timeout: {imply: 0}",
            13,
            "No source in `ingest` maps `heartbeat`",
        ),
        (
            ", threshold: 0.5",
            "",
            6,
            "predictions.outputs.fraud.threshold: is not set; scores of 0.5 and more",
        ),
        (
            "metrics: {fraud: [roc_auc]}\n",
            "",
            1,
            "metrics.fraud: is not set; accuracy, f1, roc_auc, log_loss, brier",
        ),
        (
            "      outputs.fraud: {path: percent, scale: 0.01}\n",
            "",
            6,
            "no source in `ingest` maps outputs.fraud",
        ),
        (
            "threshold: 0.5}",
            "threshold: 0.5}\n  slices: [country]",
            7,
            "no source in `ingest` maps slices.country",
        ),
        (
            "threshold: 0.5}",
            "threshold: 0.5}\n  features: {x: {type: int}}",
            7,
            "no source in `ingest` maps features.x",
        ),
    ],
)
def test_a_valid_but_doubtful_setting_is_a_warning_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    """One warning each, with exit code 0."""
    ((at, text),) = warnings(tmp_path, old, new)
    assert at == line
    assert message in text


def test_a_mapped_heartbeat_makes_implying_safe(tmp_path: Path) -> None:
    """The implied value comes in time then, so there is no warning."""
    text = GOOD.replace("retain: 200d", "retain: 200d\n    on_timeout: {imply: 0}")
    result = run(
        tmp_path,
        text.replace("{key: tx, value", "{key: tx, heartbeat: {path: done, in: [1]}, value"),
        "--json",
    )
    assert json.loads(result.stdout)["warnings"] == []


def test_a_kind_without_source_and_metrics_is_warned_of(tmp_path: Path) -> None:
    """A second kind that no source delivers, and whose metrics are not chosen."""
    text = GOOD.replace("threshold: 0.5}", "threshold: 0.5}\n    amount: {task: regression}")
    text = text.replace("labels:\n", "labels:\n  amount: {definition: a-v1, horizon: 121d, retain: 200d}\n", 1)
    messages = [found["message"] for found in json.loads(run(tmp_path, text, "--json").stdout)["warnings"]]
    assert messages == [
        "metrics.amount: is not set; mae, rmse, mse, r2 are shown",
        "labels.amount: no source in `ingest` delivers labels of kind 'amount'",
        "predictions.outputs.amount: no source in `ingest` maps outputs.amount",
    ]


def test_warnings_go_to_stderr(tmp_path: Path) -> None:
    """So that stdout can be piped."""
    result = run(tmp_path, GOOD.replace("retain: 200d", "retain: 120d"))
    assert result.exit_code == 0
    assert f"warning: {tmp_path / 'truthloop.yaml'}:12: labels.fraud.retain: equals the horizon" in result.stderr
    assert "warning:" not in result.stdout


def test_without_sources_canonical_files_are_expected(tmp_path: Path) -> None:
    """`ingest` may be left out."""
    start, end = GOOD.index("ingest:"), GOOD.index("cohorts:")
    result = run(tmp_path, GOOD[:start] + GOOD[end:])
    assert result.exit_code == 0
    assert "files are expected in the canonical form" in result.stdout
    assert load_settings(tmp_path / "truthloop.yaml", {}).config.ingest == []
