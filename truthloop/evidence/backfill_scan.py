"""Scans for backfills of a label kind: which episodes are open, what each would change, and the rules' verdict.

Everything follows from the lake and the log, so two processes find the same.
"""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from lake import Lake
from monitor.backfill.alarm import FlaggedRun, judge_arrivals, judge_resent
from monitor.backfill.diff import diff_of
from monitor.backfill.episode import open_episodes
from monitor.backfill.rule import verdict_of
from monitor.cells.count_arrivals import read_hourly_arrivals, read_hourly_conflicts
from retrain.episode_status import rulings_of
from retrain.gate import Gate
from retrain.log_entries import EntryOrigin, backfilled
from retrain.retrains import retrains_of
from schemas.events.backfill import Episode, Ruling
from schemas.events.backfill_diff import AffectedDecision, BackfillDiff
from schemas.events.evidence import Decision
from truthloop.evidence.arrival_cells import ArrivalCellReader
from truthloop.evidence.backfill_labels import BackfillLabelReader
from truthloop.evidence.backfill_pairs import read_pairs
from truthloop.evidence.cells import Evidence, folded_steps
from truthloop.evidence.diff_log import DiffLog
from truthloop.evidence.episode_labels import time_shift_of

__all__ = ["BackfillScan"]

HOUR_MS = 3_600_000

GROWTH_EVERY_MS = 3_600_000
"""How often a person gets a new diff of an episode that keeps growing."""


class BackfillScan:
    """Scans for backfills of one kind; remembers what earlier scans read.

    Args:
        definition: the config's definition of the kind.
        timezone: of the loop.
        now_ms: the wall clock, used for the time of recording only.
    """

    def __init__(
        self, lake: Lake, origin: EntryOrigin, definition: str, timezone: str, now_ms: Callable[[], int]
    ) -> None:
        self._lake = lake
        self._origin = origin
        self._definition = definition
        self._now_ms = now_ms
        self._labels = BackfillLabelReader(lake, origin.kind, definition, timezone)
        self._diffs = DiffLog(lake)
        self._last_found: Sequence[Episode] = ()
        self._arrivals = ArrivalCellReader(origin.kind)
        self._runs: tuple[tuple[int, ...], list[FlaggedRun]] | None = None

    def entries(self, evidence: Evidence, log: Sequence[Decision], gate: Gate) -> list[Decision]:
        """Return the entries to append to the log: new episodes, and those that have grown.

        Args:
            log: all entries of the kind.
            gate: the fold of the log.

        Raises:
            LakeError: the lake cannot be read or written.
        """
        rulings = rulings_of(log)
        if not evidence.follows(self._origin.kind, rulings):
            return []  # somebody has ruled meanwhile: the next scan sees both
        steps = folded_steps(self._lake)
        if self._lake.version("cells") != evidence.version:
            return []  # the cells have grown meanwhile: labels, outcomes and cells must be of one moment
        labels = self._labels.read(steps, evidence.cells.summary.restated_days(self._origin.kind))
        names = (self._origin.loop, self._origin.kind, self._definition)
        found = open_episodes(*names, labels, self._flagged_runs(evidence), rulings)
        logged = {ruling.episode.id: ruling.episode for ruling in rulings}
        new = []
        for episode in found:
            known = logged.get(episode.id)
            if known == episode or not self._is_due(episode, known):
                continue
            diff = self._diff(evidence, steps, log, episode)
            verdict, reasons = verdict_of(diff)
            # a process that was killed, or one that is ahead, may have stored it
            is_stored = self._diffs.find(episode.id, diff.sha256()) is not None
            if not is_stored and not self._diffs.add(diff, self._now_ms()):
                break
            ruling = Ruling(episode=episode, verdict=verdict)
            new.append(backfilled(self._origin, gate, ruling, reasons, {"diff_sha256": diff.sha256()}))
            gate = gate.after(new[-1])
        self._last_found = found
        return new

    def _is_due(self, episode: Episode, known: Episode | None) -> bool:
        """Return whether an episode is new, has stopped growing, or has grown for long enough."""
        if known is None or episode in self._last_found:
            return True
        return episode.until - known.until >= GROWTH_EVERY_MS

    def _diff(
        self, evidence: Evidence, steps: Mapping[int, int], log: Sequence[Decision], episode: Episode
    ) -> BackfillDiff:
        found = read_pairs(self._lake, evidence, rulings_of(log), episode, steps)
        first_ms = found.pairs.select(pl.col("predicted_at").min().dt.epoch("ms")).item()
        affected = [
            AffectedDecision(decision=one.id, dataset_uri=one.dataset)
            for one in retrains_of(log)
            if one.dataset is not None and first_ms is not None and one.decided_ms > first_ms
        ]
        diff = diff_of(episode, found.plan, found.pairs, found.cohorts, cells=found.cells, decisions=affected)
        return diff.model_copy(update={"shift": time_shift_of(self._lake, episode, steps)})

    def _flagged_runs(self, evidence: Evidence) -> list[FlaggedRun]:
        """Return runs of hours with too many stale, changed or retimed live labels, or too many resent predictions."""
        kind, reach = self._origin.kind, evidence.reach
        until_ms, labels_seen_ms = reach.observed_until_ms.get(kind), reach.labels_seen_ms.get(kind)
        if until_ms is None or labels_seen_ms is None:
            return []
        # of an hour that has not ended yet, only what came again changes anything
        again = int(evidence.cells.summary.again(kind)["amount"].sum())
        state = (until_ms // HOUR_MS, labels_seen_ms // HOUR_MS, again)
        if self._runs is None or self._runs[0] != state:
            cells = self._arrivals.read(evidence)
            arrivals = read_hourly_arrivals(cells, evidence.plan, kind)
            found = list(judge_arrivals(arrivals, until_ms, labels_seen_ms).runs)
            if len(arrivals.hour_ms):
                conflicts = read_hourly_conflicts(cells, evidence.plan, kind)
                found += judge_resent(conflicts, int(arrivals.hour_ms[0]), until_ms).runs
            self._runs = state, found
        return self._runs[1]
