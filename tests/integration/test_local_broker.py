"""The local broker is a real Kafka: it keeps committed records, refuses unknown clients, leaves no process behind.

Tests `truthloop.cli.commands.broker`, too.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, ConfigResource
from kafka_fixture import QUICK_START, as_client, create_topic, produce_transaction, read_all
from typer.testing import CliRunner

from schemas.errors import BrokerError
from truthloop.__main__ import app
from truthloop.broker import jars as kafka_jars
from truthloop.broker import local_broker, node
from truthloop.broker.local_broker import LocalBroker
from truthloop.broker.node import free_ports, port_is_free
from truthloop.broker.program import prepare_kafka
from truthloop.broker.security import BrokerSecurity

STARTING = """
import pathlib, sys
from truthloop.broker.local_broker import LocalBroker
broker = LocalBroker(pathlib.Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""


def values(client: str | dict[str, str], topic: str, isolation: str = "read_committed") -> list[bytes | None]:
    """Return the values of a topic's records."""
    return [record.value() for record in read_all(client, topic, isolation)]


def gets_error(client: dict[str, str], code: int) -> bool:
    """Return whether a client gets an error within half a minute."""
    codes: list[int] = []
    producer = Producer(as_client(client) | {"error_cb": lambda error: codes.append(error.code())})
    return any(producer.poll(0.25) >= 0 and code in codes for _ in range(120))


def test_committed_records_are_read_and_aborted_ones_are_not(kafka: str) -> None:
    """The aborted ones are in the log: only the isolation level hides them."""
    topic = create_topic(kafka)
    produce_transaction(kafka, topic, b"1", b"2")
    produce_transaction(kafka, topic, b"3", commit=False)
    produce_transaction(kafka, topic, b"4")
    assert values(kafka, topic) == [b"1", b"2", b"4"]
    assert values(kafka, topic, "read_uncommitted") == [b"1", b"2", b"3", b"4"]


def test_a_topic_is_not_created_by_writing_to_it(kafka: str) -> None:
    """A mistyped name is an error for a producer."""
    failures: list[KafkaError | None] = []
    producer = Producer(as_client(kafka, topic_metadata_propagation_max_ms="2000"))
    producer.produce("mistyped", b"1", on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(30) == 0
    assert [failure and failure.code() for failure in failures] == [KafkaError.UNKNOWN_TOPIC_OR_PART]


def test_a_broker_that_was_killed_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    """At the same address; a transaction that was open is not visible, and does not block the next one.

    `wait` raises when the broker ends by itself. Another one in the folder, at another port and with other settings,
    has the same records and cluster id.
    """
    folder = tmp_path / "ümlaut kafka"
    with LocalBroker(folder, java_options=QUICK_START) as broker:
        servers = broker.bootstrap_servers
        topic = create_topic(servers)
        cluster = AdminClient(as_client(servers)).list_topics(timeout=30).cluster_id
        produce_transaction(servers, topic, b"before")
        producer = Producer(as_client(servers, transactional_id="same"))
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(topic, b"open")
        assert producer.flush(30) == 0
        broker.kill()
        del producer
        broker.start()
        assert broker.bootstrap_servers == servers
        assert values(servers, topic) == [b"before"]
        successor = Producer(as_client(servers, transactional_id="same"))
        successor.init_transactions(30)
        successor.begin_transaction()
        successor.produce(topic, b"after")
        successor.commit_transaction(30)
        assert values(servers, topic) == [b"before", b"after"]
        assert values(servers, topic, "read_uncommitted") == [b"before", b"open", b"after"]
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(BrokerError, match="ended by itself, with exit code -9"):
            broker.wait()
    with LocalBroker(folder, properties={"log.retention.hours": "2"}, java_options=QUICK_START) as other:
        assert other.bootstrap_servers != servers
        assert values(other.bootstrap_servers, topic) == [b"before", b"after"]
        admin, resource = (
            AdminClient(as_client(other.bootstrap_servers)),
            ConfigResource(ConfigResource.Type.BROKER, "1"),
        )
        assert admin.describe_configs([resource])[resource].result(30)["log.retention.hours"].value == "2"
        assert admin.list_topics(timeout=30).cluster_id == cluster


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Before anything is started."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is in use") as refused:
            LocalBroker(tmp_path / "kafka", port).start()
        assert refused.value.exit_code == 4
        assert not (tmp_path / "kafka" / "broker.log").exists()


def test_a_port_that_another_node_takes_first_is_replaced(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another free one; what answers at the taken one is not this node."""
    drawn = iter([[int(kafka.rpartition(":")[2]), *free_ports(1)]])
    monkeypatch.setattr(local_broker, "free_ports", lambda *words: next(drawn, None) or free_ports(*words))
    with LocalBroker(tmp_path / "kafka", java_options=QUICK_START) as broker:
        assert broker.bootstrap_servers != kafka
        assert "failed to bind" in broker.log.read_text("utf-8")


def test_the_port_of_the_clients_is_not_drawn_for_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing listens there yet, and no other port is free."""
    [port] = free_ports(1)
    monkeypatch.setattr(node, "PORTS", range(port, port + 1))
    with pytest.raises(BrokerError, match=f"no port from {port} to {port} is free"):
        LocalBroker(tmp_path / "kafka", port).start()


def test_a_broker_that_does_not_start_reports_why(tmp_path: Path) -> None:
    """With the end of its log, which has Kafka's own message."""
    broker = LocalBroker(tmp_path / "kafka", properties={"num.io.threads": "many"}, java_options=QUICK_START)
    with pytest.raises(BrokerError, match="did not start; it ended with exit code 1") as refused:
        broker.start()
    assert "Invalid value many for configuration num.io.threads" in refused.value.hint
    assert refused.value.where == str(broker.log)


def test_a_folder_with_other_files_is_not_changed(tmp_path: Path) -> None:
    """For instance a Kafka that somebody unpacked."""
    (tmp_path / "server.properties").write_text("theirs", "utf-8")
    with pytest.raises(BrokerError, match="not changed"):
        LocalBroker(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["server.properties"]
    assert (tmp_path / "server.properties").read_text("utf-8") == "theirs"


def test_a_broker_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    """The kernel ends it, as the parent cannot."""
    command = [sys.executable, "-c", STARTING, str(tmp_path / "kafka")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        broker = os.pidfd_open(int(parent.stdout.readline()))
        assert select.select([broker], [], [], 0)[0] == []
        parent.kill()
        assert select.select([broker], [], [], 60)[0] == [broker]
        os.close(broker)


def test_a_secured_broker_serves_only_clients_that_know_the_password(tmp_path: Path) -> None:
    """Including transactions, for which the broker is its own client; no secret is readable for other users.

    A wrong password or user, an unknown certificate and a connection without TLS are refused.
    """
    security, folder = BrokerSecurity("alice", "in-wonderland"), tmp_path / "kafka"
    with LocalBroker(folder, security=security, java_options=QUICK_START) as broker:
        client = broker.client_properties
        topic = create_topic(client)
        produce_transaction(client, topic, b"1")
        produce_transaction(client, topic, b"2", commit=False)
        assert values(client, topic) == [b"1"]
        assert gets_error(client | {"sasl.password": "wrong"}, KafkaError._AUTHENTICATION)
        assert gets_error(client | {"sasl.username": "bob"}, KafkaError._AUTHENTICATION)
        assert gets_error(client | {"ssl.ca.location": "probe"}, KafkaError._SSL)
        assert gets_error(client | {"security.protocol": "SASL_PLAINTEXT"}, KafkaError._ALL_BROKERS_DOWN)
        assert gets_error(client | {"security.protocol": "PLAINTEXT"}, KafkaError._ALL_BROKERS_DOWN)
        assert "in-wonderland" not in Path(f"/proc/{broker.pid}/cmdline").read_text("utf-8")
    for name in ("server.properties", "broker.p12", "broker.p12.password"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    assert "in-wonderland" not in broker.log.read_text("utf-8") + repr(security)


@pytest.mark.parametrize("word", ["", "with space", 'quote"', "line\nbreak", "ü"])
def test_a_password_that_kafkas_settings_cannot_contain_is_refused(word: str) -> None:
    """It could end the value and begin another."""
    with pytest.raises(ValueError, match="letters, digits"):
        BrokerSecurity("alice", word)


def test_java_accepts_the_start_up_cache() -> None:
    """Java would ignore a bad one silently, and every start would take three times as long."""
    command = prepare_kafka().command("kafka.tools.StorageTool", "random-uuid", options=["-XX:AOTMode=on"])
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_command_runs_a_broker_until_it_is_stopped(tmp_path: Path) -> None:
    """By SIGTERM or Ctrl-C, with exit code 0; the second run finds the first one's topic."""
    topics = set()
    for end in (signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-m", "truthloop", "broker", "--port", "0", "--folder", str(tmp_path / "kafka")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            servers = yaml.safe_load(process.stdout.readline())["kafka"]["bootstrap_servers"]
            assert topics <= set(AdminClient(as_client(servers)).list_topics(timeout=30).topics)
            topics.add(create_topic(servers))
            process.send_signal(end)
            rest, said = process.communicate(timeout=60)
            assert process.returncode == 0, said
        assert rest == ""
        assert "not for production" in said
        assert "Stopped." in said
        assert port_is_free(int(servers.rpartition(":")[2]))


def test_the_command_announces_what_it_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much, from where and into which folder; then it fails, because there is no server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRUTHLOOP_MAVEN_URL", "http://127.0.0.1:9/maven2")
    monkeypatch.setattr(kafka_jars, "RETRIES", 0)
    refused = CliRunner().invoke(app, ["broker", "--port", "0", "--folder", str(tmp_path / "kafka")])
    assert refused.exit_code == 4
    announced, failure = refused.stderr.split("error:", 1)
    assert "46 files of 44 MB, from http://127.0.0.1:9/maven2" in announced
    assert str(tmp_path / "cache" / "truthloop" / "kafka-4.1.0") in announced
    assert "TRUTHLOOP_MAVEN_URL" in failure
    assert not (tmp_path / "kafka").exists()
