"""The durable store equals the one in memory under any sequence of calls, flushes, restarts and crashes."""

import shutil
from copy import deepcopy
from typing import Any
from unittest.mock import patch

from effort import examples
from fingerprint import full_fingerprint
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rocks_folder import rocks_folder

from joins import MemoryStore
from joins.state import Chain, KeyState, LabelState, PredictionState
from schemas.base.status import Status
from streams.state_store import index as rocks_index
from streams.state_store import store as rocks_store
from streams.state_store.store import RocksStore

KINDS = ["click", "click2"]
KEYS = st.sampled_from(["", "a", "b", "c", "ä\0", "\U0010ffff", "a" * 300])
TIMES = st.sampled_from([*range(-2, 9), *range(-2, 9), -(1 << 63), (1 << 62) - 1, (1 << 63) - 1])
OFFSETS = st.integers(-1, 60)
INDEXES = st.sampled_from([None, None, None, *KINDS])
NAMES = st.sampled_from(["", "x", "click\0d", "a"])
VALUES = st.sampled_from([None, 0.0, 1.0, "class"])
LIMITS = st.sampled_from([0, 1, 2, 3, 1000])

Snapshot = tuple[dict[str, KeyState], dict[str | None, list[tuple]], bytes | None]
NOTHING: Snapshot = ({}, {}, None)


class StoreMachine(RuleBasedStateMachine):
    """Two stores that get the same calls, and a snapshot of the durable one's last flush."""

    def __init__(self) -> None:
        super().__init__()
        # So small that a few calls reach every branch.
        self.patches = [
            patch.object(rocks_store, "CLEAN_KEYS", 2),
            patch.object(rocks_index, "CHUNK_ENTRIES", 2),
            patch.object(rocks_index, "SPAN_MS", 4),
            patch.object(rocks_index, "OPEN_CHUNKS", 1),
            patch.object(rocks_index, "GAPS_MAX", 2),
        ]
        for each in self.patches:
            each.start()
        self.folder = rocks_folder()
        self.model = MemoryStore(KINDS)
        self.store = RocksStore(self.folder, KINDS)
        self.flushed = NOTHING
        self.offset = 0

    def teardown(self) -> None:
        """Close and remove."""
        self.store.close()
        shutil.rmtree(self.folder)
        for each in self.patches:
            each.stop()

    @initialize(count=st.integers(0, 6))
    def stored(self, count: int) -> None:
        """Begin with something stored, so that short sequences see it."""
        for time in range(count):
            self.put("abcabc"[time], None)
            self.add(None, [time], "abcabc"[time], "x")
        self.flush(b"first")

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        """Both return the same state."""
        assert self.store.get(key) == self.model.get(key)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: str, value: float | str | None) -> None:
        """A key's state is set."""
        for store in (self.model, self.store):
            chain = Chain(Status.JOINED, value, 5, 5, self.offset)
            prediction = PredictionState(
                self.offset, self.offset, 1 << 62, eligible=True, projection=["v1", None], chains={"click\0d": chain}
            )
            store.put(key, KeyState({key: prediction}, {}))
        self.offset += 1

    @rule(key=KEYS, value=VALUES)
    def change(self, key: str, value: float | str | None) -> None:
        """A state is changed in place, as the join does."""
        for store in (self.model, self.store):
            state = store.get(key)
            if state is not None:
                state.labels.setdefault("click\0d", []).append(LabelState(7, self.offset, value, 8))
                state.predictions.pop(key, None)
        self.offset += 1

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Both delete the key, or both raise."""
        missing = []
        for store in (self.model, self.store):
            try:
                store.delete(key)
            except KeyError:
                missing.append(store)
        assert missing in ([], [self.model, self.store])

    @rule(keys=st.lists(KEYS))
    def prefetch(self, keys: list[str]) -> None:
        """Has no visible effect; keys may be repeated."""
        self.store.prefetch(iter(keys))

    @rule(index=INDEXES, times=st.lists(TIMES, min_size=1, max_size=6), key=KEYS, name=NAMES)
    def add(self, index: str | None, times: list[int], key: str, name: str) -> None:
        """Entries are added, in any order of time."""
        for time in times:
            for store in (self.model, self.store):
                index_of(store, index).add((time, self.offset, key, name))
            self.offset += 1

    @rule(index=INDEXES, after=st.none() | st.tuples(TIMES, OFFSETS), until=TIMES, limit=LIMITS)
    def between(self, index: str | None, after: tuple[int, int] | None, until: int, limit: int) -> None:
        """Both return the same entries in the same order."""
        found = [index_of(store, index).between(after, until, limit) for store in (self.model, self.store)]
        assert found[0] == found[1]

    @rule(index=INDEXES, until=TIMES, limit=LIMITS)
    def take(self, index: str | None, until: int, limit: int) -> None:
        """Both remove the same entries."""
        found = [index_of(store, index).take(until, limit) for store in (self.model, self.store)]
        assert found[0] == found[1]

    @rule(index=INDEXES, until=TIMES, limit=LIMITS)
    def read_due_states(self, index: str | None, until: int, limit: int) -> None:
        """The states of due entries are the same, also when they are read ahead."""
        for _, _, key, _ in index_of(self.store, index).between(None, until, limit):
            assert self.store.get(key) == self.model.get(key)

    @rule(checkpoint=st.binary(max_size=3))
    def flush(self, checkpoint: bytes) -> None:
        """A later crash returns to this state."""
        self.store.flush(checkpoint)
        self.flushed = snapshot_of(self.model, checkpoint)
        assert self.store.touched == 0

    @rule()
    def forget_empty(self) -> None:
        """Nobody can tell."""
        self.store.forget_empty()

    @rule()
    def spill(self) -> None:
        """Has no visible effect, but a crash now leaves an empty store."""
        self.store.spill()
        self.flushed = NOTHING

    @rule()
    def crash(self) -> None:
        """The store reopens with the state of its last flush."""
        self.store.close()
        self.model = model_of(self.flushed)
        self.store = RocksStore(self.folder, KINDS)
        self.everything()
        # Once more, so that the next call meets a store without remembered gaps and states.
        self.store.close()
        self.store = RocksStore(self.folder, KINDS)

    @rule(checkpoint=st.binary(max_size=3))
    def restart(self, checkpoint: bytes) -> None:
        """A flush and a new process change nothing."""
        self.flush(checkpoint)
        self.crash()

    @invariant()
    def sizes_and_checkpoint_agree(self) -> None:
        """Sizes and the checkpoint are the expected ones."""
        assert len(self.store) == len(self.model)
        for index in (None, *KINDS):
            assert len(index_of(self.store, index)) == len(index_of(self.model, index))
        assert self.store.checkpoint() == self.flushed[2]

    @rule()
    def everything(self) -> None:
        """All states, their fingerprint and all entries are the same."""
        assert dict(self.store.items()) == dict(self.model.items())
        assert full_fingerprint(state for _, state in self.store.items()) == full_fingerprint(
            state for _, state in self.model.items()
        )
        for index in (None, *KINDS):
            self.between(index, None, (1 << 63) - 1, 1000)


def index_of(store: Any, name: str | None) -> Any:
    """Return one of a store's indexes."""
    return store.by_prediction if name is None else store.by_label[name]


def snapshot_of(model: MemoryStore, checkpoint: bytes) -> Snapshot:
    """Copy everything in a store."""
    entries = {name: index_of(model, name).between(None, 1 << 64, 1 << 30) for name in (None, *KINDS)}
    return deepcopy(dict(model.items())), entries, checkpoint


def model_of(snapshot: Snapshot) -> MemoryStore:
    """Return a store in memory with the content of a snapshot."""
    model = MemoryStore(KINDS)
    states, entries, _ = deepcopy(snapshot)
    for key, state in states.items():
        model.put(key, state)
    for name, rows in entries.items():
        for entry in rows:
            index_of(model, name).add(entry)
    return model


TestStoreEqualsMemory = StoreMachine.TestCase
TestStoreEqualsMemory.settings = settings(
    max_examples=examples(120), stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
