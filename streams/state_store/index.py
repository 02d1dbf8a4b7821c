"""An index by time in a RocksDB database, overlaid with the entries added and taken since the last flush.

It answers like `joins.index.TimeIndex`. A flush stores its entries in chunks: runs of neighbours within one span of
time, a value each, because RocksDB takes as long for a value of one entry as for one of a hundred. A chunk's stored key
has the positions of its last and its first entry, so a walk over keys alone finds the chunks that hold what is asked
for; it begins where it must and ends with the span. No walk is made where no entry can be due: the gaps that earlier
queries saw between stored entries are remembered.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import groupby, repeat, takewhile
from struct import Struct
from typing import Any, Final

import msgspec
from rocksdict import WriteBatch

from joins.index import Cursor, TimeIndex
from streams.state_store.database import RocksDatabase

__all__ = ["CHUNK_FORMAT", "RocksIndex"]

CHUNK_FORMAT: Final = 1
"""The stored form of chunks and their keys; a store of another form is rebuilt."""

CHUNK_ENTRIES: Final = 1_024
"""Greatest number of entries of a chunk: what is read, decoded and sorted for the first of them that is due."""

SPAN_MS: Final = 60_000
"""A chunk does not reach across a multiple of this time, so that a walk knows where to end."""

OPEN_CHUNKS: Final = 16
"""Decoded chunks that stay in memory: each cursor stands in one, and takes it in parts."""

GAPS_MAX: Final = 16
"""Gaps remembered. Each label kind's cursor stays in one, and so does the end from which entries are taken."""

_BIAS: Final = 1 << 63
"""Added to signed numbers, so that their bytes sort like the numbers."""

_TIME = Struct(">Q")
_POSITION = Struct(">QQ")
_POSITIONS = Struct(">QQQQ")

Position = tuple[int, int]
"""(time in ms, offset); unique in an index."""

_FIRST: Position = (-_BIAS, -_BIAS)
_END: Position = (_BIAS, 0)
"""After every entry."""

Entry = tuple[Any, ...]
"""(time_ms, offset, key, name)."""


class _Chunk(msgspec.Struct, array_like=True, gc=False):
    """Entries in order, as columns.

    Attributes:
        names: one text if it is the name of all entries; None if each entry's key is its name.
    """

    times: tuple[int, ...]
    offsets: tuple[int, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...] | str | None

    @classmethod
    def of(cls, entries: list[Entry]) -> "_Chunk":
        times, offsets, keys, names = zip(*entries, strict=True)
        if keys == names:
            return cls(times, offsets, keys, None)
        return cls(times, offsets, keys, names[0] if len(set(names)) == 1 else names)

    def entries(self) -> list[Entry]:
        names = self.keys if self.names is None else self.names
        column = repeat(names) if isinstance(names, str) else names
        return list(zip(self.times, self.offsets, self.keys, column, strict=False))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Chunk).decode


class RocksIndex:
    """Entries `(time_ms, offset, key, name)` in order of time and offset, which together are unique.

    Args:
        database: shared by all indexes and the states of a store.
        prefix: begins the stored keys of this index; no other index's prefix may begin with it.
        stored: number of stored entries.
    """

    def __init__(self, database: RocksDatabase, prefix: bytes, stored: int) -> None:
        self._database = database
        self._prefix = prefix
        self._stored = stored
        self._fresh = TimeIndex()
        self.add = self._fresh.add
        self.extend = self._fresh.extend
        self._open: dict[bytes, list[Entry]] = {}  # entries of chunks by their stored keys, newest last
        self._cut: dict[bytes, list[Entry]] = {}  # those of which entries were taken since the last flush
        # No stored entry that is not taken is before `_low`, nor in any gap [first, end) of `_gaps`, newest first.
        self._low = _FIRST
        self._gaps: list[tuple[Position, Position]] = []
        self._batched: list[Entry] = []

    def between(self, after: Cursor | None, until_ms: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries after the cursor `after` with a time before `until_ms`, in order."""
        start = _FIRST if after is None else (after[0], after[1] + 1)
        stored, _ = self._find(start, until_ms, limit)
        fresh = self._fresh.between(after, until_ms, limit)
        return sorted(stored + fresh)[:limit] if stored and fresh else stored or fresh

    def take(self, until_ms: int, limit: int) -> list[Entry]:
        """Remove and return up to `limit` of the first entries with a time before `until_ms`."""
        stored, following = self._find(self._low, until_ms, limit, cuts=True)
        fresh = self._fresh.between(None, until_ms, limit)
        found = sorted(stored + fresh)[:limit] if stored and fresh else stored or fresh
        all_found = len(found) == len(stored) + len(fresh)
        of_fresh = len(fresh) if all_found else bisect_right(fresh, found[-1])
        of_stored = len(found) - of_fresh
        self._fresh.take(until_ms, of_fresh)
        self._stored -= of_stored
        self._low = following if of_stored == len(stored) else _position(stored[of_stored])
        return found

    def __len__(self) -> int:
        return self._stored + len(self._fresh)

    def put_into(self, batch: WriteBatch) -> None:
        """Add the changes since the last flush to a batch; call `flushed` once it is written."""
        for key, entries in self._cut.items():
            if self._low <= _position(entries[0]):
                continue
            batch.delete(key)
            if left := entries[bisect_left(entries, self._low) :]:
                self._put_chunk(batch, left)
        self._batched = fresh = self._fresh.between(None, _END[0], len(self._fresh))
        start = 0
        while start < len(fresh):
            end_ms = fresh[start][0] // SPAN_MS * SPAN_MS + SPAN_MS
            stop = bisect_left(fresh, (end_ms,), start, min(start + CHUNK_ENTRIES, len(fresh)))
            self._put_chunk(batch, fresh[start:stop])
            start = stop

    def flushed(self) -> None:
        """Note that the batch is written."""
        self._cut.clear()
        fresh = self._batched
        self._stored += len(fresh)
        self._fresh.take(_END[0], len(self._fresh))
        if fresh:
            self._low = min(self._low, _position(fresh[0]))
            self._gaps = [(first, _first_from(first, end, fresh)) for first, end in self._gaps]
            self._batched = []

    def _find(self, start: Position, until_ms: int, limit: int, *, cuts: bool = False) -> tuple[list[Entry], Position]:
        """Return stored entries from `start` on, and a position before which there are no others.

        Args:
            start: of the first one; nothing that is taken is found.
            until_ms: greater than the time of the last one.
            limit: greatest number of them.
            cuts: whether they are to be taken.
        """
        start, until = max(start, self._low), (until_ms, -_BIAS)
        for at, (first, end) in enumerate(self._gaps):
            if first <= start <= end:
                start = end
                if start < until:
                    del self._gaps[at]
                break
        if start >= until or limit < 1:
            return [], start
        found, following = self._walk(start, until, limit, cuts=cuts)
        self._gaps.insert(0, ((found[-1][0], found[-1][1] + 1) if found else start, following))
        del self._gaps[GAPS_MAX:]
        return found, following

    def _walk(self, start: Position, until: Position, limit: int, *, cuts: bool) -> tuple[list[Entry], Position]:
        """Find entries span by span, as all of one come before all of the next, and there chunk by chunk.

        Chunks of a span overlap where records came out of order, so what is found is certain up to the first entry of
        the chunks that were not read.
        """
        found: list[Entry] = []
        unread = _END  # nothing that was not read is before this
        for span_start_ms, chunks in self._spans(start):
            if len(found) >= limit or span_start_ms >= until[0]:
                unread = min(unread, (span_start_ms, -_BIAS))
                break
            for first, key in sorted(chunks):
                if first >= until or (len(found) >= limit and bisect_left(found, first) >= limit):
                    unread = min(unread, first)
                    break
                entries = self._entries(key, cuts=cuts)
                is_behind = not found or found[-1] < entries[0]
                found += entries[bisect_left(entries, start) :]
                if not is_behind:
                    found.sort()
        count = min(limit, bisect_left(found, until))
        return found[:count], unread if count == len(found) else min(unread, _position(found[count]))

    def _spans(self, start: Position) -> Iterator[tuple[int, list[tuple[Position, bytes]]]]:
        """Give for each span, in order, its start and the chunks with an entry from `start` on, by their first ones."""
        keys = takewhile(lambda key: key.startswith(self._prefix), self._database.walk_entry_keys(self._key(start)))
        for number, group in groupby(keys, lambda key: self._last_ms(key) // SPAN_MS):
            yield number * SPAN_MS, [(self._first(key), key) for key in group]

    def _entries(self, key: bytes, *, cuts: bool) -> list[Entry]:
        """Return the entries of a chunk; note it if some of them are to be taken."""
        entries = self._cut.get(key) or self._open.pop(key, None)
        if entries is None:
            entries = _decode(self._database.entry(key)).entries()
        if cuts:
            self._cut[key] = entries
        else:
            self._open[key] = entries
            if len(self._open) > OPEN_CHUNKS:
                del self._open[next(iter(self._open))]
        return entries

    def _put_chunk(self, batch: WriteBatch, entries: list[Entry]) -> None:
        (first_ms, first, *_), (last_ms, last, *_) = entries[0], entries[-1]
        positions = _POSITIONS.pack(last_ms + _BIAS, last + _BIAS, first_ms + _BIAS, first + _BIAS)
        batch.put(self._prefix + positions, _encode(_Chunk.of(entries)))

    def _key(self, position: Position) -> bytes:
        """Return the least stored key of a chunk whose last entry is not before a position."""
        return self._prefix + _POSITION.pack(position[0] + _BIAS, position[1] + _BIAS)

    def _last_ms(self, key: bytes) -> int:
        time = _TIME.unpack_from(key, len(self._prefix))[0]
        return int(time) - _BIAS

    def _first(self, key: bytes) -> Position:
        time, offset = _POSITION.unpack_from(key, len(self._prefix) + _POSITION.size)
        return time - _BIAS, offset - _BIAS


def _position(entry: Entry) -> Position:
    return entry[0], entry[1]


def _first_from(first: Position, end: Position, entries: list[Entry]) -> Position:
    """Return the position of the first of the sorted `entries` that is not before `first`, but at most `end`."""
    at = bisect_left(entries, first)
    return min(end, _position(entries[at])) if at < len(entries) else end
