"""Evaluation: all evidence about one label kind at the end of a day, as input for the gate.

An evaluation is a function of the cells and label arrivals as of that day's end: evaluating the days again, in order,
gives the same evaluations, so no state is stored. Days whose labels are too young are not judged.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.cohort import ALL, day_at, day_starts_ms
from monitor.cells.histogram import Histogram
from monitor.cells.inputs import LABEL, input_counts, input_histograms
from monitor.cells.pane import Panes, read_panes
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.versions import current_rollout, running_on, running_version, versions_in
from monitor.coverage.label_pipeline import first_day_of_alert, label_pipeline
from monitor.coverage.lookback import lookback_days, lookback_ms
from monitor.coverage.source import LabelMemory, SourceArrivals, watch_sources
from monitor.drift.error import Detection, ErrorDrift
from monitor.drift.error_rows import error_rows
from monitor.drift.input_shift import InputShift
from monitor.drift.loss import LOSS_NAME, LossCheck, day_losses, judge_loss
from monitor.drift.quality import judge_quality
from monitor.drift.recovery import still_open
from monitor.finding import (
    drift_finding,
    loss_finding,
    quality_findings,
    rollback_finding,
    shift_findings,
)
from monitor.label_verdict import LabelVerdict, Occasion, label_verdict
from monitor.label_watch import LabelWatch
from monitor.versions.contract import ContractWatch, VersionCounts
from monitor.versions.rollback import judge_rollback
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Evaluation, Finding

__all__ = ["Evaluator", "day_ending_at", "end_of_day_ms"]

_NO_MEMORY = LabelMemory()


@dataclass
class _VersionState:
    """State of one version while its days are evaluated in order.

    `days`: day, number of errors and of labels of each day up to `fed_until` that the drift detector has read.
    """

    drift: ErrorDrift
    contract: ContractWatch
    fed_until: date | None = None
    open_drift: Detection | None = None
    loss: LossCheck | None = None
    loss_until: date | None = None
    days: list[tuple[date, float, int]] = field(default_factory=list)


class Evaluator:
    """Evaluates the days of one label kind, in order: `load` cells, then `evaluate` days."""

    def __init__(self, config: LoopConfig, kind: str) -> None:
        self._config = config
        self._kind = kind
        first = config.evaluate_at[0]
        self.at_age_ms: int | None = None if first == "final" else first
        self._wait_ms = config.labels[kind].horizon if self.at_age_ms is None else self.at_age_ms
        self._on = frozenset(config.drift.on)
        self._states: dict[str, _VersionState] = {}
        self._cells: _LoadedCells | None = None
        self._shifts: dict[str, InputShift] = {}

    def for_restated_cells(self) -> "Evaluator":
        """Return an evaluator for cells after a restatement; it keeps only the verdicts on shift of inputs."""
        other = Evaluator(self._config, self._kind)
        other._shifts = {version: shift.for_restated_cells() for version, shift in self._shifts.items()}
        return other

    def load(self, cells: CellsByDay, plan: CellPlan, days: tuple[date, date], watch: LabelWatch | None = None) -> None:
        """Read the cells as they are now, to evaluate some days: of the look back, and of the versions that run.

        Args:
            cells: of the loop.
            plan: the plan they were folded with.
            days: the first and the last day to evaluate; both have ended.
            watch: over the same cells and these days, at least; None: one is made.
        """
        first, last = days
        kind = next(kind for kind in plan.kinds if kind.name == self._kind)
        predictions = cells.summary.predictions(self._kind, last)
        histograms = input_histograms(self._config, self._kind, plan)
        back = first - timedelta(days=lookback_days(kind.horizon_ms))
        watch = watch or LabelWatch(cells, plan, self._kind, days)
        self._cells = loaded = _LoadedCells(kind, predictions, histograms, watch)
        running = running_on(predictions, days)
        for version in versions_in(predictions):
            made = predictions.filter(pl.col("version") == version)["day"]
            if version in running:
                self._load_version(cells, version, (min(made), last))
            span = max(self._first_needed(version, running, back), min(made)), max(made)
            if span[0] <= span[1]:
                is_pane = pl.col("measure").str.starts_with("pane_")
                own = cells.of_days(*span, pl.col("kind") == self._kind, pl.col("version") == version, is_pane)
                loaded.panes[version] = read_panes(own, plan, self._kind, version, ALL, span)

    def _load_version(self, cells: CellsByDay, version: str, days: tuple[date, date]) -> None:
        """Read what is judged of a version that runs, or ran before the one that does."""
        loaded, last = self._loaded(), days[1]
        judged = self.judged_day(last)
        own = cells.of_days(*days, pl.col("version") == version, pl.col("slice") == ALL)
        counts = input_counts(own, loaded.kind, version, last, judged, self.at_age_ms)
        loaded.inputs[version] = counts
        loaded.shift[version] = self._shifts.setdefault(version, InputShift()).judge(counts, loaded.histograms)
        loaded.losses[version] = day_losses(own, loaded.kind, version, judged, self.at_age_ms)

    def _first_needed(self, version: str, running: Collection[str], back: date) -> date:
        """Return the first day whose panes are read: for the coverage alert, and for a drift detector that lags behind.

        A version that has not run yet needs all its days once it does, or its detector would have read less than after
        a restart.
        """
        if version not in running:
            return back
        state = self._states.get(version)
        return date.min if state is None or state.fed_until is None else min(back, state.fed_until)

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
        """Return the evaluation of a day, as of its end.

        Args:
            day: not before a day that was evaluated already, and among the days that were loaded.
            arrivals: of this kind's labels, by source.
            memory: what the evaluations before have found about the labels.

        Raises:
            ValueError: no cells are loaded.
        """
        loaded = self._loaded()
        at_ms = end_of_day_ms(day, self._config.timezone)
        known = loaded.predictions.filter(pl.col("day") <= day)
        version = running_version(known)
        judged = self.judged_day(day)
        labels = self._judge_labels(day, at_ms, arrivals, memory)
        findings = [*labels.findings]
        losses = None
        if version is not None:
            losses = loaded.losses[version].filter(pl.col("day") <= judged)
            findings += self._error_findings(version, judged)
            findings += self._loss_findings(version, losses, judged)
            findings += shift_findings(loaded.shift[version], day, judged, self._on)
            findings += self._quality_findings(version, day)
            findings += self._version_findings(known, day, judged)
        positives, negatives = (0 if losses is None else int(losses[name].sum()) for name in ("positives", "negatives"))
        return Evaluation(
            loop=self._config.loop,
            kind=self._kind,
            at=at_ms,
            day=str(day),
            version=version,
            versions=versions_in(known),
            judged_day=str(judged) if losses is not None and losses.height else None,
            mature_labels=0 if losses is None else int(losses["n"].sum()),
            rarer_class=min(positives, negatives) if loaded.kind.task == "binary" else None,
            findings=sorted(findings, key=lambda one: (-one.level.gravity, one.kind.value, one.subject)),
            sources=[*labels.learned],
            faults=[*labels.faults],
        )

    def _loaded(self) -> "_LoadedCells":
        if self._cells is None:
            raise ValueError("no cells are loaded")
        return self._cells

    def _state(self, version: str) -> _VersionState:
        if version not in self._states:
            task, zone = self._loaded().kind.task, self._config.timezone
            self._states[version] = _VersionState(ErrorDrift(zone), ContractWatch(task))
        return self._states[version]

    def _judge_labels(
        self, day: date, at_ms: int, arrivals: Mapping[str, SourceArrivals], memory: LabelMemory
    ) -> LabelVerdict:
        loaded, zone = self._loaded(), self._config.timezone
        first = first_day_of_alert(day, loaded.kind.horizon_ms, memory, zone)
        alert = label_pipeline(list(loaded.panes.values()), (first, day), at_ms)
        sources = watch_sources(arrivals, memory, at_ms, zone)
        losses = loaded.watch.losses(at_ms, memory)
        occasion = Occasion(self._kind, at_ms, lookback_ms(loaded.kind.horizon_ms))
        return label_verdict(alert, sources, losses, occasion)

    def _error_findings(self, version: str, judged: date) -> list[Finding]:
        """Feed the drift detector with the days it has not read, and report the drift that is open."""
        loaded = self._loaded()
        if loaded.kind.task != "binary" or "error" not in self._on or version not in loaded.panes:
            return []
        state, panes = self._state(version), loaded.panes[version]
        for index, day in enumerate(panes.days):
            if day > judged or (state.fed_until is not None and day <= state.fed_until):
                continue
            rows = error_rows(panes, index, self.at_age_ms)
            found = state.drift.add_day(day, rows)
            state.days.append((day, float(rows["error"].sum()), rows.height))
            state.open_drift = found if found is not None else still_open(state.open_drift, state.days)
            state.fed_until = day
        one = drift_finding(state.open_drift, state.drift.resolution(), self._kind)
        return [] if one is None else [one]

    def _loss_findings(self, version: str, losses: pl.DataFrame, judged: date) -> list[Finding]:
        """Judge every mature day in order: the state of a day depends on that of the day before."""
        state = self._state(version)
        if losses.is_empty():
            return []
        day = losses["day"][0] if state.loss_until is None else state.loss_until + timedelta(days=1)
        while day <= judged:
            was_worse = state.loss is not None and state.loss.state == "worse"
            state.loss = judge_loss(losses, day, was_worse=was_worse)
            state.loss_until = day
            day += timedelta(days=1)
        found = None if state.loss is None else loss_finding(state.loss, LOSS_NAME[self._loaded().kind.task])
        return [] if found is None else [found]

    def _quality_findings(self, version: str, day: date) -> Sequence[Finding]:
        histograms = [one for one in self._loaded().histograms if one.name != LABEL]
        return quality_findings(judge_quality(self._loaded().inputs[version], histograms, day, is_over=True))

    def _version_findings(self, known: pl.DataFrame, day: date, judged: date) -> list[Finding]:
        """Check the contract in the running version's first days, and whether the version before would do better."""
        loaded, rollout = self._loaded(), current_rollout(known)
        if rollout is None:
            return []
        former = None if rollout.former is None else loaded.counts_of(rollout.former)
        state = self._state(rollout.version)
        found = state.contract.findings(rollout, day, loaded.counts_of(rollout.version), former)
        if rollout.former is not None:
            losses = loaded.losses
            advice = judge_rollback(rollout, losses[rollout.version], losses[rollout.former], judged, state.open_drift)
            found += [] if advice is None else [rollback_finding(advice, rollout, LOSS_NAME[loaded.kind.task])]
        return found


@dataclass
class _LoadedCells:
    """Results read from the cells, by version, to evaluate days without reading the cells again."""

    kind: KindPlan
    predictions: pl.DataFrame
    histograms: list[Histogram]
    watch: LabelWatch
    inputs: dict[str, pl.DataFrame] = field(default_factory=dict)
    shift: dict[str, pl.DataFrame] = field(default_factory=dict)
    losses: dict[str, pl.DataFrame] = field(default_factory=dict)
    panes: dict[str, Panes] = field(default_factory=dict)

    def counts_of(self, version: str) -> VersionCounts:
        return VersionCounts(self.inputs[version], self.predictions.filter(pl.col("version") == version))


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
