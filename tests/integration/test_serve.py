"""`truthloop serve`: the page of a loop without Kafka, as a process; read-only, or with approvals.

Tests `truthloop.run.page`, `truthloop.cli.commands.serve` and `truthloop.feedback.page_server`.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from processes import end_all
from ruling_case import EPISODE, Fields, backfill_diff, log_backfill, log_of, make_loop

from schemas.events.evidence import Event
from truthloop.config.settings import load_settings

TYPED = {"verdict": "rejected", "reason": "another time zone", "by": "Ann"}
ENDS_WITHIN_S = 20.0


@dataclass
class Client:
    """Sends requests to the page."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        return self._send("GET", path)

    def post(self, path: str, form: dict[str, str]) -> tuple[int, str]:
        """Send a form; return status and text of the answer."""
        return self._send("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})

    def _send(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Client]:
    """Serve the loop of a folder on a free port, and stop it as an orchestrator does."""
    command = [sys.executable, "-m", "truthloop", "serve", "-c", str(folder / "truthloop.yaml"), "--port", "0"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(rb"http://127.0.0.1:(\d+)", line) for line in process.stderr)))
            yield Client(int(found[1]))
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(ENDS_WITHIN_S) == 0, rest
            assert b"Traceback" not in rest
        finally:
            end_all([process], ENDS_WITHIN_S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A loop with a backfill that waits, and no `kafka` section."""
    log_backfill(make_loop(tmp_path), backfill_diff())
    return tmp_path


def events(folder: Path) -> list[Event]:
    """Return the events of the log."""
    return [entry.event for entry in log_of(load_settings(folder / "truthloop.yaml", {}))]


def test_a_loop_of_files_has_a_page(folder: Path) -> None:
    """With its probes and panels, and read-only: no form, no ruling and no callback."""
    with served(folder) as client:
        while (page := client.get("/"))[0] == 202:
            pass
        assert page[0] == 200
        assert f"backfill/{EPISODE}" in page[1]
        assert json.loads(client.get("/readyz")[1]) == {"role": "page", "status": "ok", "reason": ""}
        assert client.get("/livez")[0] == 200
        assert client.get("/panels/backfills.json")[0] == 200
        _, shown = client.get(f"/backfill/{EPISODE}")
        assert "This page is read-only" in shown
        assert Fields(shown).values == {}
        status, text = client.post(f"/backfill/{EPISODE}/rule", {**TYPED, "token": "x", "diff": "0" * 64})
        assert (status, "this page is read-only" in text) == (403, True)
        assert client.post("/v1/callback", {"a": "b"})[0] == 404
    assert events(folder) == [Event.BACKFILLED]


def test_with_approvals_people_rule_on_the_page(folder: Path) -> None:
    """By its form, as on the page of the feedback role."""
    with served(folder, "--approvals") as client:
        fields = Fields(client.get(f"/backfill/{EPISODE}")[1]).values
        assert client.post(f"/backfill/{EPISODE}/rule", {**TYPED, **fields})[0] == 303
        assert "read-only" not in client.get(f"/backfill/{EPISODE}")[1]
    assert events(folder) == [Event.BACKFILLED, Event.REJECTED]
