"""The join's durable store: a RocksDB database for one partition, and in memory the keys touched since the last flush.

Changes stay in memory until `flush` writes them together with the caller's checkpoint, in one batch: after a crash the
store is exactly at that checkpoint. It behaves like `joins.store.MemoryStore`; the caller decides when to flush. Not
thread-safe.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
from rocksdict import WriteBatch

from joins.state import STATE_FORMAT, KeyState
from schemas.errors import StateError
from streams.state_store.database import CHECKPOINT, COUNTS, RocksDatabase
from streams.state_store.index import CHUNK_FORMAT, RocksIndex

__all__ = ["RocksStore"]

CLEAN_KEYS = 8_192
"""Keys in each of two generations that stay in memory after a flush, because labels often come within seconds of
their prediction: 15 MB a partition, or three to six seconds at 20,000 records a second over eight partitions."""

LOOK_AHEAD = 1_024
"""States read together once the first of the keys that an index returned is read; more gains nothing."""

_FORM_UNKNOWN = b""
"""Placeholder for the stored bytes of a state that was still in memory: it is stored, and mostly about to change."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeyState).decode


class _Counts(msgspec.Struct, array_like=True):
    """Number of keys and of index entries, stored so that opening need not count them."""

    keys: int = 0
    predictions: int = 0
    labels: dict[str, int] = {}


_decode_counts = msgspec.msgpack.Decoder(_Counts).decode


class _Touched(dict[str, KeyState | None]):
    """States by key that were touched since the last flush; a missing key is fetched by the store."""

    def __init__(self, store: "RocksStore") -> None:
        super().__init__()
        self._store = store

    def __missing__(self, key: str) -> KeyState | None:
        self._store.fetch_with_expected(key)
        return self[key]


class RocksStore:
    """A `joins.store.Store` in a folder of its own.

    A state from `get` may be changed in place until the next flush; after that it must be read again.

    Args:
        folder: created if missing; emptied if a flush never finished what was spilled into it.
        kinds: label kinds, one index each.

    Attributes:
        get: returns the state of a key, or None; a dictionary look-up unless the key must be fetched.

    Raises:
        StateError: the folder is in use, damaged or of another format, or the disk refuses.
    """

    def __init__(self, folder: Path, kinds: list[str]) -> None:
        self._database = RocksDatabase(folder, f"{STATE_FORMAT}.{CHUNK_FORMAT}".encode())
        try:
            self._checkpoint, counts = self._stored_metadata()
        except StateError:
            self._database.close()
            raise
        self._keys = counts.keys
        self._has_states = counts.keys > 0
        self._labels = counts.labels
        self._touched = _Touched(self)
        self._stored: dict[str, bytes] = {}  # stored bytes of the touched keys that the database has
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
        """Set a key's state."""
        if self._touched[key] is None:
            self._keys += 1
        self._touched[key] = state

    def delete(self, key: str) -> None:
        """Delete a key."""
        if self._touched[key] is None:
            raise KeyError(key)
        self._keys -= 1
        self._touched[key] = None

    def items(self) -> Iterator[tuple[str, KeyState]]:
        """Iterate over all keys, read-only; nothing may be changed meanwhile."""
        touched = dict(self._touched)
        yield from ((key, state) for key, state in touched.items() if state is not None)
        for raw_key, raw in self._database.walk_states():
            key = raw_key.decode()
            if key not in touched:
                yield key, _decode(raw)

    def __len__(self) -> int:
        return self._keys

    def prefetch(self, keys: Iterable[str]) -> None:
        """Read all keys that are not in memory, at once; absent ones are remembered as absent."""
        touched, stored = self._touched, self._stored
        missing = [key for key in keys if key not in touched]
        for clean in (self._young, self._old):
            found = clean.keys() & missing if clean else set()
            for key in found:
                touched[key] = clean.pop(key)
                stored[key] = _FORM_UNKNOWN
            if found:
                missing = [key for key in missing if key not in found]
        if missing and not self._has_states:
            touched.update(dict.fromkeys(missing))
        elif missing:
            raws = self._database.states([key.encode() for key in missing])
            touched.update(dict.fromkeys(missing))
            for key, raw in zip(missing, raws, strict=True):
                if raw is not None:
                    touched[key] = _decode(raw)
                    stored[key] = raw

    def fetch_with_expected(self, key: str) -> None:
        """Read a key, together with keys that an index returned and that will be read next."""
        self.prefetch([key, *islice(self._expected, LOOK_AHEAD)])

    def checkpoint(self) -> bytes | None:
        """Return the checkpoint of the last flush; None before the first flush and after a spill."""
        return self._checkpoint

    def flush(self, checkpoint: bytes) -> None:
        """Write all changes and the checkpoint atomically.

        Raises:
            StateError: the disk refuses; nothing was written, and the changes stay in memory.
        """
        batch = WriteBatch(raw_mode=True)
        batch.put(CHECKPOINT, checkpoint)
        self._write(batch)
        self._checkpoint = checkpoint

    def spill(self) -> None:
        """Write all changes without a checkpoint, to free memory during a restore; the next flush completes them."""
        batch = WriteBatch(raw_mode=True)
        batch.delete(CHECKPOINT)
        self._write(batch)
        self._checkpoint = None

    def close(self) -> None:
        """Close the store, so that it can be opened elsewhere; changes since the last flush are lost."""
        self._database.close()

    def _stored_metadata(self) -> tuple[bytes | None, _Counts]:
        """Return the stored checkpoint and counts; empties a database that was spilled to and never flushed."""
        checkpoint, raw_counts = self._database.metadata(CHECKPOINT), self._database.metadata(COUNTS)
        if checkpoint is None and raw_counts is not None:
            self._database.clear()
            return None, _Counts()
        return checkpoint, _Counts() if raw_counts is None else _decode_counts(raw_counts)

    def _write(self, batch: WriteBatch) -> None:
        changed = self._put_states_into(batch)
        indexes = (self.by_prediction, *self.by_label.values())
        for index in indexes:
            index.put_into(batch)
        self._labels |= {kind: len(index) for kind, index in self.by_label.items()}
        batch.put(COUNTS, _encode(_Counts(self._keys, len(self.by_prediction), self._labels)))
        self._database.write(batch)
        self._has_states = True
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
            # A sweep reads many states without changing them.
            if stored.get(key) != raw:
                put(key.encode(), raw, family)
                changed[key] = state
        return changed

    def _keep_clean(self, changed: dict[str, KeyState]) -> None:
        """Keep the states that were changed last; those that were only read are rarely read again soon."""
        if len(self._young) + len(changed) > CLEAN_KEYS:
            self._old, self._young = self._young, {}
        self._young.update(islice(changed.items(), max(0, len(changed) - CLEAN_KEYS), None))

    def _expect(self, keys: Iterable[str]) -> None:
        self._expected = iter(keys)
