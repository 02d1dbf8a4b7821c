"""An index by time: finds what is due, in order, without a scan of the state."""

from bisect import bisect_left
from typing import Any

__all__ = ["Cursor", "TimeIndex"]

Cursor = tuple[int, int]
"""(time in ms, offset): everything up to and including it has been handled."""


class TimeIndex:
    """Entries `(time_ms, offset, ...)` in order of time and offset.

    `add(entry)` adds one and `extend(entries)` many, in any order. Records come nearly in order, so entries are kept in
    one sorted list, and new ones are sorted in at the next read. (time, offset) is unique, so nothing further is
    compared.

    Example:
        >>> index = TimeIndex()
        >>> for entry in [(20, 1, "b"), (10, 0, "a"), (30, 2, "c")]:
        ...     index.add(entry)
        >>> index.between(after=(10, 0), until_ms=30, limit=10)
        [(20, 1, 'b')]
        >>> index.take(until_ms=25, limit=10)
        [(10, 0, 'a'), (20, 1, 'b')]
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Any, ...]] = []
        self._fresh: list[tuple[Any, ...]] = []
        self.add = self._fresh.append
        self.extend = self._fresh.extend

    def between(self, after: Cursor | None, until_ms: int, limit: int) -> list[tuple[Any, ...]]:
        """Return up to `limit` entries behind `after` whose time is less than `until_ms`, in order."""
        self._sort_in()
        start = 0 if after is None else bisect_left(self._entries, (after[0], after[1] + 1))
        stop = min(bisect_left(self._entries, (until_ms,)), start + limit)
        return self._entries[start:stop]

    def take(self, until_ms: int, limit: int) -> list[tuple[Any, ...]]:
        """Remove and return up to `limit` of the first entries whose time is less than `until_ms`."""
        taken = self.between(None, until_ms, limit)
        del self._entries[: len(taken)]
        return taken

    def __len__(self) -> int:
        return len(self._entries) + len(self._fresh)

    def _sort_in(self) -> None:
        if not self._fresh:
            return
        self._fresh.sort()
        # Only the part that the new entries reach into is sorted again; mostly that is nothing.
        start = bisect_left(self._entries, self._fresh[0])
        if start == len(self._entries):
            self._entries += self._fresh
        else:
            self._entries[start:] = sorted(self._entries[start:] + self._fresh)
        self._fresh.clear()
