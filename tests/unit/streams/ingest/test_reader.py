"""Backpressure of an ingest worker: partitions that are too far ahead are paused and resumed."""

from typing import Any

import pytest
from confluent_kafka import Message

from streams.ingest import reader as source_reader
from streams.ingest.reader import SHARE_MESSAGES, SourceReader
from streams.kafka.consume import by_partition

A, B = ("t", 0), ("t", 1)


def record(partition: int, offset: int, time_ms: int, size: int = 10) -> Message:
    """Return a message of a wanted size."""
    return Message(topic="t", partition=partition, offset=offset, timestamp=(1, time_ms), value=b"x" * size)


class FakeConsumer:
    """A consumer with positions, ends and paused partitions."""

    def __init__(self, ends: dict[tuple[str, int], int]) -> None:
        self.ends = ends
        self.positions = dict.fromkeys(ends, 0)
        self.paused: set[tuple[str, int]] = set()

    def position(self, partitions: list[Any]) -> list[Any]:
        """Return the positions of partitions."""
        for one in partitions:
            one.offset = self.positions[one.topic, one.partition]
        return partitions

    def get_watermark_offsets(self, partition: Any, *, cached: bool) -> tuple[int, int]:
        """Return the first offset and the end."""
        assert cached
        return 0, self.ends[partition.topic, partition.partition]

    def pause(self, partitions: list[Any]) -> None:
        """Pause partitions."""
        self.paused |= {(one.topic, one.partition) for one in partitions}

    def resume(self, partitions: list[Any]) -> None:
        """Resume partitions."""
        self.paused -= {(one.topic, one.partition) for one in partitions}


def read(reader: SourceReader, consumer: FakeConsumer, *messages: Message) -> dict[tuple[str, int], int]:
    """Give records to the reader and return the positions after those that it returns."""
    found, errors = by_partition(messages)
    assert not errors
    for partition, some in found.items():
        consumer.positions[partition] = (some[-1].offset() or 0) + 1
    return reader.read(consumer, dict.fromkeys(consumer.ends, 0), found).following  # type: ignore[arg-type]


def ahead(count: int, size: int = 10) -> list[Message]:
    """Return records of partition 0 that are later than anything of partition 1."""
    return [record(0, offset, 1_000 + offset, size) for offset in range(count)]


@pytest.mark.parametrize(("count", "size"), [(SHARE_MESSAGES[1] + 1, 1), (10, 1_001)])
def test_a_partition_that_is_far_ahead_is_paused(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of its records, and by their size; once they are taken it is resumed."""
    monkeypatch.setattr(source_reader, "WAITING_BYTES_MAX", 10**9 if size == 1 else 20_000)
    consumer, reader = FakeConsumer({A: 10**6, B: 3}), SourceReader(lambda: 0.0)
    assert read(reader, consumer, *ahead(count - 1, size)) == {}
    assert consumer.paused == set()
    assert read(reader, consumer, record(0, count - 1, 5_000, size)) == {}
    assert consumer.paused == {A}
    assert read(reader, consumer, record(1, 0, 1), record(1, 1, 2)) == {B: 2}
    assert read(reader, consumer, record(1, 2, 3)) == {A: count, B: 3}
    assert consumer.paused == set()


def test_many_partitions_share_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together stay within the limit."""
    monkeypatch.setattr(source_reader, "WAITING_MESSAGES_MAX", 10_000)
    ends = {("t", number): 10**6 for number in range(4)}
    consumer, reader = FakeConsumer(ends), SourceReader(lambda: 0.0)
    read(reader, consumer, *ahead(2_500))
    assert consumer.paused == set()
    read(reader, consumer, record(0, 2_500, 9_000))
    assert consumer.paused == {A}


def test_waiting_messages_are_not_committed() -> None:
    """The position to commit is that of the first message that still waits."""
    consumer, reader = FakeConsumer({A: 10**6, B: 10**6}), SourceReader(lambda: 0.0)
    records = [record(0, 0, 5), record(0, 1, 7), record(0, 2, 9), record(1, 0, 7)]
    assert read(reader, consumer, *records) == {A: 2, B: 1}


def test_a_partition_that_delivers_nothing_is_not_waited_for_for_ever() -> None:
    """Its leader may be away."""
    now = [0.0]
    consumer, reader = FakeConsumer({A: 10**6, B: 10**6}), SourceReader(lambda: now[0])
    assert read(reader, consumer, record(0, 0, 5)) == {}
    now[0] = source_reader.PATIENCE_S
    assert read(reader, consumer) == {A: 1}
