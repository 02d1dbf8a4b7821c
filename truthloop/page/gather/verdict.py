"""The verdict: one sentence about the whole loop, whether somebody has to get up for it, and what to type next.

States, the worst of all kinds is shown:

- `STALLED`: the loop does not get on by itself: a retrain is overdue or could not be delivered; days have ended
  and nothing was evaluated, or not for two days of evidence time.
- `HOLD`: labels cannot be trusted now: fewer come than usual, or a source has fallen silent.
- `WATCH`: something was noted, or a retrain is on its way, or it is too early to tell.
- `OK`: the newest evaluation noted nothing.

Urgency: `now` where truth is being lost or nobody watches (labels have stopped, evidence stands still);
`working hours` where a person has to decide or mend something that keeps until then (an alarm that asks for
nothing by itself, a retrain that nobody answers); `none` where the loop is at work, or only learns.

Must not decide: what is judged here is what the gate and the monitor have found.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import polars as pl

from monitor.cells.cohort import day_starts_ms
from retrain.gate import ASIDE, DAY_MS, Gate, gate_of
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Level
from truthloop.page.gather.gate import newest_evaluation
from truthloop.page.gather.scope import Scope
from truthloop.page.panels.view import PageVerdict

__all__ = ["verdict_of"]

BEHIND_MS: Final = 2 * DAY_MS
"""Evaluations may be this far behind the inputs; a day is evaluated when it has ended."""

EXPLAIN: Final = "truthloop retrain explain"
STATUS: Final = "truthloop status"

_GRAVITY: Final = {"STALLED": 0, "HOLD": 1, "WATCH": 2, "OK": 3}
_HOLDS: Final = (FindingKind.COVERAGE.value, FindingKind.SILENCE.value)
_ON_ITS_WAY: Final = {
    GateState.PREPARING: "its data set is being written",
    GateState.REQUESTED: "it was asked for and has not been answered yet",
    GateState.RUNNING: "the pipeline is at work",
}


def verdict_of(scopes: Sequence[Scope]) -> PageVerdict:
    """Return the verdict.

    Args:
        scopes: of every kind, each of all versions.

    Raises:
        IllegalEvent: a log is not one that a gate can have written.
    """
    found = [(scope.kind.name, _of_kind(scope)) for scope in scopes]
    kind, worst = min(found, key=lambda one: _GRAVITY[one[1].state])
    if len(found) == 1 or worst.state == "OK":
        return worst
    return PageVerdict(worst.state, f"{kind}: {worst.sentence}", worst.urgency, worst.command)


def _of_kind(scope: Scope) -> PageVerdict:
    if scope.last is None:
        return PageVerdict("WATCH", "Nothing has been read yet.", "none", STATUS)
    gate, newest = gate_of(scope.log), newest_evaluation(scope.log)
    if (stalled := _stalled(scope, gate, newest)) is not None:
        return stalled
    if newest is None:
        return PageVerdict("WATCH", "No day has ended yet, so nothing has been evaluated.", "none")
    alarms = _alarms(scope, gate)
    holds = alarms.filter(pl.col("name").is_in(_HOLDS))["text"].to_list()
    if holds or gate.state is GateState.HELD:
        return PageVerdict("HOLD", _sentence(holds[0] if holds else newest.reason), "now", STATUS)
    if (step := _ON_ITS_WAY.get(gate.state)) is not None:
        return PageVerdict("WATCH", f"A retrain is on its way: {step}.", "none", EXPLAIN)
    return _at_rest(gate, newest, has_alarms=not alarms.is_empty())


def _at_rest(gate: Gate, newest: Decision, *, has_alarms: bool) -> PageVerdict:
    """Return the verdict about a loop whose labels come and of which nobody was asked anything."""
    said = _sentence(newest.reason)
    if gate.state is GateState.IDLE:
        return PageVerdict("OK", said, "none")
    if gate.state is GateState.WAITING:
        return PageVerdict("WATCH", said, "working hours", "truthloop backfill list")
    if gate.state is GateState.COOLING and not has_alarms:
        return PageVerdict("OK", f"Nothing speaks for a retrain now. {said}", "none")
    is_loud = has_alarms and gate.state is GateState.WATCHING
    return PageVerdict("WATCH", said, "working hours" if is_loud else "none", EXPLAIN)


def _stalled(scope: Scope, gate: Gate, newest: Decision | None) -> PageVerdict | None:
    """Return the verdict about a loop that does not get on; None where it does."""
    if gate.is_open and gate.is_overdue:
        since = "" if gate.decided_ms is None or gate.at_ms is None else _days(gate.at_ms - gate.decided_ms)
        sentence = f"Nobody has answered retrain {gate.decision}, asked for {since} ago."
        return PageVerdict("STALLED", sentence, "working hours", f"truthloop retrain resolve {gate.decision}")
    ended = next((entry for entry in reversed(scope.log) if entry.event not in ASIDE), None)
    if ended is not None and ended.event is Event.UNDELIVERABLE:
        sentence = f"The last retrain could not be delivered: {ended.reason}"
        return PageVerdict("STALLED", _sentence(sentence), "working hours", EXPLAIN)
    over_ms = _ended_ms(scope)
    if over_ms is None:
        return None
    labels = scope.snapshot.standing.labels.get(scope.kind.name, 0)
    if newest is None:
        came = f"{labels:,} labels were read" if labels else "No label has come"
        return PageVerdict("STALLED", f"{came}, and nothing has been evaluated yet.", "working hours", STATUS)
    if over_ms - newest.at >= BEHIND_MS:
        sentence = f"Inputs were read {_days(over_ms - newest.at)} further than they were evaluated."
        return PageVerdict("STALLED", sentence, "now", STATUS)
    return None


def _ended_ms(scope: Scope) -> int | None:
    """Return the end of the newest day that inputs were read to the end of; None before the first."""
    if scope.whole is None or scope.observed_ms is None:
        return None
    day = scope.whole
    while scope.day_end_ms(day + timedelta(days=1)) <= scope.observed_ms:
        day += timedelta(days=1)
    return day_starts_ms([day + timedelta(days=1)], scope.config.timezone)[0]


def _alarms(scope: Scope, gate: Gate) -> pl.DataFrame:
    """Return the alarms of the day that was evaluated last."""
    return scope.snapshot.findings.filter(
        pl.col("kind") == scope.kind.name,
        pl.col("evidence_at").dt.epoch("ms") == gate.evaluated_ms,
        pl.col("level") == Level.ALARM.value,
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _days(duration_ms: int) -> str:
    return f"{duration_ms / DAY_MS:.1f} days"
