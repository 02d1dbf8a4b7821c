"""What a role answers to probes: the same over its own server as over the page's."""

import json
import socket
import struct
import subprocess
import sys
from http.client import HTTPConnection
from threading import Event

import pytest

from streams.runtime.health import FEEDBACK_STALLED_AFTER_S, PROBE_PATHS, Health, HealthServer, ProbeAnswer


@pytest.mark.parametrize("path", PROBE_PATHS)
def test_the_server_sends_the_roles_answer(path: str) -> None:
    """Status, type and body."""
    health = Health("join")
    with HealthServer(health, "127.0.0.1", 0) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path)
        got = connection.getresponse()
        status, body, content_type = health.answer(path)
        assert (got.status, got.getheader("Content-Type")) == (status, content_type)
        assert len(got.read()) == len(body)
        connection.close()


def test_a_scraper_that_hangs_up_is_one_line(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback where it goes while the answer is sent; others are answered."""
    caplog.set_level("INFO")
    health = Health("join")
    monkeypatch.setattr(health, "answer", lambda _path: ProbeAnswer(200, bytes(50_000_000), "text/plain"))
    with HealthServer(health, "127.0.0.1", 0) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            client.recv(1)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
        waited(caplog)
    assert set(caplog.messages) <= {
        f"an answer was not sent: {one}" for one in ("BrokenPipeError", "ConnectionResetError")
    }
    assert all(one.exc_info is None for one in caplog.records)
    assert capfd.readouterr().err == ""


def waited(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until there is a line, at most 20 s."""
    for _ in range(2_000):
        if caplog.records:
            return
        Event().wait(0.01)
    raise AssertionError("nothing was logged")


WITHOUT_DESCRIPTORS = """
import logging, os, resource, socket, sys
from streams.runtime.health import Health, HealthServer
logging.basicConfig(format="%(message)s")
with HealthServer(Health("join"), "127.0.0.1", 0) as server:
    client = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        client.connect(("127.0.0.1", server.port))
    client.sendall(b"GET /nothing HTTP/1.0\\r\\n\\r\\n")
    client.settimeout(1.2)
    try:
        client.recv(1)
    except TimeoutError:
        os.closerange(held[0], held[-1] + 1)
    client.settimeout(30)
    print(client.recv(100).decode())
"""


def test_without_descriptors_a_connection_waits_and_the_server_goes_on() -> None:
    """Said at each attempt, and these pause: the thread does not spin."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("HTTP/1.0 404"), done.stderr
    said = done.stderr.splitlines()
    assert set(said) == {"a connection was not accepted: Too many open files"}
    assert len(said) <= 10


def test_another_path_is_not_found() -> None:
    """The answer names those that there are."""
    with HealthServer(Health("join"), "127.0.0.1", 0) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/secrets")
        got = connection.getresponse()
        assert (got.status, got.read()) == (404, b"/livez, /readyz, /metrics\n")
        connection.close()


def test_a_role_that_moves_nothing_is_stalled_and_one_that_waits_is_not() -> None:
    """Liveness is progress; a restart does not bring back a broker."""
    now_s = [0.0]
    health = Health("join", lambda: now_s[0])
    health.set_readiness()
    health.report_progress(0, lag=5)
    assert health.answer("/livez").status == 200
    now_s[0] = 61.0
    assert health.answer("/livez").status == 503
    assert json.loads(health.answer("/livez").body)["reason"].startswith("no progress for 61 s")
    health.report_alive()
    assert health.answer("/livez").status == 200
    patient = Health("feedback", lambda: now_s[0], stalled_after_s=FEEDBACK_STALLED_AFTER_S)
    now_s[0] += FEEDBACK_STALLED_AFTER_S
    assert patient.answer("/livez").status == 200
    now_s[0] += 1
    assert patient.answer("/livez").status == 503


def test_a_stopped_partition_is_named_until_it_is_released() -> None:
    """With the reason, which says what to repair."""
    health = Health("join")
    health.set_readiness()
    health.stop_partition(3, "the lake lags")
    assert json.loads(health.answer("/readyz").body) == {
        "role": "join",
        "status": "no",
        "reason": "partition 3 is stopped: the lake lags",
    }
    health.release_partition(3)
    assert health.answer("/readyz").status == 200
