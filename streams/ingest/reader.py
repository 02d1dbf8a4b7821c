"""Reads a worker's source partitions as one log in the order of their timestamps: see `streams.ingest.alignment`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import Consumer, Message, TopicPartition

from streams.ingest.alignment import Alignment, Taken, in_order
from streams.ingest.assignment import SourcePartition

__all__ = ["SourceRead", "SourceReader"]

PATIENCE_S = 5.0
"""The others wait no longer than this for a partition that delivers nothing: its leader may be away."""

WAITING_MESSAGES_MAX = 200_000
WAITING_BYTES_MAX = 256 * 1024 * 1024
"""Of all partitions together, each with an equal share; a partition that has used its share is paused."""

SHARE_MESSAGES = (2_000, 20_000)
"""Least and most messages of one partition that may wait, however many partitions there are."""

RESUMED_AT = 0.25
"""A paused partition is resumed once it uses less than this part of its share."""


@dataclass(frozen=True)
class SourceRead:
    """Messages of one read, in the order of their timestamps.

    Attributes:
        messages: by topic.
        first: by partition, the offset of its first message.
        following: by partition, the offset to commit with these messages.
    """

    messages: dict[str, list[Message]]
    first: dict[SourcePartition, int]
    following: dict[SourcePartition, int]


class SourceReader:
    """Aligns the source partitions of one worker and pauses those that are too far ahead.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._alignment: Alignment[SourcePartition, Message] = Alignment()
        self._heard_s: dict[SourcePartition, float] = {}
        self._paused: set[SourcePartition] = set()
        self._size: dict[SourcePartition, int] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether some message waits for other partitions."""
        return not self._alignment.is_empty

    def clear(self) -> None:
        """Drop the waiting messages: the partitions were assigned again, and the messages will be read again."""
        self._alignment.clear()
        self._heard_s.clear()
        self._paused.clear()
        self._size.clear()

    def read(
        self,
        consumer: Consumer,
        starts: dict[SourcePartition, int],
        messages: Mapping[SourcePartition, Sequence[Message]],
    ) -> SourceRead:
        """Add messages, none of them an error, and return those that need not wait any more.

        Args:
            consumer: where the messages come from.
            starts: the partitions that are read, with the offsets at which they were last assigned.
            messages: just consumed, by partition.
        """
        now_s = self._clock()
        for partition, some in messages.items():
            if partition in starts:  # else it was stopped
                self._alignment.add(partition, some, [stamp for _, stamp in map(Message.timestamp, some)])
                self._heard_s[partition] = now_s
                self._size[partition] = self._size.get(partition, 0) + _bytes(some)
        self._alignment.keep_only(starts)
        positions = self._positions(consumer, starts)
        behind = [partition for partition in starts if self._is_behind(consumer, partition, positions, now_s)]
        taken = self._alignment.take(behind)
        parts: dict[str, list[Taken[SourcePartition, Message]]] = {}
        for one in taken:
            self._size[one.partition] -= _bytes(one.records)
            parts.setdefault(one.partition[0], []).append(one)
        self._pause_and_resume(consumer, starts)
        return SourceRead(
            {topic: in_order(some) for topic, some in parts.items()},
            {one.partition: one.records[0].offset() or 0 for one in taken},
            {one.partition: self._following(one.partition, positions) for one in taken},
        )

    def _positions(self, consumer: Consumer, starts: dict[SourcePartition, int]) -> dict[SourcePartition, int]:
        found = consumer.position([TopicPartition(*partition) for partition in starts]) if starts else []
        return {
            (one.topic, one.partition): one.offset if one.offset >= 0 else starts[one.topic, one.partition]
            for one in found
        }

    def _is_behind(
        self, consumer: Consumer, partition: SourcePartition, positions: dict[SourcePartition, int], now_s: float
    ) -> bool:
        """Tell whether a partition has more to read, and delivers it or is paused."""
        _, high = consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        is_read = 0 <= high <= positions[partition]
        heard_s = self._heard_s.setdefault(partition, now_s)
        return not is_read and (partition in self._paused or now_s - heard_s < PATIENCE_S)

    def _following(self, partition: SourcePartition, positions: dict[SourcePartition, int]) -> int:
        waiting = self._alignment.first(partition)
        return positions[partition] if waiting is None else waiting.offset() or 0

    def _pause_and_resume(self, consumer: Consumer, starts: dict[SourcePartition, int]) -> None:
        """Pause partitions that have used their share, and resume those that are well below it."""
        used = {one: self._used(one, len(starts)) for one in starts}
        pause = {one for one, share in used.items() if one not in self._paused and share > 1}
        resume = {one for one in self._paused if one in starts and used[one] < RESUMED_AT}
        if pause:
            consumer.pause([TopicPartition(*one) for one in pause])
        if resume:
            consumer.resume([TopicPartition(*one) for one in resume])
        self._paused = (self._paused | pause) - resume

    def _used(self, partition: SourcePartition, partitions: int) -> float:
        """Return which part of its share a partition uses; more than 1 is too much."""
        least, most = SHARE_MESSAGES
        messages = min(most, max(least, WAITING_MESSAGES_MAX // partitions))
        size = self._size.get(partition, 0) / (WAITING_BYTES_MAX / partitions)
        return max(self._alignment.count(partition) / messages, size)


def _bytes(messages: Iterable[Message]) -> int:
    """Return the size of the values of messages."""
    return sum(map(len, filter(None, map(Message.value, messages))))
