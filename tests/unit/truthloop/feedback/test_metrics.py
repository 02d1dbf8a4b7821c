"""What Prometheus is told by the deciding role: names, few labels, and nothing by a worker that stands by."""

import re
from dataclasses import replace

import pytest
from gate_case import DRIFT, ID, START_MS, entry
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitor.coverage.alert import CoverageAlert
from retrain.gate import gate_of
from schemas.events.evidence import Event, FindingKind, GateState, Level
from truthloop.feedback.metrics import VERSIONS_MAX, Gauges, KindReading, LiveReading

ALERT = CoverageAlert("degraded", -6.0, 0.3, 24, 600, (), None)
GATE = gate_of(
    [
        entry(0, Event.EVALUATED, GateState.IDLE, 1, version="v1"),
        entry(1, Event.EVALUATED, GateState.PREPARING, 3, version="v1", decision=ID, findings=[DRIFT]),
    ]
)
READING = KindReading(
    "late",
    GATE,
    observed_ms=START_MS + 1_500,
    mature_labels=5_000,
    findings={FindingKind.COVERAGE: Level.ALARM, FindingKind.SHIFT: Level.WARN},
    alert=ALERT,
    is_undeliverable=False,
    dataset_rows=700,
)
LIVE = LiveReading({("late", "v1", "roc_auc"): 0.75, ("late", "v1", "recall"): None}, unread=9)

Samples = dict[tuple[str, ...], float]


def scraped(registry: CollectorRegistry) -> Samples:
    """Return what is told: (name, values of the labels in the order of their names) -> value."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def told(*readings: KindReading, live: LiveReading = LIVE) -> tuple[Gauges, CollectorRegistry]:
    """Return the gauges of an active worker that has told this."""
    registry = CollectorRegistry()
    gauges = Gauges(registry)
    gauges.active(lambda: True)
    gauges.tell(readings, live)
    return gauges, registry


def test_everything_is_told_in_base_units() -> None:
    """Times in seconds, shares as ratios, each state of a closed vocabulary as a series."""
    _, registry = told(READING)
    found = scraped(registry)
    assert found["truthloop_observed_timestamp_seconds", "late"] == START_MS / 1000 + 1.5
    assert found["truthloop_evidence_timestamp_seconds", "late"] == START_MS / 1000 + 3 * 86_400
    assert found["truthloop_gate_state_since_timestamp_seconds", "late"] == START_MS / 1000 + 3 * 86_400
    states = {labels[2]: value for labels, value in found.items() if labels[0] == "truthloop_gate_state"}
    assert states == {state.value: float(state is GateState.PREPARING) for state in GateState}
    levels = {labels[1]: value for labels, value in found.items() if labels[0] == "truthloop_finding_level"}
    assert levels == dict.fromkeys(map(str, FindingKind), 0.0) | {"coverage": 3.0, "shift": 2.0}
    assert found["truthloop_coverage_state", "late", "degraded"] == 1
    assert found["truthloop_coverage_state", "late", "ok"] == 0
    assert found["truthloop_coverage_deficit_ratio", "late"] == 0.3
    assert found["truthloop_mature_labels", "late"] == 5_000
    assert found["truthloop_retrain_dataset_rows", "late"] == 700
    assert found["truthloop_retrains_requested_total", "late"] == 1
    assert found["truthloop_live_metric", "late", "roc_auc", "v1"] == 0.75
    assert found["truthloop_live_unread_outcomes",] == 9


def test_what_is_not_known_is_not_told() -> None:
    """Never a zero in its place: before the first evaluation, and for a metric without labels."""
    _, registry = told(KindReading("late", gate_of([])))
    found = scraped(registry)
    names = {labels[0].removeprefix("truthloop_") for labels in found}
    absent = {"observed_timestamp_seconds", "evidence_timestamp_seconds", "finding_level", "mature_labels"}
    absent |= {"coverage_state", "coverage_deficit_ratio", "retrain_dataset_rows"}
    assert not names & absent
    assert found["truthloop_gate_state", "late", "unknown"] == 1
    assert ("truthloop_live_metric", "late", "recall", "v1") not in found


def test_a_worker_that_stands_by_tells_nothing_of_the_lake() -> None:
    """Not even what it told while it decided; its counters stay."""
    gauges, registry = told(READING)
    gauges.refused("signature")
    gauges.ruling_refused("origin")
    gauges.active(lambda: False)
    found = scraped(registry)
    assert found["truthloop_feedback_active",] == 0
    assert found["truthloop_callbacks_refused_total", "signature"] == 1
    assert found["truthloop_rulings_refused_total", "origin"] == 1
    assert not any(labels[0].startswith(("truthloop_gate", "truthloop_live", "truthloop_evid")) for labels in found)
    gauges.active(lambda: True)
    assert scraped(registry)["truthloop_gate_state", "late", "preparing"] == 1


def test_what_is_told_anew_takes_the_place_of_all_before() -> None:
    """A version that is no longer among the newest leaves no series behind."""
    gauges, registry = told(READING)
    gauges.tell([replace(READING, alert=None)], LiveReading({("late", "v2", "roc_auc"): 0.5}))
    found = scraped(registry)
    assert {labels[3] for labels in found if labels[0] == "truthloop_live_metric"} == {"v2"}
    assert not any(labels[0] == "truthloop_coverage_state" for labels in found)


def test_attempts_are_counted_by_outcome_from_zero() -> None:
    """So that the very first failure is an increase."""
    gauges, registry = told()
    outcomes = ("delivered", "retry", "gave_up", "gone")
    name = "truthloop_delivery_attempts_total"
    assert {labels: value for labels, value in scraped(registry).items() if labels[0] == name} == {
        (name, outcome): 0.0 for outcome in outcomes
    }
    gauges.attempted("gave_up")
    assert scraped(registry)[name, "gave_up"] == 1


def test_there_are_few_series_whatever_the_data_hold() -> None:
    """For two kinds, and four versions with nine metrics each: some hundred and fifty."""
    live = {
        (kind, f"v{number}", f"metric{place}"): 0.5
        for kind in ("late", "paid")
        for number in range(VERSIONS_MAX)
        for place in range(9)
    }
    _, registry = told(READING, replace(READING, kind="paid"), live=LiveReading(live))
    assert len(scraped(registry)) < 150


@pytest.mark.parametrize("family", list(told(READING)[1].collect()), ids=lambda family: family.name)
def test_names_and_help_follow_the_rules_of_prometheus(family: object) -> None:
    """Base units at the end of the name, no unit that is not one, and a text that says what it is."""
    name, kind, text = (getattr(family, field) for field in ("name", "type", "documentation"))
    assert re.fullmatch(r"truthloop_[a-z][a-z_]*[a-z]", name)
    assert not name.endswith(("_ms", "_days", "_hours", "_percent", "_count", "_total"))
    assert kind in ("gauge", "counter")
    assert len(text) > 15
    assert "timestamp" not in name or name.endswith("_timestamp_seconds")
