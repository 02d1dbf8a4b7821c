"""The most important properties of the product: the join against a naive oracle, cut up in every way."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
from effort import examples
from fingerprint import full_fingerprint
from history import FAR_MS, History, batch_of, cuts, decisions_of, histories, play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import final_outcomes

from joins import Effects, KeptLabel, MemoryStore, Op, Partition, rebuild
from joins.state import KeyState, waiting_bytes

EXAMPLES = settings(max_examples=examples(600), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def newest(effects: list[Effects]) -> dict[tuple[str, str, str, str], tuple]:
    """Return each chain's outcome with the greatest revision."""
    found: dict[tuple[str, str, str, str], tuple] = {}
    revisions: dict[tuple[str, str, str, str], int] = {}
    for step in effects:
        for row in step.outcomes:
            chain = (row.key, row.id, row.kind, row.definition)
            assert row.revision > revisions.get(chain, -1), "revisions of a chain must grow"
            revisions[chain] = row.revision
            found[chain] = (str(row.status), row.value, row.known_at_ms)
    return found


@given(data=st.data(), history=histories())
@EXAMPLES
def test_final_outcomes_are_the_oracles_for_any_interleaving_and_batching(
    data: st.DataObject, history: History
) -> None:
    """However the inputs are cut and interleaved, closing them leaves exactly the oracle's outcomes.

    The oracle's list is without the labels that were withdrawn.
    """
    _, effects = play(history, data.draw(cuts(history)), close_at_ms=FAR_MS)
    expected = final_outcomes(history.policy, history.predictions, history.labels, history.withdrawn)
    found = newest(effects)
    # a chain of another definition that has lost its only label is pending for ever; the oracle has none
    assert {chain: one for chain, one in found.items() if one[0] != "pending"} == expected
    own = {kind: rules.definition for kind, rules in history.policy.kinds.items()}
    assert all(own[kind] != definition for (_, _, kind, definition), one in found.items() if one[0] == "pending")


@given(data=st.data(), history=histories())
@EXAMPLES
def test_state_does_not_depend_on_interleaving_or_batching(data: st.DataObject, history: History) -> None:
    """Two ways of reading the same records end in the same state, by fingerprint, cursors and floor."""
    one, _ = play(history, data.draw(cuts(history)), close_at_ms=None)
    two, _ = play(history, data.draw(cuts(history)), close_at_ms=None)
    assert one.checkpoint.fingerprint == two.checkpoint.fingerprint
    assert one.checkpoint.cursors == two.checkpoint.cursors
    assert (one.checkpoint.floor_ms, one.checkpoint.left_ms) == (two.checkpoint.floor_ms, two.checkpoint.left_ms)
    assert one.checkpoint.waiting_bytes == two.checkpoint.waiting_bytes
    withdrawn = [
        {kind: counts.withdrawn for kind, counts in way.checkpoint.counters.labels.items()} for way in (one, two)
    ]
    assert withdrawn[0] == withdrawn[1]


@given(data=st.data(), history=histories())
@EXAMPLES
def test_both_identities_hold_after_every_step_and_fingerprints_are_those_of_a_full_scan(
    data: st.DataObject, history: History
) -> None:
    """Every record consumed is in exactly one place, also counted independently from rows and records."""
    boundaries = data.draw(cuts(history))
    for end in range(1, len(boundaries) + 1):
        partition, effects = play(history, boundaries[:end], close_at_ms=None)
        assert partition.checkpoint.counters.violations() == []
        assert partition.checkpoint.fingerprint == full_fingerprint(state for _, state in partition.store.items())
    counts = partition.checkpoint.counters
    # what had left before it could be withdrawn is named, and stays where it was counted
    rejects = [row for step in effects for row in step.rejects if row.reason != "not_withdrawn"]
    withdrawn = {row.offset for row in rejects if row.reason == "withdrawn"}
    stale = {row.offset for row in rejects if row.reason == "stale"}
    rows = [(row.input, row.offset) for row in rejects if row.reason != "withdrawn" or row.offset not in stale]
    assert len(rows) == len(set(rows)), "a record has at most one reject row, but for a stale one that was withdrawn"
    assert sum(c.withdrawn for c in counts.labels.values()) == len(withdrawn)
    assert sum(c.stale for c in counts.labels.values()) == len(stale - withdrawn)
    refused = {offset for name, offset in rows if name == "predictions"}
    assert counts.predictions.accepted == len(history.predictions) - len(refused)
    refused = {offset for name, offset in rows if name == "labels"}
    kept = [m for m in history.labels if m.op is not Op.HEARTBEAT and m.offset not in refused]
    assert sum(c.heads + c.superseded for c in counts.labels.values()) == len(kept)
    finals = newest(effects)
    for kind, outcomes in counts.outcomes.items():
        own = [f[0] for (_, _, k, d), f in finals.items() if (k, d) == (kind, history.policy.kinds[kind].definition)]
        for status in ("joined", "implied", "retracted"):
            assert getattr(outcomes, status) == own.count(status)
        assert outcomes.expired + outcomes.aged_out == own.count("expired")


@given(data=st.data(), history=histories())
@EXAMPLES
def test_the_revision_history_is_a_function_of_the_recorded_ranges(data: st.DataObject, history: History) -> None:
    """The same ranges again give the same rows, in the same order: redo is exact."""
    boundaries = data.draw(cuts(history))
    _, one = play(history, boundaries, close_at_ms=FAR_MS)
    _, two = play(history, boundaries, close_at_ms=FAR_MS)
    assert one == two


@given(
    data=st.data(),
    history=histories(beyond_ms=300) | histories(beyond_ms=300, waiting_bytes_max=3 * waiting_bytes("a")),
)
@EXAMPLES
def test_rebuilding_from_accepted_records_and_decisions_gives_the_same_state(
    data: st.DataObject, history: History
) -> None:
    """A lost store comes back at any step, however late records came and whatever the rules were."""
    partition, effects = play(history, data.draw(cuts(history)), close_at_ms=None, settle=data.draw(st.booleans()))
    checkpoint = partition.checkpoint
    rejects = [row for step in effects for row in step.rejects if row.reason != "not_withdrawn"]
    gone = {(r.input, r.offset): str(r.reason) for r in rejects}
    predictions = [
        p
        for p in history.predictions
        if ("predictions", p.offset) not in gone and (checkpoint.left_ms is None or p.time_ms >= checkpoint.left_ms)
    ]
    labels = [
        KeptLabel(m, gone.get(("labels", m.offset)) == "stale", gone.get(("labels", m.offset)) == "withdrawn")
        for m in history.labels
        if m.op is not Op.HEARTBEAT and gone.get(("labels", m.offset)) not in ("duplicate", "future")
    ]
    store = MemoryStore(list(history.policy.kinds))
    again = rebuild(history.policy, store, checkpoint, predictions, labels, decisions_of(effects))
    assert again.checkpoint is checkpoint
    assert everything_of(again) == everything_of(partition)


@given(data=st.data(), history=histories(beyond_ms=300))
@EXAMPLES
def test_under_other_rules_nothing_ends_before_a_deadline_of_theirs_has_passed(
    data: st.DataObject, history: History
) -> None:
    """From the change on, the new deadline tells what is late, and no timeout comes before it; counts still add up."""
    boundaries = data.draw(cuts(history))
    half, later = len(boundaries) // 2, history.later or history.policy
    partition, _ = play(replace(history, later=None), boundaries[:half], close_at_ms=None, settle=False)
    partition.change_rules(later)
    for (p0, l0), (p1, l1) in pairwise([(0, 0), *boundaries][half:]):
        for row in partition.step(batch_of(history, (p0, l0), (p1, l1))).outcomes:
            deadline_ms = row.predicted_at_ms + later.kinds[row.kind].horizon_ms
            assert (row.reason == "late") <= (row.known_at_ms > deadline_ms)
            assert (row.reason == "first") <= (row.known_at_ms <= deadline_ms)
            if row.reason == "timeout":
                assert row.known_at_ms == deadline_ms
                assert row.known_at_ms < (partition.checkpoint.watermarks[row.kind].reached_ms or 0)
        assert partition.checkpoint.counters.violations() == []


def everything_of(partition: Partition) -> tuple[Any, ...]:
    """Return the whole state, but for what a rebuild does not know: the predictions that a label met out of reach."""
    states = msgspec.convert(msgspec.to_builtins(dict(partition.store.items())), dict[str, KeyState])
    for state in states.values():
        for label in [label for labels in state.labels.values() for label in labels]:
            label.out_of_reach = False
    return (
        states,
        partition.store.by_prediction.between(None, FAR_MS, 1_000),
        {
            kind: [entry for entry in index.between(None, FAR_MS, 1_000) if is_kept(states, entry)]
            for kind, index in partition.store.by_label.items()
        },
    )


def is_kept(states: dict[str, KeyState], entry: tuple[Any, ...]) -> bool:
    """Tell whether an index entry's label is still there; entries of labels dropped earlier find nothing."""
    _, offset, key, name = entry
    return key in states and states[key].label_at(name, offset) is not None


@given(data=st.data(), history=histories())
@EXAMPLES
def test_nothing_is_implied_or_expired_without_proof_that_the_label_input_has_passed(
    data: st.DataObject, history: History
) -> None:
    """A timeout row never comes before the label input itself has passed the deadline."""
    boundaries = data.draw(cuts(history))
    for end in range(1, len(boundaries) + 1):
        partition, effects = play(history, boundaries[:end], close_at_ms=None)
        for step in effects:
            for row in step.outcomes:
                if row.reason == "timeout":
                    watermark = partition.checkpoint.watermarks[row.kind].reached_ms
                    assert watermark is not None
                    assert row.known_at_ms < watermark
