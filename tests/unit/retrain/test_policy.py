"""Judgement of an evaluation: triggers, requirements, and the reason."""

from typing import Any

import pytest
from gate_case import DRIFT, ID, START_MS, episode, evaluation, finding

from retrain.gate import DAY_MS, Gate
from retrain.policy import cooling_until_ms, judge
from schemas.config.retrain import RetrainConfig
from schemas.events.dataset_rows import DatasetRows
from schemas.events.evidence import Finding, FindingKind, GateState, Level, Place

TARGET = {"url": "https://pipeline.example/retrain"}
CONFIG = RetrainConfig.model_validate({"target": TARGET})
IDLE = Gate(state=GateState.IDLE)


def configured(**parts: Any) -> RetrainConfig:
    """Return a config with changes to the defaults."""
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
def test_the_state_that_findings_lead_to_when_all_requirements_are_met(
    found: tuple[Finding, ...], state: GateState
) -> None:
    """Drift begins a retrain; missing labels hold it, and so does not knowing whether they are missing."""
    judgement = judge(IDLE, evaluation(0, *found), CONFIG)
    assert judgement.state is state
    assert judgement.reason


def test_only_listed_triggers_begin_a_retrain() -> None:
    """`when` lists them; other findings are watched."""
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
    """Seven days after the last end, not earlier; then the same evaluation begins a retrain."""
    gate = Gate(state=GateState.COOLING, ended_ms=START_MS)
    before = judge(gate, evaluation(6.999, DRIFT), CONFIG)
    assert before.state is GateState.COOLING
    assert "cooldown" in before.reason
    assert judge(gate, evaluation(7, DRIFT), CONFIG).state is GateState.PREPARING
    assert judge(gate, evaluation(7), CONFIG).state is GateState.IDLE


@pytest.mark.parametrize(("failures", "days"), [(0, 7), (1, 14), (2, 28), (3, 56), (9, 56)])
def test_failed_retrains_double_the_cooldown(failures: int, days: int) -> None:
    """Up to eight times."""
    gate = Gate(state=GateState.COOLING, ended_ms=START_MS, failures=failures)
    assert cooling_until_ms(gate, CONFIG) == START_MS + days * DAY_MS
    assert judge(gate, evaluation(days - 0.001, DRIFT), CONFIG).state is GateState.COOLING
    assert judge(gate, evaluation(days, DRIFT), CONFIG).state is GateState.PREPARING


def test_the_budget_counts_thirty_days() -> None:
    """Four requests within them are the limit; the fifth waits until the first is older."""
    asked = tuple(START_MS + day * DAY_MS for day in (0, 8, 16, 24))
    gate = Gate(state=GateState.IDLE, asked_ms=asked, ended_ms=START_MS)
    before = judge(gate, evaluation(29.999, DRIFT), CONFIG)
    assert before.state is GateState.WATCHING
    assert "budget" in before.reason
    assert judge(gate, evaluation(30, DRIFT), CONFIG).state is GateState.PREPARING


@pytest.mark.parametrize("state", [GateState.PREPARING, GateState.REQUESTED, GateState.RUNNING])
def test_an_open_retrain_blocks_another_one(state: GateState) -> None:
    """The state stays; findings are recorded."""
    gate = Gate(state=state, decision=ID, decided_ms=START_MS)
    judgement = judge(gate, evaluation(3, DRIFT), CONFIG)
    assert (judgement.state, judgement.findings) == (state, [DRIFT])
    assert judgement.reason == f"retrain {ID} has been open for 3 days"


def test_a_retrain_is_never_open_for_less_than_no_time() -> None:
    """A backfill known a month later may have come before it: the days until then are evaluated afterwards."""
    gate = Gate(state=GateState.RUNNING, decision=ID, at_ms=START_MS + 31 * DAY_MS, decided_ms=START_MS + 31 * DAY_MS)
    for day, days in ((0.4, "0 days"), (31, "0 days"), (32.5, "1.5 days")):
        assert judge(gate, evaluation(day), CONFIG).reason == f"retrain {ID} has been open for {days}"


def test_without_the_config_section_no_retrain_begins_and_the_reason_says_so() -> None:
    """Evidence is shown all the same."""
    judgement = judge(IDLE, evaluation(0, DRIFT), None)
    assert judgement.state is GateState.WATCHING
    assert "no `retrain` section" in judgement.reason


def test_before_a_day_is_old_enough_nothing_is_known() -> None:
    """The state is unknown, not idle: silence is never success."""
    assert judge(Gate(), evaluation(0, judged_day=None), CONFIG).state is GateState.UNKNOWN
    assert judge(Gate(), evaluation(0), CONFIG).state is GateState.IDLE


def test_missing_labels_may_be_allowed() -> None:
    """`coverage: any` does not require complete labels."""
    anyhow = configured(require={"coverage": "any"})
    for level in (Level.CALIBRATING, Level.ALARM):
        doubt = finding(FindingKind.COVERAGE, level, Place.LABELS)
        assert judge(IDLE, evaluation(0, DRIFT, doubt), anyhow).state is GateState.PREPARING
        assert judge(IDLE, evaluation(0, DRIFT, doubt), CONFIG).state is not GateState.PREPARING


APPROVED = Gate(state=GateState.WAITING, approved=("bf-" + "a" * 32, "bf-" + "b" * 32))


def test_an_approved_backfill_begins_a_retrain_and_is_named() -> None:
    """One finding each, before all alarms; no drift is needed."""
    judgement = judge(APPROVED, evaluation(0, DRIFT), CONFIG)
    assert judgement.state is GateState.PREPARING
    assert [one.kind for one in judgement.findings] == [FindingKind.BACKFILL, FindingKind.BACKFILL, DRIFT.kind]
    assert [one.level for one in judgement.findings[:2]] == [Level.ALARM] * 2
    assert judgement.reason.startswith(f"backfill {APPROVED.approved[0]} was approved")
    assert APPROVED.approved[1] in judgement.findings[1].text
    assert judge(APPROVED, evaluation(0), CONFIG).state is GateState.PREPARING


def test_an_approved_backfill_is_a_trigger_only_if_listed() -> None:
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
def test_an_approval_is_subject_to_the_requirements(other: dict[str, Any], changes: dict[str, int], unmet: str) -> None:
    """The reason names the unmet ones; the gate keeps the approval for later."""
    judgement = judge(Gate(state=GateState.WAITING, approved=APPROVED.approved, **other), evaluation(**changes), CONFIG)
    assert judgement.state is GateState.WATCHING
    assert [one.name for one in judgement.conditions if not one.is_met] == [unmet]
    assert unmet in judgement.reason
    assert len(judgement.findings) == 2


def test_an_approval_within_a_cooldown_waits_for_its_end() -> None:
    """The state stays, and the reason names the cooldown."""
    gate = Gate(state=GateState.COOLING, approved=APPROVED.approved, ended_ms=START_MS)
    before = judge(gate, evaluation(6.999), CONFIG)
    assert before.state is GateState.COOLING
    assert before.reason.startswith("backfill bf-")
    assert judge(gate, evaluation(7), CONFIG).state is GateState.PREPARING


def test_untrusted_labels_hold_an_approval() -> None:
    """As they hold every trigger."""
    judgement = judge(APPROVED, evaluation(0, finding(FindingKind.SILENCE, place=Place.LABELS)), CONFIG)
    assert judgement.state is GateState.HELD


def test_a_data_set_without_a_holdout_holds_the_request_and_keeps_the_approval() -> None:
    """A condition by name, with the reasons of the rows that are missing and what gives some."""
    left_out = {"quarantined": 120, "pending": 1_500}
    dataset = DatasetRows(rows=900, holdout_rows=0, left_out=left_out, holdout_left_out={"quarantined": 120})
    judgement = judge(APPROVED, evaluation(0), CONFIG, dataset=dataset)
    assert judgement.state is GateState.WATCHING
    [unmet] = [one for one in judgement.conditions if not one.is_met]
    assert (unmet.name, unmet.value) == ("holdout_rows", "0 (120 quarantined)")
    assert unmet.needed == "at least 1: newer predictions with labels, or a longer retrain.dataset.holdout"
    assert "not requested: holdout_rows is 0 (120 quarantined)" in judgement.reason
    assert len(judgement.findings) == 2
    enough = judge(APPROVED, evaluation(0), CONFIG, dataset=dataset.model_copy(update={"holdout_rows": 1}))
    assert enough.state is GateState.PREPARING
    assert [one.name for one in enough.conditions[-2:]] == ["training_rows", "holdout_rows"]
    assert [one.value for one in enough.conditions[-2:]] == ["900", "1"]


def test_a_data_set_without_training_rows_holds_the_request() -> None:
    """Reasons are of the time before the holdout; without a holdout in the config none is required."""
    left_out = {"pending": 7, "quarantined": 3}
    empty = DatasetRows(rows=0, holdout_rows=0, left_out=left_out, holdout_left_out={"pending": 7})
    no_holdout = configured(dataset={"holdout": "0d"})
    judgement = judge(APPROVED, evaluation(0), no_holdout, dataset=empty)
    assert judgement.state is GateState.WATCHING
    assert [(one.name, one.value) for one in judgement.conditions if not one.is_met] == [
        ("training_rows", "0 (3 quarantined)")
    ]
    nothing = judge(APPROVED, evaluation(0), no_holdout, dataset=DatasetRows(rows=0, holdout_rows=0))
    assert nothing.conditions[-1].value == "0 (there is no prediction of its time)"
    full = judge(APPROVED, evaluation(0), no_holdout, dataset=DatasetRows(rows=1, holdout_rows=0))
    assert full.state is GateState.PREPARING


def test_a_waiting_backfill_is_named_and_holds_no_retrain() -> None:
    """Alarms begin retrains all the same; without one the gate waits, and names the command to run."""
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


def test_a_cooldown_comes_before_a_waiting_backfill() -> None:
    """After it the gate waits."""
    gate = Gate(state=GateState.COOLING, ended_ms=START_MS)
    assert judge(gate, evaluation(6), CONFIG, [episode()]).state is GateState.COOLING
    assert judge(gate, evaluation(7), CONFIG, [episode()]).state is GateState.WAITING


def test_with_an_open_retrain_an_approval_is_recorded_and_begins_none() -> None:
    """It is kept until that one has ended."""
    gate = Gate(state=GateState.RUNNING, decision=ID, decided_ms=START_MS, approved=APPROVED.approved)
    judgement = judge(gate, evaluation(1), CONFIG, [episode()])
    assert (judgement.state, len(judgement.findings)) == (GateState.RUNNING, 2)
