"""The store of a partition's keys: the protocol, and the store in memory.

A store finds keys, and entries by time; it knows nothing of joining.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from joins.index import Cursor, TimeIndex
from joins.rows import KeyRows, Places
from joins.state import ChainName, KeyState

__all__ = ["EntriesByTime", "MemoryStore", "RowStore", "Store"]


class EntriesByTime(Protocol):
    """Entries `(time_ms, offset, ...)` in order of time and offset, as `joins.index.TimeIndex` keeps them."""

    def add(self, entry: tuple[Any, ...], /) -> None:
        """Add an entry, in any order."""

    def extend(self, entries: Iterable[tuple[Any, ...]], /) -> None:
        """Add entries, in any order."""

    def between(self, after: Cursor | None, until_ms: int, limit: int) -> list[tuple[Any, ...]]:
        """Return up to `limit` entries behind `after` whose time is less than `until_ms`, in order."""

    def take(self, until_ms: int, limit: int) -> list[tuple[Any, ...]]:
        """Remove and return up to `limit` of the first entries whose time is less than `until_ms`."""

    def __len__(self) -> int:
        """Return the number of entries."""


class Store(Protocol):
    """What a partition needs of its store."""

    @property
    def by_prediction(self) -> EntriesByTime:
        """Entries (prediction time, offset, key, id), for deadlines."""

    @property
    def by_label(self) -> Mapping[str, EntriesByTime]:
        """Per kind, entries (known_at, offset, key, chain name), for when a label is out of reach."""

    def get(self, key: str, /) -> KeyState | None:
        """Return the key's state, to be changed in place, or None."""

    def put(self, key: str, state: KeyState) -> None:
        """Keep a key's state."""

    def delete(self, key: str) -> None:
        """Remove a key."""

    def items(self) -> Iterable[tuple[str, KeyState]]:
        """Iterate over all keys, in no order, to read them; a state that is to be changed is fetched by its key."""

    def prefetch(self, keys: Iterable[str]) -> None:
        """Hint which keys are wanted next, so that they can be found all at once."""

    def spill(self) -> None:
        """Hint that many keys are being put and nobody holds a state: memory can be freed now."""

    def __len__(self) -> int:
        """Return the number of keys."""


@runtime_checkable
class RowStore(Store, Protocol):
    """A store that can hold states as rows."""

    def rows_of(self, names: Sequence[ChainName]) -> KeyRows | None:
        """Return the rows, in which these chains have a place; None if others have."""

    def locate(self, keys: Sequence[str]) -> Places:
        """Return the places of keys, or `NO_ROW`; they are good until the next flush or spill."""

    def count_keys(self, change: int) -> None:
        """Note how many keys were added to the rows, or (negative) removed from them."""


class MemoryStore:
    """A store in this process's memory: for examples and tests, and the measure of the durable one."""

    def __init__(self, kinds: list[str]) -> None:
        self.by_prediction = TimeIndex()
        self.by_label = {kind: TimeIndex() for kind in kinds}
        self._keys: dict[str, KeyState] = {}
        self.get = self._keys.get
        self.items = self._keys.items

    def put(self, key: str, state: KeyState) -> None:
        """Keep a key's state."""
        self._keys[key] = state

    def delete(self, key: str) -> None:
        """Remove a key."""
        del self._keys[key]

    def prefetch(self, keys: Iterable[str]) -> None:
        """Do nothing: every key is at hand."""

    def spill(self) -> None:
        """Do nothing: there is no other place for it."""

    def __len__(self) -> int:
        return len(self._keys)
