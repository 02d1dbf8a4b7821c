"""The stored index by time: it answers like the one in memory, and reads few chunks.

`tests/properties/test_rocks_store_equals_memory.py` compares whole stores; here are orders of entries that make chunks
overlap.
"""

import random
import shutil
from collections.abc import Iterator

import pytest
from rocks_folder import rocks_folder
from rocksdict import WriteBatch

from joins.index import TimeIndex
from streams.state_store import index as rocks_index
from streams.state_store.database import RocksDatabase
from streams.state_store.index import RocksIndex

Entry = tuple[int, int, str, str]


@pytest.fixture
def database() -> Iterator[RocksDatabase]:
    """Return an empty database."""
    folder = rocks_folder()
    made = RocksDatabase(folder, b"1")
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture
def index(database: RocksDatabase) -> RocksIndex:
    """Return an empty index."""
    return RocksIndex(database, b"p", 0)


def flush(index: RocksIndex, database: RocksDatabase) -> None:
    """Store the changes."""
    batch = WriteBatch(raw_mode=True)
    index.put_into(batch)
    database.write(batch)
    index.flushed()


def entry(time_ms: int, offset: int) -> Entry:
    """Return an entry whose name is its key."""
    return (time_ms, offset, f"k{offset}", f"k{offset}")


def test_chunks_that_overlap_are_read_in_order(index: RocksIndex, database: RocksDatabase) -> None:
    """The one that ends first begins last."""
    for times in ((50, 60), (30, 70), (40, 80)):
        for time_ms in times:
            index.add(entry(time_ms, time_ms))
        flush(index, database)
    assert [found[0] for found in index.between(None, 45, 10)] == [30, 40]
    assert [found[0] for found in index.take(100, 4)] == [30, 40, 50, 60]
    flush(index, database)
    assert [found[0] for found in index.between(None, 100, 10)] == [70, 80]
    assert len(index) == 2


@pytest.mark.parametrize("seed", range(30))
def test_it_answers_like_the_index_in_memory(
    index: RocksIndex, database: RocksDatabase, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Entries come nearly in order of time, or in none, and are asked for and taken in parts."""
    chance = random.Random(seed)
    for name, value in (
        ("CHUNK_ENTRIES", chance.randint(1, 5)),
        ("SPAN_MS", chance.choice([3, 20])),
        ("OPEN_CHUNKS", 2),
    ):
        monkeypatch.setattr(rocks_index, name, value)
    memory, disorder, offset = TimeIndex(), chance.choice([0, 5, 100]), 0
    for turn in range(60):
        for _ in range(chance.randrange(8)):
            one = entry(turn * 2 + chance.randint(-disorder, disorder), offset)
            offset += 1
            memory.add(one)
            index.add(one)
        if chance.random() < 0.6:
            flush(index, database)
        until_ms, limit = turn * 2 + chance.randint(-10, 10), chance.choice([1, 3, 1_000])
        after = chance.choice([None, (until_ms - 8, chance.randrange(60)), (until_ms - 30, 1 << 62)])
        assert index.between(after, until_ms, limit) == memory.between(after, until_ms, limit)
        if chance.random() < 0.5:
            until_ms -= chance.randrange(20)
            assert index.take(until_ms, limit) == memory.take(until_ms, limit)
        assert len(index) == len(memory)
    again = RocksIndex(database, b"p", len(index))
    flush(index, database)
    assert again.between(None, 1_000, 1_000) == memory.between(None, 1_000, 1_000)


def test_a_part_of_a_long_span_is_read_by_few_chunks(
    index: RocksIndex, database: RocksDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that its limit cuts reads what it returns, and goes on in the chunk where it stopped."""
    monkeypatch.setattr(rocks_index, "CHUNK_ENTRIES", 10)
    for number in range(1_000):
        index.add(entry(number, number))
    flush(index, database)
    read: list[bytes] = []
    entry_of = database.entry

    def watched(key: bytes) -> bytes:
        read.append(key)
        return entry_of(key)

    monkeypatch.setattr(database, "entry", watched)
    assert len(index.between(None, 1_000, 25)) == 25
    assert len(read) == 3
    assert [found[0] for found in index.between((24, 24), 1_000, 5)] == [25, 26, 27, 28, 29]
    assert len(read) == 3
    assert [found[0] for found in index.take(8, 10)] == [*range(8)]
    assert len(read) == 3
