"""The panel of the gate, read from its log: state, requirements of a retrain, evaluations, earlier retrains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrain.gate import NEUTRAL_EVENTS, state_entry
from schemas.events.evidence import Decision, Event, GateState
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import decision_query
from truthloop.page.panels.gate import CommandHint, GateCondition, GateEvaluation, GatePanel, GateRetrain

__all__ = ["gate_panel", "newest_evaluation", "sentence"]

_EVALUATIONS: Final = 30
_EVALUATED: Final = (Event.EVALUATED, Event.RESTATED)
_COMMANDS: Final = (
    CommandHint("truthloop retrain explain", "shows the reasons for a retrain, and what it waits for"),
    CommandHint("truthloop status", "shows the progress of every role"),
)
_ENDS: Final = {
    Event.PREPARED: "requested",
    Event.DELIVERED: "delivered",
    Event.UNDELIVERABLE: "undeliverable",
    Event.ACCEPTED: "running",
    Event.FAILED: "failed",
    Event.OVERDUE: "overdue",
    Event.RESOLVED: "resolved",
    Event.DEPLOYED: "completed",
}


@dataclass
class _Retrain:
    decided: Decision
    state: str = "preparing"
    is_open: bool = True


def gate_panel(scope: Scope) -> GatePanel:
    """Return the panel.

    Raises:
        IllegalEvent: the log has an event that its state does not allow.
    """
    sql = decision_query(scope)
    log = scope.log
    if not log:
        return GatePanel(
            GateState.UNKNOWN.value, "Nothing has been evaluated yet.", commands=_COMMANDS, sql=sql, note=_note(scope)
        )
    gate = scope.gate
    conditions = next((one.conditions for one in reversed(log) if one.event in _EVALUATED and one.conditions), [])
    return GatePanel(
        gate.state.value,
        sentence(entry.reason) if (entry := state_entry(log)) is not None else "",
        gate.since_ms,
        tuple(GateCondition(one.name, one.value, one.needed, one.is_met) for one in conditions),
        tuple(_evaluations(log)[: -_EVALUATIONS - 1 : -1]),
        tuple(_row(retrain) for retrain in reversed(_retrains(log))),
        _COMMANDS,
        sql,
        _note(scope),
    )


def newest_evaluation(log: Sequence[Decision]) -> Decision | None:
    """Return the newest entry of an evaluation, of a day or after a ruling."""
    return next((entry for entry in reversed(log) if entry.event in _EVALUATED), None)


def sentence(text: str) -> str:
    """Return a text with a capital letter and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _evaluations(log: Sequence[Decision]) -> list[GateEvaluation]:
    """Return every evaluation in order; one after a ruling is of the day that was evaluated last, once more."""
    found: list[GateEvaluation] = []
    end_ms = 0
    for entry in log:
        if entry.event is Event.EVALUATED:
            end_ms = entry.at
        if entry.event in _EVALUATED:
            again = entry.event is Event.RESTATED
            found.append(GateEvaluation(end_ms, entry.state.value, entry.reason, again))
    return found


def _retrains(log: Sequence[Decision]) -> list[_Retrain]:
    """Return every retrain with its state, in order."""
    found: list[_Retrain] = []
    before = GateState.UNKNOWN
    for entry in log:
        if entry.state is GateState.PREPARING and before is not GateState.PREPARING:
            found.append(_Retrain(entry))
        elif found and found[-1].is_open and entry.event not in NEUTRAL_EVENTS:
            retrain = found[-1]
            retrain.is_open = entry.state is not GateState.COOLING
            succeeded = "trained, waiting for its first predictions" if retrain.is_open else "completed"
            retrain.state = _ENDS.get(entry.event, succeeded)
        before = entry.state
    return found


def _row(retrain: _Retrain) -> GateRetrain:
    id_ = retrain.decided.decision or ""
    command = f"truthloop retrain resolve {id_}" if retrain.is_open else ""
    return GateRetrain(id_, retrain.decided.at, retrain.state, retrain.decided.reason, command)


def _note(scope: Scope) -> str:
    return "" if scope.config.retrain is not None else "No retrain is requested: the config has no `retrain` section."
