"""How much a worker of ingest holds of partitions that are ahead of the others, and that it goes on."""

from typing import Any

import pytest

from streams.ingest import reader as source_reader
from streams.ingest.reader import SHARE_MESSAGES, SourceReader

A, B = ("t", 0), ("t", 1)


class Record:
    """What a message tells the reader."""

    def __init__(self, partition: int, offset: int, time_ms: int, size: int = 10) -> None:
        self._facts = (partition, offset, time_ms, size)

    def topic(self) -> str:
        """Return the topic."""
        return "t"

    def partition(self) -> int:
        """Return the partition."""
        return self._facts[0]

    def offset(self) -> int:
        """Return the offset."""
        return self._facts[1]

    def timestamp(self) -> tuple[int, int]:
        """Return kind and time."""
        return 1, self._facts[2]

    def value(self) -> bytes:
        """Return a value of the wanted size."""
        return b"x" * self._facts[3]


class Places:
    """A consumer that knows where it stands, and what it was told to fetch no more."""

    def __init__(self, ends: dict[tuple[str, int], int]) -> None:
        self.ends = ends
        self.stands = dict.fromkeys(ends, 0)
        self.paused: set[tuple[str, int]] = set()

    def position(self, places: list[Any]) -> list[Any]:
        """Return where it stands."""
        for place in places:
            place.offset = self.stands[place.topic, place.partition]
        return places

    def get_watermark_offsets(self, place: Any, *, cached: bool) -> tuple[int, int]:
        """Return the first offset and the end."""
        assert cached
        return 0, self.ends[place.topic, place.partition]

    def pause(self, places: list[Any]) -> None:
        """Fetch no more."""
        self.paused |= {(place.topic, place.partition) for place in places}

    def resume(self, places: list[Any]) -> None:
        """Fetch again."""
        self.paused -= {(place.topic, place.partition) for place in places}


def read(reader: SourceReader, consumer: Places, *records: Record) -> dict[tuple[str, int], int]:
    """Give records to the reader and return the positions behind those that leave."""
    for record in records:
        consumer.stands["t", record.partition()] = record.offset() + 1
    return reader.read(consumer, dict.fromkeys(consumer.ends, 0), records).following  # type: ignore[arg-type]


def ahead(count: int, size: int = 10) -> list[Record]:
    """Return records of partition 0 that are later than anything of partition 1."""
    return [Record(0, offset, 1_000 + offset, size) for offset in range(count)]


@pytest.mark.parametrize(("count", "size"), [(SHARE_MESSAGES[1] + 1, 1), (10, 1_001)])
def test_a_partition_that_is_far_ahead_is_fetched_no_more(
    count: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the number of its records, and by their size; once they have left it is fetched again."""
    monkeypatch.setattr(source_reader, "HELD_BYTES_MAX", 10**9 if size == 1 else 20_000)
    consumer, reader = Places({A: 10**6, B: 3}), SourceReader(lambda: 0.0)
    assert read(reader, consumer, *ahead(count - 1, size)) == {}
    assert consumer.paused == set()
    assert read(reader, consumer, Record(0, count - 1, 5_000, size)) == {}
    assert consumer.paused == {A}
    assert read(reader, consumer, Record(1, 0, 1), Record(1, 1, 2)) == {B: 2}
    assert read(reader, consumer, Record(1, 2, 3)) == {A: count, B: 3}
    assert consumer.paused == set()


def test_many_partitions_share_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all of them together stay within bounds."""
    monkeypatch.setattr(source_reader, "HELD_MESSAGES_MAX", 10_000)
    ends = {("t", number): 10**6 for number in range(4)}
    consumer, reader = Places(ends), SourceReader(lambda: 0.0)
    read(reader, consumer, *ahead(2_500))
    assert consumer.paused == set()
    read(reader, consumer, Record(0, 2_500, 9_000))
    assert consumer.paused == {A}


def test_what_waits_is_not_committed() -> None:
    """The position behind a partition's messages is that of the first that still waits."""
    consumer, reader = Places({A: 10**6, B: 10**6}), SourceReader(lambda: 0.0)
    records = [Record(0, 0, 5), Record(0, 1, 7), Record(0, 2, 9), Record(1, 0, 7)]
    assert read(reader, consumer, *records) == {A: 2, B: 1}


def test_a_partition_that_says_nothing_is_not_waited_for_for_ever() -> None:
    """Its leader may be away."""
    now = [0.0]
    consumer, reader = Places({A: 10**6, B: 10**6}), SourceReader(lambda: now[0])
    assert read(reader, consumer, Record(0, 0, 5)) == {}
    now[0] = source_reader.PATIENCE_S
    assert read(reader, consumer) == {A: 1}
