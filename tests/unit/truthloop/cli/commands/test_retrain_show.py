"""`truthloop retrain show`: from a version or an id back to every input, and whether the data set is still the one."""

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
from truthloop.feedback.deliveries import LakeDeliveryLog
from truthloop.feedback.reconcile import Reconciler

DIGEST = "a" * 64
DAYS = 30
MESSAGE = "trained\x1b[31m on \x07night, [b]well[/b]"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop that has asked for a retrain, was answered, and goes on; its folder."""
    folder = tmp_path_factory.mktemp("loop")
    settings = make_loop(folder)
    write_days(settings, (0, DAYS))
    turn = Reconciler(settings, lambda: START_MS)
    assert turn.run().decisions[-1].event is Event.PREPARED
    lake = Lake.open(settings.lake)
    log = DecisionLog(lake, "fraud")
    origin = EntryOrigin("fraud", "fraud", settings.config.retrain)
    decision = id_of(folder)
    deliveries = LakeDeliveryLog(lake, lambda: START_MS)
    busy = Attempt(decision, 1, START_MS, "retry", 503, None, "busy\x1b]0;x")
    taken = Attempt(decision, 2, START_MS + 5_000, "delivered", 202)
    assert [deliveries.append(one, one.number) for one in (busy, taken)] == [True, True]
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
    """The folder of the data set; whatever is done to it is made good behind the test."""
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
    """Return the JSON document, which is all that stdout has."""
    result = show(folder, name, "--json")
    assert result.exit_code == exit_code, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_version_leads_back_to_every_input(loop: Path) -> None:
    """Data set, table versions, contract and config, code, dependencies, evidence, deliveries; model and metrics."""
    found = document(loop, "v2")
    assert found == document(loop, id_of(loop))
    told = (found["retrain"], found["kind"], found["state"], found["ended"])
    assert told == (id_of(loop), "fraud", "running", None)
    decided = found["decided"]
    assert (decided["current_version"], decided["event"]) == ("v1", "evaluated")
    assert decided["evidence_at"] == START_MS + (DAYS - 1) * DAY_MS
    assert decided["findings"][0]["kind"] == "error_drift"
    assert all(one["is_met"] for one in decided["conditions"])
    data = found["dataset"]
    manifest = loop / "datasets" / id_of(loop) / "manifest.json"
    assert data["manifest_uri"] == manifest.as_uri()
    assert data["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    written = json.loads(manifest.read_text())
    assert {name: value for name, value in data.items() if name in written} == {
        name: value for name, value in written.items() if name in data
    }
    assert {"labels", "predictions", "outcomes"} <= data["table_versions"].keys()
    assert (data["is_whole"], data["definition"], data["backfills"]) == (True, "f1", [])
    assert all(len(data[name]) == 64 for name in ("contract_sha256", "config_sha256", "code_sha256"))
    assert "polars" in data["dependencies"]
    assert [(one["outcome"], one["http_status"]) for one in found["deliveries"]] == [("retry", 503), ("delivered", 202)]
    [answer] = found["answers"]
    assert (answer["version"], answer["model_sha256"], answer["metrics"]) == ("v2", DIGEST, {"auc": 0.75})
    assert answer["reason"] == f"the pipeline says: succeeded. {MESSAGE}"


def test_the_text_says_the_same_to_a_person(loop: Path) -> None:
    """Times as times, durations as durations, counts in thousands; what is empty is left out."""
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


def test_what_others_have_said_cannot_speak_to_the_terminal(loop: Path) -> None:
    """Control characters of messages and answers are shown escaped; markup is text."""
    result = show(loop, "v2")
    assert r"the pipeline says: succeeded. trained\x1b[31m on \x07night, [b]well[/b]" in result.stdout
    assert r"busy\x1b]0;x" in result.stdout
    assert not {"\x1b", "\x07"} & {*result.stdout, *result.stderr}


@pytest.mark.parametrize("name", ["train.parquet", "holdout.parquet"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_file_that_was_changed_or_is_gone_is_said_and_is_exit_code_1(
    loop: Path, dataset: Path, name: str, *, is_gone: bool
) -> None:
    """The rest of the manifest is shown all the same, and the digest that was signed."""
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
def test_a_manifest_that_is_none_is_said_and_is_exit_code_1(loop: Path, dataset: Path, content: str | None) -> None:
    """Gone, cut off, or of another shape."""
    if content is None:
        shutil.rmtree(dataset)
    else:
        (dataset / "manifest.json").write_text(content)
    result = show(loop, "v2")
    assert result.exit_code == 1
    assert "is no whole data set" in result.stderr
    assert f"retrain: {id_of(loop)}" in result.stdout


def test_what_a_manifest_names_cannot_speak_to_the_terminal(loop: Path, dataset: Path) -> None:
    """Whoever can write there chooses the names of its files."""
    (dataset / "\x1b[31mred").write_text("other")
    (dataset / "manifest.json").write_text(json.dumps({"files": {"\x1b[31mred": {"sha256": "0"}}}))
    result = show(loop, "v2")
    assert result.exit_code == 1
    assert r"\x1b[31mred is not the file that was written" in result.stderr
    assert "\x1b" not in result.stderr


def test_another_manifest_than_the_one_that_was_signed_is_said(loop: Path, dataset: Path) -> None:
    """Also where every file is as this one says."""
    manifest = dataset / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"loop": "fraud"', '"loop": "other"'))
    result = show(loop, "v2", "--json")
    assert result.exit_code == 1
    assert "not the one that was signed" in result.stderr
    assert json.loads(result.stdout)["dataset"]["is_whole"] is True


@pytest.mark.parametrize("name", ["v1", "v3", "rt-" + "1" * 32])
def test_a_name_that_led_to_nothing_is_a_wrong_argument(loop: Path, name: str) -> None:
    """It is named, and so is the way to the right one; a version that merely ran is none."""
    result = show(loop, name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no retrain has this id" in result.stderr
    assert name in result.stderr
    assert "truthloop retrain list" in result.stderr


def test_without_a_lake_or_a_config_it_says_so(tmp_path: Path) -> None:
    """One of the exit codes that everybody knows."""
    make_loop(tmp_path)
    assert show(tmp_path, "v2").exit_code == 1
    assert show(tmp_path / "nowhere", "v2").exit_code == 2
