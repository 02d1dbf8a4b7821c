"""The feedback role on a real broker: one worker is active, all serve the page, and a killed one is replaced.

Tests `streams.feedback.role` with `streams.feedback.faust_app` and `truthloop.feedback.service`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Pause
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from effort import some
from kafka_fixture import as_client, produce, read_all
from retrain_case import SECRET_TEXT, make_loop, write_days

from lake import Lake
from retrain.decision_log import DecisionLog
from schemas.events.evidence import Decision, Evaluation, Event
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, create_topics
from truthloop.broker.node import free_ports
from truthloop.config.settings import Settings
from truthloop.feedback.reconcile import DAYS_AT_ONCE

SESSION_MS = 6_000
DEADLINE_S = 120
ENVIRON = {"TRUTHLOOP_WEBHOOK_SECRET": SECRET_TEXT}

ONLY_NOTICES = """
import sys
import streams.feedback.role
streams.feedback.role.INTERVAL_S = 1e6
from truthloop.__main__ import main
sys.exit(main())
"""
"""The role, but woken by notices only."""


class Worker:
    """One process of the role."""

    def __init__(self, settings: Settings, slot: int, *, only_notices: bool = False) -> None:
        [self.port] = free_ports(1)
        self._log = settings.path.parent / f"feedback-{slot}.log"
        words = ["run", "feedback", "--slot", str(slot), "--port", str(self.port), "--config", str(settings.path)]
        program = ["-c", ONLY_NOTICES] if only_notices else ["-m", "truthloop"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | ENVIRON,
            )

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of an answer; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def is_ready(self) -> bool:
        """Whether it reports so; one that has ended by itself fails the test."""
        assert self.process.poll() is None, self.log()
        return self.get("/readyz")[0] == 200

    @property
    def is_active(self) -> bool:
        """Whether it is the active worker."""
        found = re.search(r"^truthloop_feedback_active (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return found is not None and float(found[1]) == 1

    def log(self) -> str:
        """Return its log."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Terminate it, or kill it if it does not end."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def loop_on(kafka: str, folder: Path, days: int) -> Settings:
    """Return a loop with topics, and a lake filled from files."""
    client = json.dumps({"session.timeout.ms": SESSION_MS})
    section = f'kafka: {{bootstrap_servers: "{kafka}", client: {client}}}\n'
    name = f"t-{os.getpid()}-{folder.name[-24:].replace('_', '-')}".lower()
    settings = make_loop(folder, more=section, name=name)
    write_days(settings, (0, days))
    assert settings.config.kafka is not None
    create_topics(KafkaClients(settings.config.kafka, {}), Topics.of(settings.config))
    return settings


def wait(what: str, workers: Sequence[Worker], is_done: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + DEADLINE_S
    pause = Pause()
    while not is_done():
        assert time.monotonic() < deadline, f"{what} did not happen:\n" + "\n".join(one.log() for one in workers)
        pause.wait(0.3)


def log_of(settings: Settings) -> list[Decision]:
    """Return the gate's log in the lake."""
    return DecisionLog(Lake.open(settings.lake), "fraud").entries()


def published(kafka: str, settings: Settings) -> tuple[list[Decision], list[Evaluation]]:
    """Return the decisions and evaluations in the topics, each once, in order."""
    topics = Topics.of(settings.config)
    found: list[list[Any]] = []
    for topic, model in ((topics.decisions, Decision), (topics.evidence, Evaluation)):
        records = read_all(kafka, topic)
        assert {record.key() for record in records} <= {b"fraud"}
        found.append([model.model_validate_json(text) for text in sorted({record.value() for record in records})])
    return sorted(found[0], key=lambda one: one.number), sorted(found[1], key=lambda one: one.at)


@contextmanager
def running(*workers: Worker) -> Iterator[ExitStack]:
    """Stop workers at the end of the block; more may be added."""
    with ExitStack() as held:
        for worker in workers:
            held.callback(worker.stop)
        yield held


def test_one_of_two_workers_is_active_and_the_other_replaces_it_when_it_is_killed(kafka: str, tmp_path: Path) -> None:
    """Both serve the page all the time; decisions arrive on the topics, and nothing is decided twice."""
    settings = loop_on(kafka, tmp_path, 27)
    first = Worker(settings, 0)
    with running(first) as held:
        wait("a first worker", [first], lambda: first.is_ready)
        wait("its first reconciliation", [first], lambda: len(log_of(settings)) == 26)
        second = Worker(settings, 1)
        held.callback(second.stop)
        both = [first, second]
        wait("a second worker", both, lambda: second.is_ready and first.is_ready)
        wait("an active worker", both, lambda: [one.is_active for one in both].count(True) == 1)
        for one in both:
            wait("the page", both, lambda one=one: one.get("/")[0] == 200)
            assert re.search(r"OK|WATCH|HOLD|STALLED", one.get("/")[1])
            status, text = one.get("/panels/gate.json")
            assert (status, json.loads(text)["panel"]) == (200, "gate")
        write_days(settings, (27, 30))
        wait("a decision", both, lambda: len(log_of(settings)) == 30)

        def has_arrived() -> bool:
            decisions, evaluations = published(kafka, settings)
            return len(decisions) == len(log_of(settings)) and [one.at for one in evaluations] == [
                entry.at for entry in log_of(settings) if entry.event is Event.EVALUATED
            ]

        # evaluations are published once, as they are made; a kill may keep them from the topic, but not from the lake
        wait("the published messages", both, has_arrived)
        for _ in range(5):
            assert [one.is_active for one in both].count(True) <= 1
        active, other = both if first.is_active else both[::-1]
        assert not other.is_active
        active.process.send_signal(signal.SIGKILL)
        active.process.wait()
        assert other.get("/")[0] == 200
        write_days(settings, (30, 34))
        wait("the other one's decisions", [other], lambda: len(log_of(settings)) == 35)
        assert other.is_active
        wait("the published messages", [other], has_arrived)
        log = log_of(settings)
        assert all(entry.memory is not None for entry in log if entry.event is Event.EVALUATED)  # and it is never sent
        assert published(kafka, settings)[0] == [entry.model_copy(update={"memory": None}) for entry in log]
        other.process.terminate()
        assert other.process.wait(60) == 0, other.log()


def test_a_notice_of_a_commit_wakes_the_role(kafka: str, tmp_path: Path) -> None:
    """It reconciles for the notice, and once for its canary; again and again until all days are judged."""
    settings = loop_on(kafka, tmp_path, 4)
    worker = Worker(settings, 0, only_notices=True)
    with running(worker):
        wait("a worker", [worker], lambda: worker.is_ready)
        wait("its first reconciliation", [worker], lambda: len(log_of(settings)) == 3)
        following = 4 + DAYS_AT_ONCE + 3
        write_days(settings, (4, following))
        produce(kafka, Topics.of(settings.config).commits, b'{"v": 1}')
        wait("the days of the notice", [worker], lambda: len(log_of(settings)) == following - 1)


@pytest.mark.parametrize("name", some("leader", "commits", "decisions"))
def test_a_missing_topic_ends_the_role_and_is_named(kafka: str, tmp_path: Path, name: str) -> None:
    """Faust would wait for ever without an error."""
    settings = loop_on(kafka, tmp_path, 2)
    topic = str(getattr(Topics.of(settings.config), name))
    admin = AdminClient(as_client(kafka))  # kept: dropped before its futures are read, it would fail them
    admin.delete_topics([topic])[topic].result(30)
    wait_for_topics(kafka, topic, None)
    worker = Worker(settings, 0)
    with running(worker):
        assert worker.process.wait(DEADLINE_S) == 4, worker.log()
        assert f"topic {topic}: does not exist" in worker.log()
        assert "truthloop start" in worker.log()


def test_a_topic_with_other_partitions_ends_the_role_and_is_named(kafka: str, tmp_path: Path) -> None:
    """A table or an agent on it would read nothing, without an error."""
    settings = loop_on(kafka, tmp_path, 2)
    topic = Topics.of(settings.config).commits
    admin = AdminClient(as_client(kafka))
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)
    wait_for_topics(kafka, topic, 3)
    worker = Worker(settings, 0)
    with running(worker):
        assert worker.process.wait(DEADLINE_S) == 4, worker.log()
        assert f"topic {topic}: has 3 partitions, and the loop has 2" in worker.log()


def wait_for_topics(kafka: str, topic: str, partitions: int | None) -> None:
    """Wait until the broker reports the change."""
    admin = AdminClient(as_client(kafka))

    def is_known() -> bool:
        found = admin.list_topics(timeout=30).topics.get(topic)
        return (None if found is None else len(found.partitions)) == partitions

    wait(f"{topic} with {partitions} partitions", [], is_known)
