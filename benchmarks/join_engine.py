"""What is measured: five programs that read the same two topics and write outcomes, each with its own settings.

Each is one worker with one processing thread, and each commits the positions of what it read together with what it
wrote. Must not measure anything.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import msgspec
from join_cluster import Cluster
from join_traffic import CONFIG, PARTITIONS, WINDOW_MS, Traffic, pair_part
from streams_program import JAVA_OPTIONS, java_version, streams_command
from worker_program import EngineError, WorkerProgram
from xxhash import xxh3_64_intdigest

from truthloop.broker.jars import KAFKA_VERSION, cache_folder

__all__ = ["ENGINES", "WARM_PREDICTIONS", "Engine"]

SUPERVISOR = "TRUTHLOOP_SUPERVISOR"
HERE = Path(__file__).parent
QUIX_VERSION = "3.28.1"
QUIX_COMMIT_MS = 1_000
"""Its default is 5 s; with that, the wait for the last commit would be seen in short runs."""

STREAMS_PROPERTIES = {
    "processing.guarantee": "exactly_once_v2",
    "num.stream.threads": "1",
    "commit.interval.ms": "100",
    "compression.type": "lz4",
    "auto.offset.reset": "earliest",
}
WARM_PREDICTIONS = 200_000
"""What Java has joined before it is measured, in a loop of its own: three to four seconds, and all is compiled."""

HOUR_MS = 3_600_000


class _Both(msgspec.Struct):
    """An outcome of those that write both values side by side."""

    label: "_Label"


class _Label(msgspec.Struct):
    key: str
    value: float
    time: int


class _Outcome(msgspec.Struct):
    """The part of Truthloop's outcome that is checked."""

    key: str
    value: float
    label_time: int


class Engine(ABC):
    """One worker.

    Args:
        cluster: where the topics are.
        folder: for its state and its logs.
        warm_predictions: with how many it becomes warm, where that takes something.
    """

    name: str
    title: str

    def __init__(self, cluster: Cluster, folder: Path, warm_predictions: int = WARM_PREDICTIONS) -> None:
        self.cluster = cluster
        self.warm_predictions = warm_predictions
        self.folder = folder / self.name
        self.folder.mkdir(exist_ok=True)
        self.program: WorkerProgram | None = None

    @abstractmethod
    def launch(self, loop: str) -> WorkerProgram:
        """Make a loop's topics, start a worker on them and return it."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of what it is made of."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Fetch and make what it needs."""

    def start(self, loop: str) -> WorkerProgram:
        """Start a worker on a new loop."""
        self.program = self.launch(loop)
        return self.program

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self.program is not None:
            self.program.stop()
            self.program = None

    def turns(self) -> dict[str, tuple[float, float]]:
        """Return by part of the worker's turns the seconds so far: of wall time, and of CPU time. Most do not tell."""
        return {}

    def fault(self, loop: str, loads: list[Traffic]) -> str | None:
        """Return what is wrong with what came out, or None: every pair must be there, once, as it must be."""
        count, total = 0, 0
        for key, value_raw in self.cluster.outcomes(loop):
            joined, value, time_ms = self.pair(value_raw)
            assert joined == key.decode(), f"outcome of {joined} under the key {key!r}"
            count += 1
            total += pair_part(joined, value, time_ms)
        return _fault("outcomes", count, total, [(load.tally.pairs, load.tally.pair_sum) for load in loads])

    def pair(self, value: bytes) -> tuple[str, float, int]:
        """Read key, label and label time of an outcome that holds both values."""
        label = _decode_both(value).label
        return label.key, label.value, label.time

    def _create(self, loop: str) -> None:
        self.cluster.create(*(f"{loop}.{name}" for name in ("predictions", "labels", "outcomes")))

    def _log(self, loop: str) -> Path:
        return self.folder / f"{loop}.log"


class Passthrough(Engine):
    """Records as they are, from topic to topic: what no join on this client can be faster than."""

    name = "passthrough"
    title = "bare pass-through"

    def launch(self, loop: str) -> WorkerProgram:
        """Start it."""
        self._create(loop)
        command = [sys.executable, str(HERE / "passthrough.py"), self.cluster.servers, loop]
        return WorkerProgram(command, self._log(loop))

    def versions(self) -> dict[str, str]:
        """Return the version of the client."""
        return {"confluent-kafka": importlib.metadata.version("confluent-kafka")}

    def fault(self, loop: str, loads: list[Traffic]) -> str | None:
        """Compare all records with what went in."""
        count, total = 0, 0
        for _, value in self.cluster.outcomes(loop):
            count += 1
            total += xxh3_64_intdigest(value)
        return _fault("records", count, total, [(load.tally.records, load.tally.record_sum) for load in loads])


class Truthloop(Engine):
    """One worker of the join, started as users start it."""

    name = "truthloop"
    title = "Truthloop"

    def launch(self, loop: str) -> WorkerProgram:
        """Make the loop with `truthloop start` and run its join."""
        folder = self.folder / loop
        folder.mkdir()
        config = folder / "truthloop.yaml"
        text = CONFIG.format(loop=loop, servers=self.cluster.servers, folder=folder, partitions=PARTITIONS)
        config.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "truthloop"]
        where = ["--config", str(config)]
        started = subprocess.run(  # noqa: S603 - our own command
            [*command, "start", "--from", "earliest", *where], capture_output=True, text=True, check=False, cwd=folder
        )
        if started.returncode:
            raise EngineError(f"truthloop start: {started.stderr}")
        mine = {SUPERVISOR: str(os.getpid())}  # so it does not outlive us
        return WorkerProgram([*command, "run", "join", "--slot", "0", "--port", "0", *where], self._log(loop), mine)

    def turns(self) -> dict[str, tuple[float, float]]:
        """Return what its metrics say."""
        assert self.program is not None
        port = self.program.find(r"listens on port (\d+)")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        line = re.compile(r'^truthloop_turn_(cpu_)?seconds_total\{part="(\w+)",.*\} (\S+)$', re.MULTILINE)
        found = {(part, bool(is_cpu)): float(seconds) for is_cpu, part, seconds in line.findall(text)}
        return {part: (found[part, False], found[part, True]) for part, is_cpu in found if not is_cpu}

    def stop(self) -> None:
        """End it as a person would."""
        if self.program is not None:
            self.program.stop(by_signal=True)
            self.program = None

    def versions(self) -> dict[str, str]:
        """Return the versions of it and of what carries most of its time."""
        names = ("truthloop", "confluent-kafka", "rocksdict", "msgspec")
        return {name: importlib.metadata.version(name) for name in names}

    def pair(self, value: bytes) -> tuple[str, float, int]:
        """Read key, label and label time of an outcome."""
        return _pair_of_fields(value)


class KafkaStreams(Engine):
    """The program in `kafka_streams/`, warmed up on a loop of its own."""

    name = "streams"
    title = "Kafka Streams"
    values = "bytes"

    def prepare(self) -> None:
        """Fetch the jars and compile."""
        self._command = streams_command(self.folder)

    def launch(self, loop: str) -> WorkerProgram:
        """Start Java, let it join something else first, then start on the loop."""
        properties = [f"{name}={value}" for name, value in STREAMS_PROPERTIES.items()]
        arguments = [self.cluster.servers, str(self.folder / "state"), str(WINDOW_MS), self.values, *properties]
        program = self.program = WorkerProgram([*self._command, *arguments], self._log(loop))
        warm = f"warm-{loop}"
        for name in (warm, loop):
            self._create(name)
        program.tell(f"start {warm}", "started")
        *_, hot = Traffic.hot(self.warm_predictions, int(time.time() * 1000) - HOUR_MS)
        load = self.cluster.fill(warm, hot.chunks())
        load.commit()
        for lag in self.cluster.lags(warm, load.ends):
            program.check()
            if not lag:
                break
        program.tell("stop", "stopped")
        self.cluster.delete(warm)
        program.tell(f"start {loop}", "started")
        return program

    def versions(self) -> dict[str, str]:
        """Return the versions of it and of its Java."""
        return {"kafka-streams": KAFKA_VERSION, "java": f"{java_version()} {' '.join(JAVA_OPTIONS)}"}


class JsonStreams(KafkaStreams):
    """The same, where Jackson reads and writes the values: what an application does that uses them."""

    name = "json-streams"
    title = "Kafka Streams with JSON"
    values = "json"

    def pair(self, value: bytes) -> tuple[str, float, int]:
        """Read key, label and label time of an outcome, which has the fields that Truthloop's has."""
        return _pair_of_fields(value)


class QuixStreams(Engine):
    """The program `quix_join.py`, in an environment of its own."""

    name = "quix"
    title = "Quix Streams"

    def prepare(self) -> None:
        """Make the environment, once for all runs of this user."""
        environment = cache_folder().parent / f"quixstreams-{QUIX_VERSION}"
        self._python = environment / "bin" / "python"
        whole = environment / "whole"
        if not whole.exists():
            package = f"quixstreams=={QUIX_VERSION}"
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(environment)],
                [str(self._python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package],
            ):
                subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - python's own tools
            whole.touch()

    def launch(self, loop: str) -> WorkerProgram:
        """Start it."""
        self._create(loop)
        state = str(self.folder / loop)
        arguments = [self.cluster.servers, loop, state, str(WINDOW_MS), str(QUIX_COMMIT_MS)]
        return WorkerProgram([str(self._python), str(HERE / "quix_join.py"), *arguments], self._log(loop))

    def versions(self) -> dict[str, str]:
        """Return the versions in its environment."""
        names = ("quixstreams", "confluent-kafka", "rocksdict")
        code = (
            f"import importlib.metadata, json; print(json.dumps({{n: importlib.metadata.version(n) for n in {names}}}))"
        )
        said = subprocess.run([str(self._python), "-c", code], check=True, capture_output=True)  # noqa: S603 - the same
        found: dict[str, Any] = json.loads(said.stdout)
        return found


ENGINES: dict[str, type[Engine]] = {
    one.name: one for one in (Passthrough, Truthloop, KafkaStreams, JsonStreams, QuixStreams)
}

_decode_both = msgspec.json.Decoder(_Both).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode


def _pair_of_fields(value: bytes) -> tuple[str, float, int]:
    outcome = _decode_outcome(value)
    return outcome.key, outcome.value, outcome.label_time


def _fault(what: str, count: int, total: int, expected: list[tuple[int, int]]) -> str | None:
    wanted = sum(one for one, _ in expected)
    if count != wanted:
        return f"{count:,} {what} in place of {wanted:,}"
    return None if total % (1 << 64) == sum(part for _, part in expected) % (1 << 64) else f"other {what} than expected"
