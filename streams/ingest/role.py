"""Ingest as a running worker: from any number of source topics to the loop's canonical topics, exactly once.

One transaction for each batch: canonical messages, rejects, and the positions in the sources. No transaction is open
while it reads or maps; group metadata and positions are captured with the batch that they belong to. Must not decide
what a record means.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message
from prometheus_client import Counter

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.ingest.assignment import SourceAssignment, UnassignedPartitions
from streams.ingest.mapper import Canonical, TopicMapper
from streams.ingest.offsets import SourcePositions, commit_start, source_topics
from streams.ingest.poison_pill import PoisonPillGuard, RecordPosition
from streams.ingest.preflight import check_destinations, check_sources, message_bytes
from streams.ingest.reader import SourceRead, SourceReader
from streams.kafka.client import KafkaClients, ends_membership
from streams.kafka.messages import SourceMessages
from streams.kafka.topics import Topics
from streams.kafka.transaction import Transactions, UndoneError
from streams.mapping.tools import MappingTools
from streams.runtime.worker import Worker

__all__ = ["IngestRole", "commit_start"]

log = logging.getLogger("truthloop.ingest")

ROLE: Final = "ingest"

BATCH_MESSAGES: Final = 20_000
"""Larger batches cost memory and gain nothing."""

CAREFUL_MESSAGES: Final = 200
"""One by one they take milliseconds each; the group must hear from a worker in between."""

BATCH_S: Final = 0.1
"""What a record waits at most to be read."""

SLICE_BYTES: Final = 8 * 1024 * 1024
"""Decoded objects and columns take many times their text; so much of it is decoded at once."""

OVERHEAD_BYTES: Final = 1_000
"""Of a message and its batch, beside key and value."""

BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""After transactions that were undone, one after the other."""


class IngestRole:
    """One worker of ingest.

    Args:
        clients: of the cluster.
        config: the loop's.
        worker: who it is.
        tools: what the mapping needs beside the config.
    """

    def __init__(self, clients: KafkaClients, config: LoopConfig, worker: Worker, tools: MappingTools) -> None:
        self._clients = clients
        self._topics = Topics.of(config)
        self._sources = source_topics(config)
        self._worker = worker
        self._health = worker.health
        self._message_bytes = message_bytes(config)
        limit = self._message_bytes - OVERHEAD_BYTES
        self._mappers = {topic: TopicMapper(topic, config, tools, limit) for topic in self._sources}
        self._attempts = PoisonPillGuard(worker.state / f"{ROLE}-{worker.slot}.json")
        self._mine = SourceAssignment(SourcePositions(clients, config), self._attempts, worker.health)
        self._transactions = Transactions(clients, f"tl-{config.loop}-{ROLE}-{worker.slot}", worker.crash)
        self._unclaimed = UnassignedPartitions(clients, self._topics, self._sources)
        self._reader = SourceReader()
        self._undone = 0
        self._troubles: dict[str, str] = {}
        self._filtered = Counter(
            "truthloop_filtered", "Records that no source takes", ["role", "input"], registry=worker.health.registry
        )

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until told to stop.

        Raises:
            BrokerError: topics are not what is needed, nobody said where to begin, or another worker has this slot.
        """
        check_destinations(self._clients, self._topics, self._message_bytes)
        check_sources(self._clients, self._sources)
        self._transactions.open()
        instance = f"{self._topics.loop}-{ROLE}-{self._worker.slot}"
        consumer = self._clients.member(self._topics.group(ROLE), instance=instance)
        self._subscribe(consumer)
        self._health.ready("it waits for its partitions")
        try:
            while not should_stop():
                self._turn(consumer)
        finally:
            self._transactions.abandon()
            consumer.close()

    def _subscribe(self, consumer: Consumer) -> None:
        mine = self._mine
        wanted = self._unclaimed.subscription
        consumer.subscribe(wanted, on_assign=mine.assigned, on_revoke=mine.revoked, on_lost=mine.revoked)

    def _turn(self, consumer: Consumer) -> None:
        """Read once, and commit what came of it."""
        mine = self._mine
        if self._undone and not self._come_back(consumer):
            return
        count = CAREFUL_MESSAGES if self._attempts.is_careful else BATCH_MESSAGES
        messages = consumer.consume(count, timeout=BATCH_S)
        metadata = consumer.consumer_group_metadata()
        if mine.has_changed:  # what was read may belong to a partition that is another worker's by now
            self._reader.forget()
            mine.place(consumer)
            self._unclaimed.look_again()
            return
        if self._unclaimed.must_rebalance(self._worker.now_ms()):
            self._subscribe(consumer)
        batch = self._sort(consumer, messages)
        if batch.following:
            try:
                with self._health.seconds.labels(ROLE).time():
                    self._commit(batch, self._map(batch), metadata)
            except UndoneError as error:
                log.warning("the transaction is undone: %s", error)
                self._transactions.abandon()
                self._undone += 1
                self._reader.forget()
                mine.rest(consumer)
                return
        self._undone = 0
        self._health.ready("; ".join(self._troubles.values()))
        self._health.turn(sum(map(len, batch.messages.values())), mine.lag(consumer))

    def _come_back(self, consumer: Consumer) -> bool:
        """After a pause that grows, go on from what the group has committed; False if that cannot be known yet."""
        consumer.consume(1, timeout=BACKOFF_S[min(self._undone, len(BACKOFF_S)) - 1])
        if self._mine.has_changed:
            self._mine.place(consumer)
            return True
        try:
            self._mine.go_back(consumer)
        except BrokerError as error:
            log.warning("%s", error)
            self._undone += 1
            return False
        return True

    def _sort(self, consumer: Consumer, messages: Sequence[Message]) -> SourceRead:
        """Return the messages whose turn has come, by topic, with the positions behind them."""
        good = []
        for message in messages:
            if message.error() is None:
                good.append(message)
            else:
                self._read_error(consumer, message)
        reading = self._reader.read(consumer, self._mine.at, good)
        for topic in reading.messages:
            self._troubles.pop(topic, None)
        return reading

    def _map(self, batch: SourceRead) -> Canonical:
        """Return what becomes of a batch; what is in hand is written down before it is looked at."""
        now_ms = self._worker.now_ms()
        self._attempts.begin((*partition, batch.first[partition], at) for partition, at in batch.following.items())
        made = Canonical()
        for topic, messages in batch.messages.items():
            columns = SourceMessages.of(topic, messages)
            one_by_one = self._attempts.is_careful
            pieces = self._carefully(columns, now_ms) if one_by_one else self._at_once(columns, now_ms)
            filtered = made.filtered
            for piece in pieces:
                made.add(piece)
            self._filtered.labels(ROLE, topic).inc(made.filtered - filtered)
        if self._attempts.is_careful:
            self._attempts.put_down()
        return made

    def _at_once(self, columns: SourceMessages, now_ms: int) -> Iterator[Canonical]:
        first, size = 0, 0
        for place, value in enumerate(columns.values):
            size += len(value or b"")
            if size > SLICE_BYTES:
                yield self._mappers[columns.topic].map(columns.part(first, place + 1), now_ms)
                first, size = place + 1, 0
        if first < len(columns):
            yield self._mappers[columns.topic].map(columns.part(first, len(columns)), now_ms)

    def _carefully(self, columns: SourceMessages, now_ms: int) -> Iterator[Canonical]:
        mapper = self._mappers[columns.topic]
        for at, (number, offset) in enumerate(zip(columns.partitions, columns.offsets, strict=True)):
            place, one = RecordPosition(columns.topic, number, offset), columns.part(at, at + 1)
            if self._attempts.is_quarantined(place):
                yield mapper.quarantine(one, now_ms)
                continue
            self._attempts.take(place)
            yield mapper.map(one, now_ms)

    def _commit(self, batch: SourceRead, made: Canonical, metadata: Any) -> None:  # noqa: ANN401 - opaque in the library
        """Send what was made and commit it with the positions, in one transaction."""
        topics, send = self._topics, self._transactions.send
        self._transactions.begin()
        for topic, messages in ((topics.predictions, made.predictions), (topics.labels, made.labels)):
            if messages:
                send(topic, messages)
        if made.heartbeats:
            for number in range(topics.partitions):
                send(topics.labels, [dict(message) for message in made.heartbeats], number)
        by_partition: dict[int, list[dict[str, Any]]] = {}
        for reject in made.rejects:
            number = reject.source_partition % topics.partitions
            by_partition.setdefault(number, []).append({"value": reject.encode()})
        for number, rejects in by_partition.items():
            send(topics.rejects, rejects, number)
        self._transactions.commit(self._mine.as_committed(batch.following), metadata)
        self._mine.moved(batch.following)
        self._attempts.committed((*partition, at) for partition, at in batch.following.items())
        for topic, read in batch.messages.items():
            self._health.records.labels(ROLE, topic).inc(len(read))
        for reject in made.rejects:
            self._health.rejects.labels(ROLE, reject.reason).inc()

    def _read_error(self, consumer: Consumer, message: Message) -> None:
        error, topic, number = message.error(), message.topic() or "", message.partition()
        if error is None:
            return
        if ends_membership(error):
            raise BrokerError(
                f"this worker is no longer a member: {error.str()}",
                where=f"group {self._topics.group(ROLE)}, slot {self._worker.slot}",
                hint="Another process has this slot: give every worker its own, --slot N.",
            )
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - its public name
            self._mine.stop(consumer, (topic, -1 if number is None else number))
        else:
            log.warning("topic %s, partition %s: %s", topic, number, error.str())
            self._troubles[topic] = f"topic {topic}: {error.str()}"
