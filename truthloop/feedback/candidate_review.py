"""Compares the newest version with the one before it on the labels they share, once a week until there is a verdict.

A shadow version is judged before it takes over; if the former version keeps predicting afterwards, the new one is
judged afterwards.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from lake.session import connect
from monitor.cells.class_spelling import with_outputs_alike
from monitor.cells.versions import versions_in
from monitor.evaluation import day_ending_at
from monitor.versions.candidate import judge_candidate
from retrain.gate import Gate
from retrain.log_entries import EntryOrigin
from retrain.run_manifest import find_retrain
from schemas.events.candidate import CandidateJudgement
from schemas.events.evidence import Decision, Event
from truthloop.config.settings import Settings
from truthloop.evidence.cells import Evidence

__all__ = ["CandidateReview"]

WEEK_DAYS: Final = 7
_WEEKS_MIN: Final = 2

_SHARED: Final = """
SELECT * FROM scored
WHERE kind = ? AND version IN (?, ?) AND "day" BETWEEN ? AND ? AND eligible AND status IN ('joined', 'implied')
QUALIFY row_number() OVER (PARTITION BY key, version ORDER BY predicted_at DESC, prediction_offset DESC) = 1
"""

Pair = tuple[str, str]


class CandidateReview:
    """Reviews the versions of one label kind."""

    def __init__(self, settings: Settings, origin: EntryOrigin) -> None:
        self._settings = settings
        self._origin = origin
        self._task = settings.config.predictions.outputs[origin.kind].task
        self._reviewed: tuple[Pair, int] | None = None

    def entry(self, evidence: Evidence, log: Sequence[Decision], gate: Gate) -> Decision | None:
        """Return the log entry of the verdict about the newest version; None while there is none, or it is logged.

        Args:
            log: all entries of the kind.
            gate: the fold of the log.

        Raises:
            LakeError: the lake cannot be read.
        """
        judged = next((one.detail.get("judged_day") for one in reversed(log) if one.event is Event.EVALUATED), None)
        if not isinstance(judged, str) or gate.evaluated_ms is None:
            return None
        pair, days = self._shared(evidence, min(date.fromisoformat(judged), self._day(gate.evaluated_ms)))
        weeks = len(days) // WEEK_DAYS
        if pair is None or weeks < _WEEKS_MIN or self._reviewed == (pair, weeks) or _is_judged(log, pair):
            return None
        self._reviewed = pair, weeks
        found = judge_candidate(self._rows(pair, days), self._task, self._settings.config.predictions.slices)
        return None if found.verdict == "undecided" else self._entry(pair, found, log, gate)

    def _day(self, at_ms: int) -> date:
        return day_ending_at(at_ms, self._settings.config.timezone)

    def _shared(self, evidence: Evidence, last: date) -> tuple[Pair | None, list[date]]:
        """Return the version before the newest and the newest, and the days on which both predicted."""
        predictions = evidence.cells.summary.predictions(self._origin.kind, last)
        versions = versions_in(predictions)
        if len(versions) < 2:  # noqa: PLR2004 - a pair
            return None, []
        running, candidate = versions[-2:]
        days = [set(predictions.filter(pl.col("version") == version)["day"]) for version in (running, candidate)]
        return (running, candidate), sorted(days[0] & days[1])

    def _rows(self, pair: Pair, days: Sequence[date]) -> pl.DataFrame:
        """Return the labels that both share, in the columns of `judge_candidate`."""
        with connect(self._settings.lake) as views:
            rows: pl.DataFrame = views.sql(_SHARED, params=[self._origin.kind, *pair, days[0], days[-1]]).pl()
        truth, output = ("value_class", "output_class") if self._task == "multiclass" else ("value", "output")
        running, candidate = (rows.filter(pl.col("version") == version) for version in pair)
        slices = [f"slice_{name}" for name in self._settings.config.predictions.slices]
        left = running.select("key", pl.col("day").cast(pl.Date), *slices, truth=truth, running=output)
        rows = left.join(candidate.select("key", candidate=output), on="key")
        if self._task != "multiclass":
            return rows
        # each version's own row has its label and output in one spelling, which may not be that of the other's
        return with_outputs_alike(rows, "truth", ["running", "candidate"])

    def _entry(self, pair: Pair, found: CandidateJudgement, log: Sequence[Decision], gate: Gate) -> Decision:
        running, candidate = pair
        retrain = find_retrain(log, candidate)
        # the first success that names a digest says which model ships; callbacks that name another are rejected
        successes = [one for one in log if one.decision == retrain and one.event is Event.SUCCEEDED]
        digests = [one.detail.get("model_sha256") for one in successes]
        failed = [check.text for check in found.checks if check.passed is False]
        detail = {
            "verdict": found.verdict,
            "may_ship": "yes" if found.may_ship else "no",
            "running": running,
            "candidate": candidate,
            "decision": retrain,
            "model_sha256": next(filter(None, digests), None) if retrain is not None else None,
            "loss": found.loss,
            "labels": found.labels,
            "days": found.days,
            "difference": found.difference,
            "upper": found.upper,
            "margin": found.margin,
            "failed": "; ".join(failed)[:1_000] or None,
        }
        decision = retrain if gate.decision in (None, retrain) else None
        reason = f"{candidate} compared with {running}: {found.text}"
        if failed:
            reason += f"; but {failed[0]}"
        return self._origin.entry(
            gate, Event.JUDGED, gate.state, reason, decision=decision, version=candidate, detail=detail
        )


def _is_judged(log: Sequence[Decision], pair: Pair) -> bool:
    details = (entry.detail for entry in log if entry.event is Event.JUDGED)
    return any((detail.get("running"), detail.get("candidate")) == pair for detail in details)
