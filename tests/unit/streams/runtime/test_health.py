"""What a role answers to probes: the same over its own server as over the page's."""

import json
from http.client import HTTPConnection

import pytest

from streams.runtime.health import PROBE_PATHS, Health, HealthServer


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
    health.report_waiting()
    assert health.answer("/livez").status == 200


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
