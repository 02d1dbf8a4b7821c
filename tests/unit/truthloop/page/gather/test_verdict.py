"""The verdict and the panel of the gate, from logs of every kind over one small real lake.

Tests `truthloop.evidence.source_states`, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from gate_case import episode
from gather_case import (
    DAY_MS,
    NOW_MS,
    Record,
    append_log,
    config_of,
    entry,
    finding_row,
    gatherer_of,
    make_lake,
    records,
    settings_of,
)

from monitor.coverage.source import SourceArrivals
from schemas.config.loop import LoopConfig
from schemas.events.backfill import Verdict
from schemas.events.evidence import Condition, Decision, Event, FindingKind, GateState, Level
from truthloop.page.gather.drift import drift_panel
from truthloop.page.gather.flow import flow_panel
from truthloop.page.gather.gate import gate_panel
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.snapshot import Snapshot
from truthloop.page.gather.verdict import page_verdict
from truthloop.page.panels.view import PageVerdict, Selection

CONFIG = config_of(
    predictions={"outputs": {"bought": {"task": "binary"}, "price": {"task": "regression"}}, "slices": ["country"]},
    labels={
        "bought": {"definition": "b-1", "horizon": "30h", "retain": "60h"},
        "price": {"definition": "p-1", "horizon": "30h", "retain": "60h"},
    },
)
TODAY_MS = NOW_MS // DAY_MS * DAY_MS
"""The end of the newest day that has ended."""

ID = "rt-" + "7" * 32
EVALUATED, DAY = Event.EVALUATED, DAY_MS
EARLIER_MS = TODAY_MS - 10 * DAY_MS


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Return a lake of six days without evaluations."""
    predictions, labels = records(("v1",), ("DE",), 6)
    for one in predictions:
        one["outputs"].pop("route")
        one["features"] = {}
    kept = [one for one in labels if one["kind"] != "route"]
    gatherer = gatherer_of(make_lake(tmp_path_factory.mktemp("shop"), CONFIG, predictions, kept))
    return gatherer._current().snapshot


def scope_of(
    snapshot: Snapshot,
    log: Sequence[Decision] = (),
    findings: Sequence[Record] = (),
    config: LoopConfig = CONFIG,
    kind: str = "bought",
) -> Scope:
    """Return the scope of a lake with this log and these findings."""
    rows = pl.DataFrame(list(findings), schema=snapshot.findings.schema, orient="row")
    changed = replace(snapshot, log={name: [] for name in config.labels} | {kind: list(log)}, findings=rows)
    return Scope.of(config, changed, Selection(kind))


def verdict_of(scopes: Sequence[Scope]) -> PageVerdict:
    """Return the verdict about scopes, each of which has a snapshot of its own."""
    names = [scope.kind.name for scope in scopes]
    sources = [scope.snapshot.sources(scope.config, NOW_MS)[name] for scope, name in zip(scopes, names, strict=True)]
    return page_verdict(scopes, dict(zip(names, sources, strict=True)))


def idle(number: int = 0, at_ms: int = TODAY_MS, **other: object) -> Decision:
    """Return an evaluation that found nothing."""
    usual = {"reason": "no finding calls for a retrain", "version": "v1"}
    return entry(number, EVALUATED, GateState.IDLE, at_ms, **usual | other)


def requested_log() -> list[Decision]:
    """Return the log of a retrain that was requested."""
    return [
        idle(0, EARLIER_MS - DAY),
        entry(1, EVALUATED, GateState.PREPARING, EARLIER_MS, decision=ID, reason="errors have grown"),
        entry(2, Event.PREPARED, GateState.REQUESTED, EARLIER_MS, decision=ID),
    ]


def kept(state: GateState, event: Event = EVALUATED, at_ms: int = TODAY_MS) -> Decision:
    """Return an entry that keeps the gate in a state."""
    return entry(3, event, state, at_ms, decision=ID if state is not GateState.COOLING else None)


def test_an_idle_gate_is_ok_without_urgency(snapshot: Snapshot) -> None:
    """There is no finding, and no command to run."""
    assert verdict_of([scope_of(snapshot, [idle()])]) == PageVerdict("OK", "No finding calls for a retrain.", "none")


@pytest.mark.parametrize(("level", "urgency"), [(Level.ALARM, "working hours"), (Level.WARN, "none")])
def test_a_finding_is_watched_and_an_alarm_needs_a_person(snapshot: Snapshot, level: Level, urgency: str) -> None:
    """A warning has no urgency; an alarm without a retrain needs a person in working hours."""
    log = [entry(0, EVALUATED, GateState.WATCHING, TODAY_MS, reason="amount has shifted")]
    found = verdict_of([scope_of(snapshot, log, [finding_row(TODAY_MS, FindingKind.SHIFT, level)])])
    assert found == PageVerdict("WATCH", "Amount has shifted.", urgency, "truthloop retrain explain")


def test_a_held_gate_is_hold(snapshot: Snapshot) -> None:
    """Labels cannot be trusted, which is urgent."""
    log = [entry(0, EVALUATED, GateState.HELD, TODAY_MS, reason="labels cannot be trusted now: fewer come")]
    found = verdict_of([scope_of(snapshot, log)])
    assert (found.state, found.urgency, found.command) == ("HOLD", "now", "truthloop status")
    assert found.sentence == "Labels cannot be trusted now: fewer come."


def test_silent_labels_are_hold_even_during_a_retrain(snapshot: Snapshot) -> None:
    """The gate is in another state then, but there is an alarm."""
    log = [*requested_log(), kept(GateState.REQUESTED)]
    found = verdict_of([scope_of(snapshot, log, [finding_row(TODAY_MS, FindingKind.SILENCE)])])
    assert (found.state, found.urgency) == ("HOLD", "now")
    assert found.sentence.startswith("Silence was found.")
    older = [finding_row(TODAY_MS - DAY, FindingKind.SILENCE)]
    assert verdict_of([scope_of(snapshot, log, older)]).state == "WATCH"


def arriving_until(scope: Scope, until_ms: int) -> Scope:
    """Return the scope with labels from one source, one every ten minutes for ten days, up to a time."""
    minutes = np.arange(until_ms - 10 * DAY, until_ms, 600_000) // 60_000
    return replace(scope, snapshot=replace(scope.snapshot, arrivals={"bought": {"till": SourceArrivals(minutes)}}))


def test_a_source_that_has_stopped_since_the_evaluation_is_hold(snapshot: Snapshot) -> None:
    """As the panel of the data flow says: both look at the sources now."""
    for hours, state in ((1, "OK"), (20, "HOLD")):
        scope = arriving_until(scope_of(snapshot, [idle()]), NOW_MS - hours * 3_600_000)
        verdict, panel = verdict_of([scope]), flow_panel(scope, (), scope.snapshot.sources(scope.config, NOW_MS))
        assert verdict.state == state
        assert [(one.source, one.state == "silent") for one in panel.sources] == [("till", state == "HOLD")]
    assert verdict.sentence.startswith("Labels from 'till' have stopped since the last evaluation: No label")
    assert verdict.urgency == "now"


def test_a_source_that_has_come_back_is_said_while_the_gate_holds(snapshot: Snapshot) -> None:
    """The gate holds until the next evaluation."""
    log = [entry(0, EVALUATED, GateState.HELD, TODAY_MS, reason="labels cannot be trusted now: till has stopped")]
    found = [finding_row(TODAY_MS, FindingKind.SILENCE, subject="till", text="till has stopped")]
    scope = scope_of(snapshot, log, found)
    again = verdict_of([arriving_until(scope, NOW_MS)])
    assert again.sentence == "Till has stopped. Labels have come again since; the next evaluation releases the gate."
    assert verdict_of([arriving_until(scope, NOW_MS - DAY)]).sentence == "Till has stopped."


def test_a_retrain_in_progress_is_watched_without_urgency(snapshot: Snapshot) -> None:
    """Requested and running differ in the sentence only."""
    requested = verdict_of([scope_of(snapshot, [*requested_log(), kept(GateState.REQUESTED)])])
    running = [*requested_log(), entry(3, Event.DELIVERED, GateState.RUNNING, TODAY_MS - DAY, decision=ID)]
    running.append(entry(4, EVALUATED, GateState.RUNNING, TODAY_MS))
    under_way = verdict_of([scope_of(snapshot, running)])
    for found, text in ((requested, "has not been answered"), (under_way, "pipeline is running")):
        assert (found.state, found.urgency) == ("WATCH", "none")
        assert text in found.sentence


def test_an_overdue_retrain_is_stalled_and_names_its_id(snapshot: Snapshot) -> None:
    """In the command that resolves it."""
    log = [*requested_log(), kept(GateState.REQUESTED, Event.OVERDUE, TODAY_MS)]
    found = verdict_of([scope_of(snapshot, log)])
    assert (found.state, found.urgency) == ("STALLED", "working hours")
    assert found.sentence == f"Retrain {ID} has been open for 10 days and has not been answered."
    assert found.command == f"truthloop retrain resolve {ID}"


def test_a_retrain_that_could_not_be_delivered_is_stalled_until_the_next_one(snapshot: Snapshot) -> None:
    """A later deployment resolves it."""
    log = [*requested_log(), kept(GateState.COOLING, Event.UNDELIVERABLE, TODAY_MS - 2 * DAY)]
    log.append(entry(4, EVALUATED, GateState.COOLING, TODAY_MS))
    found = verdict_of([scope_of(snapshot, log)])
    assert (found.state, found.urgency) == ("STALLED", "working hours")
    log.append(entry(5, Event.DEPLOYED, GateState.COOLING, TODAY_MS, version="v3"))
    assert verdict_of([scope_of(snapshot, log)]).state == "OK"


@pytest.mark.parametrize(("days", "state"), [(0, "OK"), (1, "OK"), (2, "STALLED")])
def test_evaluations_far_behind_the_inputs_are_stalled(snapshot: Snapshot, days: int, state: str) -> None:
    """One day behind is usual; two are urgent."""
    found = verdict_of([scope_of(snapshot, [idle(at_ms=TODAY_MS - days * DAY)])])
    assert found.state == state
    assert (found.urgency == "now") is (state == "STALLED")


def test_labels_without_an_evaluation_are_stalled(snapshot: Snapshot) -> None:
    """Days have ended and none was evaluated: the feedback role does not run."""
    found = verdict_of([scope_of(snapshot)])
    assert (found.state, found.urgency, found.command) == ("STALLED", "working hours", "truthloop status")
    assert "no day has been evaluated" in found.sentence
    assert "labels were read" in found.sentence


def waiting_backfill(number: int, state: GateState = GateState.WAITING, at_ms: int = TODAY_MS) -> Decision:
    """Return the entry of a backfill that waits for a ruling."""
    found = episode(7, kind="bought", labels=1_706, since=EARLIER_MS, until=at_ms)
    about = {"episode": found, "verdict": Verdict.QUARANTINED, "version": None}
    return entry(number, Event.BACKFILLED, state, at_ms, reason="1,706 labels restate the past", **about)


def test_a_backfill_that_waits_is_the_headline_and_links_to_its_diff(snapshot: Snapshot) -> None:
    """Whatever the newest evaluation found, since it was made before the backfill."""
    found = verdict_of([scope_of(snapshot, [idle(), waiting_backfill(1)])])
    assert (found.state, found.urgency) == ("WATCH", "working hours")
    assert "A backfill waits for a ruling: 1,706 labels restate the past" in found.sentence
    assert found.link == f"backfill/bf-{7:032x}"
    assert found.command == f"truthloop backfill diff bf-{7:032x}"
    running = [*requested_log(), waiting_backfill(3, GateState.REQUESTED)]
    assert (
        verdict_of([scope_of(snapshot, [*running, kept(GateState.REQUESTED).model_copy(update={"number": 4})])])
        == found
    )


def test_of_two_kinds_the_one_that_needs_a_person_is_the_headline(snapshot: Snapshot) -> None:
    """Both are watched, and the other kind comes first in the config."""
    log = [entry(0, EVALUATED, GateState.WATCHING, TODAY_MS, reason="amount has shifted")]
    other = scope_of(snapshot, log, [finding_row(TODAY_MS, FindingKind.SHIFT, Level.WARN)])
    waits = [one.model_copy(update={"kind": "price"}) for one in (idle(), waiting_backfill(1))]
    found = verdict_of([other, scope_of(snapshot, waits, kind="price")])
    assert found.sentence.startswith("price: A backfill waits")
    assert found.link == f"backfill/bf-{7:032x}"


def test_a_ruling_or_a_refused_callback_is_not_the_reason_of_the_state(snapshot: Snapshot) -> None:
    """The newest entry that says why the gate is in its state is."""
    log = [idle(reason="no finding calls for a retrain"), waiting_backfill(1)]
    assert gate_panel(scope_of(snapshot, log)).sentence == "1,706 labels restate the past."
    ruled = {"episode": log[1].episode, "verdict": Verdict.REJECTED, "version": None}
    log.append(entry(2, Event.REJECTED, GateState.WAITING, TODAY_MS, reason="wrong zone", **ruled))
    assert gate_panel(scope_of(snapshot, log)).sentence == "1,706 labels restate the past."
    log.append(entry(3, Event.RESTATED, GateState.IDLE, TODAY_MS, reason="no finding calls for a retrain"))
    log.append(entry(4, Event.REFUSED, GateState.IDLE, TODAY_MS, reason="names another model_sha256"))
    assert gate_panel(scope_of(snapshot, log)).sentence == "No finding calls for a retrain."


def test_evaluations_are_in_the_order_of_their_days(snapshot: Snapshot) -> None:
    """One after a ruling is of the day before it, though the ruling is about labels that are known later."""
    log = [
        idle(0, EARLIER_MS),
        entry(1, Event.RESTATED, GateState.IDLE, EARLIER_MS + 9 * DAY),
        idle(2, EARLIER_MS + DAY),
        idle(3, EARLIER_MS + 2 * DAY),
    ]
    found = gate_panel(scope_of(snapshot, log)).evaluations
    days = [(one.at_ms - EARLIER_MS) // DAY for one in found]
    assert days == [2, 1, 0, 0]
    assert [one.is_again for one in found] == [False, False, True, False]


def test_before_the_end_of_the_first_day_the_loop_is_watched(snapshot: Snapshot) -> None:
    """It is no fault."""
    scope = replace(scope_of(snapshot), whole=None)
    assert verdict_of([scope]) == PageVerdict("WATCH", "No day has ended yet, so nothing has been evaluated.", "none")


def test_the_verdict_is_that_of_the_worst_kind(snapshot: Snapshot) -> None:
    """The sentence names the kind."""
    good = scope_of(snapshot, [idle()])
    bad = scope_of(snapshot, [], kind="price")
    found = verdict_of([good, bad])
    assert found.state == "STALLED"
    assert found.sentence.startswith("price: ")
    assert verdict_of([good, good]) == verdict_of([good])


def test_the_gate_shows_conditions_evaluations_and_retrains(snapshot: Snapshot) -> None:
    """Newest first; only an open retrain can be resolved."""
    conditions = [Condition(name="cooldown", value="3.0 days left", needed="7d", is_met=False)]
    log = [
        *requested_log(),
        entry(3, Event.DELIVERED, GateState.RUNNING, EARLIER_MS, decision=ID),
        entry(4, Event.SUCCEEDED, GateState.RUNNING, EARLIER_MS + DAY, decision=ID),
        entry(5, Event.DEPLOYED, GateState.COOLING, EARLIER_MS + 2 * DAY, version="v2"),
        entry(6, EVALUATED, GateState.COOLING, EARLIER_MS + 3 * DAY, conditions=conditions),
        entry(7, EVALUATED, GateState.PREPARING, EARLIER_MS + 9 * DAY, decision="rt-" + "8" * 32, conditions=[]),
    ]
    panel = gate_panel(scope_of(snapshot, log))
    assert panel.state == "preparing"
    assert panel.since_ms == EARLIER_MS + 9 * DAY
    assert [(one.name, one.is_fulfilled) for one in panel.conditions] == [("cooldown", False)]
    assert [one.state for one in panel.evaluations] == ["preparing", "cooling", "preparing", "idle"]
    open_, done = panel.decisions
    assert (open_.state, open_.command) == ("preparing", f"truthloop retrain resolve {open_.id}")
    assert (done.id, done.state, done.reason, done.command) == (ID, "completed", "errors have grown", "")
    states = [gate_panel(scope_of(snapshot, log[:length])).decisions[0].state for length in range(2, 7)]
    assert states == [
        *("preparing", "requested", "delivered"),
        *("trained, waiting for its first predictions", "completed"),
    ]


def test_at_most_thirty_evaluations_are_listed(snapshot: Snapshot) -> None:
    """The newest ones; a log grows by one a day."""
    log = [idle(number, EARLIER_MS + number * DAY) for number in range(40)]
    panel = gate_panel(scope_of(snapshot, log))
    assert len(panel.evaluations) == 30
    assert panel.evaluations[0].at_ms == EARLIER_MS + 39 * DAY


def test_the_gate_without_a_log_or_a_retrain_section(snapshot: Snapshot) -> None:
    """The panel says what is missing."""
    panel = gate_panel(scope_of(snapshot))
    assert (panel.state, panel.sentence, panel.decisions) == ("unknown", "Nothing has been evaluated yet.", ())
    assert panel.note == ""
    without = CONFIG.model_copy(update={"retrain": None})
    assert "No retrain is requested" in gate_panel(scope_of(snapshot, config=without)).note


def test_the_lane_of_the_error_shows_the_findings_of_evaluations(snapshot: Snapshot) -> None:
    """A drift is an alarm, an evaluated day without one is as usual, and other days are unknown."""
    log = [idle(number, TODAY_MS - (2 - number) * DAY) for number in range(3)]
    scope = scope_of(snapshot, log, [finding_row(TODAY_MS, FindingKind.ERROR_DRIFT, version="v1", text="errors grew")])
    panel = drift_panel(scope, pl.DataFrame({"input": ["x"]}), None)
    (lane,) = panel.lanes
    assert lane.group == "error"
    found = dict(zip(panel.days, lane.cells, strict=True))
    assert panel.days[-1] == str(date(2026, 2, 8))
    assert [found[day].state for day in panel.days[-4:]] == ["no_data", "ok", "ok", "alarm"]
    assert found[panel.days[-1]].detail == "errors grew"


def test_the_page_shows_the_log_in_the_lake(tmp_path: Path) -> None:
    """New entries are shown by the next view, though no other table has changed."""
    predictions, labels = records(("v1",), ("DE",), 6)
    config = config_of()
    settings = make_lake(tmp_path, config, predictions, labels)
    gatherer = gatherer_of(settings_of(tmp_path, config))
    assert gatherer.view(Selection("bought")).verdict.state == "STALLED"
    others = [idle().model_copy(update={"kind": kind}) for kind in ("price", "route")]
    found = [finding_row(at_ms, FindingKind.COVERAGE, version="v1") for at_ms in (TODAY_MS, TODAY_MS - DAY)]
    append_log(settings, [idle()], found)
    for one in others:
        append_log(settings, [one])
    view = gatherer.view(Selection("bought"))
    assert (view.verdict.state, view.verdict.sentence) == ("HOLD", "bought: Coverage was found.")
    assert view.freshness.evidence_until_ms == TODAY_MS
    alerts = [cohort.day for cohort in view.coverage.cohorts if any(cell.is_alert for cell in cohort.cells)]
    # of the newest day no age is due yet
    assert alerts == ["2026-02-07"]
