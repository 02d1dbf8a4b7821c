"""The gate's state table: every pair of state and event, and the gate after a log."""

import itertools

import pytest
from gate_case import ID, START_MS, entry, episode, ruling_entry
from hypothesis import given
from hypothesis import strategies as st

from retrain.gate import DAY_MS, NEXT_STATES, Gate, IllegalEvent, decision_id, gate_of
from schemas.events.backfill import Cause, Verdict
from schemas.events.evidence import Event, GateState

OPEN = {GateState.PREPARING, GateState.REQUESTED, GateState.RUNNING}


def gate_in(state: GateState) -> Gate:
    """Return a gate in a state, with an open retrain if the state has one."""
    return Gate(
        state=state, decision=ID if state in OPEN else None, decided_ms=START_MS if state in OPEN else None, following=3
    )


@pytest.mark.parametrize(("state", "event"), list(itertools.product(GateState, Event)))
def test_every_event_leads_where_the_table_says_or_nowhere(state: GateState, event: Event) -> None:
    """All pairs, to all targets: a listed one moves the gate, another one raises and leaves it unchanged."""
    gate = gate_in(state)
    for target in GateState:
        logged = entry(3, event, target, decision=ID if target in OPEN or state in OPEN else None)
        if target in NEXT_STATES.get((state, event), frozenset()):
            moved = gate.after(logged)
            assert (moved.state, moved.following) == (target, 4)
            assert moved.is_open == (target in OPEN)
        else:
            with pytest.raises(IllegalEvent):
                gate.after(logged)
            assert gate == gate_in(state)


def test_only_an_evaluation_begins_a_retrain() -> None:
    """Of a day's end, or of the newest day after a ruling: no other event leads into `preparing`."""
    begins = {
        event for (state, event), targets in NEXT_STATES.items() if state not in OPEN and GateState.PREPARING in targets
    }
    assert begins == {Event.EVALUATED, Event.RESTATED}


def test_no_state_is_a_dead_end() -> None:
    """Every state can be reached from every other one."""
    reach = {
        state: {target for (start, _), targets in NEXT_STATES.items() if start is state for target in targets}
        for state in GateState
    }
    for _ in GateState:
        reach = {state: targets.union(*(reach[target] for target in targets)) for state, targets in reach.items()}
    missing = {
        state.value: {other.value for other in GateState} - {t.value for t in targets}
        for state, targets in reach.items()
    }
    assert all(lacking <= {"unknown"} for lacking in missing.values()), missing


def test_a_log_with_a_gap_or_another_retrains_entry_is_refused() -> None:
    """Numbers have no gaps, and a callback belongs to the open retrain."""
    asked = entry(0, Event.EVALUATED, GateState.PREPARING, decision=ID)
    with pytest.raises(IllegalEvent, match="entry 1 comes next"):
        gate_of([asked, entry(2, Event.PREPARED, GateState.REQUESTED, decision=ID)])
    with pytest.raises(IllegalEvent, match="is open"):
        gate_of([asked, entry(1, Event.PREPARED, GateState.REQUESTED, decision="rt-" + "1" * 32)])
    with pytest.raises(IllegalEvent, match="without an id"):
        gate_of([entry(0, Event.EVALUATED, GateState.PREPARING)])


def test_the_gate_after_a_retrain() -> None:
    """When it was requested, when it ended, and how many failed in a row."""
    first = [
        entry(0, Event.EVALUATED, GateState.PREPARING, 0, decision=ID, version="v1"),
        entry(1, Event.PREPARED, GateState.REQUESTED, 0, decision=ID),
        entry(2, Event.OVERDUE, GateState.REQUESTED, 3, decision=ID),
        entry(3, Event.UNDELIVERABLE, GateState.COOLING, 4, decision=ID),
    ]
    assert gate_of(first[:3]).is_overdue
    gate = gate_of(first)
    assert (gate.is_open, gate.is_overdue, gate.failures, gate.version) == (False, False, 1, "v1")
    assert (gate.asked_ms, gate.ended_ms) == ((START_MS,), START_MS + 4 * DAY_MS)
    second = [
        entry(4, Event.EVALUATED, GateState.PREPARING, 12, decision=ID, version="v1"),
        entry(5, Event.PREPARED, GateState.REQUESTED, 12, decision=ID),
        entry(6, Event.DELIVERED, GateState.RUNNING, 12, decision=ID),
        entry(7, Event.DEPLOYED, GateState.COOLING, 13, decision=ID, version="v2"),
    ]
    done = gate_of([*first, *second])
    assert (done.failures, done.version, len(done.asked_ms)) == (0, "v2", 2)


@pytest.mark.parametrize("event", [Event.APPROVED, Event.REJECTED, Event.JUDGED, Event.REFUSED])
@pytest.mark.parametrize("state", list(GateState))
def test_rulings_and_judged_versions_do_not_move_the_gate(state: GateState, event: Event) -> None:
    """In any state: the next evaluation does."""
    assert NEXT_STATES[state, event] == {state}
    before = gate_in(state)
    after = before.after(entry(3, event, state, decision=before.decision))
    assert (after.state, after.decision, after.asked_ms, after.failures) == (state, before.decision, (), 0)


@pytest.mark.parametrize("state", list(GateState))
def test_a_backfill_makes_the_gate_wait_only_at_rest(state: GateState) -> None:
    """An open retrain goes on, and a cooldown lasts."""
    rests = state not in {*OPEN, GateState.COOLING}
    assert (GateState.WAITING in NEXT_STATES[state, Event.BACKFILLED]) == (rests or state is GateState.WAITING)
    assert NEXT_STATES[state, Event.BACKFILLED] <= {state, GateState.WAITING}


def test_approved_backfills_are_kept_until_a_retrain_is_requested() -> None:
    """Each once, in order; a later rejection removes it, and an evaluation without a request does not."""
    first, second, third = episode(1), episode(2), episode(3)
    idle, waiting = GateState.IDLE, GateState.WAITING
    log = [
        ruling_entry(0, Verdict.QUARANTINED, first, waiting),
        ruling_entry(1, Verdict.APPROVED, first, waiting),
        ruling_entry(2, Verdict.APPROVED, second, waiting),
        ruling_entry(3, Verdict.APPROVED, third, waiting),
        ruling_entry(4, Verdict.REJECTED, second, waiting),
        ruling_entry(5, Verdict.APPROVED, first, waiting),
        entry(6, Event.RESTATED, GateState.WATCHING),
        entry(7, Event.EVALUATED, idle, 1),
    ]
    assert [gate_of(log[:size]).approved for size in (1, 2, 4, 5, 6, 8)] == [
        (),
        (first.id,),
        (first.id, second.id, third.id),
        (first.id, third.id),
        (third.id, first.id),
        (third.id, first.id),
    ]
    asked = entry(8, Event.RESTATED, GateState.PREPARING, 1, decision=ID)
    assert gate_of([*log, asked]).approved == ()
    fourth = ruling_entry(9, Verdict.APPROVED, episode(4), GateState.PREPARING, 1)
    assert gate_of([*log, asked, fourth]).approved == (episode(4).id,)


@pytest.mark.parametrize(
    ("verdict", "cause", "is_ruled"),
    [
        (Verdict.QUARANTINED, Cause.REDEFINED, False),
        (Verdict.QUARANTINED, Cause.DECLARED, False),
        (Verdict.PASSED, Cause.DECLARED, True),
        (Verdict.WARNED, Cause.DECLARED, True),
        (Verdict.PASSED, Cause.CORRECTED, False),
        (Verdict.WARNED, Cause.STALE, False),
        (Verdict.QUARANTINED, Cause.STALE, True),
        (Verdict.APPROVED, Cause.REDEFINED, True),
        (Verdict.REJECTED, Cause.REDEFINED, True),
        (Verdict.APPROVED, Cause.CORRECTED, True),
        (Verdict.REJECTED, Cause.STALE, True),
    ],
)
def test_a_change_of_what_is_of_record_is_evaluated_once(verdict: Verdict, cause: Cause, *, is_ruled: bool) -> None:
    """Live labels of the own definition are of record by default, others are not."""
    logged = ruling_entry(0, verdict, episode(1, cause), GateState.UNKNOWN)
    gate = gate_of([logged])
    assert gate.ruled is is_ruled
    again = ruling_entry(1, Verdict.QUARANTINED, episode(2), GateState.UNKNOWN)
    assert gate.after(again).ruled is is_ruled
    for event in (Event.RESTATED, Event.EVALUATED):
        assert not gate.after(entry(1, event, GateState.IDLE)).ruled


def test_evidence_time_never_goes_back() -> None:
    """A backfill may become known later than the next evaluated day."""
    late = ruling_entry(0, Verdict.QUARANTINED, episode(day=2), GateState.WAITING, 2)
    log = [late, entry(1, Event.EVALUATED, GateState.PREPARING, 1, decision=ID)]
    gate = gate_of(log)
    assert (gate.at_ms, gate.evaluated_ms) == (START_MS + 2 * DAY_MS, START_MS + DAY_MS)
    assert gate.decided_ms == START_MS + 2 * DAY_MS


@given(st.lists(st.tuples(st.sampled_from(Event), st.sampled_from(GateState)), max_size=30))
def test_any_sequence_of_accepted_entries_folds_to_the_same_gate(tries: list[tuple[Event, GateState]]) -> None:
    """Refused entries change nothing, and two retrains are never open."""
    gate, taken = Gate(), []
    for event, state in tries:
        begins = state is GateState.PREPARING and gate.state is not GateState.PREPARING
        new = decision_id("flights", "late", len(taken), "v1")
        logged = entry(gate.following, event, state, len(taken), decision=new if begins else gate.decision)
        try:
            gate = gate.after(logged)
        except IllegalEvent:
            continue
        taken.append(logged)
        assert gate.is_open == (gate.state in OPEN)
    assert gate_of(taken) == gate
    assert len(set(gate.asked_ms)) == len(gate.asked_ms)


def test_the_same_evaluation_always_has_the_same_id() -> None:
    """And no other evaluation has it."""
    names = [
        ("flights", "late", 1, "v1"),
        ("flights", "late", 2, "v1"),
        ("flights", "late", 1, "v2"),
        ("f", "lightslate", 1, None),
    ]
    ids = [decision_id(*name) for name in names]
    assert ids == [decision_id(*name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(len(found) == 35 and found.startswith("rt-") for found in ids)


def test_a_restatement_of_a_day_has_another_id() -> None:
    """The day itself, or another backfill, may have begun a retrain at the same evidence time."""
    day = decision_id("flights", "late", 1, "v1")
    found = [decision_id("flights", "late", 1, "v1", episode(number).id) for number in (1, 2, 1)]
    assert len({day, *found}) == 3
    assert found[0] == found[2]
