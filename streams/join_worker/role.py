"""The join as a running worker: read, step, commit to Kafka, and only then to the local store.

One thread owns consumer and producer, and no transaction is open while it reads: so a rebalance never meets a
half-done step. Group metadata and positions are captured with the batch that they belong to. State that a doubtful
commit leaves in memory is thrown away and made again from what the group has committed. Must not decide what joins.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from joins import Idle, policy_from
from joins.watermark import PREDICTIONS
from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.join_worker.assignment import Assignment
from streams.join_worker.backpressure import LABELS, Lag, to_hold
from streams.join_worker.idleness import Idleness
from streams.join_worker.recovery import Committed, TaskRestorer
from streams.join_worker.task import Incoming, StepMessages, join_rejects
from streams.kafka.client import KafkaClients, ends_membership
from streams.kafka.topics import Topics, check_topics, partition_counts
from streams.kafka.transaction import Transactions, UndoneError
from streams.messages.canonical import CanonicalReader
from streams.messages.outcome import OutcomeWire
from streams.messages.records import Projection
from streams.runtime.worker import Worker

__all__ = ["JoinRole"]

log = logging.getLogger("truthloop.join")

BATCH_MESSAGES = 20_000
"""Larger batches cost memory and gain nothing (measured; see benchmarks)."""

BATCH_S = 0.05
"""What a record waits at most to be read: the greater part of the join's latency."""


class JoinRole:
    """One worker of the join.

    Args:
        clients: of the cluster.
        config: the loop's.
        worker: who it is.
    """

    def __init__(self, clients: KafkaClients, config: LoopConfig, worker: Worker) -> None:
        self._clients = clients
        self._topics = Topics.of(config)
        self._slot = worker.slot
        self._health = worker.health
        self._now_ms = worker.now_ms
        self._crash = worker.crash
        policy = policy_from(config)
        self._reader = CanonicalReader(config)
        self._wire = OutcomeWire(Projection.of(config))
        self._idleness = Idleness(list(policy.kinds), config.idle_after, counts=config.clock == "arrival")
        takeover = TaskRestorer(
            clients,
            config,
            self._reader,
            # each slot has folders of its own: one that hangs must not keep its partitions from another
            worker.state / f"join-{worker.slot}",
            worker.lake,
        )
        self._transactions = Transactions(clients, f"tl-{config.loop}-join-{worker.slot}", worker.crash)
        self._assignment = Assignment(clients, self._topics, takeover, worker.health, worker.now_ms)
        self._unreadable: set[int] = set()

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until told to stop.

        Raises:
            BrokerError: the topics are not what the loop needs, or another worker has this slot.
        """
        check_topics(partition_counts(self._clients, self._topics.all), self._topics)
        self._transactions.open()
        instance = f"{self._topics.loop}-join-{self._slot}"
        consumer = self._clients.member(self._topics.group("join"), instance=instance)
        mine = self._assignment
        consumer.subscribe(
            list(self._topics.inputs), on_assign=mine.assigned, on_revoke=mine.revoked, on_lost=mine.revoked
        )
        self._health.ready("it waits for its partitions")
        try:
            while not should_stop():
                self._turn(consumer)
        finally:
            self._transactions.abandon()
            mine.close()
            consumer.close()

    def _turn(self, consumer: Consumer) -> None:
        """Read once, and commit what came of it."""
        mine = self._assignment
        for number in mine.refresh(consumer):
            self._idleness.start(number, self._now_ms())
        messages = consumer.consume(BATCH_MESSAGES, timeout=BATCH_S)
        metadata = consumer.consumer_group_metadata()
        if mine.has_changed:  # what was read may belong to a partition that is another worker's by now
            return
        incoming = self._sort(consumer, messages)
        if self._unreadable:
            mine.take_again(consumer, self._unreadable)  # which says what is wrong
            self._unreadable = set()
            return
        turns = self._step(consumer, incoming)
        if turns:
            try:
                self._commit(turns, metadata)
            except UndoneError as error:
                log.warning("the transaction is undone: %s", error)
                self._transactions.abandon()
                self._transactions.open()
                mine.take_again(consumer, [turn.record.partition for turn in turns])
                return
            for turn in turns:
                mine.live[turn.record.partition].flush_if_due(turn.record.now)
        unread = self._unread(consumer)
        self._hold_back(consumer, unread)
        lag = sum(count or 0 for count in unread.values())
        self._health.turn(len(messages), lag + mine.is_waiting)

    def _sort(self, consumer: Consumer, messages: Iterable[Message]) -> dict[int, Incoming]:
        """Return the messages by partition, with the positions behind them."""
        found: dict[tuple[str, int], Incoming] = {}
        incoming: dict[int, Incoming] = {}
        predictions, labels, _ = self._topics.inputs
        for message in messages:
            if (error := message.error()) is not None:
                self._read_error(message, error)
                continue
            topic, number = message.topic() or "", message.partition() or 0
            if number not in self._assignment.live:
                continue  # stopped meanwhile; it is read again once it goes on
            one = found.get((topic, number))
            if one is None:
                one = found[topic, number] = incoming.setdefault(number, Incoming())
            (one.predictions if topic == predictions else one.labels if topic == labels else one.commands).add(message)
        places = list(found)
        for number, live in self._assignment.live.items():
            if live.holds_command and number not in incoming:
                incoming[number] = Incoming()
                places += [(topic, number) for topic in self._topics.inputs]
        for place in consumer.position([TopicPartition(*place) for place in places]) if places else ():
            self._set_position(incoming[place.partition], place.topic, place.offset)
        return incoming

    def _set_position(self, incoming: Incoming, topic: str, offset: int) -> None:
        if offset < 0:
            return
        if topic == self._topics.predictions:
            incoming.predictions_next = offset
        elif topic == self._topics.labels:
            incoming.labels_next = offset
        else:
            incoming.commands_next = offset

    def _step(self, consumer: Consumer, incoming: dict[int, Incoming]) -> list[StepMessages]:
        """Take a step in every partition that has something to do."""
        now_ms = self._now_ms()
        turns = []
        for number, live in self._assignment.live.items():
            mine = incoming.get(number)
            idle = Idle()
            if mine is None:
                idle = self._idleness.idle(number, now_ms, partial(self._is_caught_up, consumer, number))
            if mine is None and live.partition.is_caught_up and not idle.inputs:
                continue
            turn = live.step(mine or Incoming(), self._reader, now_ms, idle)
            self._idleness.saw(number, turn.seen, now_ms)
            turns.append(turn)
        return turns

    def _commit(self, turns: list[StepMessages], metadata: Any) -> None:  # noqa: ANN401 - opaque in the library
        """Send what the turns say and commit it with the positions, in one transaction."""
        with self._health.seconds.labels("join").time():
            self._transactions.begin()
            offsets: list[TopicPartition] = []
            for turn in turns:
                record, number = turn.record, turn.record.partition
                revisions = turn.effects.revisions
                values = self._wire.encode(number, record.sequence, revisions)
                keys = self._wire.keys(revisions)
                outcomes = [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]
                rejects = [{"value": value} for value in join_rejects(turn, self._topics, record.now)]
                for topic, messages in (
                    (self._topics.outcomes, outcomes),
                    (self._topics.rejects, rejects),
                    (self._topics.ledger, [{"value": record.encode()}]),
                ):
                    if messages:
                        self._transactions.send(topic, messages, number)
                committed = _committed(turn)
                offsets += [
                    TopicPartition(topic, number, position, metadata=committed.metadata() if at == 0 else "")
                    for at, (topic, position) in enumerate(zip(self._topics.inputs, committed.positions, strict=True))
                ]
            self._transactions.commit(offsets, metadata)
            self._crash("store")

    def _hold_back(self, consumer: Consumer, unread: dict[tuple[str, int], int | None]) -> None:
        """Let an input that is far ahead of the other wait for it."""
        predictions, labels, _ = self._topics.inputs
        topics = {PREDICTIONS: predictions, LABELS: labels}
        names = {topic: name for name, topic in topics.items()}
        for number, live in self._assignment.live.items():
            # what is not known yet may be there
            lag = Lag(*(1 if (left := unread[topic, number]) is None else left for topic in (predictions, labels)))
            held = names.get(self._assignment.held.get(number, ""))
            wanted = to_hold(live.checkpoint, live.partition.policy, lag, held)
            if wanted != held:
                log.info("partition %d: %s", number, f"the {wanted} wait" if wanted else f"the {held} go on")
                self._assignment.hold(consumer, number, None if wanted is None else topics[wanted])

    def _is_caught_up(self, consumer: Consumer, number: int) -> bool:
        """Tell whether the broker has answered that nothing is left to read; never where it does not answer."""
        for topic in self._topics.inputs[:2]:
            place = TopicPartition(topic, number)
            try:
                high = consumer.get_watermark_offsets(place, timeout=1)[1]
            except KafkaException:
                return False
            if consumer.position([place])[0].offset < high:
                return False
        return True

    def _unread(self, consumer: Consumer) -> dict[tuple[str, int], int | None]:
        """Return by topic and partition how many offsets are still to be read; None before the broker has said it.

        The consumer's position also passes what is no message; it has none before it has read one: the state's counts.
        """
        stands = {
            (topic, number): position
            for number, live in self._assignment.live.items()
            for topic, position in zip(self._topics.inputs, live.positions, strict=True)
        }
        unread: dict[tuple[str, int], int | None] = {}
        for place in consumer.position([TopicPartition(*where) for where in stands]) if stands else ():
            where = (place.topic, place.partition)
            _, high = consumer.get_watermark_offsets(place, cached=True)
            unread[where] = None if high < 0 else max(0, high - max(stands[where], place.offset))
        return unread

    def _read_error(self, message: Message, error: Any) -> None:  # noqa: ANN401 - the library's
        if ends_membership(error):
            raise BrokerError(
                f"this worker is no longer a member: {error.str()}",
                where=f"group {self._topics.group('join')}, slot {self._slot}",
                hint="Another process has this slot: give every worker its own, --slot N.",
            )
        log.warning("%s, partition %s: %s", message.topic(), message.partition(), error.str())
        number = message.partition()
        if number in self._assignment.live and error.code() in (error._AUTO_OFFSET_RESET, error.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - its public name
            self._unreadable.add(number)


def _committed(turn: StepMessages) -> Committed:
    record = turn.record
    positions = (record.predictions[1], record.labels[1], record.commands[1])
    return Committed(positions, record.sequence + 1, record.checkpoint.fingerprint)
