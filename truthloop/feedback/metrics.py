"""Prometheus metrics of evidence and gate; `truthloop.feedback.metrics_reader` reads their values.

The number of series is bounded: labels are kinds, the newest versions and closed vocabularies only. Values from the
lake are exported by the active worker alone, so no two workers export different values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitor.coverage.alert import AlertState, CoverageAlert
from retrain.gate import Gate
from retrain.schedule import AttemptOutcome
from schemas.events.evidence import FindingKind, GateState, Level

__all__ = ["VERSIONS_MAX", "FeedbackMetrics", "KindReading", "LiveReading"]

VERSIONS_MAX = 4
"""Number of newest versions with live metrics; the page's charts have as many lines."""

_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "observed_timestamp_seconds": ("Time up to which predictions and labels have been read", ("kind",)),
    "evidence_timestamp_seconds": ("End of the day that was evaluated last", ("kind",)),
    "gate_state": ("1 for the current state of the gate, else 0", ("kind", "state")),
    "gate_state_since_timestamp_seconds": ("Evidence time at which the gate's state was entered", ("kind",)),
    "finding_level": (
        "Worst level of a kind of finding in the newest evaluation: 0 none or ok, 1 calibrating, 2 warn, 3 alarm",
        ("kind", "finding"),
    ),
    "mature_labels": ("Mature labels of the running version", ("kind",)),
    "coverage_state": (
        "1 for the state of the label pipeline in the newest evaluation, 0 for all others",
        ("kind", "state"),
    ),
    "coverage_deficit_ratio": (
        "Share of recent predictions whose label is missing though expected by now; negative: more labels than usual",
        ("kind",),
    ),
    "retrain_overdue": ("1 while the open retrain is overdue", ("kind",)),
    "retrain_undeliverable": ("1 while the newest retrain could not be delivered", ("kind",)),
    "retrain_dataset_rows": ("Rows of the newest data set for a retrain", ("kind",)),
    "live_metric": (
        "River's metric of a version over all labels known now, mature or not",
        ("kind", "version", "definition", "metric"),
    ),
    "live_unread_outcomes": ("Outcomes of the lake that the live metrics do not include yet", ()),
}
"""Name after `truthloop_` -> help text, names of the labels."""

_RETRAINS = "retrains_requested"


@dataclass(frozen=True)
class KindReading:
    """The values of one label kind.

    Attributes:
        observed_ms: time up to which predictions and labels have been read; None before a watermark exists.
        mature_labels: of the newest evaluation; None before the first.
        findings: worst level by kind of finding, of the newest evaluation; None before the first.
        alert: about the label pipeline at the time of the newest evaluation; None before the first.
        is_undeliverable: whether the newest retrain could not be delivered.
        dataset_rows: of the newest retrain that has a data set; None before that.
    """

    kind: str
    gate: Gate
    observed_ms: int | None = None
    mature_labels: int | None = None
    findings: Mapping[FindingKind, Level] | None = None
    alert: CoverageAlert | None = None
    is_undeliverable: bool = False
    dataset_rows: int | None = None


@dataclass(frozen=True)
class LiveReading:
    """The live metrics of some versions.

    Attributes:
        values: by kind, version, definition and metric; None without labels.
        unread: number of outcomes in the lake that the values do not include yet.
    """

    values: Mapping[tuple[str, str, str, str], float | None] = field(default_factory=dict)
    unread: int = 0


class FeedbackMetrics(Collector):
    """The role's metrics, in base units."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._is_active: Callable[[], bool] = lambda: False
        self._families: tuple[Metric, ...] = ()
        active = Gauge("truthloop_feedback_active", "1 in the active worker, 0 in those on standby", registry=registry)
        active.set_function(lambda: float(self._is_active()))
        self._refused = Counter(
            "truthloop_callbacks_refused", "Callbacks that were rejected", ["reason"], registry=registry
        )
        self._rulings = Counter(
            "truthloop_rulings_refused", "Rulings about backfills that the page rejected", ["reason"], registry=registry
        )
        self._attempts = Counter(
            "truthloop_delivery_attempts", "Attempts to deliver a retrain request", ["outcome"], registry=registry
        )
        for outcome in get_args(AttemptOutcome):
            self._attempts.labels(outcome)  # starts at 0, so that the first attempt is an increase
        registry.register(self)

    def set_active(self, is_active: Callable[[], bool]) -> None:
        """Call this function at every scrape to know whether the worker is active."""
        self._is_active = is_active

    def count_refused_callback(self, reason: str) -> None:
        """Count a rejected callback; the reason is one of a closed vocabulary."""
        self._refused.labels(reason).inc()

    def count_refused_ruling(self, reason: str) -> None:
        """Count a rejected ruling; the reason is one of a closed vocabulary."""
        self._rulings.labels(reason).inc()

    def count_attempt(self, outcome: str) -> None:
        """Count a delivery attempt by its `AttemptOutcome`."""
        self._attempts.labels(outcome).inc()

    def set(self, readings: Sequence[KindReading], live: LiveReading) -> None:
        """Replace all values that were read from the lake."""
        gauges = {
            name: GaugeMetricFamily(f"truthloop_{name}", text, labels=labels)
            for name, (text, labels) in _GAUGES.items()
        }
        retrains = CounterMetricFamily(
            f"truthloop_{_RETRAINS}", "Retrains that the gate's log has requested", labels=["kind"]
        )
        for reading in readings:
            for name, labels, value in _samples(reading):
                gauges[name].add_metric([reading.kind, *labels], value)
            retrains.add_metric([reading.kind], len(reading.gate.asked_ms))
        for key, number in live.values.items():
            if number is not None:
                gauges["live_metric"].add_metric(key, number)
        gauges["live_unread_outcomes"].add_metric([], live.unread)
        self._families = (*gauges.values(), retrains)

    def collect(self) -> Iterator[Metric]:
        """Yield the values from the lake if this worker is active."""
        if self._is_active():
            yield from self._families


def _samples(reading: KindReading) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield name, labels without the kind, and value of every series of a kind."""
    gate = reading.gate
    for state in GateState:
        yield "gate_state", (state.value,), float(gate.state is state)
    times = {
        "observed_timestamp_seconds": reading.observed_ms,
        "evidence_timestamp_seconds": gate.evaluated_ms,
        "gate_state_since_timestamp_seconds": gate.since_ms,
    }
    for name, time_ms in times.items():
        if time_ms is not None:
            yield name, (), time_ms / 1000
    yield "retrain_overdue", (), float(gate.is_overdue)
    yield "retrain_undeliverable", (), float(reading.is_undeliverable)
    counts = {"mature_labels": reading.mature_labels, "retrain_dataset_rows": reading.dataset_rows}
    for name, count in counts.items():
        if count is not None:
            yield name, (), count
    if reading.findings is not None:
        for finding in FindingKind:
            yield "finding_level", (finding.value,), reading.findings.get(finding, Level.OK).gravity
    if reading.alert is not None:
        for state_of_labels in get_args(AlertState):
            yield "coverage_state", (state_of_labels,), float(reading.alert.state == state_of_labels)
        if reading.alert.deficit is not None:
            yield "coverage_deficit_ratio", (), reading.alert.deficit
