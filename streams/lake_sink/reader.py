"""Reads the loop's topics for the lake writer: its assigned partitions, their waiting messages, and backpressure.

Whenever waiting messages may not fit the lake any more, all of them are dropped and all partitions are assigned again
at the lake's positions. The group's committed offsets are never read.
"""

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import LakeError, TruthloopError
from streams.kafka.consume import by_partition, consume_batch
from streams.kafka.fencing import membership_ended
from streams.kafka.messages import PartitionMessages
from streams.kafka.topics import Topics
from streams.lake_sink.backpressure import is_full, tables_to_pause
from streams.lake_sink.buffer import MemoryShare
from streams.lake_sink.commit import PartitionRows
from streams.lake_sink.cut import STEPPED, TABLES, PendingPartition
from streams.readers.json_lines import no_cycle_search
from streams.runtime.health import Health

__all__ = ["READ_S", "LakeReader"]

log = logging.getLogger("truthloop.lake")

MESSAGES_PER_READ = 20_000
READ_S = 0.1
"""Longest time that messages are collected in one read."""

RECORDS_MAX = 400_000
SIZE_MAX = 256 * 1024 * 1024
"""What may wait in memory: records of each topic, and bytes in all; as columns they take about three times as much."""


class LakeReader:
    """The partitions of one worker and their waiting messages.

    Args:
        consumer: a member of the group that has not subscribed yet.
        instance: the name of this worker in the group.

    Attributes:
        mine: partitions that the group has assigned.
        pending: waiting messages by partition; stopped partitions are left out.
        is_reset: nothing is read before the next `assign`.
    """

    def __init__(self, consumer: Consumer, topics: Topics, instance: str, health: Health) -> None:
        self._consumer = consumer
        self._instance = instance
        self._topics = {table: topics.name(table) for table in TABLES}
        self._tables = {topic: table for table, topic in self._topics.items()}
        self._health = health
        self._paused: dict[int, frozenset[str]] = {}
        self.mine: set[int] = set()
        self.pending: dict[int, PendingPartition] = {}
        self.is_reset = False
        consumer.subscribe(
            list(self._tables), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def assign(self, found: dict[int, PendingPartition], faults: Mapping[int, TruthloopError]) -> None:
        """Read partitions from the positions of their buffers, and stop those with a fault."""
        self.pending, self._paused = found, {}
        self.is_reset = False
        for number, error in faults.items():
            self.stop(number, error)
        for number in found:
            self._health.release_partition(number)
        self._consumer.assign(
            [
                TopicPartition(self._topics[table], number, buffer.position)
                for number, pending in found.items()
                for table, buffer in pending.buffers.items()
            ]
        )
        log.info("reading from the steps %s", {number: pending.steps for number, pending in found.items()})

    def read(self, wait_s: float) -> int:
        """Poll once and return how many messages were added to the waiting ones.

        Args:
            wait_s: how long to wait for a message, in seconds.

        Raises:
            FencedError: another worker has this worker's slot.
        """
        with no_cycle_search():
            found, errors = by_partition(consume_batch(self._consumer, MESSAGES_PER_READ, READ_S, wait_s))
        for message in errors:
            self._read_error(message)
        if self.is_reset:  # the messages may be of partitions that another worker has by now
            return 0
        count = sum(self._add(topic, number, messages) for (topic, number), messages in found.items())
        self._note_positions()
        return count

    def apply_backpressure(self) -> None:
        """Pause topics that are too far ahead, and resume the others."""
        share = self._share()
        for number, pending in self.pending.items():
            before = self._paused.get(number, frozenset())
            after = tables_to_pause(pending, share, before)
            self._paused[number] = after
            if more := after - before:
                self._consumer.pause(self._partitions(number, more))
            if fewer := before - after:
                self._consumer.resume(self._partitions(number, fewer))

    def is_full(self) -> bool:
        """Tell whether some partition should be written now."""
        share = self._share()
        return any(is_full(pending, share) for pending in self.pending.values())

    def lag(self) -> int:
        """Return how many of the join's messages and steps are not in the lake; inputs are not counted.

        While the end of a topic is unknown, or before `assign`, it is at least 1.
        """
        lag = int(self.is_reset)
        for number, pending in self.pending.items():
            lag += len(pending.entries)
            for table in STEPPED:
                partition = TopicPartition(self._topics[table], number)
                high = self._consumer.get_watermark_offsets(partition, cached=True)[1]
                lag += 1 if high < 0 else max(0, high - pending.buffers[table].position)
        return lag

    def stop(self, number: int, error: TruthloopError) -> None:
        """Stop reading one partition, which a person has to repair; the others go on."""
        log.error("partition %d is stopped: %s", number, error)
        self._health.stop_partition(number, str(error))
        if self.pending.pop(number, None) is not None:
            self._consumer.pause(self._partitions(number, TABLES))

    def reset(self) -> None:
        """Drop all waiting messages, and read nothing before the next `assign`."""
        self._drop()
        self._consumer.assign([])

    def commit(self, parts: Iterable[PartitionRows]) -> None:
        """Commit the lake's positions to the group, for tools that show its lag; nothing reads them back."""
        offsets = [
            TopicPartition(self._topics[table], part.cut.partition, following)
            for part in parts
            for table, following in part.cut.following.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.info("the group's offsets were not committed: %s", error)

    def close(self) -> None:
        """Close the consumer; a static member keeps its partitions until its session ends."""
        self._consumer.close()

    def _drop(self) -> None:
        self.pending, self._paused = {}, {}
        self.is_reset = True

    def _add(self, topic: str, number: int, messages: list[Message]) -> int:
        pending = self.pending.get(number)
        if pending is None or self.is_reset:
            return 0
        table = self._tables[topic]
        some = PartitionMessages.of(messages)
        if some.offsets[0] < pending.buffers[table].position:
            log.warning("%s, partition %d: offset %d was read twice", topic, number, some.offsets[0])
            self.reset()
            return 0
        try:
            pending.read(table, some)
        except LakeError as error:
            self.stop(number, error)
        return len(messages)

    def _note_positions(self) -> None:
        """Note the consumer's positions, which also pass offsets without a message, such as transaction markers."""
        partitions = [one for number in self.pending for one in self._partitions(number, TABLES)]
        for at in self._consumer.position(partitions) if partitions else ():
            buffer = self.pending[at.partition].buffers[self._tables[at.topic]]
            buffer.position = max(buffer.position, at.offset)

    def _partitions(self, number: int, tables: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(self._topics[table], number) for table in tables]

    def _share(self) -> MemoryShare:
        count = max(1, len(self.pending))
        return MemoryShare(RECORDS_MAX // count, SIZE_MAX // count)

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.mine = {one.partition for one in partitions}
        log.info("partitions %s", sorted(self.mine))
        self.reset()

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        for number in self.mine:
            self._health.release_partition(number)
        self.mine = set()
        self._drop()
        self._consumer.unassign()

    def _read_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if (fenced := membership_ended(error, self._instance)) is not None:
            raise fenced
        log.warning("%s, partition %s: %s", message.topic(), message.partition(), error.str())
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - its public name
            self.reset()  # the next positions from the lake report what is missing
