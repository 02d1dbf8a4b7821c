"""The join's durable store: a RocksDB database for one partition, and in memory the keys touched since the last flush.

Changes stay in memory until `flush` writes them together with the caller's checkpoint, in one batch: after a crash the
store is exactly at that checkpoint. It behaves like `joins.store.MemoryStore`; the caller decides when to flush. Not
thread-safe.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, filterfalse, repeat
from pathlib import Path

import msgspec
import numpy as np
from rocksdict import WriteBatch

from joins.flat_form import FLAT
from joins.rows import NO_ROW, KeyRows, Places
from joins.state import STATE_FORMAT, ChainName, KeyState
from schemas.errors import StateError
from streams.state_store.database import CHECKPOINT, COUNTS, RocksDatabase
from streams.state_store.index import CHUNK_FORMAT, RocksIndex

__all__ = ["RocksStore"]

CLEAN_KEYS = 16_384
"""States, and at least as many rows, that stay in memory after a flush, because labels often come within seconds of
their prediction; of rows twice as many at most."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeyState).decode


class _Counts(msgspec.Struct, array_like=True):
    """Number of keys and of index entries, stored so that opening need not count them, and the chains of the rows."""

    keys: int = 0
    predictions: int = 0
    labels: dict[str, int] = {}
    chains: list[str] = []


_decode_counts = msgspec.msgpack.Decoder(_Counts).decode


class _States(dict[str, KeyState | None]):
    """States of keys that have no row; a missing one is fetched by the store."""

    def __init__(self, store: "RocksStore") -> None:
        super().__init__()
        self._store = store

    def __missing__(self, key: str) -> KeyState | None:
        self._store.take_out(key)
        return self[key]


class RocksStore:
    """A `joins.store.RowStore` in a folder of its own.

    In memory a key is a row of arrays, or where it does not fit one or someone has asked for its state, a state of its
    own. A state from `get` may be changed in place until the next flush; after that it must be read again.

    Args:
        folder: created if missing; emptied if a flush never finished what was spilled into it.
        kinds: label kinds, one index each.

    Attributes:
        get: returns the state of a key, or None.

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
        self._rows = KeyRows(counts.chains)
        self._places: dict[str, int] = {}
        self._clean_rows = self._rows.used
        self._states = _States(self)
        self._clean_states: set[str] = set()
        self._stored: dict[str, bytes] = {}  # of keys with a state of their own: what is stored, or nothing if unknown
        self.get = self._states.__getitem__
        self.by_prediction = RocksIndex(self._database, b"p", counts.predictions)
        self.by_label = {
            kind: RocksIndex(self._database, b"l" + kind.encode() + b"\0", self._labels.get(kind, 0)) for kind in kinds
        }

    @property
    def touched(self) -> int:
        """The number of keys that were read or changed since the last flush, but for states that were kept then."""
        rows, clean = self._rows, self._clean_rows
        changed = int(np.count_nonzero(rows.is_changed[:clean]))
        return rows.used - clean + changed + len(self._states) - len(self._clean_states)

    def rows_of(self, names: Sequence[ChainName]) -> KeyRows | None:
        """Return the rows, in which these chains have a place; None if others have: they are those of the first."""
        if not self._rows.form.names:  # nobody has asked before, so there is no row yet, in memory or stored
            self._rows = KeyRows(names)
        return self._rows if self._rows.form.names == tuple(names) else None

    def locate(self, keys: Sequence[str]) -> Places:
        """Return the places of keys in the rows; they are good until the next flush or spill."""
        places = list(map(self._places.get, keys))
        if None in places:
            self._make_rows(keys)
            places = list(map(self._places.get, keys, repeat(NO_ROW)))
        return np.array(places, np.intp)

    def count_keys(self, change: int) -> None:
        """Note how many keys were added to the rows, or (negative) removed from them."""
        self._keys += change

    def put(self, key: str, state: KeyState) -> None:
        """Set a key's state."""
        if self._states[key] is None:
            self._keys += 1
        self._states[key] = state

    def delete(self, key: str) -> None:
        """Delete a key."""
        if self._states[key] is None:
            raise KeyError(key)
        self._keys -= 1
        self._states[key] = None

    def items(self) -> Iterator[tuple[str, KeyState]]:
        """Iterate over all keys, read-only; nothing may be changed meanwhile."""
        rows, places, states = self._rows, dict(self._places), dict(self._states)
        in_rows = ((key, rows.state(place)) for key, place in places.items())
        yield from ((key, state) for key, state in chain(states.items(), in_rows) if state is not None)
        for raw_key, raw in self._database.walk_states():
            key = raw_key.decode()
            if key not in places and key not in states:
                yield key, self._decoded(key, raw)

    def __len__(self) -> int:
        return self._keys

    def prefetch(self, keys: Iterable[str]) -> None:
        """Read the states of all keys that are not in memory, at once; absent ones are remembered as absent."""
        missing = self._missing(keys)
        states = self._states
        states.update(dict.fromkeys(missing))
        for key, raw in self._read(missing):
            state = states[key] = self._decoded(key, raw)
            self._stored[key] = _encode(state) if raw[0] == FLAT else raw

    def take_out(self, key: str) -> None:
        """Give a key a state of its own in place of its row."""
        place = self._places.pop(key, None)
        if place is None:
            self.prefetch([key])
            return
        rows = self._rows
        state = self._states[key] = rows.state(place)
        if rows.is_stored[place]:
            self._stored[key] = b"" if rows.is_changed[place] else _encode(state)
        rows.release(place)

    def _make_rows(self, keys: Sequence[str]) -> None:
        """Make rows of all keys that are not in memory; of those that do not fit, states of their own."""
        missing = self._missing(keys)
        if not missing:
            return
        flat: dict[str, bytes] = {}
        for key, raw in self._read(missing):
            row: bytes | None = raw
            if raw[0] != FLAT:
                state = _decode(raw)
                row = self._rows.form.encode(key, state)
                if row is None:
                    self._states[key], self._stored[key] = state, raw
            if row is not None:
                flat[key] = row
        if self._states:
            missing = [key for key in missing if key not in self._states]
        self._places.update(zip(missing, self._rows.take(missing).tolist(), strict=True))
        if flat:
            self._rows.load(np.fromiter(map(self._places.__getitem__, flat), np.intp, len(flat)), list(flat.values()))

    def _missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that are not in memory, each once."""
        unlocated = filterfalse(self._places.__contains__, dict.fromkeys(keys))
        return list(filterfalse(self._states.__contains__, unlocated))

    def _read(self, keys: list[str]) -> Iterator[tuple[str, bytes]]:
        """Read those of the keys that are stored."""
        if self._has_states and keys:
            raws = self._database.states([key.encode() for key in keys])
            yield from ((key, raw) for key, raw in zip(keys, raws, strict=True) if raw is not None)

    def _decoded(self, key: str, raw: bytes) -> KeyState:
        return self._rows.form.decode(key, raw) if raw[0] == FLAT else _decode(raw)

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

    def forget_empty(self) -> None:
        """Forget keys that have come and gone since the last flush, to free memory without writing."""
        places = self._rows.forget_empty()
        self._places = self._rows.places()
        self._clean_rows = NO_ROW + 1 + int(np.searchsorted(places, self._clean_rows))
        gone = [key for key, state in self._states.items() if state is None and key not in self._stored]
        for key in gone:
            del self._states[key]

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
        changed_states = self._put_states_into(batch)
        indexes = (self.by_prediction, *self.by_label.values())
        for index in indexes:
            index.put_into(batch)
        self._labels |= {kind: len(index) for kind, index in self.by_label.items()}
        batch.put(
            COUNTS, _encode(_Counts(self._keys, len(self.by_prediction), self._labels, list(self._rows.form.names)))
        )
        self._database.write(batch)
        self._has_states = True
        for index in indexes:
            index.flushed()
        self._keep_clean(changed_states)

    def _put_states_into(self, batch: WriteBatch) -> dict[str, bytes]:
        """Add changed and deleted keys to a batch; return what is stored of the states that were changed."""
        family, rows, put = self._database.states_family, self._rows, batch.put
        changed, emptied = rows.to_store()
        for key in rows.keys[emptied].tolist():
            batch.delete(key.encode(), family)
        # sorted, because RocksDB inserts each one from where the last one went: a fifth less CPU time, sorting included
        for key, raw in sorted(zip(rows.keys[changed].tolist(), rows.stored(changed), strict=True)):
            put(key.encode(), raw, family)
        stored = self._stored
        changed_states: dict[str, bytes] = {}
        for key, state in self._states.items():
            if state is None:
                if key in stored:
                    batch.delete(key.encode(), family)
                continue
            raw = _encode(state)
            # states are also asked for to be read
            if stored.get(key) != raw:
                put(key.encode(), raw, family)
                changed_states[key] = raw
        return changed_states

    def _keep_clean(self, changed_states: dict[str, bytes]) -> None:
        """Keep the keys that were changed last; those that were only read are rarely read again soon."""
        if self._rows.keep(CLEAN_KEYS):
            self._places = self._rows.places()
        self._clean_rows = self._rows.used
        self._stored |= changed_states
        kept = [
            (key, state)
            for key, state in self._states.items()
            if state is not None and (key in changed_states or key in self._clean_states)
        ][-CLEAN_KEYS:]
        self._states.clear()
        self._states.update(kept)
        self._clean_states = set(self._states)
        self._stored = {key: self._stored[key] for key in self._states}
