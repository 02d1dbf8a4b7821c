"""A real Apache Kafka for the demo, tests, benchmarks and development: one node on loopback, in a folder.

It keeps records like any other Kafka, including transactions, but only one copy of each: not for data that matters. The
node ends with the process that started it; its folder stays.
"""

import atexit
import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn, Self

from schemas.errors import BrokerError
from truthloop.broker.node import (
    HOST,
    cluster_of,
    free_ports,
    kill_node,
    log_tail,
    node_properties,
    port_is_free,
    start_node,
    stop_node,
    wait_until_ready,
    write_properties,
)
from truthloop.broker.program import KafkaProgram, prepare_kafka
from truthloop.broker.security import BrokerSecurity

__all__ = ["LocalBroker"]

PORT_ATTEMPTS: Final = 3
"""Another program may take a free port before the node listens on it."""

_NO_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType({})


class LocalBroker:
    """A broker and its folder. As a context manager it starts and stops the broker.

    Args:
        folder: of records, log and settings; created if it does not exist, reused if it has those of an earlier run.
        port: for clients; 0: a free one, chosen at the first start and kept.
        security: TLS and a password; None: plain text.
        properties: of Kafka; they override ours.
        java_options: such as `-Xmx1g`; the default heap is 512 MB.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        security: BrokerSecurity | None = None,
        properties: Mapping[str, str] = _NO_PROPERTIES,
        java_options: Sequence[str] = (),
    ) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._security = security
        self._properties = dict(properties)
        self._java_options = tuple(java_options)
        self._program: KafkaProgram | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """HOST:PORT for clients; known after the first start."""
        if self._port == 0:
            raise RuntimeError("a local broker has no port before its first start")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._running().pid

    @property
    def log(self) -> Path:
        """File with the broker's warnings and errors, of all its starts."""
        return self._folder / "broker.log"

    @property
    def client_properties(self) -> dict[str, str]:
        """Properties of librdkafka for a client of the broker, including password and certificate."""
        plain = {"bootstrap.servers": self.bootstrap_servers}
        if self._security is None:
            return plain
        return plain | self._security.client_properties(self._folder)

    def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            BrokerError: the port is in use, the folder has other files, Kafka cannot be downloaded, or the broker does
                not start; then with the end of its log.
        """
        if self._process is not None:
            raise RuntimeError(f"the local broker in {self._folder} is running")
        self._program = self._program or prepare_kafka()
        self._prepare_folder(self._program)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if self._port and not port_is_free(self._port):
                raise BrokerError(
                    f"port {self._port} is in use",
                    where=self.bootstrap_servers,
                    hint="Stop the program that listens there, or choose another port; 0 takes a free one.",
                )
            try:
                self._launch(self._program, *self._ports())
            except BrokerError as error:
                if attempt == PORT_ATTEMPTS or "failed to bind" not in error.hint:
                    raise
            else:
                return

    def stop(self) -> None:
        """Shut the broker down cleanly; does nothing if it is not running."""
        process, self._process = self._process, None
        atexit.unregister(self.kill)
        if process is not None:
            stop_node(process)

    def kill(self) -> None:
        """Kill the broker, as a crash would; does nothing if it is not running."""
        process, self._process = self._process, None
        atexit.unregister(self.kill)
        if process is not None:
            kill_node(process)

    def wait(self) -> NoReturn:
        """Wait until the broker ends by itself, which it does not do unless it fails.

        Raises:
            BrokerError: it ended.
        """
        code = self._running().wait()
        self._process = None
        atexit.unregister(self.kill)
        raise BrokerError(
            f"the local broker ended by itself, with exit code {code}", where=str(self.log), hint=log_tail(self.log)
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"the local broker in {self._folder} is not running")
        return self._process

    def _ports(self) -> list[int]:
        """Return two different ports: for clients, and for the node's controller."""
        return [self._port, *free_ports(1, self._port)] if self._port else free_ports(2)

    def _launch(self, program: KafkaProgram, port: int, controller_port: int) -> None:
        """Start on free ports, and keep that of the clients if that succeeds."""
        properties = node_properties(self._folder / "data", port, controller_port)
        if self._security is not None:
            properties |= self._security.node_properties(self._folder, program.java_home)
        write_properties(self._folder / "server.properties", properties | self._properties)
        options = [f"-Djava.io.tmpdir={self._folder / 'tmp'}", *self._java_options]
        command = program.command("kafka.Kafka", str(self._folder / "server.properties"), options=options)
        before, self._port = self._port, port
        self._process = start_node(command, self.log)
        atexit.register(self.kill)
        try:
            cluster = cluster_of(self._folder / "data")
            wait_until_ready(self._process, cluster, self.client_properties, self.log)
        except BaseException:
            self.kill()
            self._port = before
            raise

    def _prepare_folder(self, program: KafkaProgram) -> None:
        """Format the folder for an empty broker, unless it has one.

        Raises:
            BrokerError: the folder has other files, or is not writable.
        """
        meta = self._folder / "data" / "meta.properties"
        if "," in str(self._folder):
            raise BrokerError("Kafka does not support a folder with a comma in its name", where=str(self._folder))
        try:
            if not meta.exists():
                if self._folder.exists() and any(self._folder.iterdir()):
                    raise BrokerError(
                        "the folder has other files than those of a local broker, and was not changed",
                        where=str(self._folder),
                        hint="Choose another folder, or empty this one.",
                    )
                meta.parent.mkdir(parents=True)
                shutil.copy(program.bootstrap, meta.parent)
                ids = {"cluster.id": _kafka_id(), "directory.id": _kafka_id()}
                write_properties(meta, {"version": "1", "node.id": "1", **ids})
            shutil.rmtree(self._folder / "tmp", ignore_errors=True)  # left by a Java process that was killed
            (self._folder / "tmp").mkdir()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BrokerError(f"the folder of the broker is not writable: {reason}", where=str(self._folder)) from error


def _kafka_id() -> str:
    """Return a new id as Kafka writes it: 22 characters; a leading dash would look like an option to its tools."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
