"""One look at the lake: fold what is new, look for backfills, evaluate days that have ended, log the gate's word.

Everything is written by compare-and-set and follows from the lake, so that two processes, or one that is killed at
any step, decide the same once. Must not send anything.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl

from lake import Claim, Lake, append_records
from lake.dataset import MANIFEST, DatasetOrder, write_dataset
from monitor.evaluation import Evaluator, SourceArrivals, day_ending_at, end_of_day_ms
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of, waiting_in
from retrain.gate import Gate, gate_of
from retrain.log_entries import EntryOrigin, evaluated, prepared, restated
from schemas.events.evidence import Decision, Evaluation, GateState
from truthloop.config.settings import Settings
from truthloop.evidence.arrivals import read_arrivals
from truthloop.evidence.backfill_scan import BackfillScan
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.feedback.candidate_review import Judging

__all__ = ["ReconcileResult", "Reconciler"]

log = logging.getLogger("truthloop.feedback")

ARRIVALS_KEPT = timedelta(days=29)
"""What is usual of a source of labels is learned from four weeks."""


@dataclass(frozen=True)
class ReconcileResult:
    """What one look has brought.

    Attributes:
        evaluations: new ones, in order of time.
        decisions: new entries of the gate's logs.
    """

    evaluations: Sequence[Evaluation]
    decisions: Sequence[Decision]


@dataclass
class _Kind:
    """One label kind: its log, and the evaluator that has read its days."""

    origin: EntryOrigin
    log: DecisionLog
    evaluator: Evaluator
    look: BackfillScan
    judging: Judging
    gate: Gate = field(default_factory=Gate)


class Reconciler:
    """Decides for one loop, again and again.

    Args:
        settings: the loop's.
        now_ms: the wall clock; nothing that is decided depends on it.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._lake = Lake.open(settings.lake)
        self._evidence: Evidence | None = None
        self._kinds = {name: self._new_kind(name) for name in settings.config.labels}

    @property
    def evidence(self) -> Evidence | None:
        """What the last look has read; None before the first."""
        return self._evidence

    def gate(self, kind: str) -> Gate:
        """Return where the gate of a kind stood when it was looked at last."""
        return self._kinds[kind].gate

    def entries_from(self, kind: str, first: int) -> list[Decision]:
        """Return the entries of a kind's log from a number on."""
        if self._kinds[kind].gate.following <= first:
            return []
        return [entry for entry in self._kinds[kind].log.entries() if entry.number >= first]

    def note_published(self, claim: Claim) -> bool:
        """Remember in the lake how far a log has been published; False if another worker has noted something else."""
        return append_records(self._lake, "decisions", [], claim, self._now_ms())

    def run(self) -> ReconcileResult:
        """Look at the lake once.

        Raises:
            LakeError: it cannot be read or written, or a data set cannot be written; the next turn goes on from there.
        """
        evidence = self._evidence = read_evidence(self._settings, self._evidence)
        evaluations: list[Evaluation] = []
        decisions: list[Decision] = []
        for kind in self._kinds.values():
            kind.gate = gate_of(kind.log.entries())
            decisions += self._prepare(kind)
            decisions += self._restate(kind, evidence)
            found, entries = self._evaluate(kind, evidence)
            evaluations += found
            decisions += entries
            decisions += self._prepare(kind)
            decisions += self._judge(kind, evidence)
            decisions += self._look(kind, evidence)
        return ReconcileResult(evaluations, decisions)

    def _evaluate(self, kind: _Kind, evidence: Evidence) -> tuple[list[Evaluation], list[Decision]]:
        """Evaluate the days that have ended; nothing if another process decided first."""
        days = self._due_days(kind, evidence)
        if not days:
            return [], []
        # it comes back once its days are written: what fails before is evaluated again by one that has seen none
        evaluator, kind.evaluator = kind.evaluator, Evaluator(self._settings.config, kind.origin.kind)
        arrivals = self._arrivals(kind, days[0])
        evaluator.take(evidence.cells, evidence.plan, (days[0], days[-1]))
        waiting = waiting_in(rulings_of(kind.log.entries()))
        evaluations: list[Evaluation] = []
        entries: list[Decision] = []
        gate = kind.gate
        for day in days:
            evaluations.append(evaluator.evaluate(day, arrivals))
            new = evaluated(kind.origin, gate, evaluations[-1], waiting)
            entries += new
            for entry in new:
                gate = gate.after(entry)
            if gate.state is GateState.PREPARING:
                break
        if not self._write(kind, evaluations, entries):
            return [], []
        kind.evaluator, kind.gate = evaluator, gate
        return evaluations, entries

    def _judge(self, kind: _Kind, evidence: Evidence) -> list[Decision]:
        """Write down how the newest version does beside the one before it, once that is decided."""
        entry = kind.judging.entry(evidence, kind.log.entries(), kind.gate)
        return [] if entry is None else self._append(kind, [entry])

    def _look(self, kind: _Kind, evidence: Evidence) -> list[Decision]:
        """Look for backfills, and write down those that are new or have grown.

        Days come first: a past that is replayed knows of no backfill that was told later.
        """
        if self._due_days(kind, evidence):
            return []
        entries = kind.look.entries(evidence, kind.log.entries(), kind.gate)
        return self._append(kind, entries)

    def _restate(self, kind: _Kind, evidence: Evidence) -> list[Decision]:
        """Judge the day that was evaluated last once more, if other labels have come to count since."""
        rulings = rulings_of(kind.log.entries())
        if not kind.gate.ruled or kind.gate.evaluated_ms is None or not evidence.follows(kind.origin.kind, rulings):
            return []
        day = day_ending_at(kind.gate.evaluated_ms, self._settings.config.timezone)
        again = kind.evaluator.restated()
        again.take(evidence.cells, evidence.plan, (day, day))
        evaluation = again.evaluate(day, self._arrivals(kind, day))
        told = self._append(kind, [restated(kind.origin, kind.gate, evaluation, waiting_in(rulings))])
        kind.evaluator = again if told else again.restated()
        return told

    def _arrivals(self, kind: _Kind, day: date) -> Mapping[str, SourceArrivals]:
        since = datetime.fromtimestamp(end_of_day_ms(day, self._settings.config.timezone) / 1000, UTC)
        return read_arrivals(self._lake, kind.origin.kind, since - ARRIVALS_KEPT)

    def _append(self, kind: _Kind, entries: Sequence[Decision]) -> list[Decision]:
        """Write entries behind the log; nothing if another process decided first."""
        if not entries or not kind.log.append(entries, self._now_ms()):
            return []
        for entry in entries:
            kind.gate = kind.gate.after(entry)
            log.info("%s: %s", entry.kind, entry.reason)
        return [*entries]

    def _new_kind(self, name: str) -> _Kind:
        config = self._settings.config
        origin = EntryOrigin(config.loop, name, config.retrain)
        look = BackfillScan(self._lake, origin, config.labels[name].definition, self._now_ms)
        judging = Judging(self._settings, origin)
        return _Kind(origin, DecisionLog(self._lake, name), Evaluator(config, name), look, judging)

    def _due_days(self, kind: _Kind, evidence: Evidence) -> list[date]:
        """Return the days that have ended, as far as inputs were read, and are not in the log yet."""
        config = self._settings.config
        until_ms = evidence.reach.observed_until_ms.get(kind.origin.kind)
        predicted = evidence.cells.filter(pl.col("kind") == kind.origin.kind, pl.col("measure") == "predictions")["day"]
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

    def _write(self, kind: _Kind, evaluations: Sequence[Evaluation], entries: Sequence[Decision]) -> bool:
        """Write findings, then the log; False if another process decided first."""
        app = f"evidence:{kind.origin.kind}"
        standing = self._lake.applied("evidence", app)
        new = [one for one in evaluations if _ordinal(one) >= standing]
        if new:
            claim = Claim(app, standing, _ordinal(new[-1]) + 1)
            rows = [row for one in new for row in _rows(one)]
            if not append_records(self._lake, "evidence", rows, claim, self._now_ms()):
                return False
        return kind.log.append(entries, self._now_ms())

    def _prepare(self, kind: _Kind) -> list[Decision]:
        """Write the data set of a retrain that was decided, and that it is written."""
        retrain = self._settings.config.retrain
        gate = kind.gate
        if retrain is None or gate.state is not GateState.PREPARING or gate.decision is None or gate.decided_ms is None:
            return []
        order = DatasetOrder(
            name=gate.decision,
            kind=kind.origin.kind,
            as_of_ms=gate.decided_ms,
            at_age_ms=retrain.dataset.maturity.at_age,
            holdout_ms=retrain.dataset.holdout,
        )
        found = write_dataset(self._lake, self._settings.config, order, self._settings.datasets)
        detail: dict[str, str | int | float | None] = {
            "dataset": found.folder.absolute().as_uri(),
            "manifest": (found.folder.absolute() / MANIFEST).as_uri(),
            "manifest_sha256": found.manifest_sha256,
            "rows": found.rows,
        }
        return self._append(kind, [prepared(kind.origin, gate, detail, found.rows)])


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
