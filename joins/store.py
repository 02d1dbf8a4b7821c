"""Where a partition's keys live: the protocol, and the store that keeps them in memory.

A store knows nothing of joining: it finds keys, and entries by time.
"""

from collections.abc import Iterable
from typing import Protocol

from joins.index import TimeIndex
from joins.state import KeyState

__all__ = ["MemoryStore", "Store"]


class Store(Protocol):
    """What a partition needs of its store.

    Attributes:
        by_prediction: entries (prediction time, offset, key, id), for deadlines.
        by_label: per kind, entries (known_at, offset, key, chain name), for when a label is out of reach.
    """

    by_prediction: TimeIndex
    by_label: dict[str, TimeIndex]

    def get(self, key: str) -> KeyState | None:
        """Return the key's state, to be changed in place, or None."""

    def put(self, key: str, state: KeyState) -> None:
        """Keep a key's state."""

    def delete(self, key: str) -> None:
        """Forget a key."""

    def items(self) -> Iterable[tuple[str, KeyState]]:
        """Go through all keys, in no order."""

    def __len__(self) -> int:
        """Return the number of keys."""


class MemoryStore:
    """A store in this process's memory: for file replay and tests."""

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
        """Forget a key."""
        del self._keys[key]

    def __len__(self) -> int:
        return len(self._keys)
