"""A loop with source topics on a real broker: workers as threads or processes, and the messages they have sent."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from confluent_kafka import KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from ingest_case import PII_KEY
from kafka_fixture import as_client, read_all

from schemas.config.loop import LoopConfig
from streams.ingest.role import IngestRole, commit_start
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, create_topics
from streams.registry.topic_tools import topic_tools
from streams.runtime.health import Health
from streams.runtime.worker import Worker

__all__ = ["IngestLoop", "RunningWorker", "ingest_loop"]

DEADLINE_S = 150
STEP_S = 0.2

CLIENT = {"session.timeout.ms": 6_000, "topic.metadata.refresh.interval.ms": 500}
"""Shorter than in production, so that tests need not wait long."""


class RunningWorker:
    """A worker in a thread of this process.

    Attributes:
        error: what ended the worker, if anything did.
    """

    def __init__(self, loop: "IngestLoop", slot: str) -> None:
        self.health = Health("ingest")
        clients = KafkaClients(loop.config.kafka, {}, f"test-{slot}") if loop.config.kafka else None
        assert clients is not None
        worker = Worker(slot, loop.folder, loop.folder, self.health, lambda: 1_000)
        tools = topic_tools(loop.config, PII_KEY, Path(__file__).parent)
        self.role = IngestRole(clients, loop.config, worker, tools)
        self.error: BaseException | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> "RunningWorker":
        """Start the thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the worker and wait for its thread."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.role.run(self._stop.is_set)
        except BaseException as error:  # noqa: BLE001 - the test checks it
            self.error = error


class IngestLoop:
    """A loop in a folder, with topics of its own on a broker.

    Args:
        folder: for config and state.
        servers: bootstrap servers of the broker.
        sources: the config's `ingest`; its topics get the loop's name as a prefix.
        parts: other parts of the config.
    """

    def __init__(self, folder: Path, servers: str, sources: Sequence[dict[str, Any]], **parts: Any) -> None:
        self.folder = folder
        self.servers = servers
        self.name = f"t-{uuid.uuid4().hex[:12]}"
        features = parts.pop("features", {})
        value = {
            "version": 1,
            "loop": self.name,
            "partitions": 4,
            "kafka": {"bootstrap_servers": servers, "client": CLIENT},
            "lake": {"uri": str(folder / "lake")},
            "state": {"dir": str(folder / "state")},
            "predictions": {"outputs": {"fraud": {"task": "binary"}}, "features": features},
            "labels": {"fraud": {"definition": "d", "horizon": "7d", "retain": "9d"}},
            "ingest": [source | {"topic": self.topic(source["topic"])} for source in sources],
        } | parts
        self.config = LoopConfig.model_validate(value)
        self.path = folder / "truthloop.yaml"
        self.path.write_text(json.dumps(value))
        self.clients = KafkaClients(self.config.kafka, {}, "test")  # type: ignore[arg-type]
        self._admin = AdminClient(as_client(servers))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: list[RunningWorker] = []

    def topic(self, short: str) -> str:
        """Return the full name of a source topic."""
        return f"{self.name}-{short}"

    def create(self, short: str, partitions: int = 3, **config: str) -> None:
        """Create a source topic."""
        self._create(self.topic(short), partitions, config)

    def create_own(self, short: str, **config: str) -> None:
        """Create one of the loop's own topics before the loop does."""
        self._create(f"{self.name}.{short}", self.config.partitions, config)

    def _create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        topic = NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        self._admin.create_topics([topic])[name].result(30)

    def remove(self, short: str) -> None:
        """Delete a source topic, and wait until the broker does not report it any more."""
        name = self.topic(short)
        self._admin.delete_topics([name])[name].result(30)
        self.wait("the deletion", lambda: name not in self._admin.list_topics(timeout=30).topics)

    def grow(self, short: str, partitions: int) -> None:
        """Add partitions to a source topic, and wait until the broker reports them."""
        name = self.topic(short)
        self._admin.create_partitions([NewPartitions(name, partitions)])[name].result(30)
        self.wait(
            "new partitions",
            lambda: len(self._admin.list_topics(name, timeout=30).topics[name].partitions) == partitions,
        )

    def start(self) -> None:
        """Create topics and lake, as a person does."""
        command = [sys.executable, "-m", "truthloop", "start", "--from", "earliest", "--config", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, done.stderr

    def begin(self, where: str = "earliest") -> list[str]:
        """Create the loop's topics and commit where ingest starts."""
        create_topics(self.clients, Topics.of(self.config))
        return commit_start(self.clients, self.config, where)  # type: ignore[arg-type] - tests pass invalid values, too

    def produce(self, short: str, records: Sequence[dict[str, Any]]) -> None:
        """Write records ({value, key, partition, headers}) to a source topic and wait until the broker has them."""
        faults: list[object] = []

        def note(error: object, _message: Message) -> None:
            if error is not None:
                faults.append(error)

        producer = Producer(as_client(self.servers, message_max_bytes="3000000"))
        for record in records:
            while True:
                try:
                    producer.produce(self.topic(short), on_delivery=note, **record)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0
        assert faults == []

    def work(self, slot: str = "0") -> RunningWorker:
        """Start a worker in this process."""
        worker = RunningWorker(self, slot)
        self._workers.append(worker)
        return worker.start()

    def run(self, role: str = "ingest", **environ: str) -> subprocess.Popen[bytes]:
        """Start a worker of a role as a process."""
        command = [sys.executable, "-m", "truthloop", "run", role, "--slot", "0", "--port", "0"]
        with (self.folder / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--config", str(self.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | PII_KEY | environ,
                cwd=self.folder,
            )
        self._processes.append(process)
        return process

    def log(self, role: str = "ingest") -> str:
        """Return the log of a role's processes."""
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def read(self, topic: str, isolation: str = "read_committed") -> list[Message]:
        """Return the messages of one of the loop's topics."""
        return read_all(self.servers, f"{self.name}.{topic}", isolation)

    def height(self, topic: str) -> int:
        """Return how many offsets one of the loop's topics has used, committed or not."""
        reader = self.clients.reader()
        try:
            name = f"{self.name}.{topic}"
            ends = [reader.get_watermark_offsets(TopicPartition(name, number), timeout=30)[1] for number in range(4)]
        except KafkaException:  # a new client may not know the partitions' leaders yet
            return 0
        finally:
            reader.close()
        return sum(ends)

    def keys(self, topic: str = "predictions") -> list[str]:
        """Return the keys in a canonical topic, sorted."""
        return sorted((message.key() or b"").decode() for message in self.read(topic))

    def values(self, topic: str) -> list[dict[str, Any]]:
        """Return the messages of one of the loop's topics as objects."""
        return [json.loads(message.value() or b"") for message in self.read(topic)]

    def wait(self, what: str, is_done: Callable[[], bool]) -> None:
        """Wait for a condition; an error of a worker is raised here."""
        deadline, pause = time.monotonic() + DEADLINE_S, Event()
        while not is_done():
            for worker in self._workers:
                if worker.error is not None:
                    raise worker.error
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("*.log"))
                raise AssertionError(f"{what} did not happen; the workers' logs:\n{logs}")
            pause.wait(STEP_S)

    def end(self) -> None:
        """Stop every worker."""
        for worker in self._workers:
            with suppress(AssertionError):
                worker.stop()
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def ingest_loop(folder: Path, servers: str, sources: Sequence[dict[str, Any]], **parts: Any) -> Iterator[IngestLoop]:
    """Yield a loop whose workers are stopped at the end of the block."""
    loop = IngestLoop(folder, servers, sources, **parts)
    try:
        yield loop
    finally:
        loop.end()
