"""`truthloop retrain send`: the exact requests as text and as JSON, without secrets."""

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
from schemas.events.evidence import Decision, Event, GateState
from schemas.events.retrain_request import RetrainRequest
from truthloop.broker.node import free_ports
from truthloop.cli.commands.retrain import retrain

OTHER = "rt-" + "1" * 32
WRITTEN = {"dataset": "file:///d", "manifest": "file:///d/m", "manifest_sha256": "0" * 64, "rows": 2_345}
TARGETS = {
    "webhook": {"url": "http://127.0.0.1:9/hook", "allow": ["127.0.0.1:9"]},
    "airflow": {"kind": "airflow", "url": "https://airflow.example", "dag_id": "retrain", "user": "loop"},
    "github": {"kind": "github", "repository": "acme/models", "workflow": "retrain.yml"},
    "prefect": {"kind": "prefect", "url": "https://prefect.example/api", "deployment": "a/b", "api_key_env": "KEY"},
}
CANARY = "canary-of-a-secret"
SECRETS = {"TRUTHLOOP_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 5}
SECRETS |= dict.fromkeys(("TRUTHLOOP_AIRFLOW_PASSWORD", "TRUTHLOOP_GITHUB_TOKEN", "KEY"), CANARY)


def make(folder: Path, target: dict[str, Any]) -> None:
    """Write a loop's config and create its lake."""
    (folder / "truthloop.yaml").write_text(f"{CONFIG_TEXT}retrain: {{target: {json.dumps(target)}}}\n")
    LakeBuilder(folder / "the lake")


def open_retrain(folder: Path, *more: Decision) -> None:
    """Append a retrain that is to be sent to the log, and more entries."""
    begin = entry(0, Event.EVALUATED, GateState.PREPARING, decision=ID, findings=[DRIFT], version="v1")
    log = [begin, entry(1, Event.PREPARED, GateState.REQUESTED, decision=ID, detail=WRITTEN), *more]
    entries = [item.model_copy(update={"kind": "fraud", "loop": "card-fraud"}) for item in log]
    assert DecisionLog(Lake.open(folder / "the lake"), "fraud").append(entries, START_MS)


def run(folder: Path, *words: str, environ: dict[str, str] | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(retrain, ["send", "-c", str(folder / "truthloop.yaml"), *words], env=environ)


def requests(folder: Path, *words: str) -> Any:
    """Return the requests of the JSON document."""
    result = run(folder, "--dry-run", "--json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["requests"]


@pytest.mark.parametrize("kind", TARGETS)
def test_without_an_open_retrain_an_example_is_shown(tmp_path: Path, kind: str) -> None:
    """With `dry_run: true`; it needs neither a lake nor a secret."""
    make(tmp_path, TARGETS[kind])
    for _ in range(2):
        result = run(tmp_path, "--dry-run")
        assert result.exit_code == 0, result.stderr
        assert "this is an example" in result.stderr
        assert "***" in result.stdout
        assert '"dry_run":true' in result.stdout.replace("\\", "")
        if (tmp_path / "the lake").exists():
            (tmp_path / "the lake").rename(tmp_path / "gone")


@pytest.mark.parametrize("kind", TARGETS)
def test_no_secret_of_the_environment_is_shown(tmp_path: Path, kind: str) -> None:
    """They are not even read; the signature is masked as well."""
    make(tmp_path, TARGETS[kind])
    open_retrain(tmp_path)
    for words in ((), ("--json",)):
        result = run(tmp_path, "--dry-run", *words, environ=SECRETS)
        assert result.exit_code == 0, result.stderr
        assert CANARY not in result.output
        assert "c2VjcmV0" not in result.output
        assert "***" in result.stdout


def test_the_open_retrain_is_shown_as_it_would_be_sent(tmp_path: Path) -> None:
    """With the complete request."""
    make(tmp_path, TARGETS["airflow"])
    open_retrain(tmp_path)
    [request] = requests(tmp_path)
    assert request["decision"] == ID
    assert [(call["method"], call["url"]) for call in request["calls"]] == [
        ("POST", "https://airflow.example/auth/token"),
        ("POST", "https://airflow.example/api/v2/dags/retrain/dagRuns"),
        ("GET", "https://airflow.example/api/v2/dags/retrain"),
    ]
    assert json.loads(request["calls"][0]["body"]) == {"username": "loop", "password": "***"}
    assert request["calls"][1]["headers"]["Authorization"] == "Bearer ***"
    body = json.loads(request["calls"][1]["body"])
    sent = RetrainRequest.model_validate_json(json.dumps(body["conf"]))
    assert (body["dag_run_id"], sent.id, sent.data.dataset.rows, sent.data.dry_run) == (ID, ID, 2_345, False)
    assert requests(tmp_path, ID) == [request]


def test_a_webhook_shows_its_headers_without_the_signature(tmp_path: Path) -> None:
    """A signature is valid for five minutes."""
    make(tmp_path, TARGETS["webhook"])
    open_retrain(tmp_path)
    [request] = requests(tmp_path)
    [call] = request["calls"]
    assert call["headers"]["webhook-id"] == ID
    assert call["headers"]["webhook-signature"] == "v1,***"
    assert call["headers"]["Content-Type"] == "application/cloudevents+json"


def test_an_ended_retrain_can_be_shown(tmp_path: Path) -> None:
    """An unknown one, and one without a data set, cannot."""
    make(tmp_path, TARGETS["github"])
    taken = entry(2, Event.UNDELIVERABLE, GateState.COOLING, decision=ID)
    again = entry(3, Event.EVALUATED, GateState.PREPARING, decision=OTHER, findings=[DRIFT], version="v1")
    open_retrain(tmp_path, taken, again)
    [request] = requests(tmp_path, ID)
    assert request["decision"] == ID
    for id_, words in ((OTHER, "no data set yet"), ("rt-" + "2" * 32, "no such retrain")):
        result = run(tmp_path, "--dry-run", id_)
        assert result.exit_code == 2
        assert words in result.stderr
    result = run(tmp_path, ID)
    assert result.exit_code == 2
    assert "needs --dry-run" in result.stderr


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """Neither an attempt nor an entry is written."""
    make(tmp_path, TARGETS["webhook"])
    open_retrain(tmp_path)
    lake = Lake.open(tmp_path / "the lake")
    before = [lake.version(table) for table in ("decisions", "deliveries")]
    assert run(tmp_path, "--dry-run").exit_code == 0
    assert [Lake.open(tmp_path / "the lake").version(table) for table in ("decisions", "deliveries")] == before


def test_without_dry_run_due_requests_are_sent(tmp_path: Path) -> None:
    """To a server that is down: the attempt is recorded, and the gate waits."""
    [port] = free_ports(1)
    make(tmp_path, {"url": f"http://127.0.0.1:{port}/", "allow": [f"127.0.0.1:{port}"]})
    open_retrain(tmp_path)
    result = run(tmp_path, environ=SECRETS)
    assert result.exit_code == 0, result.stderr
    assert "Nothing is due" in result.stderr
    lake = Lake.open(tmp_path / "the lake")
    assert lake.scan("deliveries").collect()["outcome"].to_list() == ["retry"]
    assert gate_of(DecisionLog(lake, "fraud").entries()).state is GateState.REQUESTED
    assert json.loads(run(tmp_path, "--json", environ=SECRETS).stdout) == {"entries": []}


def test_a_loop_without_a_retrain_section_reports_it(tmp_path: Path) -> None:
    """With exit code 2."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    result = run(tmp_path, "--dry-run")
    assert result.exit_code == 2
    assert "no retrain is requested" in result.stderr
