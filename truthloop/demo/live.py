"""The demo as it runs: the roles and the company as processes of their own, and a wait until the year is over.

Must not know what the records mean.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from confluent_kafka.cimpl import NewTopic

from joins.accounting import Counters
from lake import Lake
from monitor.evaluation import end_of_day_ms
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from retrain.retrains import Retrain, retrains_of
from schemas.errors import BrokerError, ConfigError
from streams.ingest.role import commit_start
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients
from streams.kafka.topics import Topics, create_topics, partition_counts
from streams.messages.command import send_close
from streams.status import LoopStatus, read_loop_status
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.demo import last_act
from truthloop.demo.airline import STATUS_FILE, Deployment, read_status
from truthloop.demo.prepare import Prepared
from truthloop.run.replay_files import replay_files
from truthloop.run.roles import clients_of

__all__ = ["LiveRun", "run_files", "running_live"]

SOURCES: Mapping[str, int] = {"airline.scores": 6, "airport.arrivals": 3, last_act.TOPIC: 3}
"""The company's topics and their partitions: other keys and counts than the loop's own."""

LOOK_EVERY_S = 0.5

PATIENCE_S = 120.0
"""Without any progress for this long something is wrong, and the roles' log says what."""

STOP_TIMEOUT_S = 60.0

Report = Callable[[int], None]
"""Called with the number of records that have been joined."""


@dataclass(frozen=True)
class LiveRun:
    """What became of the traffic.

    Attributes:
        counters: of all partitions, from the ledger.
        predictions: records of scores that were sent.
        labels: records of arrivals.
        seconds: from the start of the roles to the last day's evaluation, rulings in between.
        deployments: the models that decided, in order.
        retrains: what was asked for, in order.
        ruled: months that were told anew, and what a person made of them.
    """

    counters: Counters
    predictions: int
    labels: int
    seconds: float
    deployments: Sequence[Deployment] = ()
    retrains: Sequence[Retrain] = ()
    ruled: Sequence[last_act.DemoRuling] = ()


@contextmanager
def running_live(settings: Settings, *, close_at_ms: int, report: Report) -> Iterator[LiveRun]:
    """Run roles and company until the year is over and judged; give what came of it while the roles still run.

    Raises:
        BrokerError: the cluster refuses, or the roles do not get on.
    """
    clients = clients_of(settings, "demo")
    topics = Topics.of(settings.config)
    _make_sources(clients)
    create_topics(clients, topics)  # which waits until the brokers know of all topics
    Lake.create(settings.lake, settings.config)
    commit_start(clients, settings.config, "earliest")
    folder = settings.path.parent
    (folder / STATUS_FILE).unlink(missing_ok=True)
    with _process(["run", "all", "--config", str(settings.path)], folder / "roles.log") as roles, _company(settings):
        started_s = time.monotonic()
        wait = _Wait(clients, settings, roles, report)
        wait.until(lambda stand: read_status(folder).is_done and not any(stand.ingest.values()))
        last = date.fromisoformat(read_status(folder).day)
        # before the year is closed: then labels stop, and whoever has no labels is asked for nothing
        known_ms = end_of_day_ms(last - timedelta(days=2), settings.config.timezone)
        wait.until(lambda stand: not any(stand.join.values()) and wait.evaluated_ms() >= known_ms)
        # a config of an earlier demo may lack the topic: people keep theirs
        is_told = any(source.topic == last_act.TOPIC for source in settings.config.ingest)
        ruled = _play(settings, clients, wait) if is_told else []
        send_close(clients, topics, close_at_ms)
        wait.until(lambda stand: not any(stand.join.values()) and not stand.lake_behind and _is_settled(stand))
        last_ms = end_of_day_ms(last, settings.config.timezone)
        wait.until(lambda _stand: wait.evaluated_ms() >= last_ms)
        seconds = time.monotonic() - started_s
        counters = Counters.zero(list(settings.config.labels))
        for entry in read_loop_status(clients, settings.config, settings.lake).entries.values():
            counters.add(entry.checkpoint.counters)
        status = read_status(folder)
        retrains = [one for log in _logs(settings) for one in retrains_of(log.entries())]
        yield LiveRun(counters, status.predictions, status.labels, seconds, status.deployments, retrains, ruled)


def _play(settings: Settings, clients: KafkaClients, wait: "_Wait") -> list[last_act.DemoRuling]:
    return last_act.play(settings, clients.producer(), lambda is_so: wait.until(lambda _stand: is_so()))


def run_files(settings: Settings, prepared: Prepared, *, close_at_ms: int) -> LiveRun:
    """Replay the same records from their files into the lake, without Kafka, and return what came of it."""
    started_s = time.monotonic()
    summary = replay_files(
        settings,
        [prepared.predictions],
        [prepared.labels],
        now_ms=now_ms(),
        close_at_ms=close_at_ms,
        total=prepared.prediction_rows + prepared.label_rows,
    )
    return LiveRun(summary.counters, prepared.prediction_rows, prepared.label_rows, time.monotonic() - started_s)


def _make_sources(clients: KafkaClients) -> None:
    missing = set(SOURCES) - set(partition_counts(clients, SOURCES))
    admin = clients.admin()
    # the records are of 2013: by Kafka's default they would be deleted at once
    keep = {"retention.ms": "-1"}
    wanted = [
        NewTopic(name, num_partitions=SOURCES[name], replication_factor=-1, config=keep) for name in sorted(missing)
    ]
    for future in admin.create_topics(wanted).values() if wanted else ():
        future.result(timeout=REACH_TIMEOUT_S)


@contextmanager
def _company(settings: Settings) -> Iterator[None]:
    """Run the company as a process while the block does."""
    retrain = settings.config.retrain
    if retrain is None:
        raise ConfigError(
            "has no `retrain` section, and the demo's company waits for a request", where=str(settings.path)
        )
    port = urlsplit(retrain.target.url).port
    folder = settings.path.parent
    command = [sys.executable, "-m", "truthloop.demo.airline", str(folder), str(port)]
    with _run(command, folder / "airline.log"):
        yield


@contextmanager
def _process(words: Sequence[str], log: Path) -> Iterator[Path]:
    """Run a command of Truthloop's as a process while the block does; gives the file of what it says."""
    with _run([sys.executable, "-m", "truthloop", *words], log):
        yield log


@contextmanager
def _run(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ)  # noqa: S603 - our own command
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _logs(settings: Settings) -> list[DecisionLog]:
    lake = Lake.open(settings.lake)
    return [DecisionLog(lake, kind) for kind in settings.config.labels]


class _Wait:
    """Looks how far the roles have come, until something is so."""

    def __init__(self, clients: KafkaClients, settings: Settings, log: Path, report: Report) -> None:
        self._clients = clients
        self._settings = settings
        self._log = log
        self._report = report
        self._decisions = _logs(settings)
        self._pause = Event()
        self._moved_s = time.monotonic()
        self._last: tuple[int, ...] = ()

    def until(self, is_so: Callable[[LoopStatus], bool]) -> None:
        """Return once it is so.

        Raises:
            BrokerError: nothing moves any more.
        """
        while True:
            stand = read_loop_status(self._clients, self._settings.config, self._settings.lake)
            self._report(sum(_consumed(entry.checkpoint.counters) for entry in stand.entries.values()))
            if is_so(stand):
                return
            moved = (sum(stand.ingest.values()), sum(stand.join.values()), stand.lake_behind, self.evaluated_ms())
            if moved != self._last:
                self._last, self._moved_s = moved, time.monotonic()
            elif time.monotonic() - self._moved_s > PATIENCE_S:
                raise BrokerError(
                    f"the roles have not moved for {PATIENCE_S:.0f} s: {moved[0]} records to ingest, "
                    f"{moved[1]} to join, "
                    f"{moved[2]} steps to write; evaluated up to {_moment(moved[3])}",
                    where=str(self._log),
                    hint="That file holds what they say.",
                )
            self._pause.wait(LOOK_EVERY_S)

    def evaluated_ms(self) -> int:
        """Return the evidence time up to which every kind was evaluated."""
        return min(gate_of(log.entries()).evaluated_ms or 0 for log in self._decisions)


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}" if time_ms else "no day at all"


def _consumed(counters: Counters) -> int:
    return counters.predictions.consumed + sum(labels.consumed for labels in counters.labels.values())


def _is_settled(stand: LoopStatus) -> bool:
    """Tell whether no prediction waits for its deadline any more."""
    return all(
        outcomes.pending == 0
        for entry in stand.entries.values()
        for outcomes in entry.checkpoint.counters.outcomes.values()
    )
