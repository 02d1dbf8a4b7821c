"""What the gate makes of an evaluation: triggers, requirements, and the reason."""

from typing import Any

import pytest
from gate_case import DRIFT, ID, START_MS, episode, evaluation, finding

from retrain.gate import DAY_MS, Gate
from retrain.policy import cooling_until_ms, judge
from schemas.config.retrain import RetrainConfig
from schemas.events.evidence import Finding, FindingKind, GateState, Level, Place

TARGET = {"url": "https://pipeline.example/retrain"}
CONFIG = RetrainConfig.model_validate({"target": TARGET})
IDLE = Gate(state=GateState.IDLE)


def configured(**parts: Any) -> RetrainConfig:
    """Return a config with other parts than the defaults."""
    return RetrainConfig.model_validate({"target": TARGET} | parts)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ((), GateState.IDLE),
        ((finding(FindingKind.ERROR_DRIFT, Level.WARN),), GateState.WATCHING),
        ((finding(FindingKind.ERROR_DRIFT, Level.CALIBRATING),), GateState.IDLE),
        ((DRIFT,), GateState.PREPARING),
        ((finding(FindingKind.SHIFT, place=Place.FEATURES),), GateState.PREPARING),
        ((finding(FindingKind.METRIC_LOSS, place=Place.METRIC),), GateState.PREPARING),
        ((finding(FindingKind.QUALITY, place=Place.FEATURES),), GateState.WATCHING),
        ((finding(FindingKind.COVERAGE, place=Place.LABELS),), GateState.HELD),
        ((DRIFT, finding(FindingKind.COVERAGE, place=Place.LABELS)), GateState.HELD),
        ((DRIFT, finding(FindingKind.SILENCE, place=Place.LABELS)), GateState.HELD),
        ((DRIFT, finding(FindingKind.COVERAGE, Level.CALIBRATING, Place.LABELS)), GateState.WATCHING),
    ],
)
def test_where_findings_lead_when_there_is_enough_of_everything(found: tuple[Finding, ...], state: GateState) -> None:
    """Drift asks, missing labels hold everything back, and so does not knowing whether they are missing."""
    judgement = judge(IDLE, evaluation(0, *found), CONFIG)
    assert judgement.state is state
    assert judgement.reason


def test_only_what_is_listed_asks() -> None:
    """`when` decides; the rest is watched."""
    loss = finding(FindingKind.METRIC_LOSS, place=Place.METRIC)
    only_loss = configured(when=["metric_loss"])
    assert judge(IDLE, evaluation(0, DRIFT), only_loss).state is GateState.WATCHING
    assert judge(IDLE, evaluation(0, loss), only_loss).state is GateState.PREPARING


@pytest.mark.parametrize(
    ("changes", "unmet"),
    [
        ({"mature_labels": 1_999}, "mature_labels"),
        ({"mature_labels": 2_000}, None),
        ({"rarer_class": 99}, "rarer_class"),
        ({"rarer_class": 100}, None),
        ({"rarer_class": None}, None),
    ],
)
def test_too_few_labels_are_named(changes: dict[str, int | None], unmet: str | None) -> None:
    """Boundary pairs of the defaults."""
    judgement = judge(IDLE, evaluation(0, DRIFT, **changes), CONFIG)
    assert (judgement.state is GateState.PREPARING) == (unmet is None)
    assert [c.name for c in judgement.conditions if not c.is_met] == ([unmet] if unmet else [])
    assert unmet is None or unmet in judgement.reason


def test_the_cooldown_ends_to_the_day() -> None:
    """Seven days after the last end, not earlier; then the same evaluation asks."""
    gate = Gate(state=GateState.COOLING, ended_ms=START_MS)
    before = judge(gate, evaluation(6.999, DRIFT), CONFIG)
    assert before.state is GateState.COOLING
    assert "cooldown" in before.reason
    assert judge(gate, evaluation(7, DRIFT), CONFIG).state is GateState.PREPARING
    assert judge(gate, evaluation(7), CONFIG).state is GateState.IDLE


@pytest.mark.parametrize(("failures", "days"), [(0, 7), (1, 14), (2, 28), (3, 56), (9, 56)])
def test_what_came_to_nothing_doubles_the_cooldown(failures: int, days: int) -> None:
    """Up to eight times."""
    gate = Gate(state=GateState.COOLING, ended_ms=START_MS, failures=failures)
    assert cooling_until_ms(gate, CONFIG) == START_MS + days * DAY_MS
    assert judge(gate, evaluation(days - 0.001, DRIFT), CONFIG).state is GateState.COOLING
    assert judge(gate, evaluation(days, DRIFT), CONFIG).state is GateState.PREPARING


def test_the_budget_counts_thirty_days() -> None:
    """Four within them are enough; the fifth waits until the first is older."""
    asked = tuple(START_MS + day * DAY_MS for day in (0, 8, 16, 24))
    gate = Gate(state=GateState.IDLE, asked_ms=asked, ended_ms=START_MS)
    before = judge(gate, evaluation(29.999, DRIFT), CONFIG)
    assert before.state is GateState.WATCHING
    assert "budget" in before.reason
    assert judge(gate, evaluation(30, DRIFT), CONFIG).state is GateState.PREPARING


@pytest.mark.parametrize("state", [GateState.PREPARING, GateState.REQUESTED, GateState.RUNNING])
def test_while_a_retrain_is_open_nothing_else_is_asked(state: GateState) -> None:
    """The state stays; what was found is told."""
    gate = Gate(state=state, decision=ID, decided_ms=START_MS)
    judgement = judge(gate, evaluation(3, DRIFT), CONFIG)
    assert (judgement.state, judgement.findings) == (state, [DRIFT])
    assert ID in judgement.reason


def test_without_the_section_nobody_is_asked_and_it_says_so() -> None:
    """Evidence is shown all the same."""
    judgement = judge(IDLE, evaluation(0, DRIFT), None)
    assert judgement.state is GateState.WATCHING
    assert "no `retrain` section" in judgement.reason


def test_before_a_day_is_old_enough_nothing_is_known() -> None:
    """Silence is never success: not idle, but unknown."""
    assert judge(Gate(), evaluation(0, judged_day=None), CONFIG).state is GateState.UNKNOWN
    assert judge(Gate(), evaluation(0), CONFIG).state is GateState.IDLE


def test_missing_labels_may_be_allowed() -> None:
    """`coverage: any` asks whether or not labels come as they should."""
    anyhow = configured(require={"coverage": "any"})
    for level in (Level.CALIBRATING, Level.ALARM):
        doubt = finding(FindingKind.COVERAGE, level, Place.LABELS)
        assert judge(IDLE, evaluation(0, DRIFT, doubt), anyhow).state is GateState.PREPARING
        assert judge(IDLE, evaluation(0, DRIFT, doubt), CONFIG).state is not GateState.PREPARING


APPROVED = Gate(state=GateState.WAITING, approved=("bf-" + "a" * 32, "bf-" + "b" * 32))


def test_an_approved_backfill_asks_and_is_named() -> None:
    """One finding each, before all alarms; no drift is needed."""
    judgement = judge(APPROVED, evaluation(0, DRIFT), CONFIG)
    assert judgement.state is GateState.PREPARING
    assert [one.kind for one in judgement.findings] == [FindingKind.BACKFILL, FindingKind.BACKFILL, DRIFT.kind]
    assert [one.level for one in judgement.findings[:2]] == [Level.ALARM] * 2
    assert judgement.reason.startswith(f"backfill {APPROVED.approved[0]} was approved")
    assert APPROVED.approved[1] in judgement.findings[1].text
    assert judge(APPROVED, evaluation(0), CONFIG).state is GateState.PREPARING


def test_an_approved_backfill_asks_only_where_it_is_listed() -> None:
    """By default it is."""
    unlisted = judge(APPROVED, evaluation(0), configured(when=["drift", "metric_loss"]))
    assert (unlisted.state, unlisted.findings) == (GateState.IDLE, [])
    assert judge(APPROVED, evaluation(0), configured(when=["backfill"])).state is GateState.PREPARING
    nobody = judge(APPROVED, evaluation(0), None)
    assert nobody.state is GateState.WATCHING
    assert "no `retrain` section" in nobody.reason


@pytest.mark.parametrize(
    ("other", "changes", "unmet"),
    [
        ({}, {"mature_labels": 1}, "mature_labels"),
        ({}, {"rarer_class": 1}, "rarer_class"),
        ({"asked_ms": (START_MS - 1,) * 4}, {}, "budget"),
        ({"ended_ms": START_MS - 1}, {}, "cooldown"),
    ],
)
def test_an_approval_is_subject_to_what_is_required(other: dict[str, Any], changes: dict[str, int], unmet: str) -> None:
    """It is not asked now, and says why; the gate keeps it for later."""
    judgement = judge(Gate(state=GateState.WAITING, approved=APPROVED.approved, **other), evaluation(**changes), CONFIG)
    assert judgement.state is GateState.WATCHING
    assert [one.name for one in judgement.conditions if not one.is_met] == [unmet]
    assert unmet in judgement.reason
    assert len(judgement.findings) == 2


def test_an_approval_within_a_cooldown_waits_for_its_end() -> None:
    """The state stays, and says what is waited for."""
    gate = Gate(state=GateState.COOLING, approved=APPROVED.approved, ended_ms=START_MS)
    before = judge(gate, evaluation(6.999), CONFIG)
    assert before.state is GateState.COOLING
    assert before.reason.startswith("backfill bf-")
    assert judge(gate, evaluation(7), CONFIG).state is GateState.PREPARING


def test_labels_that_cannot_be_trusted_hold_an_approval_back() -> None:
    """As they hold back all else."""
    judgement = judge(APPROVED, evaluation(0, finding(FindingKind.SILENCE, place=Place.LABELS)), CONFIG)
    assert judgement.state is GateState.HELD


def test_what_waits_for_a_person_is_said_and_holds_nothing_back() -> None:
    """Alarms ask all the same; without one the gate waits, and says how to look."""
    waiting = [episode(1), episode(2)]
    judgement = judge(IDLE, evaluation(0), CONFIG, waiting)
    assert judgement.state is GateState.WAITING
    assert judgement.reason == (
        f"backfill {waiting[0].id} waits for a person, and 1 more: truthloop backfill diff {waiting[0].id}"
    )
    assert "more" not in judge(IDLE, evaluation(0), CONFIG, waiting[:1]).reason
    assert judge(IDLE, evaluation(0, DRIFT), CONFIG, waiting).state is GateState.PREPARING
    assert judge(APPROVED, evaluation(0), CONFIG, waiting).state is GateState.PREPARING
    noted = finding(FindingKind.QUALITY, place=Place.FEATURES)
    assert judge(IDLE, evaluation(0, noted), CONFIG, waiting).state is GateState.WAITING
    silent = finding(FindingKind.SILENCE, place=Place.LABELS)
    assert judge(IDLE, evaluation(0, silent), CONFIG, waiting).state is GateState.HELD
    assert judge(IDLE, evaluation(0), None, waiting).state is GateState.WAITING


def test_a_cooldown_outlasts_what_waits_for_a_person() -> None:
    """Then the gate waits."""
    gate = Gate(state=GateState.COOLING, ended_ms=START_MS)
    assert judge(gate, evaluation(6), CONFIG, [episode()]).state is GateState.COOLING
    assert judge(gate, evaluation(7), CONFIG, [episode()]).state is GateState.WAITING


def test_with_a_retrain_open_an_approval_is_told_and_asks_for_nothing() -> None:
    """It is kept for when that one has ended."""
    gate = Gate(state=GateState.RUNNING, decision=ID, decided_ms=START_MS, approved=APPROVED.approved)
    judgement = judge(gate, evaluation(1), CONFIG, [episode()])
    assert (judgement.state, len(judgement.findings)) == (GateState.RUNNING, 2)
