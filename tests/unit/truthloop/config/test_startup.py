"""`check` finds what a role would find at its start, at the line where it was set."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from truthloop.__main__ import app

CONFIG = """\
version: 1
loop: cards
partitions: 4
kafka: {{bootstrap_servers: "127.0.0.1:1", client: {client}}}
predictions: {{outputs: {{fraud: {{task: binary}}}}}}
labels: {{fraud: {{definition: d, horizon: 7d, retain: 9d}}}}
retrain:
  target:
    url: {url}
    allow: {allow}
"""
GOOD = {"client": "{}", "url": "https://pipeline.example.com/hook", "allow": "[]"}
URL_LINE, CLIENT_LINE = 9, 4


def errors(folder: Path, **parts: str) -> list[tuple[int, str]]:
    """Return line and message of every error that `check` reports."""
    path = folder / "truthloop.yaml"
    path.write_text(CONFIG.format(**(GOOD | parts)))
    done = CliRunner().invoke(app, ["check", "--json", "--config", str(path)])
    found = [(one["line"], one["message"]) for one in json.loads(done.stdout)["errors"]]
    assert done.exit_code == (2 if found else 0), done.stderr
    return found


def test_a_config_that_a_role_can_start_with_is_good(tmp_path: Path) -> None:
    """Also one whose target is on this machine or in the own network, if the list allows it."""
    assert errors(tmp_path) == []
    assert errors(tmp_path, url="http://127.0.0.1:9000/hook", allow='["127.0.0.1:9000"]') == []
    assert errors(tmp_path, url="https://localhost:9000/hook", allow='["localhost:9000"]') == []
    assert errors(tmp_path, url="https://10.1.2.3/hook", allow='["10.1.2.3:443"]') == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://user:s3cret@pipeline.example.com/hook", "it has a user or password"),
        ("https://10.1.2.3/hook", "not an address of the public internet"),
        ("https://169.254.169.254/latest", "not an address of the public internet"),
        ("https://[::1]/hook", "not an address of the public internet"),
        ("https://127.1/hook", "an IPv4 address is four decimal numbers"),
        ("https://localhost:9000/hook", "localhost is this machine"),
        ("https://api.localhost/hook", "api.localhost is this machine"),
        ("http://pipeline.example.com/hook", "http is for this machine only"),
        ("ftp://pipeline.example.com/hook", "it must begin with https://"),
    ],
)
def test_a_target_that_nothing_can_be_sent_to_is_an_error(tmp_path: Path, url: str, why: str) -> None:
    """At its line, and without what may be secret in it."""
    ((line, message),) = errors(tmp_path, url=url)
    assert line == URL_LINE
    assert why in message
    assert "s3cret" not in message


def test_an_entry_that_allows_nothing_is_an_error(tmp_path: Path) -> None:
    """HOST:PORT is checked as the sender reads it."""
    ((line, message),) = errors(tmp_path, allow='["10.0.0:443"]')
    assert line == URL_LINE + 1
    assert "four decimal numbers" in message


def test_limits_that_exclude_each_other_are_an_error(tmp_path: Path) -> None:
    """With librdkafka's own sentence; nothing is connected to."""
    client = "{transaction.timeout.ms: 5000, socket.timeout.ms: 8000}"
    ((line, message),) = errors(tmp_path, client=client)
    assert line == CLIENT_LINE
    assert "`socket.timeout.ms` must be set <= `transaction.timeout.ms`" in message
