"""A cluster with TLS and passwords: our clients get in with the right secret, and say what is wrong without it."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from kafka_fixture import QUICK_START
from live_case import DAY_MS, Loop, Traffic, finish, running
from token_endpoint import CLIENT, SECRET, issuing

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


@pytest.mark.timeout(400)
def test_a_loop_runs_with_tokens_of_oauth(tmp_path: Path) -> None:
    """All roles, feedback by Faust among them, ask the endpoint for tokens; a wrong secret is told, and hidden."""
    variable = "TRUTHLOOP_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"
    module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
    properties = {
        "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
        "listener.name.clients.oauthbearer.sasl.jaas.config": f'{module} required unsecuredLoginStringClaim_sub="b";',
    }
    security = BrokerSecurity()
    with (
        issuing() as issuer,
        LocalBroker(tmp_path / "kafka", security=security, properties=properties, java_options=QUICK_START) as broker,
    ):
        client = {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": broker.client_properties["ssl.ca.location"],
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": CLIENT,
            "sasl.oauthbearer.token.endpoint.url": issuer.url,
            "sasl.oauthbearer.scope": "kafka",
        }
        hidden = {"sasl.oauthbearer.client.secret": SECRET}
        with running(Loop(tmp_path, broker.bootstrap_servers, client=client, secrets=hidden)) as loop:
            wrong = loop.command("start", "--from", "earliest", **{variable: "wrong"})
            assert wrong.returncode == 4
            assert variable in wrong.stderr
            loop.environ |= {variable: SECRET}
            loop.begin()
            traffic = Traffic(4, 200, now_ms() - 4 * DAY_MS)
            loop.produce(traffic)
            for role in ("join", "lake", "feedback"):
                loop.run(role)
            assert finish(loop, traffic) == []
            loop.wait("feedback, which has read its first message", lambda: is_ready(loop))
            assert len(issuer.asked) >= 5
            logs = "".join(loop.log(role) for role in ("join", "lake", "feedback"))
            assert SECRET not in logs + wrong.stdout + wrong.stderr


def is_ready(loop: Loop) -> bool:
    """Tell whether the feedback role is: it has read a message that it has sent."""
    port = re.search(r"the page is at http://127.0.0.1:(\d+)/", loop.log("feedback"))
    if port is None:
        return False
    try:
        with urlopen(f"http://127.0.0.1:{port[1]}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


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
