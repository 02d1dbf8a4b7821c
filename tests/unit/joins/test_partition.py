"""The join's rules one by one, with boundary pairs: the last that is kept, the first that is not.

The rules of `joins.expiry`, what `joins.checkpoint` holds and `joins.effect` gives are tested here, too, over
`joins.store` and `joins.index`; the same rules over RocksDB in tests/properties/test_join_on_rocks_store.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fingerprint import full_fingerprint

from joins import (
    Batch,
    Effects,
    Idle,
    KindPolicy,
    LabelRecord,
    MemoryStore,
    Op,
    Partition,
    Policy,
    PredictionRecord,
)
from joins.policy import FUTURE_REJECT_MS, FUTURE_WATERMARK_MS, LABELS_PER_CHAIN_MAX
from joins.state import chain_name, waiting_bytes

CLICK = KindPolicy("d1", horizon_ms=100, retain_ms=200)
POLICY = Policy({"click": CLICK})
NOW_MS = 10_000


class Bench:
    """A partition that is fed by short calls; offsets count themselves."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.partition = Partition(policy, MemoryStore(list(policy.kinds)))
        self.effects = Effects([], [])

    def step(self, predictions: Sequence = (), labels: Sequence = (), **how: Any) -> Effects:
        """Take one step; predictions are (key, time[, id, digest, eligible]), labels (key, value, known[, ...])."""
        checkpoint = self.partition.checkpoint
        rows = [
            PredictionRecord(
                checkpoint.predictions_next + i,
                p[0],
                p[2] if len(p) > 2 else p[0],
                p[1],
                p[3] if len(p) > 3 else 0,
                p[4] if len(p) > 4 else True,
                None,
            )
            for i, p in enumerate(predictions)
        ]
        label_rows = [
            LabelRecord(
                checkpoint.labels_next + i,
                m[0],
                m[4] if len(m) > 4 else "click",
                m[3] if len(m) > 3 else "d1",
                Op.HEARTBEAT if m[1] == "beat" else Op.RETRACT if m[1] is None else Op.UPSERT,
                None if m[1] == "beat" else m[1],
                m[5] if len(m) > 5 else m[2],
                m[2],
            )
            for i, m in enumerate(labels)
        ]
        how.setdefault("now_ms", NOW_MS)
        batch = Batch(
            rows, label_rows, checkpoint.predictions_next + len(rows), checkpoint.labels_next + len(label_rows), **how
        )
        self.effects = self.partition.step(batch)
        assert checkpoint.counters.violations() == []
        states = (state for _, state in self.partition.store.items())
        assert checkpoint.fingerprint == full_fingerprint(states)
        return self.effects

    def outcomes(self) -> list[tuple]:
        """Return the last step's outcomes as (id, status, reason, value, previous)."""
        return [(o.id, o.status.value, o.reason.value, o.value, o.previous) for o in self.effects.outcomes]

    def rejects(self) -> list[tuple]:
        """Return the last step's rejects as (input, offset, reason)."""
        return [(r.input, r.offset, r.reason.value) for r in self.effects.rejects]


@pytest.mark.parametrize(("known", "reason"), [(1_100, "first"), (1_101, "late")])
def test_a_label_is_late_when_known_after_the_deadline_whether_or_not_the_sweep_has_come(
    known: int, reason: str
) -> None:
    """Known at the horizon is in time, a millisecond later is late."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", 1.0, known)])
    assert bench.outcomes() == [("a", "joined", reason, 1.0, None)]


@pytest.mark.parametrize(("known", "joined"), [(1_200, True), (1_201, False), (800, True), (799, False)])
def test_a_label_joins_within_retain_of_the_prediction_on_both_sides(known: int, *, joined: bool) -> None:
    """At retain it joins, a millisecond beyond it does not; the same before the prediction was made."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", 1.0, known)])
    assert bool(bench.outcomes()) == joined


@pytest.mark.parametrize(("known", "reason"), [(1_000, "first"), (999, "early")])
def test_a_label_known_before_the_prediction_is_early_by_its_time_not_by_processing_order(
    known: int, reason: str
) -> None:
    """Processing order says nothing: a label that waited is early only if it was known before."""
    bench = Bench()
    bench.step([], [("a", 1.0, known)])
    bench.step([("a", 1_000)])
    assert bench.outcomes() == [("a", "joined", reason, 1.0, None)]
    assert bench.partition.checkpoint.counters.labels["click"].early == (reason == "early")


@pytest.mark.parametrize(("watermark", "expired"), [(1_100, False), (1_101, True)])
def test_a_prediction_expires_once_both_inputs_have_passed_its_deadline(watermark: int, *, expired: bool) -> None:
    """At the deadline a label in time may still come; behind it none can."""
    bench = Bench()
    bench.step([("a", 1_000)], close_at_ms=watermark)
    assert bench.outcomes() == ([("a", "expired", "timeout", None, None)] if expired else [])


def test_silence_of_the_label_input_is_no_proof() -> None:
    """Without a mark of its own the label input lets nothing expire, however far predictions have come."""
    bench = Bench()
    bench.step([("a", 1_000), ("b", 5_000), ("c", 5_000), ("d", 5_000)])
    assert bench.outcomes() == []


def test_an_idle_label_input_ages_predictions_out_but_never_expires_or_implies_them() -> None:
    """The idle rule moves the floor; below it a pending prediction ends with a reason of its own."""
    bench = Bench(Policy({"click": replace(CLICK, implies=True, implied=0.0)}))
    silent = Idle(frozenset({"click"}))
    bench.step([("a", 1_000), ("b", 1_150), ("c", 1_150), ("d", 1_150)], idle=silent)
    assert bench.outcomes() == []
    bench.step([("e", 1_250), ("f", 1_250), ("g", 1_250)], idle=silent)
    assert bench.outcomes() == [("a", "expired", "aged_out", None, None)]
    assert bench.partition.checkpoint.counters.outcomes["click"].aged_out == 1


def test_of_labels_that_wait_one_is_the_head_and_alone_is_rejected_in_the_end() -> None:
    """Those before it were superseded, once each; they are counted already when they leave."""
    bench = Bench()
    bench.step([], [("a", 1.0, 1_010), ("a", 0.0, 1_020), ("a", 1.0, 1_030)])
    counts = bench.partition.checkpoint.counters.labels["click"]
    assert (counts.heads, counts.superseded) == (1, 2)
    bench.step(close_at_ms=5_000)
    assert [(row.offset, row.reason.value) for row in bench.effects.rejects] == [(2, "unknown_prediction")]
    assert (counts.heads, counts.superseded, counts.aged_out) == (0, 2, 1)


def test_an_idle_label_input_is_no_proof_beyond_its_own_watermark() -> None:
    """It was heard of, and may only have stopped: stream time goes on without it, deadlines do not pass."""
    bench = Bench()
    bench.step([("a", 1_000)], [("", "beat", 1_050)])
    bench.step([("b", 1_150), ("c", 1_150), ("d", 1_150)], idle=Idle(frozenset({"click"})))
    assert bench.outcomes() == []
    bench.step([], [("", "beat", 1_101)])
    assert bench.outcomes() == [("a", "expired", "timeout", None, None)]


def test_a_heartbeat_is_proof() -> None:
    """It says that the labels are complete up to its time, and makes no outcome of its own."""
    bench = Bench()
    bench.step([("a", 1_000), ("b", 5_000), ("c", 5_000), ("d", 5_000)], [("", "beat", 1_101)])
    assert bench.outcomes() == [("a", "expired", "timeout", None, None)]
    assert bench.partition.checkpoint.counters.labels["click"].heartbeats == 1


@pytest.mark.parametrize("later_ms", [-4, 0, 4])
def test_the_greatest_heartbeat_of_a_step_counts(later_ms: int) -> None:
    """Also where it is that of the first instant of 1970."""
    bench = Bench()
    bench.step(labels=[("", "beat", time_ms) for time_ms in (0, later_ms)])
    assert bench.partition.checkpoint.watermarks["click"].assured_ms == max(0, later_ms)


@pytest.mark.parametrize(("eligible", "expected"), [(True, ("implied", 0.0)), (False, ("expired", None))])
def test_the_deadline_implies_a_value_only_for_eligible_predictions(eligible: bool, expected: tuple) -> None:
    """A blocked transaction says nothing about fraud, so nothing is implied of it."""
    bench = Bench(Policy({"click": replace(CLICK, implies=True, implied=0.0)}))
    bench.step([("a", 1_000, "a", 0, eligible)], close_at_ms=1_101)
    assert [(o.status.value, o.value) for o in bench.effects.outcomes] == [expected]
    assert bench.effects.outcomes[0].known_at_ms == 1_100


def test_implied_then_a_late_label_is_joined_late_with_the_implied_value_as_previous() -> None:
    """The late truth replaces the assumption and says what it replaced."""
    bench = Bench(Policy({"click": replace(CLICK, implies=True, implied=0.0)}))
    bench.step([("a", 1_000)], close_at_ms=1_101)
    bench.step([], [("a", 1.0, 1_150)])
    assert bench.outcomes() == [("a", "joined", "late", 1.0, 0.0)]
    assert bench.effects.outcomes[0].previous_status == "implied"


def test_a_retraction_is_final_until_a_newer_label_and_is_never_implied() -> None:
    """Retracted before the deadline stays retracted behind it; a newer label joins again."""
    bench = Bench(Policy({"click": replace(CLICK, implies=True, implied=0.0)}))
    bench.step([("a", 1_000)], [("a", 1.0, 1_010), ("a", None, 1_020)])
    assert bench.outcomes() == [
        ("a", "joined", "first", 1.0, None),
        ("a", "retracted", "retraction", None, 1.0),
    ]
    bench.step(close_at_ms=1_101)
    assert bench.outcomes() == []
    bench.step([], [("a", 0.0, 1_050)])
    assert bench.outcomes() == [("a", "joined", "first", 0.0, None)]


def test_an_older_label_is_stale_and_the_same_again_is_a_duplicate() -> None:
    """The label of record is a maximum by (time, offset), so re-sent and disordered labels converge."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", 1.0, 1_050), ("a", 0.0, 1_040), ("a", 1.0, 1_050)])
    assert bench.outcomes() == [("a", "joined", "first", 1.0, None)]
    assert bench.rejects() == [("labels", 1, "stale"), ("labels", 2, "duplicate")]


def test_at_equal_times_another_value_of_a_greater_offset_is_of_record() -> None:
    """A tie in time is settled by the order in the log."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", 1.0, 1_050), ("a", 0.0, 1_050)])
    assert bench.outcomes()[-1] == ("a", "joined", "correction", 0.0, 1.0)


def test_another_definition_makes_a_chain_of_its_own_and_never_expires() -> None:
    """It is a chain of its own next to the loop's, flagged by its name and outside the identities of outcomes."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", 1.0, 1_050, "d2")])
    assert [(o.definition, o.status.value) for o in bench.effects.outcomes] == [("d2", "joined")]
    bench.step(close_at_ms=1_101)
    assert [(o.definition, o.status.value) for o in bench.effects.outcomes] == [("d1", "expired")]
    assert bench.partition.checkpoint.counters.labels["click"].other_definition == 1


def test_one_label_is_true_for_every_prediction_of_its_key() -> None:
    """A champion and a shadow version are both joined, also one that is made later."""
    bench = Bench()
    bench.step([("a", 1_000, "v1"), ("a", 1_001, "v2")], [("a", 1.0, 1_050)])
    bench_first = bench.outcomes()
    bench.step([("a", 1_060, "v3")])
    assert [o[0] for o in bench_first + bench.outcomes()] == ["v1", "v2", "v3"]


def test_kinds_have_deadlines_of_their_own() -> None:
    """A click is expected soon, a sale much later; each ends by its own rule."""
    bench = Bench(Policy({"click": CLICK, "sale": KindPolicy("s1", horizon_ms=500, retain_ms=600)}))
    bench.step([("a", 1_000)], close_at_ms=1_400)
    assert [(o.kind, o.status.value) for o in bench.effects.outcomes] == [("click", "expired")]
    bench.step([], [("a", 1.0, 1_450, "s1", "sale")])
    assert [(o.kind, o.status.value) for o in bench.effects.outcomes] == [("sale", "joined")]


def test_the_first_prediction_stands_and_a_changed_contract_never_makes_a_conflict() -> None:
    """Equal content is a duplicate, another a conflict; the digest's upper bits are the contract's."""
    bench = Bench()
    contract = 7 << 48
    bench.step([("a", 1_000, "a", 5), ("a", 1_000, "a", 5), ("a", 1_000, "a", 6), ("a", 1_000, "a", contract | 6)])
    assert bench.rejects() == [
        ("predictions", 1, "duplicate"),
        ("predictions", 2, "conflict"),
        ("predictions", 3, "duplicate"),
    ]


@pytest.mark.parametrize(("ahead", "rejected"), [(FUTURE_REJECT_MS, False), (FUTURE_REJECT_MS + 1, True)])
def test_times_more_than_an_hour_ahead_are_rejected(ahead: int, *, rejected: bool) -> None:
    """The boundary pair for predictions and for labels."""
    bench = Bench()
    bench.step([("a", NOW_MS + ahead)], [("b", 1.0, NOW_MS + ahead)])
    assert (("predictions", 0, "future") in bench.rejects()) == rejected
    assert (("labels", 0, "future") in bench.rejects()) == rejected


@pytest.mark.parametrize(("ahead", "moves"), [(FUTURE_WATERMARK_MS, True), (FUTURE_WATERMARK_MS + 1, False)])
def test_times_more_than_five_minutes_ahead_move_no_mark(ahead: int, *, moves: bool) -> None:
    """Neither records nor heartbeats may push time into the future."""
    bench = Bench()
    time = NOW_MS + ahead
    bench.step([(key, time) for key in "abc"], [("", "beat", time)])
    watermarks = bench.partition.checkpoint.watermarks
    assert (watermarks["predictions"].reached_ms == time) == moves
    assert (watermarks["click"].reached_ms == time) == moves


@pytest.mark.parametrize(("time", "kept"), [(1_800, True), (1_799, False)])
def test_a_prediction_older_than_the_floor_is_too_old(time: int, *, kept: bool) -> None:
    """The floor is the least stream time less the greatest retain; at the floor it is still taken."""
    bench = Bench()
    bench.step(close_at_ms=2_000)
    assert bench.partition.checkpoint.floor_ms == 1_800
    bench.step([("a", time)])
    assert bench.rejects() == ([] if kept else [("predictions", 0, "too_old")])


def test_a_prediction_behind_the_cursor_is_timed_out_in_its_own_step() -> None:
    """It comes late but not too late: its deadline has passed, so it does not wait for another sweep."""
    bench = Bench()
    bench.step(close_at_ms=2_000)
    bench.step([("a", 1_850)])
    assert bench.outcomes() == [("a", "expired", "timeout", None, None)]


@pytest.mark.parametrize(("close", "gone"), [(1_250, False), (1_251, True)])
def test_a_label_without_a_prediction_waits_for_retain_and_then_leaves_one_row(close: int, *, gone: bool) -> None:
    """At retain a prediction could still be near enough; behind it none can."""
    bench = Bench()
    bench.step([], [("a", 1.0, 1_050)], close_at_ms=close)
    assert bench.rejects() == ([("labels", 0, "unknown_prediction")] if gone else [])
    assert len(bench.partition.store) == (0 if gone else 1)


def test_a_label_beyond_its_predictions_retain_leaves_as_too_late() -> None:
    """Its key has a prediction, so the row says too late and not unknown."""
    bench = Bench(Policy({"click": CLICK, "sale": KindPolicy("s1", horizon_ms=500, retain_ms=2_000)}))
    bench.step([("a", 1_000)], [("a", 1.0, 1_201)])
    bench.step(close_at_ms=1_402)
    assert ("labels", 0, "too_late") in bench.rejects()


def test_waiting_labels_are_bounded_by_memory_oldest_first() -> None:
    """Over budget the oldest go, each with a row, and one that comes behind the cursor goes at once."""
    bench = Bench(replace(POLICY, waiting_bytes_max=2 * waiting_bytes("a")))
    bench.step([], [("a", 1.0, 1_000), ("b", 1.0, 1_001), ("c", 1.0, 1_002)])
    assert bench.rejects() == [("labels", 0, "waiting_limit")]
    bench.step([], [("d", 1.0, 999)])
    assert bench.rejects() == [("labels", 3, "waiting_limit")]
    assert bench.partition.checkpoint.waiting_bytes == 2 * waiting_bytes("a")


def test_labels_kept_per_chain_are_bounded() -> None:
    """A key that is corrected without end keeps the newest; its outcome stays right."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", float(i % 2), 1_001 + i) for i in range(LABELS_PER_CHAIN_MAX + 5)])
    state = bench.partition.store.get("a")
    assert state is not None
    assert len(state.labels[chain_name("click", "d1")]) == LABELS_PER_CHAIN_MAX
    assert bench.outcomes()[-1][3] == float((LABELS_PER_CHAIN_MAX + 4) % 2)


def test_nothing_is_left_of_a_key_when_everything_is_out_of_reach() -> None:
    """State does not only grow."""
    bench = Bench()
    bench.step([("a", 1_000)], [("a", 1.0, 1_050), ("b", 1.0, 1_050)])
    bench.step(close_at_ms=5_000)
    assert len(bench.partition.store) == 0
    assert bench.partition.checkpoint.fingerprint == 0
    assert bench.partition.checkpoint.waiting_bytes == 0


def test_a_long_close_is_spread_over_steps() -> None:
    """One step times out no more than its limit; the next goes on where it stopped."""
    bench = Bench(replace(POLICY, expiry_limit=2))
    bench.step([(key, 1_000 + i) for i, key in enumerate("abcde")], close_at_ms=2_000)
    counts = [len(bench.effects.outcomes)]
    while bench.step().outcomes:
        counts.append(len(bench.effects.outcomes))
    assert counts == [2, 2, 1]


def test_a_longer_horizon_does_not_unexpire() -> None:
    """Cursors never go back: what has expired under one rule stays so under a longer one."""
    bench = Bench()
    bench.step([("a", 1_000)], close_at_ms=1_101)
    cursor = bench.partition.checkpoint.cursors["click"]
    longer = Policy({"click": KindPolicy("d1", horizon_ms=150, retain_ms=200)})
    bench.partition = Partition(longer, bench.partition.store, bench.partition.checkpoint)
    bench.step([("b", 1_040)], close_at_ms=1_102)
    assert bench.outcomes() == []
    assert bench.partition.checkpoint.cursors["click"] == cursor
    bench.step(close_at_ms=1_191)
    assert bench.outcomes() == [("b", "expired", "timeout", None, None)]


def test_revisions_of_a_chain_grow() -> None:
    """Whatever decides, the newest revision has the greatest number."""
    bench = Bench(Policy({"click": replace(CLICK, implies=True, implied=0.0)}))
    seen = [
        *bench.step([("a", 1_000)]).outcomes,
        *bench.step(close_at_ms=1_101).outcomes,
        *bench.step([], [("a", 1.0, 1_150)]).outcomes,
        *bench.step([], [("a", 0.0, 1_160), ("a", None, 1_170)]).outcomes,
    ]
    revisions = [o.revision for o in seen]
    assert len(revisions) == 4
    assert revisions == sorted(set(revisions))


def test_a_batch_that_does_not_start_where_the_partition_stands_is_refused() -> None:
    """A skipped or repeated range is a defect of the caller and leaves the state unmoved."""
    bench = Bench()
    bench.step([("a", 1_000)])
    again = PredictionRecord(0, "a", "a", 1_000, 0, eligible=True, projection=None)
    with pytest.raises(ValueError, match="do not lie in the range"):
        bench.partition.step(Batch([again], [], 2, 0, now_ms=NOW_MS))
    assert bench.partition.checkpoint.predictions_next == 1
