"""What is written into the gate's log: every entry is one that the gate takes, wherever its table has the event."""

from typing import Any

import pytest
from gate_case import DRIFT, ID, START_MS, episode, evaluation, finding, ruling
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.episode_status import rulings_of, waiting_episodes
from retrain.gate import DAY_MS, NEXT_STATES, Gate, IllegalEvent, decision_id, gate_of
from retrain.log_entries import (
    EntryOrigin,
    answered,
    attempted,
    backfilled,
    evaluated,
    prepared,
    resolved,
    restated,
    ruled,
)
from retrain.retrains import retrains_of
from retrain.schedule import Attempt
from schemas.config.retrain import RetrainConfig
from schemas.events.backfill import Cause, Verdict
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Level, Place
from schemas.events.retrain_request import RetrainCallback

TARGET = {"url": "https://pipeline.example/retrain"}
ORIGIN = EntryOrigin("flights", "late", RetrainConfig.model_validate({"target": TARGET}))
BY_CALLBACK = EntryOrigin(
    "flights", "late", RetrainConfig.model_validate({"target": TARGET | {"completion": "callback"}})
)
NOBODY = EntryOrigin("flights", "late", None)
OPEN = {GateState.PREPARING, GateState.REQUESTED, GateState.RUNNING}
BY_RULE = (Verdict.PASSED, Verdict.WARNED, Verdict.QUARANTINED)


def gate_in(state: GateState, **other: Any) -> Gate:
    """Return a gate in a state, with a retrain open where the state has one."""
    usual: dict[str, Any] = {"state": state, "following": 7, "at_ms": START_MS, "version": "v1"}
    if state in OPEN:
        usual |= {"decision": ID, "decided_ms": START_MS, "asked_ms": (START_MS,)}
    return Gate(**usual | other)


def attempt(outcome: Any, status: int | None = 200) -> Attempt:
    """Return the second attempt."""
    return Attempt(ID, 2, START_MS + 60_000, outcome, status, None, "")


def answer(status: Any, **other: Any) -> RetrainCallback:
    """Return what a pipeline says of the open retrain."""
    return RetrainCallback.model_validate({"decision": ID, "status": status} | other)


def taken(gate: Gate, event: Event, told: Decision) -> bool:
    """Apply an entry; whether the gate took it has to be what the table says."""
    assert told.event is event
    is_listed = told.state in NEXT_STATES.get((gate.state, event), frozenset())
    try:
        moved = gate.after(told)
    except IllegalEvent:
        assert not is_listed
        return False
    assert is_listed
    assert moved.state is told.state
    return True


@pytest.mark.parametrize("origin", [ORIGIN, BY_CALLBACK, NOBODY])
@pytest.mark.parametrize("state", list(GateState))
def test_every_event_is_taken_where_the_table_has_it_and_nowhere_else(state: GateState, origin: EntryOrigin) -> None:
    """All events that are written besides evaluations, in all states."""
    gate = gate_in(state)
    delivered, gave_up = attempted(origin, gate, attempt("delivered")), attempted(origin, gate, attempt("gave_up"))
    assert delivered is not None
    assert gave_up is not None
    events = [
        (Event.PREPARED, prepared(origin, gate, {"rows": 5}, 5)),
        (Event.RESOLVED, prepared(origin, gate, {"rows": 0}, 0)),
        (Event.DELIVERED, delivered),
        (Event.UNDELIVERABLE, gave_up),
        (Event.ACCEPTED, answered(origin, gate, answer("accepted"), "c1")),
        (Event.ACCEPTED, answered(origin, gate, answer("running"), "c1")),
        (Event.SUCCEEDED, answered(origin, gate, answer("succeeded"), "c1")),
        (Event.FAILED, answered(origin, gate, answer("failed"), "c1")),
        (Event.RESOLVED, resolved(origin, gate, "it was done by hand", {"who": "somebody"})),
        *((Event.BACKFILLED, backfilled(origin, gate, ruling(verdict), ["So."], {})) for verdict in BY_RULE),
        (Event.APPROVED, ruled(origin, gate, ruling(Verdict.APPROVED), "so", {})),
        (Event.REJECTED, ruled(origin, gate, ruling(Verdict.REJECTED), "so", {})),
        (Event.RESTATED, restated(origin, gate, evaluation(1, DRIFT), [])),
        (Event.RESTATED, restated(origin, gate, evaluation(1), [episode()])),
    ]
    took = {event for event, told in events if taken(gate, event, told)}
    assert took == {event for event, _ in events if (state, event) in NEXT_STATES}


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("version", ["v1", "v2", None])
@pytest.mark.parametrize("origin", [ORIGIN, NOBODY])
@pytest.mark.parametrize("found", [(), (DRIFT,), (finding(FindingKind.COVERAGE, Level.ALARM, Place.LABELS),)])
def test_the_entries_of_an_evaluation_are_taken_in_every_state(
    state: GateState, version: str | None, origin: EntryOrigin, found: Any
) -> None:
    """Also when another version runs, or none; a week later, when nobody has answered."""
    gate = gate_in(state)
    entries = evaluated(origin, gate, evaluation(7, *found, version=version))
    for told in entries:
        gate = gate.after(told)
    assert entries[-1].event is Event.EVALUATED
    assert [told.number for told in entries] == list(range(7, 7 + len(entries)))
    assert (entries[0].event is Event.DEPLOYED) is (version == "v2")
    waits = state in (GateState.REQUESTED, GateState.RUNNING) and version != "v2" and origin.retrain is not None
    assert (Event.OVERDUE in [told.event for told in entries]) is waits
    assert {told.at for told in entries} == {START_MS + 7 * DAY_MS}


def test_a_retrain_begins_with_an_id_of_its_evaluation_and_keeps_it() -> None:
    """The same evaluation has the same one; what follows belongs to it, and says why."""
    gate = gate_in(GateState.IDLE)
    one = evaluation(7, DRIFT)
    [told] = evaluated(ORIGIN, gate, one)
    assert (told.state, told.decision) == (GateState.PREPARING, decision_id("flights", "late", one.at, "v1"))
    assert (told.reason, told.findings) == ("error_drift alarm; every requirement is met", [DRIFT])
    assert told.detail == {"judged_day": "2013-05-30", "mature_labels": 5_000}
    gate = gate.after(told)
    [again] = evaluated(ORIGIN, gate, evaluation(8, DRIFT))
    assert (again.state, again.decision) == (GateState.PREPARING, told.decision)


def test_a_new_version_ends_the_retrain_and_cools_down() -> None:
    """Before the evaluation that shows it; without an open retrain it is told all the same."""
    told, after = evaluated(ORIGIN, gate_in(GateState.RUNNING), evaluation(1, version="v2"))
    assert (told.reason, told.version, told.decision) == (
        "v2 predicts in place of v1: the retrain is done",
        "v2",
        ID,
    )
    assert (after.state, after.decision) == (GateState.COOLING, None)
    rolled, _ = evaluated(ORIGIN, gate_in(GateState.IDLE), evaluation(1, version="v2"))
    assert (rolled.reason, rolled.decision) == ("v2 predicts in place of v1", None)


@pytest.mark.parametrize(("days", "is_told"), [(2.99, False), (3, True)])
def test_nobody_answers_is_told_once(days: float, is_told: bool) -> None:
    """Three days after the decision; the gate stays where it is."""
    gate = gate_in(GateState.REQUESTED)
    entries = evaluated(ORIGIN, gate, evaluation(days))
    assert [told.event for told in entries] == [Event.OVERDUE] * is_told + [Event.EVALUATED]
    for told in entries:
        gate = gate.after(told)
    later = [told.event for told in evaluated(ORIGIN, gate, evaluation(9))]
    assert later == [Event.OVERDUE] * (not is_told) + [Event.EVALUATED]
    assert (entries[0].reason == "nobody has answered for 3.0 days") is is_told


def test_an_attempt_that_is_repeated_says_nothing() -> None:
    """Only its end does: taken, given up, or not wanted any more."""
    gate = gate_in(GateState.REQUESTED)
    assert attempted(ORIGIN, gate, attempt("failed", 503)) is None
    delivered = attempted(ORIGIN, gate, attempt("delivered", 202))
    assert delivered is not None
    assert delivered.detail == {"attempt": 2, "http_status": 202, "attempted_at_ms": START_MS + 60_000}
    for outcome, word in (("gave_up", "not delivered in time"), ("gone", "never accept it")):
        told = attempted(ORIGIN, gate, attempt(outcome, None))
        assert told is not None
        assert word in told.reason
        assert told.state is GateState.COOLING


@pytest.mark.parametrize(
    ("origin", "status", "state"),
    [
        (ORIGIN, "accepted", GateState.RUNNING),
        (ORIGIN, "running", GateState.RUNNING),
        (ORIGIN, "succeeded", GateState.RUNNING),
        (BY_CALLBACK, "succeeded", GateState.COOLING),
        (ORIGIN, "failed", GateState.COOLING),
        (BY_CALLBACK, "failed", GateState.COOLING),
    ],
)
def test_success_ends_a_retrain_only_where_the_config_takes_the_pipelines_word(
    origin: EntryOrigin, status: str, state: GateState
) -> None:
    """Otherwise the new version's predictions do."""
    metrics = {"roc_auc": 0.9, "brier": 0.1}
    given = answer(status, version="v2", metrics=metrics, message="Done.", model_sha256="0" * 64)
    told = answered(origin, gate_in(GateState.RUNNING), given, "c1")
    assert (told.state, told.source, told.version) == (state, "pipeline", "v2")
    assert told.reason == f"the pipeline says: {status}. Done."
    assert list(told.detail.items())[2:] == [("metric:brier", 0.1), ("metric:roc_auc", 0.9)]
    assert (told.detail["callback_id"], told.detail["model_sha256"]) == ("c1", "0" * 64)


def test_words_of_others_are_cut_to_what_a_reason_may_be() -> None:
    """Whatever a pipeline or a person writes."""
    told = answered(ORIGIN, gate_in(GateState.RUNNING), answer("running", message="x" * 1_000), "c1")
    assert len(told.reason) == 1_000
    told = resolved(ORIGIN, gate_in(GateState.RUNNING), "y" * 5_000, {})
    assert (len(told.reason), told.source, told.state) == (1_000, "person", GateState.COOLING)


@pytest.mark.parametrize("verdict", BY_RULE)
@pytest.mark.parametrize("state", list(GateState))
def test_a_backfill_is_told_with_its_verdict_and_waits_where_the_gate_rests(state: GateState, verdict: Verdict) -> None:
    """The episode, the digest of its diff and the reasons are in the entry; it belongs to no retrain."""
    gate = gate_in(state)
    detail = {"diff_sha256": "0" * 64}
    told = backfilled(ORIGIN, gate, ruling(verdict, episode(day=1)), ["One.", "Two."], detail)
    waits = verdict is Verdict.QUARANTINED and state not in {*OPEN, GateState.COOLING}
    assert told.state is (GateState.WAITING if waits else state)
    assert told.reason == f"300 labels restate the past: {verdict.value}. One. Two."
    assert (told.episode, told.verdict, told.decision) == (episode(day=1), verdict, None)
    assert (told.at, told.detail, told.source) == (START_MS + DAY_MS, detail, "loop")
    assert gate.after(told).decision == gate.decision


def test_what_was_sent_again_is_told_as_predictions() -> None:
    """They are no labels."""
    told = backfilled(ORIGIN, gate_in(GateState.IDLE), ruling(Verdict.WARNED, episode(1, Cause.RESENT)), ["So."], {})
    assert told.reason == "300 predictions that were sent again with other content restate the past: warned. So."


@pytest.mark.parametrize(("day", "known"), [(-3, 0), (0, 0), (2, 2)])
def test_a_backfill_is_known_with_its_last_label_and_never_before_what_is_known(day: float, known: int) -> None:
    """Of a ruling too."""
    gate = gate_in(GateState.IDLE)
    about = ruling(Verdict.APPROVED, episode(day=day))
    for told in (backfilled(ORIGIN, gate, about, [], {}), ruled(ORIGIN, gate, about, "so", {})):
        assert told.at == START_MS + known * DAY_MS


def test_an_approval_is_a_persons_entry_and_moves_nothing() -> None:
    """Nor does a rejection; words are cut to what a reason may be."""
    for verdict, event in ((Verdict.APPROVED, Event.APPROVED), (Verdict.REJECTED, Event.REJECTED)):
        told = ruled(ORIGIN, gate_in(GateState.RUNNING), ruling(verdict), "y" * 5_000, {"by": "Ann"})
        assert (told.event, told.verdict, told.state, told.source) == (event, verdict, GateState.RUNNING, "person")
        assert (len(told.reason), told.detail, told.decision) == (1_000, {"by": "Ann"}, None)


def test_a_day_judged_again_asks_once_for_what_was_approved() -> None:
    """With an id of the entry, at the time when it is known; then nothing is left to ask for."""
    gate = gate_in(GateState.WAITING, evaluated_ms=START_MS)
    gate = gate.after(ruled(ORIGIN, gate, ruling(Verdict.APPROVED, episode(day=0.5)), "so", {}))
    assert gate.ruled
    told = restated(ORIGIN, gate, evaluation(0), [])
    at_ms = START_MS + DAY_MS // 2
    assert (told.event, told.state, told.at) == (Event.RESTATED, GateState.PREPARING, at_ms)
    assert told.decision == decision_id("flights", "late", at_ms, "v1", str(told.number))
    assert [one.kind for one in told.findings] == [FindingKind.BACKFILL]
    gate = gate.after(told)
    assert (gate.approved, gate.ruled, gate.decided_ms, gate.evaluated_ms) == ((), False, at_ms, START_MS)
    again = restated(ORIGIN, gate, evaluation(0), [])
    assert (again.state, again.decision, again.findings) == (GateState.PREPARING, told.decision, [])


def test_an_approval_whose_requirements_are_unmet_asks_at_the_end_of_a_later_day() -> None:
    """It is kept until then, and asked for once."""
    gate = gate_in(GateState.WAITING, evaluated_ms=START_MS)
    gate = gate.after(ruled(ORIGIN, gate, ruling(Verdict.APPROVED, episode(day=0)), "so", {}))
    few = restated(ORIGIN, gate, evaluation(0, mature_labels=1), [])
    assert few.state is GateState.WATCHING
    assert "mature_labels" in few.reason
    gate = gate.after(few)
    for day in (1, 2):
        [told] = evaluated(ORIGIN, gate, evaluation(day, mature_labels=day * 1_500))
        gate = gate.after(told)
        assert (told.state is GateState.PREPARING) is (day == 2)
    assert (gate.approved, len(gate.asked_ms)) == ((), 1)
    assert gate.decision == decision_id("flights", "late", START_MS + 2 * DAY_MS, "v1")


def test_a_rejection_is_judged_and_asks_for_nothing() -> None:
    """The gate rests again; one that still waits is named."""
    gate = gate_in(GateState.WAITING, evaluated_ms=START_MS)
    gate = gate.after(ruled(ORIGIN, gate, ruling(Verdict.REJECTED, episode(day=0)), "so", {}))
    assert restated(ORIGIN, gate, evaluation(0), []).state is GateState.IDLE
    other = restated(ORIGIN, gate, evaluation(0), [episode(8)])
    assert (other.state, other.decision) == (GateState.WAITING, None)


def test_the_last_word_on_each_backfill_is_read_from_the_log() -> None:
    """In the order of the last words: the newest definition is of the highest rank. Nothing else is one."""
    gate, log = gate_in(GateState.IDLE, following=0), list[Decision]()
    words = [
        (1, Verdict.QUARANTINED),
        (2, Verdict.QUARANTINED),
        (1, Verdict.APPROVED),
        (3, Verdict.PASSED),
        (2, Verdict.REJECTED),
    ]
    for number, verdict in words:
        add = backfilled if verdict in BY_RULE else ruled
        about = ruling(verdict, episode(number))
        told = add(ORIGIN, gate, about, "so", {})  # type: ignore[operator] # both take what the other takes here
        log.append(told)
        gate = gate.after(told)
    log += evaluated(ORIGIN, gate, evaluation(3))
    found = [(one.episode, one.verdict) for one in rulings_of(log)]
    assert found == [
        (episode(1), Verdict.APPROVED),
        (episode(3), Verdict.PASSED),
        (episode(2), Verdict.REJECTED),
    ]
    assert waiting_episodes(rulings_of(log)) == []
    assert waiting_episodes(rulings_of(log[:3])) == [episode(2)]


def test_a_backfills_entries_are_no_retrains_and_what_is_said_of_one_ends_none() -> None:
    """`retrain list` shows what was asked for: verdicts on models, refused answers and backfills stand beside."""
    gate, log = gate_in(GateState.IDLE, following=0), list[Decision]()
    log += evaluated(ORIGIN, gate, evaluation(1, DRIFT))
    gate = gate.after(log[-1])
    for add in (
        lambda gate: backfilled(ORIGIN, gate, ruling(Verdict.QUARANTINED), ["So."], {}),
        lambda gate: prepared(ORIGIN, gate, {"rows": 5, "dataset": "file:///d"}, 5),
        lambda gate: ruled(ORIGIN, gate, ruling(Verdict.APPROVED), "so", {}),
        lambda gate: restated(ORIGIN, gate, evaluation(1), []),
        lambda gate: ORIGIN.entry(gate, Event.REFUSED, gate.state, "another hash"),
        lambda gate: resolved(ORIGIN, gate, "by hand", {}),
    ):
        log.append(add(gate))
        gate = gate.after(log[-1])
    told_ms = gate.ended_ms
    for event in (Event.JUDGED, Event.REFUSED):
        log.append(ORIGIN.entry(gate, event, gate.state, "later", decision=log[0].decision))
        gate = gate.after(log[-1])
    [found] = retrains_of(log)
    assert (found.id, found.state, found.is_open, found.rows) == (log[0].decision, "resolved", False, 5)
    assert found.ended_ms == told_ms


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *("day", "drift", "new", "prepare", "empty", "deliver", "give_up", "ok", "bad", "resolve"),
                    *("backfill", "approve", "reject", "restate"),
                ]
            ),
            st.integers(1, 20),
        ),
        max_size=40,
    )
)
def test_whatever_happens_the_log_can_be_read_again(steps: list[tuple[str, int]]) -> None:
    """Any order of happenings: what the gate takes is a log that leads to the same gate."""
    gate, log, day, version = Gate(), list[Decision](), 0, 1
    for what, days in steps:
        entries: list[Decision | None] = []
        if what in ("day", "drift", "new"):
            day += days
            version += what == "new"
            found = [DRIFT] if what == "drift" else []
            entries += evaluated(ORIGIN, gate, evaluation(day, *found, version=f"v{version}"))
        elif what in ("prepare", "empty"):
            entries.append(prepared(ORIGIN, gate, {}, 0 if what == "empty" else 9))
        elif what in ("deliver", "give_up"):
            entries.append(attempted(ORIGIN, gate, attempt("delivered" if what == "deliver" else "gave_up")))
        elif what == "backfill":
            found_one = ruling(BY_RULE[days % 3], episode(days, list(Cause)[days % 4], day + days / 2))
            entries.append(backfilled(ORIGIN, gate, found_one, ["So."], {}))
        elif what in ("approve", "reject"):
            verdict = Verdict.APPROVED if what == "approve" else Verdict.REJECTED
            entries.append(ruled(ORIGIN, gate, ruling(verdict, episode(days)), "so", {}))
        elif what == "restate":
            waiting = waiting_episodes(rulings_of(log))
            entries.append(restated(ORIGIN, gate, evaluation(day, version=f"v{version}"), waiting))
        elif what == "resolve":
            entries.append(resolved(ORIGIN, gate, "so", {}))
        else:
            given = answer("succeeded" if what == "ok" else "failed", decision=gate.decision or ID)
            entries.append(answered(ORIGIN, gate, given, f"c{len(log)}"))
        for told in entries:
            if told is None:
                continue
            try:
                gate = gate.after(told)
            except IllegalEvent:
                aside = {Event.EVALUATED, Event.RESTATED, Event.BACKFILLED, Event.APPROVED, Event.REJECTED}
                assert told.event not in aside
                continue
            log.append(Decision.model_validate_json(told.model_dump_json()))
    assert gate_of(log) == gate
    assert [told.number for told in log] == list(range(len(log)))
