"""Reconciles the gate with the lake: folds new rows, evaluates ended days, scans for backfills, logs the decisions.

Everything is written by compare-and-set and follows from the lake: two processes, or one that is killed at any step,
make the same decisions once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

from lake import Claim, Lake, append_records
from lake.dataset import MANIFEST, write_dataset
from lake.dataset_selection import count_rows
from monitor.coverage.source import LabelMemory, SourceArrivals
from monitor.evaluation import Evaluator, day_ending_at, end_of_day_ms
from monitor.label_watch import LabelWatch
from monitor.version_watch import for_restated_labels
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of, waiting_episodes
from retrain.evaluation_entries import evaluated, restated
from retrain.gate import Gate
from retrain.log_entries import EntryOrigin, prepared
from retrain.retrains import approved_before
from retrain.version_memory import memories_of
from schemas.events.dataset_rows import DatasetRows
from schemas.events.evidence import Decision, Evaluation, GateState
from streams.ledger.table import STEP_TABLES
from truthloop.config.settings import Settings
from truthloop.evidence.approved_rows import order_of
from truthloop.evidence.arrivals import arrivals_to_evaluate, label_memory
from truthloop.evidence.backfill_scan import BackfillScan
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.evidence.lake_cells import LakeCells
from truthloop.feedback.candidate_review import CandidateReview
from truthloop.feedback.label_looks import LabelLooks

__all__ = ["ReconcileResult", "Reconciler"]

LOOKED_AT = (*STEP_TABLES, "ledger", "cells", "decisions")
"""Tables of which a commit can give a reconciliation something to do; what it writes itself it has decided before."""

log = logging.getLogger("truthloop.feedback")

Commits = Sequence[tuple[int, str | None]]
"""The newest of each table of `LOOKED_AT`."""

DAYS_AT_ONCE = 14
"""Days that are judged before they are logged: whoever catches up with a year shows how far it is, and once killed goes
on from there."""


@dataclass(frozen=True)
class ReconcileResult:
    """What one reconciliation has added.

    Attributes:
        evaluations: in order of time.
        decisions: entries of the gates' logs.
        behind: days that have ended and are still to be evaluated, of all kinds.
    """

    evaluations: Sequence[Evaluation]
    decisions: Sequence[Decision]
    behind: int


@dataclass(frozen=True)
class _Loaded:
    """What was read to evaluate days that are due, and serves until cells or the log have changed otherwise.

    Attributes:
        cells: that it was read from.
        entries: how many the log had after the last evaluation.
        days: that are still to be evaluated, in order.
    """

    cells: LakeCells
    entries: int
    days: Sequence[date]
    watch: LabelWatch
    evaluator: Evaluator

    def serves(self, evidence: Evidence, gate: Gate, due: Sequence[date]) -> bool:
        """Tell whether evaluations of these days can go on from what it has read and found."""
        return self.cells is evidence.cells and self.entries == gate.following and self.days == due


@dataclass
class _KindState:
    """The gate of one label kind and what drives it."""

    origin: EntryOrigin
    log: DecisionLog
    looks: LabelLooks
    scan: BackfillScan
    review: CandidateReview
    gate: Gate = field(default_factory=Gate)
    loaded: _Loaded | None = None


class Reconciler:
    """Reconciles one loop, again and again.

    Args:
        now_ms: the wall clock; no decision depends on it.
        on_part: called whenever a part of what takes long is done.
    """

    def __init__(
        self, settings: Settings, now_ms: Callable[[], int], on_part: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._on_part = on_part
        self._lake = Lake.open(settings.lake)
        self._evidence: Evidence | None = None
        self._found_idle: Commits | None = None
        self._at_rest: Commits | None = None
        self._kinds = {name: self._new_kind(name) for name in settings.config.labels}

    @property
    def evidence(self) -> Evidence | None:
        """The evidence of the last run; None before the first."""
        return self._evidence

    def gate(self, kind: str) -> Gate:
        """Return the gate of a kind after the last run."""
        return self._kinds[kind].gate

    def entries_from(self, kind: str, first: int) -> list[Decision]:
        """Return the entries of a kind's log from a number on."""
        if self._kinds[kind].gate.following <= first:
            return []
        return self._kinds[kind].log.entries()[first:]

    def note_published(self, claim: Claim) -> bool:
        """Store how far a log has been published; return False if another worker has stored another position."""
        return append_records(self._lake, "decisions", [], claim, self._now_ms())

    def run(self) -> ReconcileResult:
        """Reconcile once.

        Everything follows from the lake: as long as it is as two runs have found it that had nothing to do, nothing is
        read. One is not enough: a backfill that has stopped growing is logged by the second.

        Raises:
            LakeError: it cannot be read or written, or a data set cannot be written; the next run continues from there.
        """
        lake = self._lake if self._evidence is None else self._evidence.lake
        with lake.look():
            commits = lake.newest_commits(LOOKED_AT)
            if commits == self._at_rest:
                return ReconcileResult([], [], 0)
            evidence = self._evidence = read_evidence(self._settings, self._evidence, self._on_part)
        result = self._reconciled(evidence)
        is_idle = not (result.evaluations or result.decisions or result.behind)
        self._at_rest = commits if is_idle and commits == self._found_idle else None
        self._found_idle = commits if is_idle else None
        return result

    def _reconciled(self, evidence: Evidence) -> ReconcileResult:
        """Do what the evidence gives to do."""
        evaluations: list[Evaluation] = []
        decisions: list[Decision] = []
        behind = 0
        for kind in self._kinds.values():
            kind.gate = kind.log.gate()
        for kind in self._kinds.values():
            decisions += self._prepare(kind)
            decisions += self._restate(kind, evidence)
            found, entries = self._evaluate(kind, evidence)
            evaluations += found
            decisions += entries
            decisions += self._prepare(kind)
            decisions += self._review(kind, evidence)
            left = self._due_days(kind, evidence)
            behind += len(left)
            # all ended days are evaluated first, so a replay of the past evaluates them before it finds later backfills
            decisions += [] if left else self._scan(kind, evidence)
        return ReconcileResult(evaluations, decisions, behind)

    def _prepare(self, kind: _KindState) -> list[Decision]:
        """Write the data set of a retrain that was decided, and log it."""
        retrain = self._settings.config.retrain
        gate = kind.gate
        if retrain is None or gate.state is not GateState.PREPARING or gate.decision is None or gate.decided_ms is None:
            return []
        order = order_of(retrain, kind.origin.kind, gate.decided_ms, gate.decision)
        found = write_dataset(self._lake, self._settings.config, order, self._settings.datasets)
        detail = {
            "dataset": found.folder.absolute().as_uri(),
            "manifest": (found.folder.absolute() / MANIFEST).as_uri(),
            "manifest_sha256": found.manifest_sha256,
        }
        approved = approved_before(kind.log.entries(), gate.decision)
        entry = prepared(kind.origin, gate, detail, found.counts, approved)
        return self._append(kind, lambda _entries: [entry])

    def _restate(self, kind: _KindState, evidence: Evidence) -> list[Decision]:
        """Evaluate the last evaluated day again if a ruling has changed which labels are of record since."""
        rulings = rulings_of(kind.log.entries())
        if not kind.gate.ruled or kind.gate.evaluated_ms is None or not evidence.follows(kind.origin.kind, rulings):
            return []
        day = day_ending_at(kind.gate.evaluated_ms, self._settings.config.timezone)
        memories = {version: for_restated_labels(one) for version, one in memories_of(kind.log.entries()).items()}
        evaluator = Evaluator(self._settings.config, kind.origin.kind)
        evaluator.load(evidence.cells, evidence.plan, (day, day), memories=memories)
        evaluation = evaluator.evaluate(
            day, self._arrivals(kind, kind.gate.evaluated_ms), self._memory(kind.origin.kind, kind.gate)
        )
        waiting = waiting_episodes(rulings)

        def build(dataset: DatasetRows | None) -> list[Decision]:
            return [restated(kind.origin, kind.gate, evaluation, waiting, dataset)]

        [entry] = self._with_dataset(kind, kind.gate, build)
        return self._append(kind, lambda _entries: [entry])

    def _evaluate(self, kind: _KindState, evidence: Evidence) -> tuple[list[Evaluation], list[Decision]]:
        """Evaluate the days that have ended, and look at the labels between; return nothing if another was first."""
        until_ms, due = evidence.reach.observed_until_ms.get(kind.origin.kind), self._due_days(kind, evidence)
        loaded = None if until_ms is None else self._load(kind, evidence, due, until_ms)
        kind.loaded = None
        if until_ms is None or loaded is None:
            return [], []
        days = due[:DAYS_AT_ONCE]
        ends_ms = [end_of_day_ms(day, self._settings.config.timezone) for day in days]
        looked_ms = ends_ms[-1] if len(days) < len(due) else until_ms
        arrivals = self._arrivals(kind, min([*ends_ms, looked_ms]))
        evaluations: list[Evaluation] = []
        entries: list[Decision] = []
        gate = kind.gate
        for day, at_ms in zip([*days, None], [*ends_ms, looked_ms], strict=True):
            new = kind.looks.entries(loaded.watch, gate, arrivals, at_ms)
            entries, gate = entries + new, gate.after_all(new)
            if day is not None:
                evaluations.append(loaded.evaluator.evaluate(day, arrivals, self._memory(kind.origin.kind, gate)))
                self._on_part()
                new = self._entries(kind, gate, evaluations[-1])
                entries, gate = entries + new, gate.after_all(new)
            if gate.state is GateState.PREPARING:
                break
        if not self._write(kind, evaluations, entries):
            return [], []
        kind.gate = gate
        kind.looks.done(looked_ms)
        if left := due[len(evaluations) :]:
            kind.loaded = replace(loaded, entries=gate.following, days=left)
        return evaluations, entries

    def _load(self, kind: _KindState, evidence: Evidence, due: Sequence[date], until_ms: int) -> _Loaded | None:
        """Return what evaluations of these days read, and looks up to a time; None if there is nothing to do."""
        if kind.loaded is not None and kind.loaded.serves(evidence, kind.gate, due):
            return kind.loaded
        watch = kind.looks.due(evidence, kind.gate, due, until_ms)
        if watch is None:
            return None
        evaluator = Evaluator(self._settings.config, kind.origin.kind)
        if due:
            memories = memories_of(kind.log.entries())
            evaluator.load(evidence.cells, evidence.plan, (due[0], due[-1]), watch, memories)
        return _Loaded(evidence.cells, kind.gate.following, due, watch, evaluator)

    def _entries(self, kind: _KindState, gate: Gate, evaluation: Evaluation) -> list[Decision]:
        waiting = waiting_episodes(rulings_of(kind.log.entries()))
        return self._with_dataset(kind, gate, partial(evaluated, kind.origin, gate, evaluation, waiting))

    def _with_dataset(
        self, kind: _KindState, gate: Gate, build: Callable[[DatasetRows | None], list[Decision]]
    ) -> list[Decision]:
        """Return the entries of an evaluation; if they begin a retrain, judged with the rows of its data set.

        Rows are counted only then: it reads the whole lake.

        Args:
            gate: before the entries.
            build: builds them, with these counts or without any.
        """
        entries, retrain = build(None), self._settings.config.retrain
        if retrain is None or gate.state is GateState.PREPARING or entries[-1].state is not GateState.PREPARING:
            return entries
        order = order_of(retrain, kind.origin.kind, max(gate.at_ms or 0, entries[-1].at))
        return build(count_rows(self._lake, self._settings.config, order))

    def _review(self, kind: _KindState, evidence: Evidence) -> list[Decision]:
        """Log the verdict about the newest version, once there is one."""

        def build(entries: Sequence[Decision]) -> list[Decision]:
            entry = kind.review.entry(evidence, entries, kind.gate)
            return [] if entry is None else [entry]

        return self._append(kind, build)

    def _scan(self, kind: _KindState, evidence: Evidence) -> list[Decision]:
        """Scan for backfills, and log those that are new or have grown."""
        return self._append(kind, lambda entries: kind.scan.entries(evidence, entries, kind.gate))

    def _due_days(self, kind: _KindState, evidence: Evidence) -> list[date]:
        """Return the days that the inputs have been read to the end of and that are not in the log yet."""
        config = self._settings.config
        until_ms = evidence.reach.observed_until_ms.get(kind.origin.kind)
        predicted = evidence.cells.summary.predictions(kind.origin.kind)["day"]
        if until_ms is None or predicted.is_empty():
            return []
        if kind.gate.evaluated_ms is None:
            day = min(predicted)
        else:
            day = day_ending_at(kind.gate.evaluated_ms, config.timezone) + timedelta(days=1)
        days = []
        while end_of_day_ms(day, config.timezone) <= until_ms:
            days.append(day)
            day += timedelta(days=1)
        return days

    def _arrivals(self, kind: _KindState, at_ms: int) -> Mapping[str, SourceArrivals]:
        name = kind.origin.kind
        return arrivals_to_evaluate(self._lake, name, self._settings.config.labels[name], kind.gate, at_ms)

    def _memory(self, name: str, gate: Gate) -> LabelMemory:
        """Return what a kind's gate remembers of its labels."""
        gates = {other: one.gate for other, one in self._kinds.items()} | {name: gate}
        return label_memory(gates, name)

    def _write(self, kind: _KindState, evaluations: Sequence[Evaluation], entries: Sequence[Decision]) -> bool:
        """Write findings, then the log; return False if another process was first."""
        app = f"evidence:{kind.origin.kind}"
        following = self._lake.applied("evidence", app)
        new = [one for one in evaluations if _ordinal(one) >= following]
        if new:
            claim = Claim(app, following, _ordinal(new[-1]) + 1)
            rows = [row for one in new for row in _rows(one)]
            if not append_records(self._lake, "evidence", rows, claim, self._now_ms()):
                return False
        return kind.log.append(entries, self._now_ms())

    def _append(self, kind: _KindState, build: Callable[[list[Decision]], Sequence[Decision]]) -> list[Decision]:
        """Append entries to the log; return nothing if another process was first."""
        new = kind.log.update(build, self._now_ms) or []
        for entry in new:
            kind.gate = kind.gate.after(entry)
            log.info("%s: %s", entry.kind, entry.reason)
        return new

    def _new_kind(self, name: str) -> _KindState:
        config = self._settings.config
        origin = EntryOrigin(config.loop, name, config.retrain)
        scan = BackfillScan(self._lake, origin, config.labels[name].definition, config.timezone, self._now_ms)
        review = CandidateReview(self._settings, origin)
        looks = LabelLooks(origin, config.timezone, partial(self._memory, name))
        return _KindState(origin, DecisionLog(self._lake, name), looks, scan, review)


def _ordinal(evaluation: Evaluation) -> int:
    return date.fromisoformat(evaluation.day).toordinal()


def _rows(evaluation: Evaluation) -> list[dict[str, object]]:
    return [
        {
            "evidence_at": datetime.fromtimestamp(evaluation.at / 1000, UTC),
            "day": date.fromisoformat(evaluation.day),
            "kind": evaluation.kind,
            "version": evaluation.version,
            "name": finding.kind.value,
            "subject": finding.subject,
            "level": finding.level.value,
            "value": finding.value,
            "limit": finding.limit,
            "text": finding.text,
        }
        for finding in evaluation.findings
    ]
