"""Runs the demo: starts the roles and the company as processes, and waits until the year is joined and evaluated."""

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
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients
from streams.kafka.topics import Topics, create_topics, partition_counts
from streams.messages.command import send_close
from streams.status import LoopStatus, read_loop_status
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.demo import last_act
from truthloop.demo.airline import STATUS_FILE, Deployment, read_status
from truthloop.demo.prepare import Prepared
from truthloop.run.replay_files import replay_files
from truthloop.run.roles import kafka_clients

__all__ = ["LiveRun", "run_files", "running_live"]

SOURCES: Mapping[str, int] = {"airline.scores": 6, "airport.arrivals": 3, last_act.TOPIC: 3}
"""Partitions of the company's topics; keys and numbers of partitions differ from the loop's own topics."""

POLL_INTERVAL_S = 0.5

STALLED_AFTER_S = 120.0
"""Without progress for this long something is wrong; the roles' log has the reason."""

STOP_TIMEOUT_S = 60.0

Report = Callable[[int], None]
"""Called with the number of records that have been joined."""


@dataclass(frozen=True)
class LiveRun:
    """Result of a run.

    Attributes:
        counters: of all partitions, from the ledger.
        predictions: records of scores that were sent.
        labels: records of arrivals that were sent.
        seconds: from the start of the roles to the last day's evaluation, including the rulings.
        deployments: in order.
        retrains: in order.
        rulings: about the restated months, in order.
    """

    counters: Counters
    predictions: int
    labels: int
    seconds: float
    deployments: Sequence[Deployment] = ()
    retrains: Sequence[Retrain] = ()
    rulings: Sequence[last_act.DemoRuling] = ()


@contextmanager
def running_live(settings: Settings, *, close_at_ms: int, report: Report) -> Iterator[LiveRun]:
    """Run roles and company until the year is joined and evaluated; yield the result while the roles still run.

    Args:
        settings: the demo's.
        close_at_ms: past the deadline of the last prediction.
        report: called at each poll.

    Raises:
        BrokerError: the cluster refuses, or the roles make no progress.
    """
    clients = kafka_clients(settings, "demo")
    topics = Topics.of(settings.config)
    _create_sources(clients)
    create_topics(clients, topics)  # waits until the brokers know all topics
    Lake.create(settings.lake, settings.config)
    commit_start(clients, settings.config, "earliest")
    folder = settings.path.parent
    (folder / STATUS_FILE).unlink(missing_ok=True)
    log = folder / "roles.log"
    roles = [sys.executable, "-m", "truthloop", "run", "all", "--config", str(settings.path)]
    with _running(roles, log), _running_company(settings):
        started_s = time.monotonic()
        poller = _Poller(clients, settings, log, report)
        poller.wait_until(lambda status: read_status(folder).is_done and not any(status.ingest.values()))
        last = date.fromisoformat(read_status(folder).day)
        # before the year is closed: after it no labels come, and without labels no retrain is asked for
        known_ms = end_of_day_ms(last - timedelta(days=2), settings.config.timezone)
        poller.wait_until(lambda status: not any(status.join.values()) and poller.evaluated_ms() >= known_ms)
        # the config of an earlier demo is kept, and may lack the topic
        has_restatements = any(source.topic == last_act.TOPIC for source in settings.config.ingest)
        rulings = _restate(settings, clients, poller) if has_restatements else []
        send_close(clients, topics, close_at_ms)
        poller.wait_until(lambda status: not any(status.join.values()) and not status.lake_behind and _is_final(status))
        last_ms = end_of_day_ms(last, settings.config.timezone)
        poller.wait_until(lambda _status: poller.evaluated_ms() >= last_ms)
        seconds = time.monotonic() - started_s
        entries = read_loop_status(clients, settings.config, settings.lake).entries.values()
        counters = Counters.sum_of(settings.config.labels, (entry.checkpoint.counters for entry in entries))
        status = read_status(folder)
        retrains = [retrain for log in _decision_logs(settings) for retrain in retrains_of(log.entries())]
        yield LiveRun(counters, status.predictions, status.labels, seconds, status.deployments, retrains, rulings)


def _restate(settings: Settings, clients: KafkaClients, poller: "_Poller") -> list[last_act.DemoRuling]:
    return last_act.restate_months(settings, clients.producer(), lambda holds: poller.wait_until(lambda _: holds()))


def run_files(settings: Settings, prepared: Prepared, *, close_at_ms: int) -> LiveRun:
    """Replay the same records from their files into the lake, without Kafka."""
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


def _create_sources(clients: KafkaClients) -> None:
    missing = set(SOURCES) - set(partition_counts(clients, SOURCES))
    admin = clients.admin()
    # the records are of 2013: Kafka's default retention would delete them at once
    keep = {"retention.ms": "-1"}
    wanted = [
        NewTopic(name, num_partitions=SOURCES[name], replication_factor=-1, config=keep) for name in sorted(missing)
    ]
    for future in admin.create_topics(wanted, request_timeout=REQUEST_TIMEOUT_S).values() if wanted else ():
        future.result()


@contextmanager
def _running_company(settings: Settings) -> Iterator[None]:
    """Run the company as a process while the block runs."""
    retrain = settings.config.retrain
    if retrain is None:
        raise ConfigError("has no `retrain` section, which the demo's company needs", where=str(settings.path))
    port = urlsplit(retrain.target.url).port
    folder = settings.path.parent
    command = [sys.executable, "-m", "truthloop.demo.airline", str(folder), str(port)]
    with _running(command, folder / "airline.log"):
        yield


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[None]:
    """Run a command as a process while the block runs; its output goes to `log`."""
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


def _decision_logs(settings: Settings) -> list[DecisionLog]:
    lake = Lake.open(settings.lake)
    return [DecisionLog(lake, kind) for kind in settings.config.labels]


class _Poller:
    """Polls the status of the loop until a condition holds."""

    def __init__(self, clients: KafkaClients, settings: Settings, log: Path, report: Report) -> None:
        self._clients = clients
        self._settings = settings
        self._log = log
        self._report = report
        self._decisions = _decision_logs(settings)
        self._pause = Event()
        self._progress_s = time.monotonic()
        self._last: tuple[int, ...] = ()

    def wait_until(self, condition: Callable[[LoopStatus], bool]) -> None:
        """Return once the condition holds.

        Raises:
            BrokerError: the roles have made no progress for `STALLED_AFTER_S`.
        """
        while True:
            status = read_loop_status(self._clients, self._settings.config, self._settings.lake)
            self._report(sum(_consumed(entry.checkpoint.counters) for entry in status.entries.values()))
            if condition(status):
                return
            now = (sum(status.ingest.values()), sum(status.join.values()), status.lake_behind, self.evaluated_ms())
            if now != self._last:
                self._last, self._progress_s = now, time.monotonic()
            elif time.monotonic() - self._progress_s > STALLED_AFTER_S:
                raise BrokerError(
                    f"the roles have made no progress for {STALLED_AFTER_S:.0f} s: {now[0]} records to ingest, "
                    f"{now[1]} to join, {now[2]} steps to write; evaluated up to {_day(now[3])}",
                    where=str(self._log),
                    hint="That file is the log of the roles.",
                )
            self._pause.wait(POLL_INTERVAL_S)

    def evaluated_ms(self) -> int:
        """Return the evidence time up to which every kind is evaluated."""
        return min(gate_of(log.entries()).evaluated_ms or 0 for log in self._decisions)


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}" if time_ms else "no day at all"


def _consumed(counters: Counters) -> int:
    return counters.predictions.consumed + sum(labels.consumed for labels in counters.labels.values())


def _is_final(status: LoopStatus) -> bool:
    """Return whether no outcome is pending any more."""
    return all(
        outcomes.pending == 0
        for entry in status.entries.values()
        for outcomes in entry.checkpoint.counters.outcomes.values()
    )
