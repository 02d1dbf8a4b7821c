"""The join worker: polls, steps its partitions, commits to Kafka, and only then flushes to the local store.

While the steps of one turn are committed, the next turn polls and steps; whatever else there is to do waits for the
commit: the next one, a flush, a rebalance, a restore, a stop. So nothing but memory is ever ahead of what is committed,
and by one turn at most. The group metadata is captured together with the batch. After a commit with an uncertain
result, the state in memory is dropped and restored at the committed position.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from joins import Idle, policy_from
from joins.watermark import PREDICTIONS
from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError, ClusterAway
from streams.join_worker.assignment import Assignment
from streams.join_worker.backpressure import LABELS, Lag, input_to_pause
from streams.join_worker.committer import StepCommitter
from streams.join_worker.idleness import Idleness
from streams.join_worker.recovery import TaskRestorer
from streams.join_worker.task import Incoming, PartitionTask, StepResult, tasks_to_flush
from streams.kafka.client import KafkaClients
from streams.kafka.consume import IDLE_S, by_partition, consume_batch
from streams.kafka.fencing import membership_ended
from streams.kafka.messages import PartitionMessages
from streams.kafka.topics import Topics, check_topics, partition_counts
from streams.kafka.transaction import Transactions, TransactionUndoneError
from streams.messages.canonical import CanonicalReader
from streams.messages.outcome import OutcomeWire
from streams.messages.records import Projection
from streams.runtime.backoff import Backoff
from streams.runtime.clock_leap import ClockLeap
from streams.runtime.turn_clock import TurnClock
from streams.runtime.worker import Worker

__all__ = ["JoinRole"]

log = logging.getLogger("truthloop.join")

BATCH_MESSAGES = 20_000
"""Larger batches cost memory and gain nothing (measured; see benchmarks)."""

BATCH_S = 0.025
"""Longest time that a record waits to be read while there are others."""

BEHIND_BATCH_S = 0.05
"""The same while a whole batch is still to be read: fewer and larger turns, which cost less (measured)."""


class JoinRole:
    """One worker of the join."""

    def __init__(self, clients: KafkaClients, config: LoopConfig, worker: Worker) -> None:
        self._clients = clients
        self._topics = Topics.of(config)
        self._instance = self._topics.instance("join", worker.slot)
        self._health = worker.health
        self._now_ms = worker.now_ms
        self._clock = worker.clock
        self._clock_leap = ClockLeap()
        policy = policy_from(config)
        self._reader = CanonicalReader(config)
        self._idleness = Idleness(list(policy.kinds), config.idle_after, is_enabled=config.clock == "arrival")
        restorer = TaskRestorer(
            clients,
            config,
            self._reader,
            # each slot has folders of its own: a worker that hangs would keep its stores locked for the next one
            worker.state / f"join-{worker.slot}",
            worker.lake,
        )
        transactions = Transactions(clients, self._topics.transactional_id("join", worker.slot), worker.crash)
        wire = OutcomeWire(Projection.of(config))
        self._committer = StepCommitter(transactions, self._topics, wire, worker.health, worker.crash)
        self._assignment = Assignment(clients, self._topics, restorer, worker.health, self._monotonic_ms)
        self._wait_for_cluster = worker.wait_for_cluster
        self._backoff = Backoff(worker.health)
        self._missing: set[int] = set()
        self._lag = 0
        self._turn = TurnClock("join", worker.health.registry)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop` is true.

        Raises:
            BrokerError: a topic is missing or unfit, or another worker has this slot.
        """
        if not self._wait_for_cluster(should_stop):
            return
        check_topics(partition_counts(self._clients, self._topics.all), self._topics)
        consumer = self._clients.member(self._topics.group("join"), instance=self._instance)
        mine = self._assignment
        consumer.subscribe(
            list(self._topics.inputs), on_assign=mine.on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        self._health.set_readiness("it waits for its partitions")
        self._turn.begin()
        try:
            while not should_stop():
                self._poll(consumer)
                self._turn.ends("other")
        finally:
            try:
                self._settle()
            finally:
                self._committer.close()
                mine.close()
                consumer.close()

    def _poll(self, consumer: Consumer) -> None:
        """Poll once, step the partitions, and begin to commit the steps once those before them are committed."""
        mine = self._assignment
        self._observe_clocks()
        if mine.must_place and not self._backoff.must_wait and self._settle():
            self._place(consumer)
        for number in mine.refresh(consumer):
            self._idleness.start(number)
        if not self._backoff:
            waiting = mine.restoring
            self._health.set_readiness(f"{waiting} partitions are being restored" if waiting else "")
        self._turn.ends("other")
        batch_s = BATCH_S if self._lag < BATCH_MESSAGES else BEHIND_BATCH_S
        messages = consume_batch(consumer, BATCH_MESSAGES, batch_s, batch_s if self._has_work else IDLE_S)
        self._turn.ends("consume")
        metadata = consumer.consumer_group_metadata()
        if mine.has_changed:  # the messages may be of a partition that another worker has by now
            return
        incoming = self._by_partition(consumer, messages)
        if self._missing:
            self._settle()
            mine.drop(self._missing)  # to place them reports what is missing
            self._missing = set()
            return
        if (not incoming or self._is_flush_due()) and not self._settle():
            return
        steps = self._step(consumer, incoming)
        self._turn.ends("step")
        if not (self._settle(steps) and self._send(steps, metadata)):
            return
        unread = self._unread(consumer)
        self._apply_backpressure(consumer, unread)
        self._lag = sum(count or 0 for count in unread.values())
        self._backoff.report_progress(len(messages), self._lag + mine.is_waiting)

    @property
    def _has_work(self) -> bool:
        """Whether there is something to do without a message: partitions to place or restore, or steps to take."""
        tasks = self._assignment.tasks.values()
        has_steps = any(task.has_waiting_command or not task.partition.is_caught_up for task in tasks)
        return has_steps or self._assignment.is_waiting or bool(self._backoff)

    def _send(self, steps: list[StepResult], metadata: Any) -> bool:  # noqa: ANN401 - opaque in the library
        """Send steps and begin their commit; False if that failed, and their partitions have to be restored."""
        try:
            if steps:
                self._committer.send(steps, metadata)
        except (TransactionUndoneError, BrokerError) as error:
            self._undo(steps, error)
            return False
        self._turn.ends("produce")
        return True

    def _settle(self, further: Iterable[StepResult] = ()) -> bool:
        """Wait for the commit under way and flush what it covers; False if it failed, and partitions were dropped.

        Args:
            further: steps that were taken since; then nothing is flushed.
        """
        steps, further = self._committer.steps, [*further]
        try:
            self._committer.wait()
        except (TransactionUndoneError, BrokerError) as error:
            self._undo([*steps, *further], error)
            return False
        self._turn.ends("commit")
        if not further:
            for task in tasks_to_flush(self._tasks_of(steps)):
                task.flush()
            self._turn.ends("flush")
        return True

    def _undo(self, steps: Iterable[StepResult], error: Exception) -> None:
        """Drop the states of steps that were not committed; they are placed again."""
        self._assignment.drop({step.record.partition for step in steps})
        self._committer.abandon()
        if not isinstance(error, TransactionUndoneError | ClusterAway):
            raise error
        self._backoff.failed("place", error)

    def _is_flush_due(self) -> bool:
        return any(task.is_flush_due(now_ms) for task, now_ms in self._tasks_of(self._committer.steps))

    def _tasks_of(self, steps: Iterable[StepResult]) -> list[tuple[PartitionTask, int]]:
        """Return the task of each step, with the time of that step."""
        return [(self._assignment.tasks[step.record.partition], step.record.now) for step in steps]

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._settle()
        self._assignment.on_revoke(consumer, partitions)

    def _place(self, consumer: Consumer) -> None:
        """Find out where partitions stand; a transaction of this worker's last life would hold their positions back."""
        try:
            self._committer.open()
            self._assignment.place(consumer)
        except ClusterAway as error:
            self._backoff.failed("place", error)
        else:
            self._backoff.succeeded("place")

    def _monotonic_ms(self) -> int:
        return int(self._clock() * 1000)

    def _observe_clocks(self) -> None:
        """Measure silence, and name a wall clock that was set; time in the partitions does not follow it."""
        monotonic_ms = self._monotonic_ms()
        if not self._health.awaits_cluster:  # what nobody could send is no silence
            self._idleness.observe(monotonic_ms)
        if leap_ms := self._clock_leap.since_last(self._now_ms(), monotonic_ms):
            log.warning(
                "the wall clock was set %s by %.1f s: the time of partitions does not follow; "
                "check this machine's time synchronisation",
                "forward" if leap_ms > 0 else "back",
                abs(leap_ms) / 1000,
            )

    def _by_partition(self, consumer: Consumer, messages: Iterable[Message]) -> dict[int, Incoming]:
        """Return the messages by partition, with the next offsets after them."""
        incoming: dict[int, Incoming] = {}
        moved: list[tuple[str, int]] = []
        predictions, labels, _ = self._topics.inputs
        found, errors = by_partition(messages)
        for message in errors:
            self._read_error(message)
        for (topic, number), some in found.items():
            if number not in self._assignment.tasks:
                continue  # it was stopped, and is read again once it is restored
            one = incoming.setdefault(number, Incoming())
            of_topic = one.predictions if topic == predictions else one.labels if topic == labels else one.commands
            of_topic.extend(PartitionMessages.of(some))
            moved.append((topic, number))
        for number, task in self._assignment.tasks.items():
            if task.has_waiting_command and number not in incoming:
                incoming[number] = Incoming()
                moved += [(topic, number) for topic in self._topics.inputs]
        for at in consumer.position([TopicPartition(*one) for one in moved]) if moved else ():
            self._set_position(incoming[at.partition], at.topic, at.offset)
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

    def _step(self, consumer: Consumer, incoming: dict[int, Incoming]) -> list[StepResult]:
        """Take a step in every partition that has messages, idle inputs or unfinished expiry."""
        now_ms = self._now_ms()
        steps = []
        for number, task in self._assignment.tasks.items():
            mine = incoming.get(number)
            idle = Idle()
            if mine is None:
                idle = self._idleness.idle(number, partial(self._is_caught_up, consumer, number))
            if mine is None and task.partition.is_caught_up and not idle.inputs:
                continue
            step = task.step(mine or Incoming(), self._reader, now_ms, idle)
            self._idleness.seen(number, step.seen)
            steps.append(step)
        return steps

    def _apply_backpressure(self, consumer: Consumer, unread: dict[tuple[str, int], int | None]) -> None:
        """Pause inputs that are too far ahead of the other one, and resume them later."""
        predictions, labels, _ = self._topics.inputs
        topics = {PREDICTIONS: predictions, LABELS: labels}
        names = {topic: name for name, topic in topics.items()}
        for number, task in self._assignment.tasks.items():
            # an unknown lag counts as records to read
            lag = Lag(*(1 if (left := unread[topic, number]) is None else left for topic in (predictions, labels)))
            paused = names.get(self._assignment.paused.get(number, ""))
            wanted = input_to_pause(task.checkpoint, task.partition.policy, lag, paused)
            if wanted != paused:
                log.info("partition %d: %s", number, f"{wanted} are paused" if wanted else f"{paused} are resumed")
                self._assignment.pause(consumer, number, None if wanted is None else topics[wanted])

    def _is_caught_up(self, consumer: Consumer, number: int) -> bool:
        """Ask the broker whether a partition is read to its end; false where it does not answer."""
        if self._health.awaits_cluster:
            return False
        for topic, position in zip(self._topics.inputs[:2], self._assignment.tasks[number].positions, strict=False):
            partition = TopicPartition(topic, number)
            try:
                high = consumer.get_watermark_offsets(partition, timeout=1)[1]
            except KafkaException:
                return False
            # the consumer has no position before its first message, and no message need ever come
            if max(position, consumer.position([partition])[0].offset) < high:
                return False
        return True

    def _unread(self, consumer: Consumer) -> dict[tuple[str, int], int | None]:
        """Return how many offsets are still to be read by topic and partition; None while the end is unknown.

        The consumer's position also passes offsets without a message, such as transaction markers. Before the first
        message it has no position, so the state's counts.
        """
        positions = {
            (topic, number): position
            for number, task in self._assignment.tasks.items()
            for topic, position in zip(self._topics.inputs, task.positions, strict=True)
        }
        unread: dict[tuple[str, int], int | None] = {}
        for at in consumer.position([TopicPartition(*one) for one in positions]) if positions else ():
            one = (at.topic, at.partition)
            _, high = consumer.get_watermark_offsets(at, cached=True)
            unread[one] = None if high < 0 else max(0, high - max(positions[one], at.offset))
        return unread

    def _read_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if (fenced := membership_ended(error, self._instance)) is not None:
            raise fenced
        log.warning("%s, partition %s: %s", message.topic(), message.partition(), error.str())
        is_gone = error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - its public name
        if is_gone and (number := message.partition()) in self._assignment.tasks:
            self._missing.add(number)
