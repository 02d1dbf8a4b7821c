"""Prometheus metrics of the feedback role: names, few labels, and none of the lake from a worker on standby."""

import re
from dataclasses import replace

import pytest
from gate_case import DRIFT, ID, START_MS, entry
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitor.coverage.alert import CoverageAlert
from retrain.gate import gate_of
from schemas.events.evidence import Event, FindingKind, GateState, Level
from truthloop.feedback.metrics import VERSIONS_MAX, FeedbackMetrics, KindReading, LiveReading

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
LIVE = LiveReading({("late", "v1", "late-15", "roc_auc"): 0.75, ("late", "v1", "late-15", "recall"): None}, unread=9)

Samples = dict[tuple[str, ...], float]


def scraped(registry: CollectorRegistry) -> Samples:
    """Return the samples: (name, values of the labels in the order of their names) -> value."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def exported(*readings: KindReading, live: LiveReading = LIVE) -> tuple[FeedbackMetrics, CollectorRegistry]:
    """Return the metrics of an active worker with these readings."""
    registry = CollectorRegistry()
    metrics = FeedbackMetrics(registry)
    metrics.set_active(lambda: True)
    metrics.set(readings, live)
    return metrics, registry


def test_everything_is_exported_in_base_units() -> None:
    """Times in seconds, shares as ratios, each state of a closed vocabulary as a series."""
    _, registry = exported(READING)
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
    assert found["truthloop_live_metric", "late-15", "late", "roc_auc", "v1"] == 0.75
    assert found["truthloop_live_unread_outcomes",] == 9


def test_an_unknown_value_has_no_series() -> None:
    """It is not exported as zero: before the first evaluation, and for a metric without labels."""
    _, registry = exported(KindReading("late", gate_of([])))
    found = scraped(registry)
    names = {labels[0].removeprefix("truthloop_") for labels in found}
    absent = {"observed_timestamp_seconds", "evidence_timestamp_seconds", "finding_level", "mature_labels"}
    absent |= {"coverage_state", "coverage_deficit_ratio", "retrain_dataset_rows"}
    assert not names & absent
    assert found["truthloop_gate_state", "late", "unknown"] == 1
    assert ("truthloop_live_metric", "late-15", "late", "recall", "v1") not in found


def test_a_worker_on_standby_exports_nothing_of_the_lake() -> None:
    """Not even the values of the time when it was active; its counters stay."""
    metrics, registry = exported(READING)
    metrics.count_refused_callback("signature")
    metrics.count_refused_ruling("origin")
    metrics.set_active(lambda: False)
    found = scraped(registry)
    assert found["truthloop_feedback_active",] == 0
    assert found["truthloop_callbacks_refused_total", "signature"] == 1
    assert found["truthloop_rulings_refused_total", "origin"] == 1
    assert not any(labels[0].startswith(("truthloop_gate", "truthloop_live", "truthloop_evid")) for labels in found)
    metrics.set_active(lambda: True)
    assert scraped(registry)["truthloop_gate_state", "late", "preparing"] == 1


def test_new_readings_replace_all_earlier_ones() -> None:
    """A version that is no longer among the newest has no series."""
    metrics, registry = exported(READING)
    metrics.set([replace(READING, alert=None)], LiveReading({("late", "v2", "late-15", "roc_auc"): 0.5}))
    found = scraped(registry)
    assert {labels[4] for labels in found if labels[0] == "truthloop_live_metric"} == {"v2"}
    assert not any(labels[0] == "truthloop_coverage_state" for labels in found)


def test_attempts_are_counted_by_outcome_from_zero() -> None:
    """The very first failure is an increase."""
    metrics, registry = exported()
    outcomes = ("delivered", "retry", "gave_up", "gone")
    name = "truthloop_delivery_attempts_total"
    assert {labels: value for labels, value in scraped(registry).items() if labels[0] == name} == {
        (name, outcome): 0.0 for outcome in outcomes
    }
    metrics.count_attempt("gave_up")
    assert scraped(registry)[name, "gave_up"] == 1


def test_the_number_of_series_is_bounded() -> None:
    """Two kinds, and four versions with nine metrics each, have fewer than 150."""
    live = {
        (kind, f"v{number}", "late-15", f"metric{index}"): 0.5
        for kind in ("late", "paid")
        for number in range(VERSIONS_MAX)
        for index in range(9)
    }
    _, registry = exported(READING, replace(READING, kind="paid"), live=LiveReading(live))
    assert len(scraped(registry)) < 150


@pytest.mark.parametrize("family", list(exported(READING)[1].collect()), ids=lambda family: family.name)
def test_names_and_help_follow_the_rules_of_prometheus(family: object) -> None:
    """Names end with base units, never with other units; every metric has a help text."""
    name, kind, text = (getattr(family, field) for field in ("name", "type", "documentation"))
    assert re.fullmatch(r"truthloop_[a-z][a-z_]*[a-z]", name)
    assert not name.endswith(("_ms", "_days", "_hours", "_percent", "_count", "_total"))
    assert kind in ("gauge", "counter")
    assert len(text) > 15
    assert "timestamp" not in name or name.endswith("_timestamp_seconds")
