"""`truthloop retrain`: decisions and their reasons as text and as JSON, and how a person ends a retrain."""

import json
from pathlib import Path
from typing import Any

import pytest
from gate_case import DRIFT, ID, START_MS, entry
from lake_builder import CONFIG_TEXT, LakeBuilder
from typer.testing import CliRunner, Result

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from schemas.events.evidence import Condition, Decision, Event, GateState
from truthloop.cli.commands.retrain import retrain

WRITTEN = {"dataset": "file:///d", "manifest": "file:///d/m", "manifest_sha256": "0" * 64, "rows": 2_345}
UNMET = [
    Condition(name="mature_labels", value="12", needed="at least 2,000", is_met=False),
    Condition(name="coverage", value="ok", needed="ok", is_met=True),
]
LOG = [
    entry(0, Event.EVALUATED, GateState.IDLE, 0, reason="no finding calls for a retrain"),
    entry(1, Event.EVALUATED, GateState.IDLE, 1, reason="no finding calls for a retrain"),
    entry(2, Event.EVALUATED, GateState.WATCHING, 2, reason="too few", findings=[DRIFT], conditions=UNMET),
    entry(
        3,
        *(Event.EVALUATED, GateState.PREPARING, 3),
        reason="errors rose\x1b[31m",
        decision=ID,
        findings=[DRIFT],
        version="v1",
    ),
    entry(4, Event.PREPARED, GateState.REQUESTED, 3, reason="written", decision=ID, detail=WRITTEN),
]
ENDED = [entry(5, Event.DEPLOYED, GateState.COOLING, 6, reason="v2 predicts", decision=ID, version="v2")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A loop with an empty lake."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    LakeBuilder(tmp_path / "the lake")
    return tmp_path


def write(folder: Path, log: list[Decision]) -> None:
    """Append entries to the log of the only kind."""
    entries = [item.model_copy(update={"kind": "fraud", "loop": "card-fraud"}) for item in log]
    assert DecisionLog(Lake.open(folder / "the lake"), "fraud").append(entries, START_MS)


def entries_of(folder: Path) -> list[Decision]:
    """Return the log."""
    return DecisionLog(Lake.open(folder / "the lake"), "fraud").entries()


def run(folder: Path, *words: str) -> Result:
    """Run the command."""
    first, *rest = words
    return CliRunner().invoke(retrain, [first, "--config", str(folder / "truthloop.yaml"), *rest])


def document(folder: Path, *words: str) -> Any:
    """Return the JSON document."""
    result = run(folder, *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_an_empty_lake_has_no_retrains_and_an_unknown_gate(folder: Path) -> None:
    """That is not an error."""
    result = run(folder, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "fraud: the gate is unknown: no day was evaluated yet" in result.stderr
    gate = {"state": "unknown", "since_ms": None, "decision": None, "overdue": False, "reason": None}
    assert document(folder, "list") == {"gates": {"fraud": gate}, "retrains": []}
    assert document(folder, "explain") == {"entries": []}
    assert run(folder, "explain").exit_code == 0


def test_without_a_lake_every_command_reports_it(tmp_path: Path) -> None:
    """With exit code 1; without a config, 2."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    for words in (["list"], ["explain"], ["resolve", ID, "--reason", "so"], ["evaluate"]):
        result = run(tmp_path, *words)
        assert result.exit_code == 1, words
        assert "error:" in result.stderr
    assert run(tmp_path / "nowhere", "list").exit_code == 2


def test_the_list_shows_the_state_of_each_retrain(folder: Path) -> None:
    """With its data set's rows; control characters of the data are escaped."""
    write(folder, LOG)
    result = run(folder, "list")
    assert result.exit_code == 0
    for text in (ID, "requested", "2,345", "v1", r"errors rose\x1b[31m"):
        assert text in result.stdout
    assert "\x1b" not in result.stdout
    assert "the gate is requested: written" in result.stderr
    found = document(folder, "list")
    assert found["gates"]["fraud"]["decision"] == ID
    assert [(item["id"], item["state"], item["rows"]) for item in found["retrains"]] == [(ID, "requested", 2_345)]


def test_a_retrain_is_explained_from_the_finding_to_its_end(folder: Path) -> None:
    """Its own entries and no others, with findings and details."""
    write(folder, LOG + ENDED)
    result = run(folder, "explain", ID)
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines == [
        r"2013-06-03 00:00 UTC  evaluated: preparing  errors rose\x1b[31m",
        "found: error_drift alarm",
        "2013-06-03 00:00 UTC  prepared: requested  written",
        "dataset: file:///d",
        "manifest: file:///d/m",
        f"manifest_sha256: {'0' * 64}",
        "rows: 2345",
        "2013-06-06 00:00 UTC  deployed: cooling  v2 predicts",
    ]
    assert [item["number"] for item in document(folder, "explain", ID)["entries"]] == [3, 4, 5]


def test_without_an_id_the_newest_days_explain_why_none_was_asked_for(folder: Path) -> None:
    """With the conditions that were not met."""
    write(folder, LOG[:3])
    lines = [line.strip() for line in run(folder, "explain").stdout.splitlines()]
    assert lines[-2:] == [
        "2013-06-02 00:00 UTC  evaluated: watching  too few",
        "mature_labels: 12 (needed: at least 2,000)",
    ]
    assert len(lines) == 4
    assert [item["number"] for item in document(folder, "explain", "--last", "2")["entries"]] == [1, 2]
    assert run(folder, "explain", "--last", "0").exit_code == 2


@pytest.mark.parametrize("words", [["explain", "rt-1"], ["explain", "rt-" + "1" * 32], ["resolve", ID[:-1] + "1"]])
def test_an_unknown_id_is_a_usage_error(folder: Path, words: list[str]) -> None:
    """The message names it and the command that lists the right ones."""
    write(folder, LOG)
    result = run(folder, *words, *(["--reason", "so"] if words[0] == "resolve" else []))
    assert result.exit_code == 2
    assert words[1] in result.stderr
    assert "truthloop retrain list" in result.stderr
    assert len(entries_of(folder)) == len(LOG)


def test_an_unknown_kind_is_a_usage_error(folder: Path) -> None:
    """With the nearest one."""
    result = run(folder, "list", "--kind", "frau")
    assert result.exit_code == 2
    assert "did you mean 'fraud'" in result.stderr
    assert run(folder, "list", "--kind", "fraud").exit_code == 0


def test_a_person_resolves_a_retrain_that_nobody_answers(folder: Path) -> None:
    """Once, with a reason and a name in the log; the gate cools down."""
    write(folder, LOG)
    result = run(folder, "resolve", ID, "--reason", "  trained by hand  ")
    assert result.exit_code == 0, result.stderr
    assert (result.stdout, f"{ID} is resolved" in result.stderr) == ("", True)
    last = entries_of(folder)[-1]
    assert (last.event, last.source, last.reason, last.at) == (Event.RESOLVED, "person", "trained by hand", LOG[-1].at)
    assert last.detail["who"]
    assert gate_of(entries_of(folder)).state is GateState.COOLING
    again = run(folder, "resolve", ID, "--reason", "so")
    assert (again.exit_code, "is not open" in again.stderr) == (2, True)
    assert len(entries_of(folder)) == len(LOG) + 1
    assert document(folder, "list")["retrains"][0]["state"] == "resolved"


@pytest.mark.parametrize("reason", ["", "  "])
def test_resolving_needs_a_reason(folder: Path, reason: str) -> None:
    """Readers of the log need it."""
    write(folder, LOG)
    assert run(folder, "resolve", ID, "--reason", reason).exit_code == 2
    assert run(folder, "resolve", ID).exit_code == 2
    assert len(entries_of(folder)) == len(LOG)


def test_a_log_that_another_writer_changed_meanwhile_is_a_conflict(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retrain may have ended by itself between reading and writing."""
    write(folder, LOG)
    real = DecisionLog.append

    def slower(log: DecisionLog, entries: list[Decision], recorded_at_ms: int) -> bool:
        monkeypatch.setattr(DecisionLog, "append", real)
        write(folder, ENDED)
        return log.append(entries, recorded_at_ms)

    monkeypatch.setattr(DecisionLog, "append", slower)
    result = run(folder, "resolve", ID, "--reason", "so")
    assert (result.exit_code, "has changed meanwhile" in result.stderr) == (1, True)
    assert entries_of(folder)[-1].event is Event.DEPLOYED


def test_evaluating_an_empty_lake_decides_nothing(folder: Path) -> None:
    """As before the first prediction."""
    assert document(folder, "evaluate") == {"evaluations": 0, "entries": 0, "delivered": 0}
    assert "0 evaluations, 0 entries" in run(folder, "evaluate").stderr
