"""What the role's series are made from: read from the lake, so that a process that has just begun tells the same.

Must not decide, and must not hold up what is decided: what cannot be read is told at the next look.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from lake import Lake
from monitor.cells.cohort import ALL
from monitor.cells.pane import read_panes
from monitor.cells.plan import CellPlan
from monitor.cells.versions import prediction_counts, versions_in
from monitor.coverage.alert import CoverageAlert
from monitor.coverage.label_pipeline import COVERAGE_DAYS, label_pipeline
from monitor.evaluation import day_ending_at
from retrain.retrains import retrains_of
from schemas.errors import TruthloopError
from schemas.events.evidence import Decision, Event, FindingKind, Level
from truthloop.config.settings import Settings
from truthloop.evidence.cells import Evidence
from truthloop.feedback.live_metrics import LiveMetricsReader
from truthloop.feedback.metrics import VERSIONS_MAX, Gauges, KindReading, LiveReading
from truthloop.feedback.reconcile import Reconciler

__all__ = ["MetricsReader"]

log = logging.getLogger("truthloop.feedback")


@dataclass(frozen=True)
class _Newest:
    """What the log and the newest evaluation of a kind say; `following`: of the log that was read."""

    following: int
    mature_labels: int | None = None
    findings: dict[FindingKind, Level] | None = None
    alert: CoverageAlert | None = None
    is_undeliverable: bool = False
    dataset_rows: int | None = None


class MetricsReader:
    """Reads what the series of one loop say, and tells it.

    Args:
        settings: the loop's.
        gauges: told.
    """

    def __init__(self, settings: Settings, gauges: Gauges) -> None:
        self._settings = settings
        self._gauges = gauges
        self._lake = Lake.open(settings.lake)
        self._newest: dict[str, _Newest] = {}
        self._live = LiveMetricsReader(self._lake, CellPlan.from_config(settings.config))

    def tell(self, turn: Reconciler) -> None:
        """Tell what a turn has left behind."""
        if turn.evidence is None:
            return
        try:
            readings = [self._reading(turn, turn.evidence, kind) for kind in self._settings.config.labels]
            self._live.look(turn.evidence.rulings)
        except TruthloopError as error:
            log.warning("the metrics are not up to date: %s", error)
            return
        self._gauges.tell(readings, self._live_reading(turn.evidence))

    def _reading(self, turn: Reconciler, evidence: Evidence, kind: str) -> KindReading:
        gate = turn.gate(kind)
        known = self._newest.get(kind)
        if known is None or known.following != gate.following:
            entries = turn.entries_from(kind, 0)
            self._newest[kind] = known = self._read(evidence, kind, entries, gate.following)
        return KindReading(
            kind,
            gate,
            evidence.reach.observed_until_ms.get(kind),
            known.mature_labels,
            known.findings,
            known.alert,
            known.is_undeliverable,
            known.dataset_rows,
        )

    def _read(self, evidence: Evidence, kind: str, entries: list[Decision], following: int) -> _Newest:
        """Return what the log and the newest evaluation say."""
        newest = next((entry for entry in reversed(entries) if entry.event is Event.EVALUATED), None)
        if newest is None:
            return _Newest(following)
        retrains = retrains_of(entries)
        mature = newest.detail.get("mature_labels")
        day = day_ending_at(newest.at, self._settings.config.timezone)
        return _Newest(
            following,
            int(mature) if isinstance(mature, int | float) else None,
            self._findings(kind, newest.at),
            _alert(evidence, kind, day, newest.at),
            is_undeliverable=bool(retrains) and retrains[-1].state == "undeliverable",
            dataset_rows=next((one.rows for one in reversed(retrains) if one.rows is not None), None),
        )

    def _findings(self, kind: str, at_ms: int) -> dict[FindingKind, Level]:
        """Return the worst level by kind of finding, of the evaluation of that time."""
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        rows = self._lake.scan("evidence").filter(pl.col("kind") == kind, pl.col("evidence_at") == at)
        found: dict[FindingKind, Level] = {}
        for name, level in rows.select("name", "level").collect().iter_rows():
            before = found.get(FindingKind(name), Level.OK)
            found[FindingKind(name)] = max(before, Level(level), key=lambda one: one.gravity)
        return found

    def _live_reading(self, evidence: Evidence) -> LiveReading:
        """Return the live metrics of each kind's newest versions."""
        newest = set()
        for kind in self._settings.config.labels:
            versions = versions_in(prediction_counts(evidence.cells, kind, date.max))
            newest |= {(version, kind) for version in versions[-VERSIONS_MAX:]}
        values = self._live.metrics.values()
        told = {
            (kind, version, name): value for (version, kind, name), value in values.items() if (version, kind) in newest
        }
        return LiveReading(told, self._live.unread)


def _alert(evidence: Evidence, kind: str, day: date, at_ms: int) -> CoverageAlert:
    """Return what is said of the label pipeline at the end of a day; with the cells of now, as they stood then."""
    made = prediction_counts(evidence.cells, kind, day)
    first = day - timedelta(days=COVERAGE_DAYS - 1)
    panes = []
    for version in versions_in(made):
        days = made.filter(pl.col("version") == version)["day"]
        begin = max(first, min(days))
        if begin <= max(days):
            panes.append(read_panes(evidence.cells, evidence.plan, kind, version, ALL, (begin, max(days))))
    return label_pipeline(panes, (first, day), at_ms)
