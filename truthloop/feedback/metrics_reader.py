"""Reads the values of the role's metrics from the lake, so that they are the same after a restart.

A value that cannot be read never stops the role: the metrics keep their old values until the next reconciliation.
"""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from lake import Lake
from lake.failure import store_errors_told
from monitor.cells.cohort import ALL
from monitor.cells.pane import read_panes
from monitor.cells.plan import CellPlan
from monitor.cells.versions import versions_in
from monitor.coverage.alert import CoverageAlert
from monitor.coverage.label_pipeline import first_day_of_alert, label_pipeline
from monitor.evaluation import day_ending_at
from retrain.retrains import retrains_of
from schemas.errors import TruthloopError
from schemas.events.evidence import Decision, Event, FindingKind, Level
from truthloop.config.settings import Settings
from truthloop.evidence.arrivals import label_memory
from truthloop.evidence.cells import Evidence
from truthloop.feedback.metrics import VERSIONS_MAX, FeedbackMetrics, KindReading, LiveReading
from truthloop.feedback.reconcile import Reconciler

if TYPE_CHECKING:
    from truthloop.feedback.live_metrics import LiveMetricsReader

__all__ = ["MetricsReader"]

log = logging.getLogger("truthloop.feedback")


class MetricsReader:
    """Keeps the metrics of one loop up to date."""

    def __init__(self, settings: Settings, metrics: FeedbackMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._lake = Lake.open(settings.lake)
        self._known: dict[str, KindReading] = {}

    @cached_property
    def _live(self) -> "LiveMetricsReader":
        from truthloop.feedback.live_metrics import LiveMetricsReader  # noqa: PLC0415 - River's take a second to load

        return LiveMetricsReader(self._lake, CellPlan.from_config(self._settings.config))

    def update(self, reconciler: Reconciler) -> None:
        """Set the metrics to the state after the last reconciliation."""
        evidence = reconciler.evidence
        if evidence is None:
            return
        try:
            with store_errors_told():
                readings = [self._reading(reconciler, evidence, kind) for kind in self._settings.config.labels]
                self._live.update(evidence.rulings)
        except TruthloopError as error:
            log.warning("the metrics are not up to date: %s", error)
            return
        self._metrics.set(readings, self._live_reading(evidence))

    def _reading(self, reconciler: Reconciler, evidence: Evidence, kind: str) -> KindReading:
        gate = reconciler.gate(kind)
        known = self._known.get(kind)
        if known is None or known.gate.following != gate.following:
            entries = reconciler.entries_from(kind, 0)
            known = self._known[kind] = self._read(evidence, KindReading(kind, gate), entries)
        return replace(known, gate=gate, observed_ms=evidence.reach.observed_until_ms.get(kind))

    def _read(self, evidence: Evidence, reading: KindReading, entries: list[Decision]) -> KindReading:
        """Return a reading filled from the log and the newest evaluation."""
        newest = next((entry for entry in reversed(entries) if entry.event is Event.EVALUATED), None)
        if newest is None:
            return reading
        retrains = retrains_of(entries)
        mature = newest.detail.get("mature_labels")
        day = day_ending_at(newest.at, self._settings.config.timezone)
        return replace(
            reading,
            mature_labels=int(mature) if isinstance(mature, int | float) else None,
            findings=self._findings(reading.kind, newest.at),
            alert=_alert(evidence, reading, day, newest.at),
            is_undeliverable=bool(retrains) and retrains[-1].state == "undeliverable",
            dataset_rows=next((one.rows for one in reversed(retrains) if one.rows is not None), None),
        )

    def _findings(self, kind: str, at_ms: int) -> dict[FindingKind, Level]:
        """Return the worst level by kind of finding, of the evaluation at that time."""
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        rows = self._lake.scan("evidence", {"kind": (kind, kind), "evidence_at": (at, at)})
        found: dict[FindingKind, Level] = {}
        for name, level in rows.select("name", "level").collect().iter_rows():
            worst = found.get(FindingKind(name), Level.OK)
            found[FindingKind(name)] = max(worst, Level(level), key=lambda level: level.gravity)
        return found

    def _live_reading(self, evidence: Evidence) -> LiveReading:
        """Return the live metrics of each kind's newest versions."""
        newest = set()
        for kind in self._settings.config.labels:
            versions = versions_in(evidence.cells.summary.predictions(kind))
            newest |= {(version, kind) for version in versions[-VERSIONS_MAX:]}
        values = {
            (kind, version, definition, name): value
            for (version, kind, definition, name), value in self._live.metrics.values().items()
            if (version, kind) in newest
        }
        return LiveReading(values, self._live.unread)


def _alert(evidence: Evidence, reading: KindReading, day: date, at_ms: int) -> CoverageAlert:
    """Judge the label pipeline at the end of a day, from the labels known then; while a loss is open it is degraded."""
    kind, gate, plan = reading.kind, reading.gate, evidence.plan
    predictions = evidence.cells.summary.predictions(kind, day)
    memory = label_memory({kind: gate}, kind)
    first = first_day_of_alert(day, plan.kind(kind).horizon_ms, memory, plan.timezone)
    panes = []
    for version in versions_in(predictions):
        days = predictions.filter(pl.col("version") == version)["day"]
        begin = max(first, min(days))
        if begin <= max(days):
            is_its = (pl.col("kind") == kind) & (pl.col("version") == version)
            cells = evidence.cells.of_days(begin, max(days), is_its, pl.col("measure").str.starts_with("pane_"))
            panes.append(read_panes(cells, plan, kind, version, ALL, (begin, max(days))))
    alert = label_pipeline(panes, (first, day), at_ms)
    lost = [one.share for one in gate.faults if one.scope == "kind" and one.until is None]
    return replace(alert, state="degraded", deficit=lost[0]) if lost else alert
