"""`truthloop retrain show`: from a version or an id to every input, and whether the data set is unchanged."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from retrain_case import DAY_MS, START_MS, make_loop, write_days
from typer.testing import CliRunner, Result

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin, answered, attempted
from retrain.schedule import Attempt
from schemas.events.evidence import Event
from schemas.events.retrain_request import RetrainCallback
from truthloop.cli.commands.retrain import retrain
from truthloop.feedback.delivery_log import LakeDeliveryLog
from truthloop.feedback.reconcile import Reconciler

DIGEST = "a" * 64
DAYS = 30
MESSAGE = "trained\x1b[31m on \x07night, [b]well[/b]"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loop with a retrain that was requested and answered."""
    folder = tmp_path_factory.mktemp("loop")
    settings = make_loop(folder)
    write_days(settings, (0, DAYS))
    reconciler = Reconciler(settings, lambda: START_MS)
    while reconciler.run().decisions[-1].event is not Event.PREPARED:
        pass
    lake = Lake.open(settings.lake)
    log = DecisionLog(lake, "fraud")
    origin = EntryOrigin("fraud", "fraud", settings.config.retrain)
    decision = id_of(folder)
    deliveries = LakeDeliveryLog(lake, lambda: START_MS)
    busy = Attempt(decision, 1, START_MS, "retry", 503, None, "busy\x1b]0;x")
    taken = Attempt(decision, 2, START_MS + 5_000, "delivered", 202)
    assert [deliveries.append(attempt, attempt.number) for attempt in (busy, taken)] == [True, True]
    entry = attempted(origin, gate_of(log.entries()), taken)
    assert entry is not None
    assert log.append([entry], START_MS)
    answer = RetrainCallback(
        decision=decision, status="succeeded", version="v2", model_sha256=DIGEST, metrics={"auc": 0.75}, message=MESSAGE
    )
    assert log.append([answered(origin, gate_of(log.entries()), answer, "c1")], START_MS)
    return folder


@pytest.fixture
def dataset(loop: Path) -> Iterator[Path]:
    """The folder of the data set, which is restored after the test."""
    folder = loop / "datasets" / id_of(loop)
    kept = loop / "kept"
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)


def id_of(folder: Path) -> str:
    """Return the id of the only retrain."""
    entries = DecisionLog(Lake.open(folder / "lake"), "fraud").entries()
    [id_] = {entry.decision for entry in entries if entry.decision is not None}
    return id_


def show(folder: Path, *words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(retrain, ["show", "--config", str(folder / "truthloop.yaml"), *words])


def document(folder: Path, name: str, exit_code: int = 0) -> dict[str, Any]:
    """Return the JSON document, the only text on stdout."""
    result = show(folder, name, "--json")
    assert result.exit_code == exit_code, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_version_leads_back_to_every_input(loop: Path) -> None:
    """Data set, table versions, contract and config, code, dependencies, evidence, deliveries; model and metrics."""
    found = document(loop, "v2")
    assert found == document(loop, id_of(loop))
    head = (found["retrain"], found["kind"], found["state"], found["ended"])
    assert head == (id_of(loop), "fraud", "running", None)
    decided = found["decided"]
    assert (decided["current_version"], decided["event"]) == ("v1", "evaluated")
    assert decided["evidence_at"] == START_MS + (DAYS - 1) * DAY_MS
    assert decided["findings"][0]["kind"] == "error_drift"
    assert all(condition["is_met"] for condition in decided["conditions"])
    data = found["dataset"]
    manifest = loop / "datasets" / id_of(loop) / "manifest.json"
    assert data["manifest_uri"] == manifest.as_uri()
    assert data["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    written = json.loads(manifest.read_text())
    assert {name: value for name, value in data.items() if name in written} == {
        name: value for name, value in written.items() if name in data
    }
    assert (data["is_whole"], data["definition"], data["backfills"]) == (True, "f1", [])
    assert all(len(data[name]) == 64 for name in ("contract_sha256", "config_sha256", "code_sha256"))
    assert "polars" in data["dependencies"]
    assert [(row["outcome"], row["http_status"]) for row in found["deliveries"]] == [("retry", 503), ("delivered", 202)]
    [answer] = found["answers"]
    assert (answer["version"], answer["model_sha256"], answer["metrics"]) == ("v2", DIGEST, {"auc": 0.75})
    assert answer["reason"] == f"the pipeline says: succeeded. {MESSAGE}"


def test_the_text_has_the_content_of_the_json(loop: Path) -> None:
    """Times and durations are formatted, counts have separators, empty parts are left out."""
    result = show(loop, "v2")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.strip() for line in result.stdout.splitlines()]
    rows = document(loop, "v2")["dataset"]["rows"]["train"]
    assert rows > 1_000
    for line in (
        f"retrain: {id_of(loop)}",
        "evidence_at: 2023-12-19 00:00:00 UTC",
        "as_of_ms: 2023-12-19 00:00:00 UTC",
        "holdout_ms: 2d",
        f"train: {rows:,}",
        "is_whole: yes",
        "- number: 1",
        "http_status: 503",
        "at: 2023-11-20 00:00:05 UTC",
        f"model_sha256: {DIGEST}",
        "auc: 0.75",
    ):
        assert line in lines, line
    assert not any(line.startswith(("approvals", "judged:", "refused", "ended", "backfills")) for line in lines)


def test_received_text_cannot_control_the_terminal(loop: Path) -> None:
    """Control characters of messages and answers are escaped; markup is text."""
    result = show(loop, "v2")
    assert r"the pipeline says: succeeded. trained\x1b[31m on \x07night, [b]well[/b]" in result.stdout
    assert r"busy\x1b]0;x" in result.stdout
    assert not {"\x1b", "\x07"} & {*result.stdout, *result.stderr}


@pytest.mark.parametrize("name", ["train.parquet", "holdout.parquet"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_changed_or_missing_file_is_reported_with_exit_code_1(
    loop: Path, dataset: Path, name: str, *, is_gone: bool
) -> None:
    """The rest of the manifest is still shown, with the signed digest."""
    signed = document(loop, "v2")["dataset"]["manifest_sha256"]
    path = dataset / name
    if is_gone:
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for words in ((), ("--json",)):
        result = show(loop, "v2", *words)
        assert result.exit_code == 1
        assert name in result.stderr
    found = document(loop, "v2", exit_code=1)
    assert found["answers"][0]["model_sha256"] == DIGEST
    assert (found["dataset"]["is_whole"], found["dataset"]["manifest_sha256"]) == (False, signed)


SHAPES = [
    "",
    "{",
    "[]",
    '{"files": []}',
    '{"files": {"train.parquet": 1}}',
    r'{"files": {"\u001b[31m": {"sha256": "0"}}}',
]


@pytest.mark.parametrize("content", [None, *SHAPES])
def test_an_invalid_manifest_is_reported_with_exit_code_1(loop: Path, dataset: Path, content: str | None) -> None:
    """Missing, cut short, or of another shape."""
    if content is None:
        shutil.rmtree(dataset)
    else:
        (dataset / "manifest.json").write_text(content)
    result = show(loop, "v2")
    assert result.exit_code == 1
    assert "is not a complete data set" in result.stderr
    assert f"retrain: {id_of(loop)}" in result.stdout


def test_names_in_a_manifest_cannot_control_the_terminal(loop: Path, dataset: Path) -> None:
    """They are escaped."""
    (dataset / "\x1b[31mred").write_text("other")
    (dataset / "manifest.json").write_text(json.dumps({"files": {"\x1b[31mred": {"sha256": "0"}}}))
    result = show(loop, "v2")
    assert result.exit_code == 1
    assert r"\x1b[31mred is not the file that was written" in result.stderr
    assert "\x1b" not in result.stderr


def test_another_manifest_than_the_signed_one_is_reported(loop: Path, dataset: Path) -> None:
    """Even if it matches every file."""
    manifest = dataset / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"loop": "fraud"', '"loop": "other"'))
    result = show(loop, "v2", "--json")
    assert result.exit_code == 1
    assert "not the signed one" in result.stderr
    assert json.loads(result.stdout)["dataset"]["is_whole"] is True


@pytest.mark.parametrize("name", ["v1", "v3", "rt-" + "1" * 32])
def test_a_name_without_a_retrain_is_a_usage_error(loop: Path, name: str) -> None:
    """With the command that lists the right ones; a version that no retrain produced has none."""
    result = show(loop, name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no retrain has this id" in result.stderr
    assert name in result.stderr
    assert "truthloop retrain list" in result.stderr


def test_a_missing_lake_or_config_is_reported(tmp_path: Path) -> None:
    """With exit code 1 or 2."""
    make_loop(tmp_path)
    assert show(tmp_path, "v2").exit_code == 1
    assert show(tmp_path / "nowhere", "v2").exit_code == 2
