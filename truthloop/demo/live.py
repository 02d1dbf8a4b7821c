"""The demo's traffic: flights and arrivals sent to the company's own topics, and a wait until all is joined.

The roles run as processes, as they would anywhere. Must not know what the records mean.
"""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import polars as pl
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.cimpl import NewTopic

from joins.accounting import Counters
from lake import Lake
from schemas.errors import BrokerError
from streams.command import send_close
from streams.ingest import commit_start
from streams.kafka_client import REACH_TIMEOUT_S, KafkaClients
from streams.standing import Standing, standing
from streams.topics import Topics, create_topics, partition_counts
from truthloop.demo.prepare import Prepared
from truthloop.moments import now_ms
from truthloop.replaying import replay_files
from truthloop.roles import clients_of
from truthloop.settings import Settings

__all__ = ["LiveRun", "run_files", "run_live"]

SOURCES: Mapping[str, int] = {"airline.scores": 6, "airport.arrivals": 3}
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
        sent: records.
        seconds: from the start of the roles to the last row in the lake.
    """

    counters: Counters
    sent: int
    seconds: float


def run_live(settings: Settings, prepared: Prepared, *, close_at_ms: int, report: Report) -> LiveRun:
    """Send everything, run the roles until it is in the lake, and return what came of it.

    Raises:
        BrokerError: the cluster refuses, or the roles do not get on.
    """
    clients = clients_of(settings, "demo")
    topics = Topics.of(settings.config)
    _make_sources(clients)
    create_topics(clients, topics)  # which waits until the brokers know of all topics
    Lake.create(settings.lake, settings.config)
    commit_start(clients, settings.config, "earliest")
    # A year comes in seconds: sent while it is read, records that were a second apart in Kafka would be weeks apart.
    sent = _send(clients.producer(), prepared)
    with _roles(settings) as log:
        started_s = time.monotonic()
        wait = _Wait(clients, settings, log, report)
        wait.until(lambda stand: not any(stand.ingest.values()))
        send_close(clients, topics, close_at_ms)
        wait.until(lambda stand: not any(stand.join.values()) and not stand.lake_behind and _is_settled(stand))
        seconds = time.monotonic() - started_s
    counters = Counters.zero(list(settings.config.labels))
    for entry in standing(clients, settings.config, settings.lake).entries.values():
        counters.add(entry.point.counters)
    return LiveRun(counters, sent, seconds)


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
    return LiveRun(summary.counters, prepared.prediction_rows + prepared.label_rows, time.monotonic() - started_s)


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


def _send(producer: Producer, prepared: Prepared) -> int:
    """Send both logs as JSON, under keys of their own, with the time at which each record was made."""
    scores = pl.read_parquet(prepared.predictions)
    arrivals = pl.read_csv(prepared.labels)
    logs = (
        ("airline.scores", scores, scores["features"].struct.field("carrier"), scores["scored_at"].dt.epoch("ms")),
        ("airport.arrivals", arrivals, arrivals["flight"], arrivals["arrived_at_utc"] * 1000),
    )
    refused = _Refused()
    for topic, frame, keys, times in logs:
        for key, time_ms, line in zip(keys, times, _lines(frame), strict=True):
            while True:
                try:
                    producer.produce(topic, value=line, key=key, timestamp=time_ms, on_delivery=refused.add)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
    if producer.flush(PATIENCE_S) or refused.reason:
        raise BrokerError(
            f"Kafka does not take the demo's records: {refused.reason or 'no answer'}",
            hint="See that its disk has room.",
        )
    return scores.height + arrivals.height


class _Refused:
    """Remembers why a record was not taken."""

    reason = ""

    def add(self, error: KafkaError | None, _message: Message) -> None:
        """Note what became of one record."""
        if error is not None:
            self.reason = error.str()


def _lines(frame: pl.DataFrame) -> list[bytes]:
    target = io.BytesIO()
    frame.write_ndjson(target)
    return target.getvalue().split(b"\n")[:-1]


@contextmanager
def _roles(settings: Settings) -> Iterator[Path]:
    """Run all roles as processes while the block runs; gives the file of what they say."""
    log = settings.path.with_name("roles.log")
    command = [sys.executable, "-m", "truthloop", "run", "all", "--config", str(settings.path)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ)  # noqa: S603 - our own command
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Wait:
    """Looks how far the roles have come, until something is so."""

    def __init__(self, clients: KafkaClients, settings: Settings, log: Path, report: Report) -> None:
        self._clients = clients
        self._settings = settings
        self._log = log
        self._report = report
        self._pause = Event()
        self._moved_s = time.monotonic()
        self._last: tuple[int, ...] = ()

    def until(self, is_so: Callable[[Standing], bool]) -> None:
        """Return once it is so.

        Raises:
            BrokerError: nothing moves any more.
        """
        while True:
            stand = standing(self._clients, self._settings.config, self._settings.lake)
            self._report(sum(_consumed(entry.point.counters) for entry in stand.entries.values()))
            if is_so(stand):
                return
            moved = (sum(stand.ingest.values()), sum(stand.join.values()), stand.lake_behind)
            if moved != self._last:
                self._last, self._moved_s = moved, time.monotonic()
            elif time.monotonic() - self._moved_s > PATIENCE_S:
                raise BrokerError(
                    f"the roles have not moved for {PATIENCE_S:.0f} s: {moved[0]} records to ingest, "
                    f"{moved[1]} to join, "
                    f"{moved[2]} steps to write",
                    where=str(self._log),
                    hint="That file holds what they say.",
                )
            self._pause.wait(LOOK_EVERY_S)


def _consumed(counters: Counters) -> int:
    return counters.predictions.consumed + sum(labels.consumed for labels in counters.labels.values())


def _is_settled(stand: Standing) -> bool:
    """Tell whether no prediction waits for its deadline any more."""
    return all(
        outcomes.pending == 0 for entry in stand.entries.values() for outcomes in entry.point.counters.outcomes.values()
    )
