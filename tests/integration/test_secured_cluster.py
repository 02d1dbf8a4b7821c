"""A cluster with TLS and passwords: our clients get in with the right secret, and say what is wrong without it."""

from pathlib import Path

import pytest
from kafka_fixture import QUICK_START
from live_case import DAY_MS, Loop, Traffic, finish, running

from truthloop.broker.local_broker import LocalBroker
from truthloop.broker.security import BrokerSecurity
from truthloop.clock import now_ms

VARIABLE = "TRUTHLOOP_KAFKA_SASL_PASSWORD"


@pytest.mark.timeout(300)
def test_a_loop_runs_on_a_cluster_with_tls_and_passwords(tmp_path: Path) -> None:
    """The secret comes from a file; it is in no output; a wrong one, or none, is told with exit code 4."""
    security = BrokerSecurity()
    with LocalBroker(tmp_path / "kafka", security=security, java_options=QUICK_START) as broker:
        properties = dict(broker.client_properties)
        del properties["bootstrap.servers"]
        password = properties.pop("sasl.password")
        hidden = {"sasl.password": password}
        secret = tmp_path / "password"
        secret.write_text(password + "\n")
        with running(Loop(tmp_path, broker.bootstrap_servers, client=properties, secrets=hidden)) as loop:
            wrong = loop.command("start", "--from", "earliest", **{VARIABLE: "wrong"})
            assert wrong.returncode == 4
            assert VARIABLE in wrong.stderr
            environ = {f"{VARIABLE}_FILE": str(secret)}
            done = loop.command("start", "--from", "earliest", **environ)
            assert done.returncode == 0, done.stderr
            traffic = Traffic(3, 200, now_ms() - 4 * DAY_MS)
            loop.produce(traffic)
            loop.run("join", **environ)
            loop.environ |= environ
            assert finish(loop, traffic) == []
            said = loop.log("join") + done.stdout + done.stderr + wrong.stdout + wrong.stderr
            assert password not in said


def test_a_secret_in_the_config_is_refused(tmp_path: Path) -> None:
    """Whatever stands in a config ends in a repository."""
    loop = Loop(tmp_path, "localhost:1", client={"sasl.password": "hush"})
    done = loop.command("start", "--from", "earliest")
    assert done.returncode == 2
    assert VARIABLE in done.stderr
    assert "hush" not in done.stderr


def test_a_cluster_that_does_not_answer_is_told_with_its_own_exit_code(tmp_path: Path) -> None:
    """Nothing listens on port 1."""
    done = Loop(tmp_path, "127.0.0.1:1").command("status")
    assert done.returncode == 4
    assert "127.0.0.1:1" in done.stderr
    assert "bootstrap_servers" in done.stderr
