"""An index by time in a RocksDB database, overlaid with the entries added and taken since the last flush.

It answers like `joins.index.TimeIndex`. A query costs one seek and the entries that it returns, and no seek where no
entry can be due: the gaps that earlier queries saw between stored entries are remembered.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Any

from rocksdict import WriteBatch

from joins.index import Cursor, TimeIndex
from streams.state_store.database import END, RocksDatabase

__all__ = ["RocksIndex"]

GAPS_MAX = 16
"""Gaps remembered. Each label kind's cursor stays in one, and so does the end from which entries are taken."""

RANGE_FROM = 64
"""Taken entries to delete as one range; fewer go one by one, as many small ranges slow RocksDB until compaction."""

_BIAS = 1 << 63
"""Added to signed numbers, so that their bytes sort like the numbers."""

_TIME_MAX = _BIAS - 1
_ALL_TIMES = 1 << 64
_SEPARATOR = b"\xff"
"""Between the two texts of an entry; no UTF-8 text contains it."""

_POSITION = Struct(">QQ")
_TIME = Struct(">Q")

Row = tuple[bytes, bytes]
"""Key and value of a stored entry."""


class RocksIndex:
    """Entries `(time_ms, offset, key, name)` in order of time and offset, which together are unique.

    Args:
        database: shared by all indexes and the states of a store.
        prefix: begins the stored keys of this index; no other index's prefix may begin with it.
        stored: number of stored entries.
        expect: called with the keys of the returned entries, in order, because their states will be read next.
    """

    def __init__(
        self, database: RocksDatabase, prefix: bytes, stored: int, expect: Callable[[Iterable[str]], None]
    ) -> None:
        self._database = database
        self._prefix = prefix
        self._stored = stored
        self._expect = expect
        self._fresh = TimeIndex()
        self.add = self._fresh.add
        self._taken: list[bytes] = []
        # No entry is stored before `_low`, nor in any gap [first, end) of `_gaps`, newest first.
        self._low = prefix
        self._gaps: list[tuple[bytes, bytes]] = []
        self._batched: list[bytes] = []

    def between(self, after: Cursor | None, until_ms: int, limit: int) -> list[tuple[Any, ...]]:
        """Return up to `limit` entries after the cursor `after` with a time before `until_ms`, in order."""
        start = self._prefix if after is None else self._position(after[0], after[1] + 1)
        stored = self._entries(self._rows(start, until_ms, limit)[0])
        fresh = self._fresh.between(after, until_ms, limit)
        found = sorted(stored + fresh)[:limit] if stored and fresh else stored or fresh
        if stored:
            self._expect(entry[2] for entry in found)
        return found

    def take(self, until_ms: int, limit: int) -> list[tuple[Any, ...]]:
        """Remove and return up to `limit` of the first entries with a time before `until_ms`."""
        rows, following = self._rows(self._low, until_ms, limit)
        stored = self._entries(rows)
        fresh = self._fresh.between(None, until_ms, limit)
        found = sorted(stored + fresh)[:limit] if stored and fresh else stored or fresh
        all_found = len(found) == len(stored) + len(fresh)
        of_fresh = len(fresh) if all_found else bisect_right(fresh, found[-1])
        of_stored = len(found) - of_fresh
        self._fresh.take(until_ms, of_fresh)
        self._taken += [position for position, _ in rows[:of_stored]]
        self._stored -= of_stored
        self._low = following if of_stored == len(rows) else rows[of_stored][0]
        if stored:
            self._expect(entry[2] for entry in found)
        return found

    def __len__(self) -> int:
        return self._stored + len(self._fresh)

    def put_into(self, batch: WriteBatch) -> None:
        """Add the changes since the last flush to a batch; call `flushed` once it is written."""
        if len(self._taken) < RANGE_FROM:
            for key in self._taken:
                batch.delete(key)
        else:  # taken entries are always the first ones, without a gap
            batch.delete_range(self._taken[0], self._taken[-1] + b"\0")
        prefix, pack, put = self._prefix, _POSITION.pack, batch.put
        self._batched = []
        for time_ms, offset, key, name in self._fresh.between(None, _ALL_TIMES, len(self._fresh)):
            position = prefix + pack(time_ms + _BIAS, offset + _BIAS)
            self._batched.append(position)
            put(position, key.encode() if name == key else b"".join((key.encode(), _SEPARATOR, name.encode())))

    def flushed(self) -> None:
        """Note that the batch is written."""
        self._taken.clear()
        self._stored += len(self._batched)
        self._fresh.take(_ALL_TIMES, len(self._fresh))
        if self._batched:
            self._low = min(self._low, self._batched[0])
            self._gaps = [(first, _first_from(first, end, self._batched)) for first, end in self._gaps]
            self._batched = []

    def _rows(self, start: bytes, until_ms: int, limit: int) -> tuple[list[Row], bytes]:
        """Return stored rows from `start` on, and the stored key after them, which may be another index's."""
        start = max(start, self._low)
        until = self._prefix + _TIME.pack(min(until_ms, _TIME_MAX) + _BIAS)
        for at, (first, end) in enumerate(self._gaps):
            if first <= start <= end:
                start = end
                if start < until:
                    del self._gaps[at]
                break
        if start >= until or limit < 1:
            return [], start
        rows: list[Row] = []
        following = END
        for key, value in self._database.walk_entries(start):
            if key >= until or len(rows) == limit:
                following = key
                break
            rows.append((key, value))
        self._gaps.insert(0, (rows[-1][0] + b"\0" if rows else start, following))
        del self._gaps[GAPS_MAX:]
        return rows, following

    def _entries(self, rows: list[Row]) -> list[tuple[Any, ...]]:
        at, unpack = len(self._prefix), _POSITION.unpack_from
        entries = []
        for position, value in rows:
            time, offset = unpack(position, at)
            raw_key, both, raw_name = value.partition(_SEPARATOR)
            key = raw_key.decode()
            entries.append((time - _BIAS, offset - _BIAS, key, raw_name.decode() if both else key))
        return entries

    def _position(self, time_ms: int, offset: int) -> bytes:
        return self._prefix + _POSITION.pack(time_ms + _BIAS, offset + _BIAS)


def _first_from(first: bytes, end: bytes, positions: list[bytes]) -> bytes:
    """Return the first of the sorted `positions` that is not before `first`, but at most `end`."""
    at = bisect_left(positions, first)
    return min(end, positions[at]) if at < len(positions) else end
