"""The lake writer's side of Kafka: its partitions, what was read of them, and how fast it is read.

What was read is forgotten whenever it may not fit the lake any more; then everything is placed anew. Must not write
to the lake, and never asks the group where to read.
"""

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import BrokerError, LakeError, TruthloopError
from streams.kafka.client import ends_membership
from streams.kafka.messages import Messages
from streams.lake_sink.backpressure import is_full, to_pause
from streams.lake_sink.buffer import Share
from streams.lake_sink.commit import Part
from streams.lake_sink.cut import INPUTS, STEPPED, TABLES, Pending
from streams.readers.json_lines import no_cycle_search
from streams.runtime.health import Health

__all__ = ["LakeReader"]

log = logging.getLogger("truthloop.lake")

MESSAGES_PER_READ = 20_000
READ_S = 0.1

RECORDS_MAX = 400_000
SIZE_MAX = 256 * 1024 * 1024
"""What may wait in memory, of each topic and in all; as columns it takes about three times as much."""


class LakeReader:
    """One worker's partitions and what waits of them.

    Args:
        consumer: a member of the group that has not subscribed yet.
        loop: name of the loop.
        health: told which partitions wait for a person.

    Attributes:
        mine: partitions that the group has given.
        pending: by partition, what waits; stopped ones are missing.
        is_lost: what was read does not count any more, and everything must be placed anew.
    """

    def __init__(self, consumer: Consumer, loop: str, health: Health) -> None:
        self._consumer = consumer
        self._topics = {table: f"{loop}.{table}" for table in TABLES}
        self._tables = {topic: table for table, topic in self._topics.items()}
        self._health = health
        self._paused: dict[int, frozenset[str]] = {}
        self.mine: set[int] = set()
        self.pending: dict[int, Pending] = {}
        self.is_lost = False
        consumer.subscribe(list(self._tables), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def place(self, found: dict[int, Pending], faults: Mapping[int, TruthloopError]) -> None:
        """Read partitions where they say, and none that has a fault."""
        self.pending, self._paused = found, {}
        self.is_lost = False
        for number, error in faults.items():
            self.stop(number, error)
        for number in found:
            self._health.release_partition(number)
        self._consumer.assign(
            [
                TopicPartition(self._topics[table], number, waiting.position)
                for number, pending in found.items()
                for table, waiting in pending.waiting.items()
            ]
        )
        log.info("reads on behind the steps %s", {number: pending.steps for number, pending in found.items()})

    def read(self) -> int:
        """Read once and return how many messages were put to what waits.

        Raises:
            BrokerError: another worker has this worker's slot.
        """
        found: dict[tuple[str | None, int | None], list[Message]] = {}
        with no_cycle_search():
            for message in self._consumer.consume(MESSAGES_PER_READ, timeout=READ_S):
                if message.error() is not None:
                    self._read_error(message)
                    continue
                place = (message.topic(), message.partition())
                if place in found:
                    found[place].append(message)
                else:
                    found[place] = [message]
        if self.is_lost:  # they may be of partitions that are another worker's by now
            return 0
        count = sum(self._put(topic or "", number or 0, messages) for (topic, number), messages in found.items())
        self._note_positions()
        return count

    def pace(self) -> None:
        """Stop reading what is too far ahead, and go on with what is not any more."""
        share = self._share()
        for number, pending in self.pending.items():
            before = self._paused.get(number, frozenset())
            after = to_pause(pending, share, before)
            self._paused[number] = after
            if more := after - before:
                self._consumer.pause(self._places(number, more))
            if fewer := before - after:
                self._consumer.resume(self._places(number, fewer))

    def is_full(self) -> bool:
        """Tell whether some partition should be written now."""
        share = self._share()
        return any(is_full(pending, share) for pending in self.pending.values())

    def lag(self) -> int:
        """Return how much of the join's work is not in the lake; of inputs, nothing that the join has not read.

        It is not 0 where the broker has not yet said how much there is, or where nothing was placed yet.
        """
        lag = int(self.is_lost)
        for number, pending in self.pending.items():
            lag += len(pending.entries)
            for table in STEPPED:
                place = TopicPartition(self._topics[table], number)
                high = self._consumer.get_watermark_offsets(place, cached=True)[1]
                lag += 1 if high < 0 else max(0, high - pending.waiting[table].position)
        return lag

    def stop(self, number: int, error: TruthloopError) -> None:
        """Leave one partition to a person; the others go on."""
        log.error("partition %d is stopped: %s", number, error)
        self._health.stop_partition(number, str(error))
        if self.pending.pop(number, None) is not None:
            self._consumer.pause(self._places(number, TABLES))

    def forget(self) -> None:
        """Throw away what was read, and read nothing until all is placed anew."""
        self._lose()
        self._consumer.assign([])

    def _lose(self) -> None:
        self.pending, self._paused = {}, {}
        self.is_lost = True

    def commit(self, parts: Iterable[Part]) -> None:
        """Commit to the group where the lake stands, for tools that show lag. Nothing reads it back."""
        offsets = [
            TopicPartition(self._topics[table], part.cut.partition, following)
            for part in parts
            for table, following in part.cut.following.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.info("the group's positions were not committed: %s", error)

    def close(self) -> None:
        """Leave; a static member's partitions stay its own for a while."""
        self._consumer.close()

    def _put(self, topic: str, number: int, messages: list[Message]) -> int:
        pending = self.pending.get(number)
        if pending is None or self.is_lost:
            return 0
        table = self._tables[topic]
        some = _columns(messages, with_times=table in INPUTS)
        if some.offsets[0] < pending.waiting[table].position:
            log.warning("%s, partition %d: offset %d came again", topic, number, some.offsets[0])
            self.forget()
            return 0
        try:
            pending.read(table, some)
        except LakeError as error:
            self.stop(number, error)
        return len(messages)

    def _note_positions(self) -> None:
        """Note how far was read: positions also pass what is no message, such as the ends of transactions."""
        places = [place for number in self.pending for place in self._places(number, TABLES)]
        for place in self._consumer.position(places) if places else ():
            waiting = self.pending[place.partition].waiting[self._tables[place.topic]]
            waiting.position = max(waiting.position, place.offset)

    def _places(self, number: int, tables: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(self._topics[table], number) for table in tables]

    def _share(self) -> Share:
        count = max(1, len(self.pending))
        return Share(RECORDS_MAX // count, SIZE_MAX // count)

    def _assigned(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        self.mine = {place.partition for place in places}
        log.info("partitions %s", sorted(self.mine))
        self.forget()

    def _revoked(self, _consumer: Consumer, _places: list[TopicPartition]) -> None:
        for number in self.mine:
            self._health.release_partition(number)
        self.mine = set()
        self._lose()
        self._consumer.unassign()

    def _read_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if ends_membership(error):
            raise BrokerError(
                f"this worker is no longer a member of its group: {error.str()}",
                hint="Another process has this slot: give every worker its own, --slot N.",
            )
        log.warning("%s, partition %s: %s", message.topic(), message.partition(), error.str())
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - its public name
            self.forget()  # asking the lake and the topic again says what is wrong


def _columns(messages: list[Message], *, with_times: bool) -> Messages:
    """Return messages as columns; half the time of adding them one by one."""
    offsets = [message.offset() or 0 for message in messages]
    values = [message.value() or b"" for message in messages]
    times = [message.timestamp()[1] for message in messages] if with_times else [0] * len(messages)
    return Messages(offsets, values, times)
