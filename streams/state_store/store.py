"""The join's durable store: one RocksDB database for one partition, and in memory what was touched since.

Changes gather in memory until `flush` writes them, with the caller's checkpoint, in one batch: after a crash the
store is exactly as that point says. Semantics are those of `joins.store.MemoryStore`. Must not know the join: what
a state means, and when to flush, is the caller's. One thread uses a store.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
from rocksdict import WriteBatch

from joins.state import STATE_FORMAT, KeyState
from schemas.errors import StateError
from streams.state_store.database import COUNTS, POINT, RocksDatabase
from streams.state_store.index import RocksIndex

__all__ = ["RocksStore"]

CLEAN_KEYS = 8_192
"""Keys in each of two generations that stay in memory after a flush, because labels often come within seconds of
their prediction: 15 MB a partition, and three to six seconds at 20,000 records a second over eight partitions."""

LOOK_AHEAD = 1_024
"""States read at once when the first of those that an index has just named is wanted; beyond it nothing is gained."""

_FORM_UNKNOWN = b""
"""Stands for the stored form of a state that was in memory: it is there, and mostly about to change."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeyState).decode


class _Counts(msgspec.Struct, array_like=True):
    """How much there is, so that nothing must be walked to know it."""

    keys: int = 0
    predictions: int = 0
    labels: dict[str, int] = {}


class _Touched(dict[str, KeyState | None]):
    """What was touched since the last flush; a key that is missing is fetched by the store."""

    def __init__(self, store: "RocksStore") -> None:
        super().__init__()
        self._store = store

    def __missing__(self, key: str) -> KeyState | None:
        self._store.fetch_with_expected(key)
        return self[key]


class RocksStore:
    """A store in a folder of its own.

    A state that was got may be changed in place until the next flush; after it, it must be got again.

    Args:
        folder: made if there is none. One whose last filling was never finished by a flush is emptied.
        kinds: label kinds, one index each.

    Attributes:
        by_prediction: as in `joins.store.Store`.
        by_label: the same.
        get: return the state of a key, or None; a dictionary's look-up unless the key must be fetched.

    Raises:
        StateError: the folder is in use, damaged or of another format, or the disk refuses.
    """

    def __init__(self, folder: Path, kinds: list[str]) -> None:
        self._database = RocksDatabase(folder, str(STATE_FORMAT).encode())
        try:
            self._checkpoint, counts = self._whole()
        except StateError:
            self._database.close()
            raise
        self._keys = counts.keys
        self._labels = counts.labels
        self._touched = _Touched(self)
        self._stored: dict[str, bytes] = {}  # of touched keys that the database has
        self._young: dict[str, KeyState] = {}
        self._old: dict[str, KeyState] = {}
        self._expected: Iterator[str] = iter(())
        self.get = self._touched.__getitem__
        self.by_prediction = RocksIndex(self._database, b"p", counts.predictions, self._expect)
        self.by_label = {
            kind: RocksIndex(self._database, b"l" + kind.encode() + b"\0", self._labels.get(kind, 0), self._expect)
            for kind in kinds
        }

    @property
    def touched(self) -> int:
        """The number of keys that were read or changed since the last flush."""
        return len(self._touched)

    def put(self, key: str, state: KeyState) -> None:
        """Keep a key's state."""
        if self._touched[key] is None:
            self._keys += 1
        self._touched[key] = state

    def delete(self, key: str) -> None:
        """Forget a key."""
        if self._touched[key] is None:
            raise KeyError(key)
        self._keys -= 1
        self._touched[key] = None

    def items(self) -> Iterator[tuple[str, KeyState]]:
        """Go through all keys, to look at them; nothing may be changed meanwhile."""
        touched = dict(self._touched)
        yield from ((key, state) for key, state in touched.items() if state is not None)
        for raw_key, raw in self._database.walk_states():
            key = raw_key.decode()
            if key not in touched:
                yield key, _decode(raw)

    def __len__(self) -> int:
        return self._keys

    def prefetch(self, keys: Iterable[str]) -> None:
        """Bring into memory what is not there yet, all at once; what is absent is remembered as absent."""
        touched, stored = self._touched, self._stored
        missing = [key for key in keys if key not in touched]
        for clean in (self._young, self._old):
            found = clean.keys() & missing
            for key in found:
                touched[key] = clean.pop(key)
                stored[key] = _FORM_UNKNOWN
            if found:
                missing = [key for key in missing if key not in found]
        if missing:
            raws = self._database.states([key.encode() for key in missing])
            touched.update(dict.fromkeys(missing))
            for key, raw in zip(missing, raws, strict=True):
                if raw is not None:
                    touched[key] = _decode(raw)
                    stored[key] = raw

    def fetch_with_expected(self, key: str) -> None:
        """Fetch a key that is wanted now, with what an index has named to be wanted next."""
        self.prefetch([key, *islice(self._expected, LOOK_AHEAD)])

    def checkpoint(self) -> bytes | None:
        """Return the checkpoint of the last flush; None: nothing was flushed, or a spill came after it."""
        return self._checkpoint

    def flush(self, checkpoint: bytes) -> None:
        """Write all changes and the checkpoint as a whole.

        Raises:
            StateError: the disk refuses; nothing was written, and the changes are still here.
        """
        batch = WriteBatch(raw_mode=True)
        batch.put(POINT, checkpoint)
        self._write(batch)
        self._checkpoint = checkpoint

    def spill(self) -> None:
        """Write all changes without a checkpoint: the store is of no use until the next flush."""
        batch = WriteBatch(raw_mode=True)
        batch.delete(POINT)
        self._write(batch)
        self._checkpoint = None

    def close(self) -> None:
        """Close the store, so that it can be opened elsewhere; what was not flushed is lost."""
        self._database.close()

    def _whole(self) -> tuple[bytes | None, _Counts]:
        """Return the point and the counts of what is stored, and empty it if its filling was never finished."""
        checkpoint, raw_counts = self._database.fact(POINT), self._database.fact(COUNTS)
        if checkpoint is None and raw_counts is not None:
            self._database.clear()
            return None, _Counts()
        return checkpoint, _Counts() if raw_counts is None else msgspec.msgpack.decode(raw_counts, type=_Counts)

    def _write(self, batch: WriteBatch) -> None:
        changed = self._put_states_into(batch)
        indexes = (self.by_prediction, *self.by_label.values())
        for index in indexes:
            index.put_into(batch)
        self._labels |= {kind: len(index) for kind, index in self.by_label.items()}
        batch.put(COUNTS, _encode(_Counts(self._keys, len(self.by_prediction), self._labels)))
        self._database.write(batch)
        for index in indexes:
            index.flushed()
        self._touched.clear()
        self._stored.clear()
        self._expected = iter(())
        self._keep_clean(changed)

    def _put_states_into(self, batch: WriteBatch) -> dict[str, KeyState]:
        """Add changed and deleted keys to a batch; return the changed ones."""
        family, stored, put = self._database.states_family, self._stored, batch.put
        changed: dict[str, KeyState] = {}
        for key, state in self._touched.items():
            if state is None:
                if key in stored:
                    batch.delete(key.encode(), family)
                continue
            raw = _encode(state)
            # A sweep reads many states that it leaves as they are.
            if stored.get(key) != raw:
                put(key.encode(), raw, family)
                changed[key] = state
        return changed

    def _keep_clean(self, changed: dict[str, KeyState]) -> None:
        """Keep what was changed last; what was only read is not soon read again."""
        if len(self._young) + len(changed) > CLEAN_KEYS:
            self._old, self._young = self._young, {}
        self._young.update(islice(changed.items(), max(0, len(changed) - CLEAN_KEYS), None))

    def _expect(self, keys: Iterable[str]) -> None:
        self._expected = iter(keys)
