"""Labels that are withdrawn: what the properties hardly ever meet, each with its counts and its rows."""

from collections.abc import Sequence

import msgspec
import pytest
from fingerprint import full_fingerprint
from history import decisions_of

from joins import (
    Batch,
    Effects,
    KeptLabel,
    KindPolicy,
    LabelRecord,
    MemoryStore,
    Op,
    Partition,
    Policy,
    PredictionRecord,
    RejectRow,
    Withdrawal,
    rebuild,
)
from joins.policy import LABELS_PER_CHAIN_MAX
from joins.state import KeyState
from schemas.base.status import RejectReason

POLICY = Policy({"click": KindPolicy("d1", horizon_ms=100, retain_ms=1_000, implies=True, implied=0.0)})
NOW_MS = 10_000
ONE = PredictionRecord(0, "a", "a", 50, 7, eligible=True, projection=None)


def label(offset: int, time_ms: int, value: float | None = 1.0, known_at_ms: int | None = None) -> LabelRecord:
    """Return a label of key a."""
    op = Op.RETRACT if value is None else Op.UPSERT
    return LabelRecord(offset, "a", "click", "d1", op, value, time_ms, time_ms if known_at_ms is None else known_at_ms)


class Loop:
    """A partition that reads labels and withdraws some, and checks its accounts after every step."""

    def __init__(self, predictions: Sequence[PredictionRecord] = (ONE,)) -> None:
        self.partition = Partition(POLICY, MemoryStore(["click"]))
        self.predictions = [*predictions]
        self.labels: list[LabelRecord] = []
        self.effects: list[Effects] = []
        self.step(predictions=predictions)

    def step(self, *labels: LabelRecord, predictions: Sequence[PredictionRecord] = (), **other: object) -> Effects:
        """Take a step."""
        self.labels += labels
        point = self.partition.checkpoint
        ends = point.predictions_next + len(predictions), point.labels_next + len(labels)
        self.effects.append(self.partition.step(Batch(predictions, labels, *ends, NOW_MS, **other)))  # type: ignore[arg-type] # a test's own fields
        assert point.counters.violations() == []
        assert point.fingerprint == full_fingerprint(state for _, state in self.partition.store.items())
        return self.effects[-1]

    def withdraw(self, *offsets: int) -> Effects:
        """Withdraw labels of key a by their offsets."""
        known = {one.offset: one.known_at_ms for one in self.labels}
        return self.step(withdrawals=[Withdrawal("click", known[offset], offset) for offset in offsets])

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Heads, superseded, stale and withdrawn labels."""
        c = self.partition.checkpoint.counters.labels["click"]
        return c.heads, c.superseded, c.stale, c.withdrawn

    def restored(self) -> Partition:
        """Return the partition as a rebuild restores it."""
        reasons: dict[int, set[str]] = {}
        for row in (row for step in self.effects for row in step.rejects):
            reasons.setdefault(row.offset, set()).add(row.reason.value)
        kept = [
            KeptLabel(one, "stale" in reasons.get(one.offset, ()), "withdrawn" in reasons.get(one.offset, ()))
            for one in self.labels
            if "duplicate" not in reasons.get(one.offset, ())
        ]
        store = MemoryStore(["click"])
        return rebuild(POLICY, store, self.partition.checkpoint, self.predictions, kept, decisions_of(self.effects))


def assert_restores(loop: Loop) -> None:
    """Assert that a rebuild gives the same labels and chains; it does not know what a label has met out of reach."""
    found = []
    for partition in (loop.partition, loop.restored()):
        states = msgspec.convert(msgspec.to_builtins(dict(partition.store.items())), dict[str, KeyState])
        for one in (one for state in states.values() for some in state.labels.values() for one in some):
            one.out_of_reach = False
        found.append(states)
    assert found[0] == found[1]


def test_revisions_grow_though_no_position_moves() -> None:
    """A withdrawal reads nothing; the deadline that follows it in the same step is greater still."""
    loop = Loop()
    [joined] = loop.step(label(0, 60)).outcomes
    [pending] = loop.withdraw(0).outcomes
    [implied] = loop.step(close_at_ms=200).outcomes
    [joined_again] = loop.step(label(1, 70)).outcomes
    assert [(row.status, row.reason) for row in (pending, implied)] == [
        ("pending", "withdrawal"),
        ("implied", "timeout"),
    ]
    assert joined.revision < pending.revision < implied.revision < joined_again.revision
    assert (pending.label_offset, pending.value, pending.previous, pending.known_at_ms) == (
        None,
        None,
        1.0,
        ONE.time_ms,
    )
    other = Loop()
    other.step(label(0, 60))
    both = other.step(withdrawals=[Withdrawal("click", 60, 0)], close_at_ms=200).outcomes
    assert [str(row.status) for row in both] == ["pending", "implied"]
    assert both[0].revision < both[1].revision


def test_a_withdrawal_twice_does_nothing_and_one_of_what_is_not_there_is_named() -> None:
    """Another offset, another kind, another time than the label's: a row each, and nothing changes."""
    loop = Loop()
    loop.step(label(0, 60), label(1, 70))
    loop.withdraw(1)
    assert loop.counts == (1, 0, 0, 1)
    assert loop.step(withdrawals=[Withdrawal("click", 70, 1)]) == Effects([], [])
    for withdrawal in (Withdrawal("click", 60, 5), Withdrawal("sale", 60, 0), Withdrawal("click", 61, 0)):
        row = RejectRow("labels", withdrawal.offset, RejectReason.NOT_WITHDRAWN, withdrawal.kind)
        assert loop.step(withdrawals=[withdrawal]) == Effects([], [row])
    assert loop.counts == (1, 0, 0, 1)


def test_what_a_withdrawn_label_had_superseded_is_the_head_again() -> None:
    """Also where the one between was withdrawn first; a stale one stays stale."""
    for order in ([2, 1], [1, 2]):
        loop = Loop()
        loop.step(label(0, 60), label(1, 70, 0.0), label(2, 80), label(3, 65, 0.0))
        assert loop.counts == (1, 2, 1, 0)
        for offset in order:
            loop.withdraw(offset)
            assert_restores(loop)
        assert loop.counts == (1, 0, 1, 2)
        state = loop.partition.store.get("a")
        assert state is not None
        chain = state.predictions["a"].chains["click\0d1"]
        assert (chain.label_offset, chain.value) == (3, 0.0)
        loop.step(label(4, 66))
        assert loop.counts == (1, 1, 1, 2)
        assert_restores(loop)


def test_of_a_withdrawn_chunk_no_outcome_falls_back_to_another_of_its_labels() -> None:
    """One revision, to what is left of all."""
    loop = Loop()
    loop.step(label(0, 60), label(1, 70, 0.0), label(2, 80))
    [row] = loop.withdraw(2, 1).outcomes
    assert (row.label_offset, row.status, row.reason) == (0, "joined", "withdrawal")


def test_a_retraction_comes_back_and_is_withdrawn() -> None:
    """It is a label like any other."""
    loop = Loop()
    loop.step(label(0, 60), label(1, 70, None), label(2, 80))
    assert [str(row.status) for row in loop.withdraw(2).outcomes] == ["retracted"]
    assert [str(row.status) for row in loop.withdraw(1).outcomes] == ["joined"]
    counters = loop.partition.checkpoint.counters.outcomes["click"]
    assert (counters.joined, counters.retracted, counters.pending) == (1, 0, 0)


def test_a_waiting_label_that_is_withdrawn_joins_nothing() -> None:
    """The prediction that comes gets what remains; memory is given back when both age out, with a row for the other."""
    loop = Loop(predictions=())
    loop.step(label(0, 60), label(1, 70, 0.0))
    loop.withdraw(1)
    [row] = loop.step(predictions=[ONE]).outcomes
    loop.predictions.append(ONE)
    assert (row.label_offset, row.value) == (0, 1.0)
    assert_restores(loop)
    alone = Loop(predictions=())
    alone.step(label(0, 60), label(1, 70, 0.0))
    alone.withdraw(0)
    effects = alone.step(close_at_ms=5_000)
    assert [(row.offset, str(row.reason)) for row in effects.rejects] == [(1, "unknown_prediction")]
    assert alone.partition.checkpoint.waiting_bytes == 0
    assert len(alone.partition.store) == 0


@pytest.mark.parametrize("surplus", [0, 2])
def test_what_the_limit_has_pushed_out_is_neither_withdrawn_nor_fallen_back_to(surplus: int) -> None:
    """Of sixteen labels and two more: the first two are gone, whenever the others were withdrawn, and in a rebuild."""
    loop = Loop()
    for offset in range(LABELS_PER_CHAIN_MAX + surplus):
        loop.step(label(offset, 60 + offset, float(offset % 2)))
        if offset == 5:
            loop.withdraw(4)
            assert_restores(loop)
    last = LABELS_PER_CHAIN_MAX + surplus - 1
    effects = loop.withdraw(*range(1, last + 1))
    [row] = effects.outcomes
    named = [one.offset for one in effects.rejects if one.reason is RejectReason.NOT_WITHDRAWN]
    assert named == list(range(1, surplus))
    assert_restores(loop)
    assert (row.label_offset, str(row.status)) == ((0, "joined") if surplus == 0 else (None, "pending"))
    assert loop.counts[3] == last - max(surplus - 1, 0)


def test_a_label_that_has_left_stays_where_it_was_counted() -> None:
    """Its outcome stands, and a row says so."""
    loop = Loop([ONE, PredictionRecord(1, "a", "b", 1_000, 8, eligible=True, projection=None)])
    loop.step(label(0, 60))
    loop.step(close_at_ms=1_061)
    assert loop.partition.checkpoint.reach_ms["click"] == 61
    assert loop.withdraw(0) == Effects([], [RejectRow("labels", 0, RejectReason.NOT_WITHDRAWN, "click")])
    assert loop.counts == (1, 0, 0, 0)
