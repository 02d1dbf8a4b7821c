"""A real Apache Kafka on this machine, for the demo, tests, benchmarks and developers: one node, on loopback.

It keeps records like any other Kafka, transactions included, and nothing of it outlives the process that started
it but its folder. This module must not be used for data that matters: there is one copy of everything.
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
    free_port,
    kill_node,
    log_tail,
    node_properties,
    port_is_free,
    start_node,
    stop_node,
    wait_until_it_answers,
    write_properties,
)
from truthloop.broker.program import KafkaProgram, prepare_kafka
from truthloop.broker.security import BrokerSecurity

__all__ = ["BrokerSecurity", "LocalBroker"]

PORT_ATTEMPTS: Final = 3
"""Between choosing a free port and listening on it, somebody else may take it."""

_NO_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType({})


class LocalBroker:
    """A broker and its folder. As a context manager it is started and stopped.

    Args:
        folder: where it keeps its records, its log and its settings; made if it is not there, gone on with if it
            holds an earlier run's.
        port: for clients; 0 takes a free one at the first start and stays with it.
        security: TLS and a password, in place of plain text.
        properties: further properties of Kafka, or other values for ours.
        java_options: such as `-Xmx1g`, in place of 512 MB.
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
        """Its address, for clients; known from the first start on."""
        if self._port == 0:
            raise RuntimeError("a local broker has its port from its first start on")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The process that is the broker."""
        return self._running().pid

    @property
    def log(self) -> Path:
        """What the broker says: warnings and errors, of all its starts."""
        return self._folder / "broker.log"

    @property
    def client_properties(self) -> dict[str, str]:
        """The properties of librdkafka with which a client reaches the broker, password and certificate included."""
        plain = {"bootstrap.servers": self.bootstrap_servers}
        if self._security is None:
            return plain
        return plain | self._security.client_properties(self._folder)

    def start(self) -> None:
        """Start the broker and wait until it answers; on a folder that was used before, with what is in it.

        Raises:
            BrokerError: the port is taken, the folder holds something else, Kafka cannot be fetched, or the broker
                does not come up; with the end of its log.
        """
        if self._process is not None:
            raise RuntimeError(f"the local broker in {self._folder} is running")
        self._program = self._program or prepare_kafka()
        self._take_folder(self._program)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if self._port and not port_is_free(self._port):
                raise self._port_is_taken()
            try:
                self._launch(self._program, self._port or free_port())
            except BrokerError as error:
                if attempt == PORT_ATTEMPTS or "failed to bind" not in error.hint:
                    raise
            else:
                return

    def stop(self) -> None:
        """End the broker in an orderly way; nothing happens if it is not running."""
        process, self._process = self._process, None
        atexit.unregister(self.kill)
        if process is not None:
            stop_node(process)

    def kill(self) -> None:
        """End the broker as a crash would; nothing happens if it is not running."""
        process, self._process = self._process, None
        atexit.unregister(self.kill)
        if process is not None:
            kill_node(process)

    def wait(self) -> NoReturn:
        """Wait until the broker ends without having been asked to, which it should not do.

        Raises:
            BrokerError: it has ended.
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

    def _launch(self, program: KafkaProgram, port: int) -> None:
        """Start on a port that was free a moment ago, and stay with it if that worked."""
        properties = node_properties(self._folder / "data", port, free_port())
        if self._security is not None:
            properties |= self._security.node_properties(self._folder, program.java_home)
        write_properties(self._folder / "server.properties", properties | self._properties)
        options = [f"-Djava.io.tmpdir={self._folder / 'tmp'}", *self._java_options]
        command = program.command("kafka.Kafka", str(self._folder / "server.properties"), options=options)
        before, self._port = self._port, port
        self._process = start_node(command, self.log)
        atexit.register(self.kill)
        try:
            wait_until_it_answers(self._process, self.client_properties, self.log)
        except BaseException:
            self.kill()
            self._port = before
            raise

    def _take_folder(self, program: KafkaProgram) -> None:
        """Make an empty broker in the folder, unless there is a broker in it.

        Raises:
            BrokerError: there is something else in it, or it cannot be written.
        """
        meta = self._folder / "data" / "meta.properties"
        if "," in str(self._folder):
            raise BrokerError("Kafka takes a comma for the end of a folder's name", where=str(self._folder))
        try:
            if not meta.exists():
                if self._folder.exists() and any(self._folder.iterdir()):
                    raise BrokerError(
                        "the folder holds something, but no local broker; it was left alone",
                        where=str(self._folder),
                        hint="Choose another folder, or empty this one.",
                    )
                meta.parent.mkdir(parents=True)
                shutil.copy(program.bootstrap, meta.parent)
                ids = {"cluster.id": _kafka_id(), "directory.id": _kafka_id()}
                write_properties(meta, {"version": "1", "node.id": "1", **ids})
            shutil.rmtree(self._folder / "tmp", ignore_errors=True)  # Java's, from before it was killed
            (self._folder / "tmp").mkdir()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BrokerError(
                f"the folder of the broker cannot be written: {reason}", where=str(self._folder)
            ) from error

    def _port_is_taken(self) -> BrokerError:
        return BrokerError(
            f"port {self._port} is in use",
            where=self.bootstrap_servers,
            hint="Stop what listens there, or choose another port; 0 takes a free one.",
        )


def _kafka_id() -> str:
    """Return a new id as Kafka writes it: 22 characters, the first no dash, which its tools take for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
