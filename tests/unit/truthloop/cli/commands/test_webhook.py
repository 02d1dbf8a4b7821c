"""`truthloop webhook listen`: its output and answers, as a class and as a program."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from retrain.signing import Secret, sign
from schemas.events.retrain_request import RetrainData, RetrainRequest
from truthloop.cli.commands.webhook import BODY_BYTES_MAX, IDS_MAX, Inbox, Receipt, webhook

ROOT = Path(__file__).parents[5]
SECRET_TEXT = "whsec_" + "c2VjcmV0" * 5
SECRET = Secret.parse(SECRET_TEXT)
NOW_S = 1_700_000_000
FINDING = {"kind": "error_drift", "place": "error", "subject": "fraud", "text": "Errors rose."}


def body_of(number: int = 1, **changes: Any) -> bytes:
    """Return the body of a request."""
    dataset = {"uri": "s3://b/d", "manifest_uri": "s3://b/m", "manifest_sha256": "0" * 64, "rows": 2_000, "as_of": 0}
    fields = {
        "loop": "card-fraud",
        "decision": f"rt-{number:032x}",
        "kind": "fraud",
        "trigger": [FINDING, FINDING | {"kind": "metric_loss"}],
        "evidence_at": 0,
        "dataset": dataset,
        "current_version": "7",
    }
    return RetrainRequest.of(RetrainData.model_validate(fields | changes), 0).body()


def taken(inbox: Inbox, body: bytes, id_: str | None = None) -> Receipt:
    """Give the inbox a request with a valid signature."""
    headers = sign(SECRET, id_ or json.loads(body)["id"], NOW_S, body)
    return inbox.take(headers, body, NOW_S)


def inbox_of(folder: Path | None = None, share: float = 0.0) -> Inbox:
    """Return an empty inbox."""
    return Inbox(SECRET, folder, share, Random(1))


def test_a_request_is_printed_as_one_line() -> None:
    """Status, signature, id, triggers, data set; and the second time, that it was seen before."""
    inbox = inbox_of()
    first, second = taken(inbox, body_of()), taken(inbox, body_of())
    line = f"200  signature right  rt-{1:032x}  error_drift, metric_loss  2,000 rows at s3://b/d"
    assert (first.as_line(), second.as_line()) == (line, f"{line}  seen before")
    assert (first.status, second.status) == (200, 200)
    assert "dry run" in taken(inbox, body_of(2, dry_run=True)).as_line()


def test_a_line_names_the_holdout_and_what_of_an_approved_backfill_is_left_out() -> None:
    """The person at the pipeline sees it without the manifest."""
    own = {"episode": f"bf-{7:032x}", "rows": 0, "holdout_rows": 0, "left_out": {"other_definition": 180}}
    dataset = json.loads(body_of())["data"]["dataset"] | {"rows": 9, "holdout_rows": 3, "approved": [own]}
    line = taken(inbox_of(), body_of(dataset=dataset)).as_line()
    assert "9 rows and 3 holdout rows at s3://b/d" in line
    assert f"of 180 predictions that backfill bf-{7:032x} has labelled, 0 are training rows" in line
    assert line.endswith("left out: 180 other definition")


def test_an_unsigned_request_is_401_and_not_remembered() -> None:
    """Also one with malformed headers, or none."""
    inbox = inbox_of()
    body = body_of()
    good = sign(SECRET, f"rt-{1:032x}", NOW_S, body)
    for headers in ({}, {**good, "webhook-signature": "v1,*"}, {**good, "webhook-id": "\udcff"}):
        receipt = inbox.take(headers, body, NOW_S)
        assert (receipt.status, receipt.is_signed, receipt.request) == (401, False, None)
        assert "signature wrong" in receipt.as_line()
    assert inbox.take(good, body, NOW_S + 301).status == 401
    assert not taken(inbox, body).is_repeat


def test_a_signed_body_that_is_not_a_request_is_400() -> None:
    """With the field that is wrong."""
    inbox = inbox_of()
    assert "not a retrain request: the body" in taken(inbox, b"[]", "x").as_line()
    assert "not a retrain request: data.loop" in taken(inbox, body_of().replace(b'"loop"', b'"lop"')).as_line()
    receipt = taken(inbox, body_of(), f"rt-{2:032x}")
    assert (receipt.status, receipt.reason) == (400, "webhook-id is not the id of the body")
    assert not taken(inbox, body_of()).is_repeat


def test_saved_requests_are_known_after_a_restart(tmp_path: Path) -> None:
    """The files have the bodies that came first."""
    body = body_of()
    assert not taken(inbox_of(tmp_path), body).is_repeat
    assert taken(inbox_of(tmp_path), body).is_repeat
    assert taken(inbox_of(tmp_path), body_of(dry_run=True)).is_repeat
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {f"rt-{1:032x}.json": body}


def test_a_share_of_the_requests_is_failed_to_see_retries(tmp_path: Path) -> None:
    """A failed request is not remembered, so its retry is new."""
    inbox = inbox_of(tmp_path, 1.0)
    assert [taken(inbox, body_of()).status for _ in range(3)] == [503] * 3
    assert list(tmp_path.iterdir()) == []
    inbox.fail_share = 0.3
    statuses = [taken(inbox, body_of(number)).status for number in range(300)]
    assert 60 < statuses.count(503) < 120
    assert set(statuses) == {200, 503}


def test_no_request_can_control_the_terminal() -> None:
    """Control characters are escaped."""
    trigger = [FINDING | {"text": "\x1b[2J"}]
    body = body_of(trigger=trigger, dataset=json.loads(body_of())["data"]["dataset"] | {"uri": "s3://\x7f\x9b2J"})
    line = taken(inbox_of(), body).as_line()
    assert line.isprintable()


def test_the_oldest_id_is_dropped_first() -> None:
    """So that the memory of a long run is bounded."""
    inbox = inbox_of()
    inbox._ids = {str(number): None for number in range(IDS_MAX)}
    taken(inbox, body_of())
    assert len(inbox._ids) == IDS_MAX
    assert "0" not in inbox._ids
    assert taken(inbox, body_of()).is_repeat


def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    """Send a request and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/any/path", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_program_listens_prints_and_stops(tmp_path: Path) -> None:
    """On a free port of this machine, until SIGTERM; every request is a line of JSON."""
    program = "from truthloop.cli.commands.webhook import webhook; webhook()"
    command = [sys.executable, "-c", program, "listen", "--port", "0", "--json", "--save", str(tmp_path / "a/b")]
    environ = {**os.environ, "TRUTHLOOP_WEBHOOK_SECRET": SECRET_TEXT, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        port = int(running.stderr.readline().partition("127.0.0.1:")[2].partition(",")[0])
        body, now_s = body_of(), int(time.time())
        good = sign(SECRET, f"rt-{1:032x}", now_s, body)
        assert [post(port, body, good), post(port, body, good), post(port, body, {})] == [200, 200, 401]
        assert post(port, bytes(BODY_BYTES_MAX + 1), good) == 413
        running.send_signal(signal.SIGTERM)
        printed = [json.loads(line) for line in running.stdout]
        rest = running.stderr.read()
        assert running.wait(60) == 0
    assert [(line["status"], line["repeat"]) for line in printed] == [
        *((200, False), (200, True), (401, False), (413, False)),
    ]
    assert printed[0]["request"] == json.loads(body)
    assert rest.endswith("Stopped.\n")
    assert [file.name for file in (tmp_path / "a/b").iterdir()] == [f"rt-{1:032x}.json"]


@pytest.mark.parametrize("secret", [None, "whsec_short"])
def test_without_a_secret_it_reports_how_to_create_one(monkeypatch: pytest.MonkeyPatch, secret: str | None) -> None:
    """Exit code 2, as for every usage error."""
    monkeypatch.delenv("TRUTHLOOP_WEBHOOK_SECRET", raising=False)
    if secret is not None:
        monkeypatch.setenv("S", secret)
    result = CliRunner().invoke(webhook, ["listen", "--port", "0", "--secret-env", "S"])
    assert result.exit_code == 2
    assert "environment variable S" in result.stderr
    assert "openssl rand -base64 32" in result.stderr
    assert "whsec_short" not in result.stderr
