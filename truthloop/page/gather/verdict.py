"""The verdict: state and urgency of the whole loop in one sentence, with the next command to run.

State, the worst of all kinds:

- `STALLED`: the loop makes no progress: a retrain is overdue or could not be delivered; days have ended and none was
  evaluated, or evaluations are two days behind the inputs.
- `HOLD`: labels cannot be trusted: fewer arrive than usual, or a source is silent.
- `WATCH`: a backfill waits for a ruling, there is a finding, a retrain is in progress, or there is too little data.
- `OK`: the newest evaluation found nothing.

Urgency: `now` if labels have stopped or evaluations have; `working hours` if a person must decide or repair something
that can wait (an alarm without a retrain, an overdue retrain); `none` otherwise.

The verdict follows from the gate's log and the findings of the evaluations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, get_args

import polars as pl

from monitor.cells.cohort import day_starts_ms
from retrain.episode_status import EpisodeStatus, episode_statuses
from retrain.gate import DAY_MS, NEUTRAL_EVENTS, Gate
from schemas.base.figures import days
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Level
from truthloop.evidence.source_states import SourcesNow
from truthloop.page.gather.gate import newest_evaluation, sentence
from truthloop.page.gather.scope import Scope
from truthloop.page.panels.view import PageVerdict, Urgency

__all__ = ["page_verdict"]

BEHIND_MS: Final = 2 * DAY_MS
"""Evaluations may be less than this behind the inputs, since a day is evaluated when it has ended."""

EXPLAIN: Final = "truthloop retrain explain"
STATUS: Final = "truthloop status"

_SEVERITY: Final = {"STALLED": 0, "HOLD": 1, "WATCH": 2, "OK": 3}
_URGENCIES: Final = get_args(Urgency)
_HOLDS: Final = (FindingKind.COVERAGE.value, FindingKind.SILENCE.value)
_IN_PROGRESS: Final = {
    GateState.PREPARING: "its data set is being written",
    GateState.REQUESTED: "the request was sent and has not been answered yet",
    GateState.RUNNING: "the pipeline is running",
}


def page_verdict(scopes: Sequence[Scope], sources: Mapping[str, SourcesNow]) -> PageVerdict:
    """Return the verdict.

    Args:
        scopes: of every kind, with all versions selected.
        sources: by kind, the sources of labels as they are now; everything else is judged by the newest evaluation.

    Raises:
        IllegalEvent: a log has an event that its state does not allow.
    """
    found = [(scope.kind.name, _of_kind(scope, sources.get(scope.kind.name))) for scope in scopes]
    kind, worst = min(found, key=lambda one: (_SEVERITY[one[1].state], _URGENCIES.index(one[1].urgency)))
    if len(found) == 1 or worst.state == "OK":
        return worst
    return replace(worst, sentence=f"{kind}: {worst.sentence}")


def _of_kind(scope: Scope, sources: SourcesNow | None) -> PageVerdict:
    if scope.last is None:
        return PageVerdict("WATCH", "Nothing has been read yet.", "none", STATUS)
    gate, newest = scope.gate, newest_evaluation(scope.log)
    if (stalled := _stalled(scope, gate, newest)) is not None:
        return stalled
    if newest is None:
        return PageVerdict("WATCH", "No day has ended yet, so nothing has been evaluated.", "none")
    alarms = _alarms(scope, gate)
    if (held := _held(gate, newest, alarms, sources)) is not None:
        return held
    if waiting := [one for one in episode_statuses(scope.log) if one.is_waiting]:
        return _unruled(waiting)
    return _of_gate(gate, newest, has_alarms=not alarms.is_empty())


def _held(gate: Gate, newest: Decision, alarms: pl.DataFrame, sources: SourcesNow | None) -> PageVerdict | None:
    """Return the verdict about a kind whose labels cannot be trusted; None if they can.

    The evaluation is of a day's end: a source may have stopped since, or its labels may have come again.
    """
    silent = {} if sources is None else sources.silent
    holds = alarms.filter(pl.col("name").is_in(_HOLDS)).select("name", "subject", "text").rows()
    if holds or gate.state is GateState.HELD:
        name, subject, text = holds[0] if holds else ("", "", newest.reason)
        again = name == FindingKind.SILENCE.value and sources is not None and subject not in silent
        since = " Labels have come again since; the next evaluation releases the gate." if again else ""
        return PageVerdict("HOLD", sentence(text) + since, "now", STATUS)
    for source, why in silent.items():
        return PageVerdict(
            "HOLD", f"Labels from {source!r} have stopped since the last evaluation: {why}", "now", STATUS
        )
    return None


def _unruled(waiting: Sequence[EpisodeStatus]) -> PageVerdict:
    """Return the verdict about a kind with backfills that a person has to rule about, the oldest first."""
    first = waiting[0].episode
    labels = f"{first.labels:,} label{'' if first.labels == 1 else 's'}"
    more = f" {len(waiting) - 1:,} more wait." if len(waiting) > 1 else ""
    text = f"A backfill waits for a ruling: {labels} restate the past, and until then they do not count.{more}"
    return PageVerdict("WATCH", text, "working hours", f"truthloop backfill diff {first.id}", f"backfill/{first.id}")


def _of_gate(gate: Gate, newest: Decision, *, has_alarms: bool) -> PageVerdict:
    """Return the verdict about a kind whose labels arrive and that waits for no ruling."""
    if (step := _IN_PROGRESS.get(gate.state)) is not None:
        return PageVerdict("WATCH", f"A retrain is in progress: {step}.", "none", EXPLAIN)
    reason = sentence(newest.reason)
    if gate.state is GateState.IDLE:
        return PageVerdict("OK", reason, "none")
    if gate.state is GateState.COOLING and not has_alarms:
        return PageVerdict("OK", f"There is no reason for a retrain now. {reason}", "none")
    needs_person = has_alarms and gate.state is GateState.WATCHING
    return PageVerdict("WATCH", reason, "working hours" if needs_person else "none", EXPLAIN)


def _stalled(scope: Scope, gate: Gate, newest: Decision | None) -> PageVerdict | None:
    """Return the verdict about a kind without progress; None if it makes progress."""
    if gate.is_open and gate.is_overdue:
        text = f"Retrain {gate.decision} has been open for {days(gate.open_for_ms(0))} and has not been answered."
        return PageVerdict("STALLED", text, "working hours", f"truthloop retrain resolve {gate.decision}")
    ended = next((entry for entry in reversed(scope.log) if entry.event not in NEUTRAL_EVENTS), None)
    if ended is not None and ended.event is Event.UNDELIVERABLE:
        text = f"The last retrain could not be delivered: {ended.reason}"
        return PageVerdict("STALLED", sentence(text), "working hours", EXPLAIN)
    ended_ms = _ended_ms(scope)
    if ended_ms is None:
        return None
    labels = scope.snapshot.progress.labels.get(scope.kind.name, 0)
    if newest is None:
        read = f"{labels:,} labels were read" if labels else "No label has arrived"
        return PageVerdict("STALLED", f"{read}, and no day has been evaluated yet.", "working hours", STATUS)
    if ended_ms - newest.at >= BEHIND_MS:
        text = f"Evaluations are {days(ended_ms - newest.at)} behind the inputs."
        return PageVerdict("STALLED", text, "now", STATUS)
    return None


def _ended_ms(scope: Scope) -> int | None:
    """Return the end of the newest day that the inputs have been read to the end of; None before the first."""
    if scope.whole is None or scope.observed_ms is None:
        return None
    day = scope.whole
    while scope.day_end_ms(day + timedelta(days=1)) <= scope.observed_ms:
        day += timedelta(days=1)
    return day_starts_ms([day + timedelta(days=1)], scope.config.timezone)[0]


def _alarms(scope: Scope, gate: Gate) -> pl.DataFrame:
    """Return the alarms of the newest evaluation."""
    return scope.snapshot.findings.filter(
        pl.col("kind") == scope.kind.name,
        pl.col("evidence_at").dt.epoch("ms") == gate.evaluated_ms,
        pl.col("level") == Level.ALARM.value,
    )
