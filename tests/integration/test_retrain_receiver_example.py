"""The example of a receiver does what its README says, with the sender of the product on the other side."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import create_connection

import pytest

from retrain.address_guard import parse_allowed
from retrain.schedule import Attempt, Due
from retrain.sender import Receiver, send
from retrain.signing import Secret, sign
from schemas.events.retrain_request import RetrainData, RetrainRequest
from truthloop.broker.node import free_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "04-retrain-receiver" / "receiver.py"
SECRET_TEXT = "whsec_" + "c2VjcmV0" * 5
SECRET = Secret.parse(SECRET_TEXT)
ID = f"rt-{1:032x}"


def body() -> bytes:
    """Return a request as the loop sends it."""
    fields = {
        "loop": "card-fraud",
        "decision": ID,
        "kind": "fraud",
        "trigger": [{"kind": "error_drift", "place": "error", "subject": "fraud", "text": "Errors rose."}],
        "evidence_at": 0,
        "dataset": {
            "uri": "s3://b/d",
            "manifest_uri": "s3://b/m",
            "manifest_sha256": "0" * 64,
            "rows": 2,
            "as_of": 0,
        },
        "current_version": "7",
    }
    return RetrainRequest.of(RetrainData.model_validate(fields), 0).body()


@contextmanager
def running(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the example until the block ends."""
    environ = {**os.environ, "TRUTHLOOP_WEBHOOK_SECRET": SECRET_TEXT, "TAKEN_FOLDER": str(folder / "taken")}
    command = [sys.executable, str(EXAMPLE), str(port)]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    ) as program:
        try:
            for _ in range(600):
                try:
                    create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert program.poll() is None, program.communicate()
                    time.sleep(0.05)  # until another process listens: nothing tells when
            yield program
        finally:
            program.kill()


def sent(port: int, number: int = 1) -> Attempt:
    """Send the request with the product's own sender."""
    place = f"127.0.0.1:{port}"
    receiver = Receiver(f"http://{place}/hook", SECRET, parse_allowed([place]))
    at_ms = int(time.time() * 1_000)
    return asyncio.run(send(receiver, Due(ID, number, at_ms, None), body(), at_ms))


def posted(port: int, headers: dict[str, str], content: bytes) -> int:
    """Send anything and return the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/hook", content, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_request_is_taken_once_also_after_a_restart(tmp_path: Path) -> None:
    """As a file with the body as it came; each repeat is answered 200."""
    [port] = free_ports(1)
    with running(tmp_path, port) as program:
        assert [sent(port, number).outcome for number in (1, 2)] == ["delivered"] * 2
        program.terminate()
        assert program.communicate()[0] == "train on s3://b/d\n"
    with running(tmp_path, port) as program:
        assert sent(port, 3).outcome == "delivered"
        program.terminate()
        assert program.communicate()[0] == ""
    assert {file.name: file.read_bytes() for file in (tmp_path / "taken").iterdir()} == {ID: body()}


def test_whatever_is_not_signed_by_the_loop_is_401_and_leaves_nothing(tmp_path: Path) -> None:
    """Old, changed, malformed, or without any header; and what is too large is not even read."""
    [port], now_s = free_ports(1), int(time.time())
    good = sign(SECRET, ID, now_s, body())
    wrong = [
        ({}, body()),
        (good, body().replace(b"s3://b/d", b"s3://b/e")),
        (good, b"\xff"),
        (sign(SECRET, ID, now_s - 301, body()), body()),
        (sign(Secret.parse("whsec_" + "QUJD" * 10), ID, now_s, body()), body()),
        *(({**good, "webhook-signature": value}, body()) for value in ("v1", "v1,*", "v1,a", ",,", "v1a,AAAA", "\xff")),
        *(({**good, "webhook-timestamp": value}, body()) for value in ("nan", "-1", "1e400", "x")),
    ]
    with running(tmp_path, port):
        assert [posted(port, *case) for case in wrong] == [401] * len(wrong)
        assert posted(port, good | {"Content-Length": "65537"}, body()) == 413
        assert list((tmp_path / "taken").iterdir()) == []
        assert posted(port, good, body()) == 200


@pytest.mark.parametrize("word", ["standardwebhooks", "http.server"])
def test_it_needs_nothing_of_ours(word: str) -> None:
    """It is copied into places that know no Truthloop."""
    text = EXAMPLE.read_text("utf-8")
    assert word in text
    assert not any(
        f"{how} {name}" in text for how in ("import", "from") for name in ("truthloop", "retrain", "schemas")
    )
