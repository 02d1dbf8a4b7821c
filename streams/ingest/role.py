"""The ingest worker: reads source topics, maps their records, and sends canonical messages, exactly once.

Each batch is one transaction of canonical messages, rejects and source offsets. No transaction is open while the
worker reads or maps, and the group metadata is captured together with the batch, so a rebalance cannot split one.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message
from prometheus_client import Counter

from schemas.config.loop import LoopConfig
from schemas.errors import ClusterAway, RegistryAway
from streams.ingest.assignment import SourceAssignment, UnassignedPartitions
from streams.ingest.mapper import MappedMessages, TopicMapper
from streams.ingest.offsets import SourcePositions, commit_start, source_topics
from streams.ingest.poison_pill import PoisonPillGuard, RecordPosition
from streams.ingest.preflight import canonical_bytes_max, check_destinations, check_sources, message_bytes_max
from streams.ingest.reader import SourceRead, SourceReader
from streams.ingest.sending import send_records, send_rejects
from streams.kafka.client import KafkaClients
from streams.kafka.consume import IDLE_S, by_partition, consume_batch
from streams.kafka.fencing import membership_ended
from streams.kafka.messages import SourceMessages
from streams.kafka.topics import Topics
from streams.kafka.transaction import Transactions, TransactionUndoneError
from streams.mapping.tools import MappingTools
from streams.runtime.backoff import Backoff
from streams.runtime.worker import Worker

__all__ = ["IngestRole", "commit_start"]

log = logging.getLogger("truthloop.ingest")

ROLE: Final = "ingest"

BATCH_MESSAGES: Final = 20_000
"""Larger batches cost memory and gain nothing."""

ISOLATED_MESSAGES: Final = 200
"""Messages per batch when they are mapped one by one: each takes milliseconds, and the worker must poll in between."""

BATCH_S: Final = 0.1
"""Longest time that a record waits to be read."""

SLICE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of messages that are decoded at once: objects and columns take many times as much memory."""


class IngestRole:
    """One worker of ingest."""

    def __init__(self, clients: KafkaClients, config: LoopConfig, worker: Worker, tools: MappingTools) -> None:
        self._clients = clients
        self._topics = Topics.of(config)
        self._instance = self._topics.instance(ROLE, worker.slot)
        self._sources = source_topics(config)
        self._worker = worker
        self._health = worker.health
        self._message_bytes = message_bytes_max(config)
        limit = canonical_bytes_max(config)
        self._mappers = {topic: TopicMapper(topic, config, tools, limit) for topic in self._sources}
        self._guard = PoisonPillGuard(worker.state / f"{ROLE}-{worker.slot}.json")
        self._assignment = SourceAssignment(SourcePositions(clients, config), self._guard, worker.health)
        self._transactions = Transactions(clients, self._topics.transactional_id(ROLE, worker.slot), worker.crash)
        self._unassigned = UnassignedPartitions(clients, self._topics, self._sources)
        self._reader = SourceReader()
        self._backoff = Backoff(worker.health)
        self._read_errors: dict[str, str] = {}
        self._filtered = Counter(
            "truthloop_filtered", "Records that no source selects", ["role", "input"], registry=worker.health.registry
        )

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop` is true.

        Raises:
            BrokerError: a topic is missing or unfit, ingest has no start position, or another worker has this slot.
        """
        if not self._worker.wait_for_cluster(should_stop):
            return
        check_destinations(self._clients, self._topics, self._message_bytes)
        check_sources(self._clients, self._sources)
        consumer = self._clients.member(self._topics.group(ROLE), instance=self._instance)
        self._subscribe(consumer)
        self._health.set_readiness("it waits for its partitions")
        try:
            while not should_stop():
                try:
                    self._poll(consumer)
                except (TransactionUndoneError, ClusterAway, RegistryAway) as error:
                    self._transactions.abandon()
                    self._backoff.failed("map" if isinstance(error, RegistryAway) else "commit", error)
                    self._guard.survived()
                    self._reader.clear()
                    self._assignment.suspend(consumer)
        finally:
            self._transactions.abandon()
            consumer.close()

    def _subscribe(self, consumer: Consumer) -> None:
        mine = self._assignment
        topics = self._unassigned.subscription
        consumer.subscribe(topics, on_assign=mine.on_assign, on_revoke=mine.on_revoke, on_lost=mine.on_revoke)

    def _poll(self, consumer: Consumer) -> None:
        """Read one batch, map it and commit it."""
        mine = self._assignment
        if self._backoff.must_wait:
            consumer.consume(1, timeout=BATCH_S)  # keeps the membership; nothing is assigned
            self._health.report_alive()
            return
        if self._backoff or mine.has_changed:
            self._transactions.open()  # a transaction of this worker's last life would hold the offsets back
            self._reader.clear()
            mine.reload(consumer)
        count = ISOLATED_MESSAGES if self._guard.is_isolating else BATCH_MESSAGES
        messages = consume_batch(consumer, count, BATCH_S, BATCH_S if self._reader.has_waiting else IDLE_S)
        metadata = consumer.consumer_group_metadata()
        if mine.has_changed:  # the messages may be of a partition that another worker has by now
            self._unassigned.check_soon()
            return
        if not self._health.awaits_cluster and self._unassigned.must_rebalance(self._worker.now_ms()):
            self._subscribe(consumer)
        batch = self._read(consumer, messages)
        if batch.following:
            with self._health.seconds.labels(ROLE).time():
                mapped = self._map(batch)
                self._backoff.succeeded("map")
                self._commit(batch, mapped, metadata)
        self._backoff.succeeded("commit")
        if not self._backoff:
            self._health.set_readiness("; ".join(self._read_errors.values()))
        self._health.report_progress(sum(map(len, batch.messages.values())), mine.lag(consumer))

    def _read(self, consumer: Consumer, messages: Sequence[Message]) -> SourceRead:
        """Handle error messages; return the others that need not wait for other partitions."""
        found, errors = by_partition(messages)
        for message in errors:
            self._read_error(consumer, message)
        batch = self._reader.read(consumer, self._assignment.positions, found)
        for topic in batch.messages:
            self._read_errors.pop(topic, None)
        return batch

    def _map(self, batch: SourceRead) -> MappedMessages:
        """Map a batch, after the poison pill guard has written it down."""
        now_ms = self._worker.now_ms()
        self._guard.begin((*partition, batch.first[partition], at) for partition, at in batch.following.items())
        mapped = MappedMessages()
        for topic, messages in batch.messages.items():
            columns = SourceMessages.of(topic, messages)
            is_isolating = self._guard.is_isolating
            pieces = self._map_isolated(columns, now_ms) if is_isolating else self._map_slices(columns, now_ms)
            filtered = mapped.filtered
            for piece in pieces:
                mapped.add(piece)
            self._filtered.labels(ROLE, topic).inc(mapped.filtered - filtered)
        if self._guard.is_isolating:
            self._guard.end_record()
        return mapped

    def _map_slices(self, columns: SourceMessages, now_ms: int) -> Iterator[MappedMessages]:
        first, size = 0, 0
        for index, value in enumerate(columns.values):
            size += len(value or b"")
            if size > SLICE_BYTES:
                yield self._mappers[columns.topic].map(columns.part(first, index + 1), now_ms)
                first, size = index + 1, 0
        if first < len(columns):
            yield self._mappers[columns.topic].map(columns.part(first, len(columns)), now_ms)

    def _map_isolated(self, columns: SourceMessages, now_ms: int) -> Iterator[MappedMessages]:
        mapper = self._mappers[columns.topic]
        for index, (number, offset) in enumerate(zip(columns.partitions, columns.offsets, strict=True)):
            position, one = RecordPosition(columns.topic, number, offset), columns.part(index, index + 1)
            if self._guard.is_poison_pill(position):
                yield mapper.reject_unread(one, now_ms)
                continue
            self._guard.begin_record(position)
            yield mapper.map(one, now_ms)

    def _commit(self, batch: SourceRead, mapped: MappedMessages, metadata: Any) -> None:  # noqa: ANN401 - opaque in the library
        """Send the mapped messages and commit them with the source offsets, in one transaction."""
        topics, transactions = self._topics, self._transactions
        transactions.begin()
        send_records(transactions, topics, mapped)
        rejects = ((reject.source_partition % topics.partitions, reject) for reject in mapped.rejects)
        send_rejects(transactions, topics, rejects)
        transactions.commit(self._assignment.to_commit(batch.following), metadata)
        self._assignment.advance(batch.following)
        self._guard.committed((*partition, at) for partition, at in batch.following.items())
        for topic, read in batch.messages.items():
            self._health.records.labels(ROLE, topic).inc(len(read))
        for reject in mapped.rejects:
            self._health.rejects.labels(ROLE, reject.reason).inc()

    def _read_error(self, consumer: Consumer, message: Message) -> None:
        error, topic, number = message.error(), message.topic() or "", message.partition()
        if error is None:
            return
        if (fenced := membership_ended(error, self._instance)) is not None:
            raise fenced
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - its public name
            self._assignment.stop(consumer, (topic, -1 if number is None else number))
        else:
            log.warning("topic %s, partition %s: %s", topic, number, error.str())
            self._read_errors[topic] = f"topic {topic}: {error.str()}"
