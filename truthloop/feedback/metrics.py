"""What Prometheus is told of evidence and gate: few series, whatever the data hold.

Laws: no label of a series is a value of the data, but for kinds, the newest versions and closed vocabularies. What
stands in the lake is told by the worker that decides and by no other, so that no two tell different things.
Must not read anything.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitor.coverage.alert import AlertState, CoverageAlert
from retrain.gate import Gate
from retrain.schedule import Outcome
from schemas.events.evidence import FindingKind, GateState, Level

__all__ = ["VERSIONS_MAX", "Gauges", "KindReading", "LiveReading"]

VERSIONS_MAX = 4
"""Versions with live metrics, the newest ones: the page's charts have as many lines."""


_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "observed_timestamp_seconds": ("Time up to which predictions and labels have been read", ("kind",)),
    "evidence_timestamp_seconds": ("Evidence time of the newest evaluation: the end of a day", ("kind",)),
    "gate_state": ("1 for the state that the gate is in", ("kind", "state")),
    "gate_state_since_timestamp_seconds": ("Evidence time at which the gate's state was entered", ("kind",)),
    "finding_level": (
        "Worst finding of the newest evaluation: 0 none or ok, 1 calibrating, 2 warn, 3 alarm",
        ("kind", "finding"),
    ),
    "mature_labels": ("Labels of the running version that are old enough", ("kind",)),
    "coverage_state": ("1 for what the newest evaluation says of the label pipeline", ("kind", "state")),
    "coverage_deficit_ratio": (
        "Part of recent predictions that should have a label by now and has none; below 0: more than usual",
        ("kind",),
    ),
    "retrain_overdue": ("1 while a retrain is open that nobody answers", ("kind",)),
    "retrain_undeliverable": ("1 while the newest retrain is one that could not be delivered", ("kind",)),
    "retrain_dataset_rows": ("Rows of the data set of the newest retrain that has one", ("kind",)),
    "live_metric": (
        "River's metric over all labels of a version that are known now, however young",
        ("kind", "version", "metric"),
    ),
    "live_unread_outcomes": ("Outcomes of the lake that the live metrics do not hold yet", ()),
}
"""Name behind `truthloop_` -> what it says, its labels."""

_RETRAINS = "retrains_requested"


@dataclass(frozen=True)
class KindReading:
    """What is to be told of one label kind.

    Attributes:
        kind: label kind.
        gate: where it stands.
        observed_ms: time up to which predictions and labels have been read; None where nothing is certain.
        mature_labels: of the newest evaluation; None before the first.
        findings: worst level by kind of finding, of the newest evaluation; None before the first.
        alert: what was said of the label pipeline at its evidence time; None before the first.
        is_undeliverable: the newest retrain could not be delivered.
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
        values: by kind, version and metric; None where nothing is known.
        unread: outcomes of the lake that they do not hold yet.
    """

    values: Mapping[tuple[str, str, str], float | None] = field(default_factory=dict)
    unread: int = 0


class Gauges(Collector):
    """The role's series, in base units.

    Args:
        registry: of the role.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._is_active: Callable[[], bool] = lambda: False
        self._told: tuple[Metric, ...] = ()
        active = Gauge("truthloop_feedback_active", "1 in the worker that decides", registry=registry)
        active.set_function(lambda: float(self._is_active()))
        self._refused = Counter(
            "truthloop_callbacks_refused", "Callbacks that were refused", ["reason"], registry=registry
        )
        self._rulings = Counter(
            "truthloop_rulings_refused", "Rulings about backfills that were refused", ["reason"], registry=registry
        )
        self._attempts = Counter(
            "truthloop_delivery_attempts", "Attempts to deliver a retrain request", ["outcome"], registry=registry
        )
        for outcome in get_args(Outcome):
            self._attempts.labels(outcome)  # at 0: the first one is seen as an increase
        registry.register(self)

    def active(self, is_active: Callable[[], bool]) -> None:
        """Ask this function whether the worker decides, whenever somebody looks."""
        self._is_active = is_active

    def refused(self, reason: str) -> None:
        """Count a callback that was refused; the reason is one of a few words."""
        self._refused.labels(reason).inc()

    def ruling_refused(self, reason: str) -> None:
        """Count a ruling that was refused; the reason is one of a few words."""
        self._rulings.labels(reason).inc()

    def attempted(self, outcome: str) -> None:
        """Count an attempt at a delivery, by its `Outcome`."""
        self._attempts.labels(outcome).inc()

    def tell(self, readings: Sequence[KindReading], live: LiveReading) -> None:
        """Take over what a look at the lake has brought, in place of all that was told before."""
        gauges = {
            name: GaugeMetricFamily(f"truthloop_{name}", text, labels=labels)
            for name, (text, labels) in _GAUGES.items()
        }
        retrains = CounterMetricFamily(
            f"truthloop_{_RETRAINS}", "Retrains asked for, as the gate's log has them", labels=["kind"]
        )
        for one in readings:
            for name, labels, value in _of_kind(one):
                gauges[name].add_metric([one.kind, *labels], value)
            retrains.add_metric([one.kind], len(one.gate.asked_ms))
        for key, number in live.values.items():
            if number is not None:
                gauges["live_metric"].add_metric(key, number)
        gauges["live_unread_outcomes"].add_metric([], live.unread)
        self._told = (*gauges.values(), retrains)

    def collect(self) -> Iterator[Metric]:
        """Give what stands in the lake, if this is the worker that decides."""
        if self._is_active():
            yield from self._told


def _of_kind(one: KindReading) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Give the name, the labels behind the kind, and the value of every series of a kind."""
    gate = one.gate
    for state in GateState:
        yield "gate_state", (state.value,), float(gate.state is state)
    times = {
        "observed_timestamp_seconds": one.observed_ms,
        "evidence_timestamp_seconds": gate.evaluated_ms,
        "gate_state_since_timestamp_seconds": gate.since_ms,
    }
    for name, time_ms in times.items():
        if time_ms is not None:
            yield name, (), time_ms / 1000
    yield "retrain_overdue", (), float(gate.is_overdue)
    yield "retrain_undeliverable", (), float(one.is_undeliverable)
    for name, count in {"mature_labels": one.mature_labels, "retrain_dataset_rows": one.dataset_rows}.items():
        if count is not None:
            yield name, (), count
    if one.findings is not None:
        for finding in FindingKind:
            yield "finding_level", (finding.value,), one.findings.get(finding, Level.OK).gravity
    if one.alert is not None:
        for state_of_labels in get_args(AlertState):
            yield "coverage_state", (state_of_labels,), float(one.alert.state == state_of_labels)
        if one.alert.deficit is not None:
            yield "coverage_deficit_ratio", (), one.alert.deficit
