"""Evaluation: all evidence about one label kind at the end of a day, as input for the gate.

An evaluation is a function of the cells and label arrivals as of that day's end, and of what the evaluations before it
have found, which the gate's log keeps. Evaluating the days again, in order, gives the same evaluations, also if each is
made by another process. Days whose labels are too young are not judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.cohort import ALL, day_at, day_starts_ms
from monitor.cells.inputs import input_histograms
from monitor.cells.pane import Panes, read_panes
from monitor.cells.plan import CellPlan
from monitor.cells.versions import current_rollout, running_on, versions_in
from monitor.coverage.label_pipeline import first_day_of_alert, label_pipeline
from monitor.coverage.lookback import lookback_days, lookback_ms
from monitor.coverage.source import LabelMemory, SourceArrivals, watch_sources
from monitor.label_verdict import LabelVerdict, Occasion, label_verdict
from monitor.label_watch import LabelWatch
from monitor.version_watch import LOOKBACK, JudgedKind, VersionCells, VersionWatch, first_needed
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Evaluation, Finding
from schemas.events.memory import VersionMemory

__all__ = ["Evaluator", "day_ending_at", "end_of_day_ms"]

_NO_MEMORY = LabelMemory()


class Evaluator:
    """Evaluates the days of one label kind, in order: `load` cells, then `evaluate` days."""

    def __init__(self, config: LoopConfig, kind: str) -> None:
        self._config = config
        self._kind = kind
        first = config.evaluate_at[0]
        self.at_age_ms: int | None = None if first == "final" else first
        self._wait_ms = config.labels[kind].horizon if self.at_age_ms is None else self.at_age_ms
        self._cells: _LoadedCells | None = None

    def load(
        self,
        cells: CellsByDay,
        plan: CellPlan,
        days: tuple[date, date],
        watch: LabelWatch | None = None,
        memories: Mapping[str, VersionMemory] | None = None,
    ) -> None:
        """Read the cells as they are now, to evaluate some days: of the look back, and for the versions that run.

        Args:
            cells: of the loop.
            plan: the plan they were folded with.
            days: the first and the last day to evaluate; both have ended.
            watch: over the same cells and these days, at least; None: one is made.
            memories: by version what the evaluations before the first day have found. Of a version without any, all
                days are read.
        """
        first, last = days
        kind = next(kind for kind in plan.kinds if kind.name == self._kind)
        predictions = cells.summary.predictions(self._kind, last)
        histograms = tuple(input_histograms(self._config, self._kind, plan))
        judged = JudgedKind(kind, plan.timezone, self.at_age_ms, frozenset(self._config.drift.on), histograms)
        watch = watch or LabelWatch(cells, plan, self._kind, days)
        self._cells = loaded = _LoadedCells(judged, predictions, watch)
        running, former = running_on(predictions, days)
        back = first - timedelta(days=lookback_days(kind.horizon_ms))
        for version in versions_in(predictions):
            made = predictions.filter(pl.col("version") == version)["day"]
            needed = back
            if version in running | former:
                memory = _usable(memories, version, judged.basis)
                needed = first_needed(memory) if version in running else self.judged_day(first) - LOOKBACK
                span = max(needed, min(made)), last
                read = loaded.read[version] = VersionCells.read(cells, judged, version, span, self.judged_day(last))
                if version in running:
                    loaded.watches[version] = VersionWatch(judged, version, memory, read)
            span = max(min(needed, back), min(made)), max(made)
            if span[0] <= span[1]:
                is_pane = pl.col("measure").str.starts_with("pane_")
                own = cells.of_days(*span, pl.col("kind") == self._kind, pl.col("version") == version, is_pane)
                loaded.panes[version] = read_panes(own, plan, self._kind, version, ALL, span)

    def judged_day(self, day: date) -> date:
        """Return the newest day that is old enough to be judged when `day` ends."""
        end_ms = end_of_day_ms(day, self._config.timezone)
        judged = day
        while end_of_day_ms(judged, self._config.timezone) + self._wait_ms > end_ms:
            judged -= timedelta(days=1)
        return judged

    def evaluate(
        self, day: date, arrivals: Mapping[str, SourceArrivals], memory: LabelMemory = _NO_MEMORY
    ) -> Evaluation:
        """Return the evaluation of a day, as of its end, with what the next one has to remember.

        Args:
            day: not before a day that was evaluated already, and among the days that were loaded.
            arrivals: of this kind's labels, by source.
            memory: what the evaluations before have found about the labels.

        Raises:
            ValueError: no cells are loaded.
        """
        if self._cells is None:
            raise ValueError("no cells are loaded")
        loaded = self._cells
        at_ms = end_of_day_ms(day, self._config.timezone)
        known = loaded.predictions.filter(pl.col("day") <= day)
        rollout = current_rollout(known)
        judged = self.judged_day(day)
        labels = self._judge_labels(loaded, day, arrivals, memory)
        findings: list[Finding] = [*labels.findings]
        watch = None
        if rollout is not None:
            watch = loaded.watches[rollout.version]
            watch.advance(day, judged, loaded.panes.get(rollout.version))
            former = None if rollout.former is None else loaded.read[rollout.former]
            findings += [*watch.findings(), *watch.rollout_findings(rollout, former)]
        is_binary = loaded.judged.kind.task == "binary"
        return Evaluation(
            loop=self._config.loop,
            kind=self._kind,
            at=at_ms,
            day=str(day),
            version=None if rollout is None else rollout.version,
            versions=versions_in(known),
            judged_day=str(judged) if watch is not None and watch.labels else None,
            mature_labels=0 if watch is None else watch.labels,
            rarer_class=(0 if watch is None else min(watch.positives, watch.negatives)) if is_binary else None,
            findings=sorted(findings, key=lambda one: (-one.level.gravity, one.kind.value, one.subject)),
            sources=[*labels.learned],
            faults=[*labels.faults],
            memory=None if watch is None else watch.memory(),
        )

    def _judge_labels(
        self, loaded: "_LoadedCells", day: date, arrivals: Mapping[str, SourceArrivals], memory: LabelMemory
    ) -> LabelVerdict:
        at_ms, zone = end_of_day_ms(day, self._config.timezone), self._config.timezone
        horizon_ms = loaded.judged.kind.horizon_ms
        first = first_day_of_alert(day, horizon_ms, memory, zone)
        alert = label_pipeline(list(loaded.panes.values()), (first, day), at_ms)
        sources = watch_sources(arrivals, memory, at_ms, zone)
        losses = loaded.watch.losses(at_ms, memory)
        occasion = Occasion(self._kind, at_ms, lookback_ms(horizon_ms))
        return label_verdict(alert, sources, losses, occasion)


@dataclass
class _LoadedCells:
    """What was read to evaluate some days, by version; `read` of those that run and of those before them."""

    judged: JudgedKind
    predictions: pl.DataFrame
    watch: LabelWatch
    watches: dict[str, VersionWatch] = field(default_factory=dict)
    read: dict[str, VersionCells] = field(default_factory=dict)
    panes: dict[str, Panes] = field(default_factory=dict)


def _usable(memories: Mapping[str, VersionMemory] | None, version: str, basis: str) -> VersionMemory | None:
    """Return the memory of a version, if its figures count what is counted now."""
    memory = (memories or {}).get(version)
    return memory if memory is not None and memory.basis == basis else None


def end_of_day_ms(day: date, timezone: str) -> int:
    """Return the first instant after a day in the loop's time zone.

    >>> end_of_day_ms(date(2013, 3, 10), "America/New_York")
    1362974400000
    """
    return day_starts_ms([day + timedelta(days=1)], timezone)[0]


def day_ending_at(end_ms: int, timezone: str) -> date:
    """Return the day in the loop's time zone that ends at an instant.

    >>> str(day_ending_at(end_of_day_ms(date(2013, 3, 10), "America/New_York"), "America/New_York"))
    '2013-03-10'
    """
    return day_at(end_ms - 1, timezone)
