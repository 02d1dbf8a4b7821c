"""Watches one version: its error, loss, inputs and contract, day by day, from what is remembered of the days before.

Each day is judged once. What was found with it is the state (`schemas.events.memory.VersionMemory`), and follows from
the cells as they were then; beside it only the days of the last `LOOKBACK` are read. So a new process goes on as the
one before would have, to the bit, at a cost that does not depend on the version's age. Without a memory all days of
the version are judged, once: when it begins to run, after a change of what is counted, and for a log without memories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.cohort import ALL
from monitor.cells.histogram import Histogram
from monitor.cells.inputs import LABEL, input_counts
from monitor.cells.pane import Panes
from monitor.cells.plan import KindPlan
from monitor.cells.versions import Rollout
from monitor.drift.detection import Detection
from monitor.drift.error import ERROR_LOOKBACK, ErrorDrift
from monitor.drift.error_rows import ERROR_SCHEMA, error_rows
from monitor.drift.input_shift import judge_inputs
from monitor.drift.loss import LOSS_NAME, LossCheck, day_losses, judge_loss
from monitor.drift.quality import judge_quality
from monitor.drift.recovery import OpenDrift, RatedDay, still_open
from monitor.drift.shift import PAST, SHIFT_LOOKBACK
from monitor.finding import drift_finding, loss_finding, quality_findings, rollback_finding, shift_findings
from monitor.versions.contract import CONTRACT_LOOKBACK, ContractWatch, VersionCounts
from monitor.versions.rollback import judge_rollback
from schemas.config.retrain import DriftSubject
from schemas.events.evidence import Finding
from schemas.events.memory import VersionMemory

__all__ = ["LOOKBACK", "JudgedKind", "VersionCells", "VersionWatch", "continued", "first_needed", "for_restated_labels"]

LOOKBACK: Final = max(ERROR_LOOKBACK, SHIFT_LOOKBACK, CONTRACT_LOOKBACK)
"""How far before a day that is judged cells are read; losses and qualities are compared with fewer days."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class JudgedKind:
    """What is judged of every version of a kind.

    Attributes:
        kind: of the plan that the cells were folded with.
        timezone: of the loop.
        at_age_ms: labels of this age are judged, one of the kind's `evaluate_at_ms`; None: those of the horizon.
        on: subjects whose drift the config watches.
        histograms: of the inputs.
    """

    kind: KindPlan
    timezone: str
    at_age_ms: int | None
    on: frozenset[DriftSubject]
    histograms: tuple[Histogram, ...]

    @property
    def basis(self) -> str:
        """What figures of labels count; remembered ones of another basis are not gone on from."""
        age = "final" if self.at_age_ms is None else f"{self.at_age_ms} ms"
        return f"{self.kind.definition} at {age}, positive from {self.kind.threshold}"


@dataclass(frozen=True)
class VersionCells:
    """What the cells of some days say of one version: `losses` as of `monitor.drift.loss.day_losses`."""

    counts: VersionCounts
    losses: pl.DataFrame

    @classmethod
    def read(
        cls, cells: CellsByDay, judged: JudgedKind, version: str, days: tuple[date, date], until: date
    ) -> "VersionCells":
        """Read them; of labels those of the days up to `until`."""
        kind, last = judged.kind, days[1]
        own = cells.of_days(*days, pl.col("version") == version, pl.col("slice") == ALL)
        counts = input_counts(own, kind, version, last, until, judged.at_age_ms)
        made = cells.summary.predictions(kind.name, last).filter(pl.col("version") == version)
        losses = day_losses(own, kind, version, until, judged.at_age_ms)
        return cls(VersionCounts(counts, made), losses)


def for_restated_labels(memory: VersionMemory) -> VersionMemory:
    """Return what is still known after a ruling has changed which labels are of record: all but what labels showed.

    A ruling may change labels of any day, so those of all days of the version are judged anew, once. Its inputs have
    not changed and keep their verdicts.
    """
    counts = {"judged": None, "labels": 0, "positives": 0, "negatives": 0, "is_worse": False}
    windows = [one for one in memory.windows if one.input != LABEL]
    return memory.model_copy(update={**counts, "changes": [], "open_change": None, "windows": windows})


def continued(memories: Sequence[VersionMemory], since: date = date.max) -> VersionMemory:
    """Return what the memories of a version say together: the newest one, with the windows of the year before it.

    Args:
        memories: in order of time, at least one; before another basis they say nothing.
        since: windows from this day on are wanted, too.
    """
    newest = memories[-1]
    first = min(since, newest.day - PAST)
    own = [one for one in memories if one.basis == newest.basis]
    windows = [window for one in own for window in one.windows if window.day >= first]
    return newest.model_copy(update={"windows": windows})


def first_needed(memory: VersionMemory | None) -> date:
    """Return the first day whose cells are needed to go on from a memory; `date.min`: those of all days are."""
    return date.min if memory is None or memory.judged is None else memory.judged - LOOKBACK


class VersionWatch:
    """Watches one version: `advance` day by day, then ask.

    Args:
        judged: what is judged.
        version: which one.
        memory: of an evaluation before, with all windows of the year before it; None: nothing is known.
        read: its cells from `first_needed` on, up to the last day that `advance` is given.

    Attributes:
        labels: number of labels of all judged days.
        positives: those of the positive class; 0 unless binary.
        negatives: those of the negative class; 0 unless binary.
    """

    def __init__(self, judged: JudgedKind, version: str, memory: VersionMemory | None, read: VersionCells) -> None:
        known = memory or _nothing(judged, version)
        self._judged, self._version = judged, version
        self._day, self._until = known.day, known.judged or date.min
        self._told = self._day, self._until
        self.labels, self.positives, self.negatives = known.labels, known.positives, known.negatives
        self._is_worse = known.is_worse
        self._changes = [Detection.of(one) for one in known.changes]
        self._open_drift = None if known.open_change is None else OpenDrift.of_remembered(known.open_change)
        self._windows = [*known.windows]
        self._windows += judge_inputs(read.counts.inputs, judged.histograms, self._windows, self._told)
        checked_until = None if memory is None else memory.day
        self._contract = ContractWatch(judged.kind.task, checked_until, known.kept_on)
        self._read = read
        self._loss: LossCheck | None = None
        self._drift: ErrorDrift | None = None
        self._rated: list[RatedDay] = []

    def advance(self, day: date, until: date, panes: Panes | None) -> None:
        """Judge the days up to one, of labels those up to `until`; what was judged is not judged again.

        Args:
            day: not before that of an earlier call.
            until: the newest day that is old enough.
            panes: of the version, of the days of its cells; None: it has made no predictions on them.
        """
        losses = self._read.losses.filter(pl.col("day") <= until)
        new = losses.filter(pl.col("day") > self._until)
        if self._judged.kind.task == "binary" and "error" in self._judged.on:
            self._judge_errors(panes, until)
        self.labels += int(new["n"].sum())
        self.positives += int(new["positives"].sum())
        self.negatives += int(new["negatives"].sum())
        if self.labels:
            self._judge_losses(losses, until)
        self._day, self._until = day, max(until, self._until)

    def findings(self) -> list[Finding]:
        """Return the findings on error, loss and inputs as of the newest day."""
        histograms = [one for one in self._judged.histograms if one.name != LABEL]
        quality = judge_quality(self._read.counts.inputs, histograms, self._day, is_over=True)
        return [
            *self._of_errors_and_loss(),
            *shift_findings(self._windows, self._day, self._until, self._judged.on),
            *quality_findings(quality),
        ]

    def rollout_findings(self, rollout: Rollout, former: VersionCells | None) -> list[Finding]:
        """Return how the version breaks its contract, and whether the version before it would do better.

        Args:
            rollout: of this version.
            former: of the version before it, if there was one.
        """
        before = None if former is None else former.counts
        found = self._contract.findings(rollout, self._day, self._read.counts, before)
        if former is not None:
            drift = None if self._open_drift is None else self._open_drift.found
            advice = judge_rollback(rollout, self._read.losses, former.losses, self._until, drift)
            subject = LOSS_NAME[self._judged.kind.task]
            found += [] if advice is None else [rollback_finding(advice, rollout, subject)]
        return found

    def memory(self) -> VersionMemory:
        """Return what is to be remembered, with the windows that were not in an earlier memory."""
        inputs, labels = self._told
        self._told = self._day, self._until
        year = self._day - PAST
        windows = [
            one
            for one in self._windows
            if year <= one.day
            and (labels < one.day <= self._until if one.input == LABEL else inputs < one.day <= self._day)
        ]
        changes = self._changes if self._drift is None else self._drift.found
        drift = self._open_drift
        return VersionMemory(
            version=self._version,
            basis=self._judged.basis,
            day=self._day,
            judged=None if self._until == date.min else self._until,
            labels=self.labels,
            positives=self.positives,
            negatives=self.negatives,
            is_worse=self._is_worse,
            changes=[one.remembered() for one in changes],
            open_change=None if drift is None else drift.remembered(),
            kept_on=self._contract.kept_on,
            windows=windows,
        )

    def _judge_errors(self, panes: Panes | None, until: date) -> None:
        """Give the detector the days that it has not read; at first also those that it had read before."""
        days = () if panes is None else panes.days
        index_of = {day: index for index, day in enumerate(days)}

        def rows_of(day: date) -> pl.DataFrame:
            if panes is None or day not in index_of:
                return ERROR_SCHEMA.to_frame()
            return error_rows(panes, index_of[day], self._judged.at_age_ms)

        if self._drift is None:
            known = [] if self._until == date.min else _days_before(self._until, ERROR_LOOKBACK)
            read = [(day, rows_of(day)) for day in known]
            self._drift = ErrorDrift.resumed(self._judged.timezone, read, self._changes)
            self._rated = [(day, float(rows["error"].sum()), rows.height) for day, rows in read]
        day = self._until + _DAY if self._until > date.min else min(days, default=until + _DAY)
        while day <= until:
            rows = rows_of(day)
            found = self._drift.add_day(day, rows)
            self._rated.append((day, float(rows["error"].sum()), rows.height))
            still = still_open(self._open_drift, self._rated)
            self._open_drift = still if found is None else OpenDrift.of(found, self._rated)
            day += _DAY

    def _judge_losses(self, losses: pl.DataFrame, until: date) -> None:
        """Judge every new day in order: the state of a day depends on that of the day before."""
        day = self._until + _DAY if self._until > date.min else losses["day"][0]
        self._loss = judge_loss(losses, until, was_worse=self._is_worse)  # if no day is new: as it was
        while day <= until:
            self._loss = judge_loss(losses, day, was_worse=self._is_worse)
            self._is_worse = self._loss.state == "worse"
            day += _DAY

    def _of_errors_and_loss(self) -> list[Finding]:
        found = [] if self._loss is None else [loss_finding(self._loss, LOSS_NAME[self._judged.kind.task])]
        if self._drift is not None:
            open_ = None if self._open_drift is None else self._open_drift.found
            found.append(drift_finding(open_, self._drift.resolution(), self._judged.kind.name))
        return [one for one in found if one is not None]


def _nothing(judged: JudgedKind, version: str) -> VersionMemory:
    """Return what is known of a version before its first evaluation."""
    return VersionMemory(
        version=version,
        basis=judged.basis,
        day=date.min,
        judged=None,
        labels=0,
        positives=0,
        negatives=0,
        is_worse=False,
        changes=[],
        open_change=None,
        kept_on=None,
        windows=[],
    )


def _days_before(last: date, span: timedelta) -> list[date]:
    """Return so many days that end with one, in order."""
    return [last - timedelta(days=back) for back in range(span.days - 1, -1, -1)]
