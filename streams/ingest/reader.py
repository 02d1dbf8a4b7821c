"""Reads a worker's source partitions as one log in the order of their timestamps: see `streams.ingest.alignment`.

Must not commit, and not look into records.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import Consumer, Message, TopicPartition

from streams.ingest.alignment import Alignment
from streams.ingest.assignment import SourcePartition

__all__ = ["SourceRead", "SourceReader"]

PATIENCE_S = 5.0
"""A partition whose leader is away must not stop the others for longer."""

HELD_MESSAGES_MAX = 200_000
HELD_BYTES_MAX = 256 * 1024 * 1024
"""Of all partitions, each of which has its share; more are not fetched until these have left."""

SHARE_MESSAGES = (2_000, 20_000)
"""Least and most that one partition may hold, however many there are."""

RESUMED_AT = 0.25
"""Of its share."""


@dataclass(frozen=True)
class SourceRead:
    """Messages whose turn has come.

    Attributes:
        messages: by topic.
        first: offset of the first message of each partition.
        following: position behind the last.
    """

    messages: dict[str, list[Message]]
    first: dict[SourcePartition, int]
    following: dict[SourcePartition, int]


class SourceReader:
    """One worker's reading.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._alignment: Alignment[SourcePartition, Message] = Alignment()
        self._heard_s: dict[SourcePartition, float] = {}
        self._paused: set[SourcePartition] = set()
        self._size: dict[SourcePartition, int] = {}

    def forget(self) -> None:
        """Forget what waits: the partitions are placed anew, and it will be read again."""
        self._alignment.clear()
        self._heard_s.clear()
        self._paused.clear()
        self._size.clear()

    def read(self, consumer: Consumer, at: dict[SourcePartition, int], messages: Iterable[Message]) -> SourceRead:
        """Take in messages without errors, and return those whose turn has come.

        Args:
            consumer: that gave them.
            at: the partitions that are read, and where they stood when they were placed.
            messages: just consumed.
        """
        now_s = self._clock()
        for message in messages:
            partition = (message.topic() or "", message.partition() or 0)
            if partition in at:  # else it was stopped
                self._alignment.add(partition, message, message.timestamp()[1])
                self._heard_s[partition] = now_s
                self._size[partition] = self._size.get(partition, 0) + len(message.value() or b"")
        self._alignment.keep_only(at)
        positions = self._positions(consumer, at)
        behind = [partition for partition in at if self._is_behind(consumer, partition, positions, now_s)]
        found: dict[str, list[Message]] = {}
        first: dict[SourcePartition, int] = {}
        for message in self._alignment.take(behind):
            topic, offset = message.topic() or "", message.offset() or 0
            partition = (topic, message.partition() or 0)
            first.setdefault(partition, offset)
            found.setdefault(topic, []).append(message)
            self._size[partition] -= len(message.value() or b"")
        self._pace(consumer, at)
        return SourceRead(found, first, {partition: self._following(partition, positions) for partition in first})

    def _positions(self, consumer: Consumer, at: dict[SourcePartition, int]) -> dict[SourcePartition, int]:
        places = consumer.position([TopicPartition(*partition) for partition in at]) if at else []
        return {
            (place.topic, place.partition): place.offset if place.offset >= 0 else at[place.topic, place.partition]
            for place in places
        }

    def _is_behind(
        self, consumer: Consumer, partition: SourcePartition, positions: dict[SourcePartition, int], now_s: float
    ) -> bool:
        """Tell whether a partition has more to give, and gives it."""
        _, high = consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        is_read = 0 <= high <= positions[partition]
        heard_s = self._heard_s.setdefault(partition, now_s)
        return not is_read and (partition in self._paused or now_s - heard_s < PATIENCE_S)

    def _following(self, partition: SourcePartition, positions: dict[SourcePartition, int]) -> int:
        held = self._alignment.first(partition)
        return positions[partition] if held is None else held.offset() or 0

    def _pace(self, consumer: Consumer, at: dict[SourcePartition, int]) -> None:
        """Fetch nothing more of partitions of which much waits."""
        held = {one: self._held(one, len(at)) for one in at}
        pause = {one for one, share in held.items() if one not in self._paused and share > 1}
        resume = {one for one in self._paused if one in at and held[one] < RESUMED_AT}
        if pause:
            consumer.pause([TopicPartition(*one) for one in pause])
        if resume:
            consumer.resume([TopicPartition(*one) for one in resume])
        self._paused = (self._paused | pause) - resume

    def _held(self, partition: SourcePartition, partitions: int) -> float:
        """Return how much of its share a partition holds."""
        least, most = SHARE_MESSAGES
        messages = min(most, max(least, HELD_MESSAGES_MAX // partitions))
        size = self._size.get(partition, 0) / (HELD_BYTES_MAX / partitions)
        return max(self._alignment.count(partition) / messages, size)
