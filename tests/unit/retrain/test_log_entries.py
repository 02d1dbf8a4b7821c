"""Entries of the gate's log: every one is legal for the gate wherever its table has the event."""

from dataclasses import replace
from typing import Any

import pytest
from gate_case import DRIFT, ID, START_MS, episode, evaluation, finding, ruling
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.label_watch import Interruption
from retrain.dataset_rows import rows_from_detail
from retrain.episode_status import rulings_of, waiting_episodes
from retrain.evaluation_entries import evaluated, interrupted, restated
from retrain.gate import DAY_MS, NEUTRAL_EVENTS, NEXT_STATES, Gate, IllegalEvent, decision_id, gate_of
from retrain.log_entries import (
    EntryOrigin,
    answered,
    attempted,
    backfilled,
    prepared,
    resolved,
    retired,
    ruled,
)
from retrain.retrains import retrains_of
from retrain.schedule import Attempt
from schemas.config.retrain import RetrainConfig
from schemas.events.backfill import Cause, Verdict
from schemas.events.dataset_rows import BackfillRows, DatasetRows
from schemas.events.evidence import Decision, Event, FindingKind, GateState, LabelFault, Level, Place
from schemas.events.retrain_request import RetrainCallback

TARGET = {"url": "https://pipeline.example/retrain"}
ORIGIN = EntryOrigin("flights", "late", RetrainConfig.model_validate({"target": TARGET}))
BY_CALLBACK = EntryOrigin(
    "flights", "late", RetrainConfig.model_validate({"target": TARGET | {"completion": "callback"}})
)
NOBODY = EntryOrigin("flights", "late", None)
OPEN = {GateState.PREPARING, GateState.REQUESTED, GateState.RUNNING}
SILENCE = LabelFault(check="silence", scope="source", subject="card", since=START_MS)
LOSS = LabelFault(check="loss", scope="slice", subject="country=DE", since=START_MS)
INTERRUPTION = Interruption(
    START_MS + DAY_MS // 8, [finding(FindingKind.SILENCE, Level.ALARM, Place.LABELS)], [SILENCE, LOSS]
)
ATTEMPTS = {"deliver": "delivered", "give_up": "gave_up"}
FULL = DatasetRows(rows=5, holdout_rows=2, left_out={"pending": 1})
EMPTY = DatasetRows(rows=0, holdout_rows=2)
BY_RULE = (Verdict.PASSED, Verdict.WARNED, Verdict.QUARANTINED)


def gate_in(state: GateState, **other: Any) -> Gate:
    """Return a gate in a state, with an open retrain if the state has one."""
    usual: dict[str, Any] = {"state": state, "following": 7, "at_ms": START_MS, "version": "v1"}
    if state in OPEN:
        usual |= {"decision": ID, "decided_ms": START_MS, "asked_ms": (START_MS,)}
    return Gate(**usual | other)


def attempt(outcome: Any, status: int | None = 200) -> Attempt:
    """Return the second attempt."""
    return Attempt(ID, 2, START_MS + 60_000, outcome, status, None, "")


def answer(status: Any, **other: Any) -> RetrainCallback:
    """Return a callback for the open retrain."""
    return RetrainCallback.model_validate({"decision": ID, "status": status} | other)


def taken(gate: Gate, event: Event, logged: Decision) -> bool:
    """Apply an entry, and check that the gate accepts it exactly if the table lists it."""
    assert logged.event is event
    is_listed = logged.state in NEXT_STATES.get((gate.state, event), frozenset())
    try:
        moved = gate.after(logged)
    except IllegalEvent:
        assert not is_listed
        return False
    assert is_listed
    assert moved.state is logged.state
    return True


@pytest.mark.parametrize("origin", [ORIGIN, BY_CALLBACK, NOBODY])
@pytest.mark.parametrize("state", list(GateState))
def test_every_event_is_taken_where_the_table_has_it_and_nowhere_else(state: GateState, origin: EntryOrigin) -> None:
    """All events besides evaluations, in all states."""
    gate = gate_in(state)
    delivered, gave_up = attempted(origin, gate, attempt("delivered")), attempted(origin, gate, attempt("gave_up"))
    assert delivered is not None
    assert gave_up is not None
    events = [
        (Event.PREPARED, prepared(origin, gate, {}, FULL)),
        (Event.RESOLVED, prepared(origin, gate, {}, EMPTY)),
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
        (Event.INTERRUPTED, interrupted(origin, gate, INTERRUPTION)),
    ]
    took = {event for event, logged in events if taken(gate, event, logged)}
    assert took == {event for event, _ in events if (state, event) in NEXT_STATES}


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("version", ["v1", "v2", None])
@pytest.mark.parametrize("origin", [ORIGIN, NOBODY])
@pytest.mark.parametrize("found", [(), (DRIFT,), (finding(FindingKind.COVERAGE, Level.ALARM, Place.LABELS),)])
def test_the_entries_of_an_evaluation_are_taken_in_every_state(
    state: GateState, version: str | None, origin: EntryOrigin, found: Any
) -> None:
    """Also if another version runs, or none; and a week later, without an answer."""
    gate = gate_in(state)
    entries = evaluated(origin, gate, evaluation(7, *found, version=version))
    for logged in entries:
        gate = gate.after(logged)
    assert entries[-1].event is Event.EVALUATED
    assert [logged.number for logged in entries] == list(range(7, 7 + len(entries)))
    assert (entries[0].event is Event.DEPLOYED) is (version == "v2")
    waits = state in (GateState.REQUESTED, GateState.RUNNING) and version != "v2" and origin.retrain is not None
    assert (Event.OVERDUE in [logged.event for logged in entries]) is waits
    assert {logged.at for logged in entries} == {START_MS + 7 * DAY_MS}


def test_a_retrain_begins_with_an_id_of_its_evaluation_and_keeps_it() -> None:
    """The same evaluation gives the same id; later entries of the retrain have it, too."""
    gate = gate_in(GateState.IDLE)
    one = evaluation(7, DRIFT)
    [logged] = evaluated(ORIGIN, gate, one)
    assert (logged.state, logged.decision) == (GateState.PREPARING, decision_id("flights", "late", one.at, "v1"))
    assert (logged.reason, logged.findings) == ("error_drift alarm; every requirement is met", [DRIFT])
    assert logged.detail == {"judged_day": "2013-05-30", "mature_labels": 5_000, "known_sources": 0}
    gate = gate.after(logged)
    [again] = evaluated(ORIGIN, gate, evaluation(8, DRIFT))
    assert (again.state, again.decision) == (GateState.PREPARING, logged.decision)


def test_a_new_version_ends_the_retrain_and_cools_down() -> None:
    """Its entry comes before the evaluation that shows it; also without an open retrain."""
    logged, after = evaluated(ORIGIN, gate_in(GateState.RUNNING), evaluation(1, version="v2"))
    assert (logged.reason, logged.version, logged.decision) == (
        "v2 predicts in place of v1: the retrain is done",
        "v2",
        ID,
    )
    assert (after.state, after.decision) == (GateState.COOLING, None)
    rolled, _ = evaluated(ORIGIN, gate_in(GateState.IDLE), evaluation(1, version="v2"))
    assert (rolled.reason, rolled.decision) == ("v2 predicts in place of v1", None)


@pytest.mark.parametrize(("days", "is_logged"), [(2.99, False), (3, True)])
def test_an_overdue_retrain_is_logged_once(days: float, is_logged: bool) -> None:
    """Three days after the decision; the state stays."""
    gate = gate_in(GateState.REQUESTED)
    entries = evaluated(ORIGIN, gate, evaluation(days))
    assert [logged.event for logged in entries] == [Event.OVERDUE] * is_logged + [Event.EVALUATED]
    for logged in entries:
        gate = gate.after(logged)
    later = [logged.event for logged in evaluated(ORIGIN, gate, evaluation(9))]
    assert later == [Event.OVERDUE] * (not is_logged) + [Event.EVALUATED]
    assert (entries[0].reason == "nobody has answered for 3 days") is is_logged


def test_a_repeated_attempt_makes_no_entry() -> None:
    """Only the end of a delivery does: delivered, given up, or gone."""
    gate = gate_in(GateState.REQUESTED)
    assert attempted(ORIGIN, gate, attempt("failed", 503)) is None
    delivered = attempted(ORIGIN, gate, attempt("delivered", 202))
    assert delivered is not None
    assert delivered.detail == {"attempt": 2, "http_status": 202, "attempted_at_ms": START_MS + 60_000}
    for outcome, word in (("gave_up", "not delivered in time"), ("gone", "never accept it")):
        logged = attempted(ORIGIN, gate, attempt(outcome, None))
        assert logged is not None
        assert word in logged.reason
        assert logged.state is GateState.COOLING


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
def test_a_callback_of_success_ends_a_retrain_only_if_the_config_says_so(
    origin: EntryOrigin, status: str, state: GateState
) -> None:
    """Otherwise the new version's predictions do."""
    metrics = {"roc_auc": 0.9, "brier": 0.1}
    given = answer(status, version="v2", metrics=metrics, message="Done.", model_sha256="0" * 64)
    logged = answered(origin, gate_in(GateState.RUNNING), given, "c1")
    assert (logged.state, logged.source, logged.version) == (state, "pipeline", "v2")
    assert logged.reason == f"the pipeline says: {status}. Done."
    assert list(logged.detail.items())[2:] == [("metric:brier", 0.1), ("metric:roc_auc", 0.9)]
    assert (logged.detail["callback_id"], logged.detail["model_sha256"]) == ("c1", "0" * 64)


def test_long_messages_are_cut_to_the_length_of_a_reason() -> None:
    """Whatever a pipeline or a person writes."""
    logged = answered(ORIGIN, gate_in(GateState.RUNNING), answer("running", message="x" * 1_000), "c1")
    assert len(logged.reason) == 1_000
    logged = resolved(ORIGIN, gate_in(GateState.RUNNING), "y" * 5_000, {})
    assert (len(logged.reason), logged.source, logged.state) == (1_000, "person", GateState.COOLING)


@pytest.mark.parametrize("verdict", BY_RULE)
@pytest.mark.parametrize("state", list(GateState))
def test_the_entry_of_a_backfill_has_its_verdict_and_makes_a_gate_at_rest_wait(
    state: GateState, verdict: Verdict
) -> None:
    """It has the episode, the digest of its diff and the reasons, and belongs to no retrain."""
    gate = gate_in(state)
    detail = {"diff_sha256": "0" * 64}
    logged = backfilled(ORIGIN, gate, ruling(verdict, episode(day=1)), ["One.", "Two."], detail)
    waits = verdict is Verdict.QUARANTINED and state not in {*OPEN, GateState.COOLING}
    assert logged.state is (GateState.WAITING if waits else state)
    assert logged.reason == f"300 labels restate the past: {verdict.value}. One. Two."
    assert (logged.episode, logged.verdict, logged.decision) == (episode(day=1), verdict, None)
    assert (logged.at, logged.detail, logged.source) == (START_MS + DAY_MS, detail, "loop")
    assert gate.after(logged).decision == gate.decision


def test_a_resent_backfill_counts_predictions() -> None:
    """They are not labels."""
    logged = backfilled(ORIGIN, gate_in(GateState.IDLE), ruling(Verdict.WARNED, episode(1, Cause.RESENT)), ["So."], {})
    assert logged.reason == "300 predictions that were sent again with other content restate the past: warned. So."


@pytest.mark.parametrize(("day", "known"), [(-3, 0), (0, 0), (2, 2)])
def test_the_evidence_time_of_a_backfill_is_that_of_its_last_label(day: float, known: int) -> None:
    """Never before that of the newest entry; the same for a ruling."""
    gate = gate_in(GateState.IDLE)
    about = ruling(Verdict.APPROVED, episode(day=day))
    for logged in (backfilled(ORIGIN, gate, about, [], {}), ruled(ORIGIN, gate, about, "so", {})):
        assert logged.at == START_MS + known * DAY_MS


def test_an_approval_is_a_persons_entry_and_moves_nothing() -> None:
    """So is a rejection; long reasons are cut."""
    for verdict, event in ((Verdict.APPROVED, Event.APPROVED), (Verdict.REJECTED, Event.REJECTED)):
        logged = ruled(ORIGIN, gate_in(GateState.RUNNING), ruling(verdict), "y" * 5_000, {"by": "Ann"})
        assert (logged.event, logged.verdict, logged.state, logged.source) == (
            event,
            verdict,
            GateState.RUNNING,
            "person",
        )
        assert (len(logged.reason), logged.detail, logged.decision) == (1_000, {"by": "Ann"}, None)


def test_a_restatement_requests_a_retrain_once_for_an_approved_backfill() -> None:
    """With an id of the entry, at the ruling's evidence time; then no approved backfill is left."""
    gate = gate_in(GateState.WAITING, evaluated_ms=START_MS)
    gate = gate.after(ruled(ORIGIN, gate, ruling(Verdict.APPROVED, episode(day=0.5)), "so", {}))
    assert gate.ruled
    logged = restated(ORIGIN, gate, evaluation(0), [])
    at_ms = START_MS + DAY_MS // 2
    assert (logged.event, logged.state, logged.at) == (Event.RESTATED, GateState.PREPARING, at_ms)
    assert logged.decision == decision_id("flights", "late", at_ms, "v1", str(logged.number))
    assert [one.kind for one in logged.findings] == [FindingKind.BACKFILL]
    gate = gate.after(logged)
    assert (gate.approved, gate.ruled, gate.decided_ms, gate.evaluated_ms) == ((), False, at_ms, START_MS)
    again = restated(ORIGIN, gate, evaluation(0), [])
    assert (again.state, again.decision, again.findings) == (GateState.PREPARING, logged.decision, [])


def test_an_approval_whose_requirements_are_unmet_begins_a_retrain_on_a_later_day() -> None:
    """It is kept until then, and used once."""
    gate = gate_in(GateState.WAITING, evaluated_ms=START_MS)
    gate = gate.after(ruled(ORIGIN, gate, ruling(Verdict.APPROVED, episode(day=0)), "so", {}))
    few = restated(ORIGIN, gate, evaluation(0, mature_labels=1), [])
    assert few.state is GateState.WATCHING
    assert "mature_labels" in few.reason
    gate = gate.after(few)
    for day in (1, 2):
        [logged] = evaluated(ORIGIN, gate, evaluation(day, mature_labels=day * 1_500))
        gate = gate.after(logged)
        assert (logged.state is GateState.PREPARING) is (day == 2)
    assert (gate.approved, len(gate.asked_ms)) == ((), 1)
    assert gate.decision == decision_id("flights", "late", START_MS + 2 * DAY_MS, "v1")


def test_a_rejection_is_evaluated_and_requests_nothing() -> None:
    """The gate is at rest again; another backfill that waits is named."""
    gate = gate_in(GateState.WAITING, evaluated_ms=START_MS)
    gate = gate.after(ruled(ORIGIN, gate, ruling(Verdict.REJECTED, episode(day=0)), "so", {}))
    assert restated(ORIGIN, gate, evaluation(0), []).state is GateState.IDLE
    other = restated(ORIGIN, gate, evaluation(0), [episode(8)])
    assert (other.state, other.decision) == (GateState.WAITING, None)


def test_the_latest_ruling_about_each_backfill_is_read_from_the_log() -> None:
    """In the order of the latest rulings: the newest definition ranks highest."""
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
        logged = add(ORIGIN, gate, about, "so", {})  # type: ignore[operator] # both take what the other takes here
        log.append(logged)
        gate = gate.after(logged)
    log += evaluated(ORIGIN, gate, evaluation(3))
    found = [(one.episode, one.verdict) for one in rulings_of(log)]
    assert found == [
        (episode(1), Verdict.APPROVED),
        (episode(3), Verdict.PASSED),
        (episode(2), Verdict.REJECTED),
    ]
    assert waiting_episodes(rulings_of(log)) == []
    assert waiting_episodes(rulings_of(log[:3])) == [episode(2)]


def test_entries_of_backfills_and_notes_are_not_retrains_and_end_none() -> None:
    """`retrain list` leaves out verdicts on models, refused callbacks and backfills."""
    gate, log = gate_in(GateState.IDLE, following=0), list[Decision]()
    log += evaluated(ORIGIN, gate, evaluation(1, DRIFT))
    gate = gate.after(log[-1])
    for add in (
        lambda gate: backfilled(ORIGIN, gate, ruling(Verdict.QUARANTINED), ["So."], {}),
        lambda gate: prepared(ORIGIN, gate, {"dataset": "file:///d"}, FULL),
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


def test_the_entry_of_a_data_set_says_what_of_an_approved_backfill_is_left_out() -> None:
    """In its sentence and in its detail, for the request; backfills that were approved before are not named."""
    one, other = (BackfillRows(episode=f"bf-{number:032x}", rows=0, holdout_rows=0) for number in (1, 2))
    one = one.model_copy(update={"left_out": {"other_definition": 180}})
    counts = DatasetRows(rows=500, holdout_rows=60, left_out={"other_definition": 180}, backfills=[one, other])
    entry = prepared(ORIGIN, gate_in(GateState.PREPARING), {"dataset": "file:///d"}, counts, [one.episode])
    assert entry.reason == (
        f"a data set of 500 training rows and 60 holdout rows is written; of 180 predictions that backfill "
        f"{one.episode} has labelled, 0 are training rows and 0 are holdout rows; left out: 180 other definition"
    )
    assert entry.detail["dataset"] == "file:///d"
    assert rows_from_detail(entry.detail) == (counts.left_out, [one])


def test_a_data_set_that_was_decided_without_a_look_at_its_holdout_ends_the_retrain() -> None:
    """As a version before did; nothing without a holdout is ever asked for."""
    counts = DatasetRows(rows=500, holdout_rows=0, left_out={"quarantined": 7})
    entry = prepared(ORIGIN, gate_in(GateState.PREPARING), {}, counts)
    assert (entry.event, entry.state) == (Event.RESOLVED, GateState.COOLING)
    assert entry.reason == "the data set would have no holdout rows; left out: 7 quarantined"
    assert prepared(NOBODY, gate_in(GateState.PREPARING), {}, counts).event is Event.PREPARED


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *("day", "drift", "new", "prepare", "empty", "deliver", "give_up", "ok", "bad", "resolve"),
                    *("backfill", "approve", "reject", "restate", "interrupt"),
                ]
            ),
            st.integers(1, 20),
        ),
        max_size=40,
    )
)
def test_any_order_of_events_gives_a_log_that_folds_to_the_same_gate(steps: list[tuple[str, int]]) -> None:
    """Illegal entries are left out."""
    gate, log, day, version = Gate(), list[Decision](), 0, 1
    for what, days in steps:
        entries: list[Decision | None] = []
        if what in ("day", "drift", "new"):
            day += days
            version += what == "new"
            found = [DRIFT] if what == "drift" else []
            entries += evaluated(ORIGIN, gate, evaluation(day, *found, version=f"v{version}"))
        elif what in ("prepare", "empty"):
            entries.append(prepared(ORIGIN, gate, {}, EMPTY if what == "empty" else FULL))
        elif what in ATTEMPTS:
            entries.append(attempted(ORIGIN, gate, attempt(ATTEMPTS[what])))
        elif what == "backfill":
            found_one = ruling(BY_RULE[days % 3], episode(days, list(Cause)[days % 4], day + days / 2))
            entries.append(backfilled(ORIGIN, gate, found_one, ["So."], {}))
        elif what in ("approve", "reject"):
            verdict = Verdict.APPROVED if what == "approve" else Verdict.REJECTED
            entries.append(ruled(ORIGIN, gate, ruling(verdict, episode(days)), "so", {}))
        elif what == "restate":
            waiting = waiting_episodes(rulings_of(log))
            entries.append(restated(ORIGIN, gate, evaluation(day, version=f"v{version}"), waiting))
        elif what in ("interrupt", "resolve"):
            found_then = replace(INTERRUPTION, at_ms=START_MS + day * DAY_MS + days)
            is_end = what == "resolve"
            entries.append(resolved(ORIGIN, gate, "so", {}) if is_end else interrupted(ORIGIN, gate, found_then))
        else:
            given = answer("succeeded" if what == "ok" else "failed", decision=gate.decision or ID)
            entries.append(answered(ORIGIN, gate, given, f"c{len(log)}"))
        for logged in entries:
            if logged is None:
                continue
            try:
                gate = gate.after(logged)
            except IllegalEvent:
                assert logged.event not in NEUTRAL_EVENTS
                continue
            log.append(Decision.model_validate_json(logged.model_dump_json()))
    assert gate_of(log) == gate
    assert [logged.number for logged in log] == list(range(len(log)))


def test_sources_that_became_known_stay_known_and_faults_are_those_of_the_last_evaluation() -> None:
    """An evaluation that names none forgets none."""
    gate = Gate(state=GateState.IDLE)
    for day, sources, faults in ((1, ["card"], [SILENCE]), (2, ["desk"], [SILENCE, LOSS]), (3, [], [LOSS])):
        [logged] = evaluated(ORIGIN, gate, evaluation(day, sources=sources, faults=faults))
        gate = gate.after(logged)
        assert gate.faults == tuple(faults)
    assert gate.sources == ("card", "desk")
    assert logged.detail["known_sources"] == 2


def test_a_log_of_an_older_version_does_not_say_which_sources_there_are() -> None:
    """It is None then, and not empty, until an evaluation has looked."""
    [logged] = evaluated(ORIGIN, Gate(state=GateState.IDLE), evaluation(1))
    older = logged.model_copy(update={"detail": {"judged_day": "2013-05-30", "mature_labels": 5_000}})
    gate = Gate(state=GateState.IDLE).after(older)
    assert gate.sources is None
    [logged] = evaluated(ORIGIN, gate, evaluation(2))
    assert gate.after(logged).sources == ()


@pytest.mark.parametrize("state", list(GateState))
def test_a_retired_source_is_forgotten_and_so_are_the_losses_it_explains(state: GateState) -> None:
    """In every state of the gate, which stays; the newest day is evaluated again. Another source's silence stays."""
    other = SILENCE.model_copy(update={"subject": "desk"})
    gate = gate_in(state, sources=("card", "desk"), faults=(SILENCE, other, LOSS))
    logged = retired(ORIGIN, gate, "card", START_MS + 5, "contract ended", {"by": "ann"})
    after = gate.after(logged)
    assert (after.state, after.ruled, after.sources, after.faults) == (state, True, ("desk",), (other,))
    assert after.retired_ms == {"card": START_MS + 5}
    assert (logged.source, logged.reason) == ("person", "contract ended")


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("is_required", [True, False])
def test_an_interruption_holds_a_gate_at_rest_and_moves_no_other(state: GateState, is_required: bool) -> None:
    """A cooldown, an open retrain and a gate that knows nothing stay. Without the requirement it is only watched."""
    require = {"coverage": "ok" if is_required else "any"}
    origin = EntryOrigin("flights", "late", RetrainConfig.model_validate({"target": TARGET, "require": require}))
    gate = gate_in(state, evaluated_ms=START_MS, looked_ms=START_MS, sources=("card",))
    logged = interrupted(origin, gate, INTERRUPTION)
    after = gate.after(logged)
    rests = {GateState.IDLE, GateState.WATCHING, GateState.WAITING, GateState.HELD}
    if is_required:
        wanted = GateState.HELD if state in rests else state
    else:
        wanted = GateState.WATCHING if state is GateState.IDLE else state
    assert after.state is wanted
    assert (after.faults, after.looked_ms, after.evaluated_ms) == ((SILENCE, LOSS), INTERRUPTION.at_ms, START_MS)
    assert (after.sources, after.decision) == (("card",), gate.decision)
    assert logged.reason.startswith("labels cannot be trusted now: ") is (is_required and wanted is GateState.HELD)
    assert logged.findings == [*INTERRUPTION.findings]
    [evening] = evaluated(ORIGIN, after, evaluation(1, faults=[LOSS]))[-1:]
    assert (after.after(evening).faults, after.after(evening).looked_ms) == ((LOSS,), evening.at)
