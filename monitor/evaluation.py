"""What is known at the end of a day: all evidence about one label kind, as one evaluation for the gate.

Laws: an evaluation is a function of the cells and the arrivals of labels, looked at as they stood at that day's end;
giving the days again, in order, gives the same evaluations. A young cohort is never judged. This module must not
decide, and must not keep what cannot be made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.cohort import ALL, day_starts_ms
from monitor.cells.histogram import Histogram
from monitor.cells.inputs import LABEL, input_counts, input_histograms
from monitor.cells.pane import Panes, read_panes
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.versions import prediction_counts, reign_of, running_version, versions_in
from monitor.coverage.label_pipeline import COVERAGE_DAYS, label_pipeline
from monitor.coverage.liveness import source_liveness
from monitor.drift.error import Detection, ErrorDrift
from monitor.drift.error_rows import error_rows
from monitor.drift.input_shift import InputShift
from monitor.drift.loss import LOSS_NAME, LossCheck, day_losses, judge_loss
from monitor.drift.quality import judge_quality
from monitor.finding import (
    coverage_finding,
    drift_finding,
    loss_finding,
    quality_findings,
    rollback_finding,
    shift_findings,
    silence,
)
from monitor.versions.contract import ContractWatch, Record
from monitor.versions.rollback import judge_rollback
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Evaluation, Finding

__all__ = ["Evaluator", "SourceArrivals", "day_ending_at", "end_of_day_ms"]

_RECOVERED = 0.5
"""A drift stays open until a week of errors has come back by this part of the change."""
_RECOVERY_DAYS = 7
_BEFORE = timedelta(days=28)


@dataclass(frozen=True)
class SourceArrivals:
    """When labels of one source came.

    Attributes:
        minutes: epoch minutes in which any came, growing, each once.
        heartbeats_ms: times at which the source said up to when it is complete, growing.
    """

    minutes: npt.NDArray[np.int64]
    heartbeats_ms: tuple[int, ...] = ()


@dataclass
class _VersionState:
    """What is remembered of one version while its days are read in order."""

    drift: ErrorDrift
    newcomer: ContractWatch
    fed_until: date | None = None
    open: Detection | None = None
    loss: LossCheck | None = None
    loss_until: date | None = None
    days: list[tuple[date, float, int]] = field(default_factory=list)


class Evaluator:
    """Evaluates the days of one label kind, in order.

    Args:
        config: of the loop.
        kind: label kind.
    """

    def __init__(self, config: LoopConfig, kind: str) -> None:
        self._config = config
        self._kind = kind
        first = config.evaluate_at[0]
        self.at_age_ms: int | None = None if first == "final" else first
        self._wait_ms = config.labels[kind].horizon if self.at_age_ms is None else self.at_age_ms
        self._on = frozenset(config.drift.on)
        self._states: dict[str, _VersionState] = {}
        self._taken: _Taken | None = None
        self._judged: dict[str, InputShift] = {}

    def restated(self) -> "Evaluator":
        """Return one for cells in which other labels count; of inputs it knows what this one does."""
        other = Evaluator(self._config, self._kind)
        other._judged = {version: shift.restated() for version, shift in self._judged.items()}
        return other

    def take(self, cells: pl.DataFrame, plan: CellPlan, days: tuple[date, date]) -> None:
        """Look at the cells as they are now, to evaluate some days.

        Args:
            cells: merged cells.
            plan: the plan they were folded with.
            days: the first and the last that are to be evaluated; both have ended.
        """
        first, last = days
        kind = next(one for one in plan.kinds if one.name == self._kind)
        predictions = prediction_counts(cells, self._kind, last)
        histograms = input_histograms(self._config, self._kind, plan)
        judged = self.judged_day(last)
        self._taken = _Taken(kind, predictions, histograms)
        for version in versions_in(predictions):
            own = cells.filter(pl.col("version") == version)
            counts = input_counts(own, kind, version, last, judged, self.at_age_ms)
            self._taken.counts[version] = counts
            self._taken.shift[version] = self._judged.setdefault(version, InputShift()).judge(counts, histograms)
            self._taken.losses[version] = day_losses(own, kind, version, judged, self.at_age_ms)
            made = predictions.filter(pl.col("version") == version)["day"]
            span = (max(self._first_needed(version, first), min(made)), max(made))
            if span[0] <= span[1]:
                self._taken.panes[version] = read_panes(own, plan, self._kind, version, ALL, span)

    def _first_needed(self, version: str, first: date) -> date:
        """Return the first day whose panes are looked at: for the alert, and for a detector that lags behind.

        A version that has not run yet gives all its days, or its detector would know less than after a restart.
        """
        state = self._states.get(version)
        if state is None or state.fed_until is None:
            return date.min
        return min(first - timedelta(days=COVERAGE_DAYS), state.fed_until)

    def judged_day(self, day: date) -> date:
        """Return the newest day that is old enough to be judged when `day` ends."""
        end_ms = end_of_day_ms(day, self._config.timezone)
        judged = day
        while end_of_day_ms(judged, self._config.timezone) + self._wait_ms > end_ms:
            judged -= timedelta(days=1)
        return judged

    def evaluate(self, day: date, arrivals: Mapping[str, SourceArrivals]) -> Evaluation:
        """Return what is known when `day` ends.

        Args:
            day: not before a day that was evaluated already, not behind what was taken.
            arrivals: by source, of this kind's labels.
        """
        taken = self._look()
        at_ms = end_of_day_ms(day, self._config.timezone)
        known = taken.predictions.filter(pl.col("day") <= day)
        version = running_version(known)
        judged = self.judged_day(day)
        findings = [*self._labels(day, at_ms, arrivals)]
        losses = None
        if version is not None:
            losses = taken.losses[version].filter(pl.col("day") <= judged)
            findings += self._error(version, judged)
            findings += self._loss(version, losses, judged)
            findings += shift_findings(taken.shift[version], day, judged, self._on)
            findings += self._quality(version, day)
            findings += self._newcomer(known, day, judged)
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
            rarer_class=min(positives, negatives) if taken.kind.task == "binary" else None,
            findings=sorted(findings, key=lambda one: (-one.level.gravity, one.kind.value, one.subject)),
        )

    def _look(self) -> "_Taken":
        if self._taken is None:
            raise ValueError("nothing was taken yet")
        return self._taken

    def _state(self, version: str) -> _VersionState:
        if version not in self._states:
            newcomer = ContractWatch(self._look().kind.task)
            self._states[version] = _VersionState(ErrorDrift(self._config.timezone), newcomer)
        return self._states[version]

    def _labels(self, day: date, at_ms: int, arrivals: Mapping[str, SourceArrivals]) -> list[Finding]:
        first = day - timedelta(days=COVERAGE_DAYS - 1)
        alert = label_pipeline(list(self._look().panes.values()), (first, day), at_ms)
        found = [coverage_finding(alert, self._kind)]
        for source, one in arrivals.items():
            heartbeat = max((time for time in one.heartbeats_ms if time <= at_ms), default=None)
            found.append(silence(source_liveness(one.minutes, at_ms, self._config.timezone, heartbeat), source))
        return [one for one in found if one is not None]

    def _error(self, version: str, judged: date) -> list[Finding]:
        """Give the detector the days it has not seen, and return what stands open."""
        taken = self._look()
        if taken.kind.task != "binary" or "error" not in self._on or version not in taken.panes:
            return []
        state = self._state(version)
        panes = taken.panes[version]
        for place, day in enumerate(panes.days):
            if day > judged or (state.fed_until is not None and day <= state.fed_until):
                continue
            rows = error_rows(panes, place, self.at_age_ms)
            found = state.drift.add_day(day, rows)
            state.days.append((day, float(rows["error"].sum()), rows.height))
            state.open = found if found is not None else _still_open(state.open, state.days)
            state.fed_until = day
        return [] if state.open is None else [drift_finding(state.open, self._kind)]

    def _loss(self, version: str, losses: pl.DataFrame, judged: date) -> list[Finding]:
        """Judge every mature day in order: whether one is told depends on whether it was told before."""
        state = self._state(version)
        if losses.is_empty():
            return []
        day = losses["day"][0] if state.loss_until is None else state.loss_until + timedelta(days=1)
        while day <= judged:
            was_worse = state.loss is not None and state.loss.state == "worse"
            state.loss = judge_loss(losses, day, was_worse=was_worse)
            state.loss_until = day
            day += timedelta(days=1)
        found = None if state.loss is None else loss_finding(state.loss, LOSS_NAME[self._look().kind.task])
        return [] if found is None else [found]

    def _quality(self, version: str, day: date) -> Sequence[Finding]:
        taken = self._look()
        histograms = [one for one in taken.histograms if one.name != LABEL]
        return quality_findings(judge_quality(taken.counts[version], histograms, day, is_over=True))

    def _newcomer(self, known: pl.DataFrame, day: date, judged: date) -> list[Finding]:
        """Look at a version's first days: the contract, and whether the one before would do better."""
        taken, reign = self._look(), reign_of(known)
        if reign is None:
            return []
        former = None if reign.former is None else taken.record(reign.former)
        state = self._state(reign.version)
        found = state.newcomer.findings(reign, day, taken.record(reign.version), former)
        if reign.former is not None:
            losses = taken.losses
            advice = judge_rollback(reign, losses[reign.version], losses[reign.former], judged, state.open)
            found += [] if advice is None else [rollback_finding(advice, reign, LOSS_NAME[taken.kind.task])]
        return found


@dataclass
class _Taken:
    """What was read from the cells, by version, to evaluate days without reading them again."""

    kind: KindPlan
    predictions: pl.DataFrame
    histograms: list[Histogram]
    counts: dict[str, pl.DataFrame] = field(default_factory=dict)
    shift: dict[str, pl.DataFrame] = field(default_factory=dict)
    losses: dict[str, pl.DataFrame] = field(default_factory=dict)
    panes: dict[str, Panes] = field(default_factory=dict)

    def record(self, version: str) -> Record:
        """Return what is known of a version's predictions."""
        return Record(self.counts[version], self.predictions.filter(pl.col("version") == version))


def end_of_day_ms(day: date, timezone: str) -> int:
    """Return the first instant after a day in the loop's time zone."""
    return day_starts_ms([day + timedelta(days=1)], timezone)[0]


def day_ending_at(end_ms: int, timezone: str) -> date:
    """Return the day in the loop's time zone that ends at an instant."""
    return datetime.fromtimestamp((end_ms - 1) / 1000, ZoneInfo(timezone)).date()


def _still_open(found: Detection | None, days: Sequence[tuple[date, float, int]]) -> Detection | None:
    """Return the drift unless a week of days behind it is nearer to what was before: all hours of the week alike."""
    recent = days[-_RECOVERY_DAYS:]
    if found is None or recent[0][0] <= found.day:
        return found
    before = _mean_error([one for one in days if found.since - _BEFORE <= one[0] < found.since])
    now = _mean_error(recent)
    if before is None or now is None:
        return found
    gone = abs(now - before) < _RECOVERED * abs(found.change)
    return None if gone else found


def _mean_error(days: Sequence[tuple[date, float, int]]) -> float | None:
    rows = sum(n for _, _, n in days)
    return sum(wrong for _, wrong, _ in days) / rows if rows else None
