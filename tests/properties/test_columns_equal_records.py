"""The step as columns equals the step record by record, after every step, whatever comes and whatever interrupts it.

The inputs have what a year of a busy loop has: several kinds, numbers and classes, a champion and challengers under one
key, records that come twice, too late, too early or from the future, corrections, retractions, deletions, heartbeats,
labels of other definitions, withdrawals, changes of the rules, and steps of five records and of hundreds.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from durable_partition import DurablePartition
from effort import some
from fingerprint import full_fingerprint
from rocks_folder import rocks_folder

from joins import (
    Batch,
    Idle,
    KindPolicy,
    LabelRecord,
    MemoryStore,
    Op,
    Partition,
    Policy,
    PredictionRecord,
    Withdrawal,
    columnar_state,
)
from joins.state import KeyState, waiting_bytes
from streams.state_store import store as rocks_store
from streams.state_store.store import RocksStore

STEPS = 40
RULES = Policy(
    {
        "click": KindPolicy("c1", horizon_ms=300, retain_ms=900, implies=True, implied=0.0),
        "grade": KindPolicy("g1", horizon_ms=500, retain_ms=700, implies=True, implied="none"),
        "sale": KindPolicy("s1", horizon_ms=400, retain_ms=1_200),
    },
    disorder_ms=60,
)
VALUES: dict[str, list[Any]] = {"click": [0.0, 1.0], "grade": ["good", "bad", "none"], "sale": [9.5, -1.0, 0.0]}
FAR_MS = 1 << 40


@dataclass
class Traffic:
    """Draws the batches of one partition, step by step."""

    chance: Random
    now_ms: int = 10_000
    predictions_next: int = 0
    labels_next: int = 0

    def __post_init__(self) -> None:
        self.predicted: list[PredictionRecord] = []
        self.labelled: list[LabelRecord] = []

    def batch(self) -> Batch:
        """Return the next batch."""
        chance = self.chance
        self.now_ms += chance.choice([0, 20, 90, 250])
        size = chance.choice([0, 5, 90, 300])
        predictions = [self.prediction() for _ in range(size)]
        labels = [self.label() for _ in range(chance.choice([0, 5, size, 2 * size]))]
        known = [record for record in self.labelled if record.op is not Op.HEARTBEAT]
        withdrawn = chance.sample(known, min(len(known), 7)) if chance.random() < 0.15 else []
        idle = Idle(frozenset({"sale"}), 5) if chance.random() < 0.1 else Idle()
        return Batch(
            predictions,
            labels,
            self.predictions_next,
            self.labels_next,
            now_ms=self.now_ms,
            close_at_ms=self.now_ms - 400 if chance.random() < 0.1 else None,
            idle=idle,
            unreadable=(chance.choice([0, 0, 3]), 0),
            withdrawals=[Withdrawal(one.kind, one.known_at_ms, one.offset) for one in withdrawn],
        )

    def prediction(self) -> PredictionRecord:
        """Return a prediction: mostly of a new key, its own or a version's."""
        chance = self.chance
        if self.predicted and chance.random() < 0.15:
            record = chance.choice(self.predicted[-400:])._replace(offset=self.predictions_next)
            if chance.random() < 0.3:
                record = record._replace(digest=record.digest ^ chance.choice([1, 1 << 50]))
        else:
            key = f"k{chance.randrange(40 * (1 + self.now_ms // 300))}"
            id_ = chance.choice([key, key, "champion", "challenger", "third"])
            time_ms = self.now_ms - chance.choice([0, 5, 40, 40, 1_000, -4_000_000])
            facts = (chance.getrandbits(60) - (1 << 59), chance.random() < 0.9)
            record = PredictionRecord(self.predictions_next, key, id_, time_ms, *facts, ["v1", None, key[-1]])
        self.predictions_next += chance.choice([1, 1, 3])
        self.predicted.append(record)
        return record

    def label(self) -> LabelRecord:
        """Return a label: mostly of a key that was predicted, and mostly the first of its kind."""
        chance = self.chance
        kind = chance.choice(list(RULES.kinds))
        own = RULES.kinds[kind].definition
        known_ms = self.now_ms - chance.choice([0, 0, 10, 50, 800, -4_000_000])
        age_ms = chance.choice([0, 0, 0, 30])
        offset = self.labels_next
        self.labels_next += 1
        if chance.random() < 0.02:
            time_ms = self.now_ms - 50
            return LabelRecord(offset, "", kind, own, Op.HEARTBEAT, None, time_ms, time_ms)
        if self.labelled and chance.random() < 0.1:
            record = chance.choice(self.labelled[-300:])._replace(offset=offset)
        else:
            recent = self.predicted[-500:]
            key = chance.choice(recent).key if recent and chance.random() < 0.8 else f"k{chance.randrange(3_000)}"
            op = chance.choice([Op.UPSERT] * 30 + [Op.RETRACT, Op.DELETE])
            value = chance.choice(VALUES[kind]) if op is Op.UPSERT else None
            definition = own if chance.random() < 0.95 else "other"
            record = LabelRecord(offset, key, kind, definition, op, value, known_ms - age_ms, known_ms)
        self.labelled.append(record)
        return record


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return the folder of a store."""
    made = rocks_folder()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("least", [1, columnar_state.RECORDS_LEAST], ids=["columns", "both"])
@pytest.mark.parametrize("seed", some(*range(24), at_least=4))
def test_every_step_gives_the_same_and_leaves_the_same(
    folder: Path, seed: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes, rejects, checkpoint, states and their fingerprint; also after a flush, a restart or a crash."""
    monkeypatch.setattr(columnar_state, "RECORDS_LEAST", least)
    chance = Random(seed)
    monkeypatch.setattr(rocks_store, "CLEAN_KEYS", chance.choice([50, rocks_store.CLEAN_KEYS]))
    limits = {"expiry_limit": chance.choice([50, 100_000])}
    if chance.random() < 0.5:
        limits["waiting_bytes_max"] = 150 * waiting_bytes("k123")
    policy = replace(RULES, **limits)
    traffic = Traffic(chance)
    kinds = list(policy.kinds)
    memory = Partition(policy, MemoryStore(kinds))

    def again(store: RocksStore) -> RocksStore:
        store.close()
        return RocksStore(folder, kinds)

    worker = DurablePartition(RocksStore(folder, kinds), policy, again)
    for number in range(STEPS):
        if number == STEPS // 2:
            policy = with_other_times(policy, chance)
            memory.change_rules(policy)
            worker.partition.change_rules(policy)
        batch = traffic.batch()
        if number == STEPS - 1:
            batch = replace(batch, close_at_ms=FAR_MS, now_ms=FAR_MS)
        expected, found = memory.step(batch), worker.step(batch)
        assert plain(found) == plain(expected)
        if chance.random() < 0.5:
            worker.flush()
        if chance.random() < 0.2:
            worker.reopen()
        if chance.random() < 0.3:
            worker.store.forget_empty()
        assert plain(worker.partition.checkpoint) == plain(memory.checkpoint)
        assert worker.partition.checkpoint.counters.violations() == []
        states = plain(dict(worker.store.items()))
        assert states == plain(dict(memory.store.items()))
        assert len(worker.store) == len(states)
        decoded = msgspec.convert(states, dict[str, KeyState])
        assert full_fingerprint(decoded.values()) == memory.checkpoint.fingerprint
    worker.store.close()


@pytest.mark.parametrize("values", [(0.0, 1.0), ("good", "bad")], ids=["numbers", "classes"])
def test_plain_records_never_leave_their_rows(folder: Path, values: tuple[Any, Any]) -> None:
    """Two versions' predictions of a key and a label of each kind, before and after them, to their end."""
    policy = Policy({kind: KindPolicy("d", horizon_ms=2_000, retain_ms=5_000) for kind in ("one", "two")})
    store = RocksStore(folder, list(policy.kinds))
    partition = Partition(policy, store)
    count = 500
    keys = [f"key {number}" for number in range(count)]
    predictions = [
        PredictionRecord(
            2 * at + second, key, ("champion", key)[second], 1_000 + at, at, eligible=True, projection=None
        )
        for at, key in enumerate(keys)
        for second in (0, 1)
    ]
    labels = [
        LabelRecord(2 * at + second, key, kind, "d", Op.UPSERT, values[at % 2], 1_050 + at, 1_050 + at)
        for at, key in enumerate(keys)
        for second, kind in enumerate(policy.kinds)
    ]
    handed_out = []
    taken_out = RocksStore.take_out
    store.take_out = lambda key: (handed_out.append(key), taken_out(store, key))  # type: ignore[method-assign]
    outcomes = []
    for first in (0, count):
        some_predictions, some_labels = predictions[first : first + count], labels[count - first : 2 * count - first]
        batch = Batch(some_predictions, [], first + count, partition.checkpoint.labels_next, now_ms=10_000)
        outcomes += partition.step(batch).outcomes
        shifted = [label._replace(offset=label.offset - labels[count - first].offset + first) for label in some_labels]
        outcomes += partition.step(Batch([], shifted, first + count, first + count, now_ms=10_000)).outcomes
        store.flush(msgspec.msgpack.encode(partition.checkpoint))
    assert len(outcomes) == 4 * count
    assert {row.status for row in outcomes} == {"joined"}
    end = Batch([], [], 2 * count, 2 * count, now_ms=FAR_MS, close_at_ms=FAR_MS)
    assert partition.step(end).outcomes == []
    assert (len(store), handed_out) == (0, [])
    store.close()


def with_other_times(policy: Policy, chance: Random) -> Policy:
    """Return rules with other horizons, retains and implications."""
    kinds = {}
    for name, rules in policy.kinds.items():
        horizon_ms = chance.choice([200, 450, 600])
        kinds[name] = replace(rules, horizon_ms=horizon_ms, retain_ms=horizon_ms + chance.choice([100, 700]))
    return replace(policy, kinds=kinds)


def plain(value: Any) -> Any:
    """Return structs as plain data, so that a projection is the same as a list and as a tuple."""
    return msgspec.to_builtins(value)
