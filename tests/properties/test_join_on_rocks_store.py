"""The join's own tests on the durable store: prefetched or not, flushed, restarted and crashed anywhere."""

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from durable_partition import DurablePartition
from effort import examples
from history import FAR_MS, History, batch_of, histories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import test_join_equals_oracle as oracle_suite
from rocks_folder import rocks_folder
from unit.joins import test_partition as rule_suite

from joins import Batch, Effects, Partition, columnar_state
from streams.state_store.store import RocksStore

EXAMPLES = settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

STORES_OPEN_MAX = 16
"""More than any test uses together; older ones are closed and removed."""

RULES = {name: test for name, test in vars(rule_suite).items() if name.startswith("test_")}
PROPERTIES = {name: test for name, test in vars(oracle_suite).items() if name.startswith("test_")}


class Stores:
    """Makes stores in folders of their own, and removes them when they are no longer used."""

    def __init__(self) -> None:
        self.open: deque[RocksStore] = deque()
        self.folders: dict[int, Path] = {}

    def make(self, kinds: list[str]) -> RocksStore:
        """Return a new store."""
        while len(self.open) >= STORES_OPEN_MAX:
            self.remove(self.open.popleft())
        folder = rocks_folder()
        return self.hold(RocksStore(folder, kinds), folder)

    def again(self, store: RocksStore, kinds: list[str]) -> RocksStore:
        """Close a store without a flush, as a crash would, and open it again."""
        store.close()
        self.open.remove(store)
        folder = self.folders.pop(id(store))
        return self.hold(RocksStore(folder, kinds), folder)

    def hold(self, store: RocksStore, folder: Path) -> RocksStore:
        """Remember a store."""
        self.open.append(store)
        self.folders[id(store)] = folder
        return store

    def remove(self, store: RocksStore) -> None:
        """Close a store and remove its folder."""
        store.close()
        shutil.rmtree(self.folders.pop(id(store)))


@pytest.fixture(autouse=True, params=[1, columnar_state.RECORDS_LEAST], ids=["columns", "records"])
def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """Make the suites create durable stores, and play histories on a worker that is interrupted.

    All steps here are so small that they take records one by one, if they may.
    """
    made = Stores()
    monkeypatch.setattr(columnar_state, "RECORDS_LEAST", request.param)
    monkeypatch.setattr(rule_suite, "MemoryStore", made.make)
    monkeypatch.setattr(oracle_suite, "MemoryStore", made.make)
    monkeypatch.setattr(oracle_suite, "play", lambda *args, **how: play(made, *args, **how))
    yield made
    for store in made.open:
        made.remove(store)


class Worker:
    """A partition on a durable store that is interrupted at random."""

    def __init__(self, stores: Stores, history: History, chance: Random) -> None:
        self.chance = chance
        kinds = list(history.policy.kinds)
        self.durable = DurablePartition(stores.make(kinds), history.policy, lambda store: stores.again(store, kinds))
        self.is_caught_up = True

    @property
    def partition(self) -> Partition:
        """The partition as it is now."""
        return self.durable.partition

    def step(self, batch: Batch) -> Effects:
        """Take a step, with a random prefetch before it and a flush, restart or crash after it."""
        if self.chance.random() < 0.6:
            keys = [record[1] for records in (batch.predictions, batch.labels) for record in records]
            self.durable.store.prefetch([key for key in [*keys, "a", "e"] if self.chance.random() < 0.8])
        effects = self.durable.step(batch)
        self.is_caught_up = self.partition.is_caught_up  # a restart does not know it; the next step finds out
        what = self.chance.choices(["nothing", "flush", "restart", "crash"], [3, 3, 1, 1])[0]
        if what in {"flush", "restart"}:
            self.durable.flush()
        if self.chance.random() < 0.3:
            self.durable.store.forget_empty()
        if what in {"restart", "crash"}:
            self.durable.reopen()
        return effects


def play(
    stores: Stores, history: History, boundaries: list[tuple[int, int]], *, close_at_ms: int | None, settle: bool = True
) -> tuple[Partition, list[Effects]]:
    """Run a history as `history.play` does, on a durable store and with interruptions."""
    worker = Worker(stores, history, Random(repr((history, boundaries, close_at_ms))))
    effects = []
    p0 = l0 = 0
    for number, (p1, l1) in enumerate(boundaries):
        if history.later is not None and number == len(boundaries) // 2:
            worker.partition.change_rules(history.later)
        effects.append(worker.step(batch_of(history, (p0, l0), (p1, l1))))
        p0, l0 = p1, l1
    is_caught_up = not settle
    while not is_caught_up:
        effects.append(worker.step(Batch([], [], p0, l0, now_ms=FAR_MS, close_at_ms=close_at_ms)))
        is_caught_up = worker.is_caught_up
    return worker.partition, effects


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_of_the_join_hold_on_the_durable_store(name: str) -> None:
    """Oracle, independence of batching, identities, fingerprints, redo, rebuild."""
    inner: Callable[..., None] = PROPERTIES[name].hypothesis.inner_test

    @given(data=st.data(), history=histories(beyond_ms=300 if "rebuilding" in name else 0))
    @EXAMPLES
    def run(data: st.DataObject, history: History) -> None:
        inner(data=data, history=history)

    run()


def _collect() -> None:
    """Export the rules' tests, with their parameters, so that pytest collects them here, too."""
    for name, test in RULES.items():
        globals()[name] = test


_collect()
