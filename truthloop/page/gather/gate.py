"""The panel of the gate: where it stands, what a retrain requires, and what became of earlier ones.

All of it is read from the gate's log. Must not decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrain.gate import ASIDE, gate_of
from schemas.events.evidence import Decision, Event, GateState
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import decision_query
from truthloop.page.panels.gate import Decided, GateCondition, GateEvaluation, GatePanel, Typed

__all__ = ["gate_panel", "newest_evaluation"]

_EVALUATIONS: Final = 30
_JUDGES: Final = (Event.EVALUATED, Event.RESTATED)
_COMMANDS: Final = (
    Typed("truthloop retrain explain", "says what speaks for a retrain, and what it waits for"),
    Typed("truthloop status", "says how far every role has come"),
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
    begun: Decision
    state: str = "preparing"
    is_open: bool = True


def gate_panel(scope: Scope) -> GatePanel:
    """Return the panel.

    Raises:
        IllegalEvent: the log is not one that a gate can have written.
    """
    sql = decision_query(scope)
    log = scope.log
    if not log:
        return GatePanel(
            GateState.UNKNOWN.value, "Nothing has been evaluated yet.", commands=_COMMANDS, sql=sql, note=_note(scope)
        )
    gate = gate_of(log)
    evaluations = [entry for entry in log if entry.event in _JUDGES]
    conditions = next((entry.conditions for entry in reversed(evaluations) if entry.conditions), [])
    return GatePanel(
        gate.state.value,
        _sentence(log[-1]),
        gate.since_ms,
        tuple(GateCondition(one.name, one.value, one.needed, one.is_met) for one in conditions),
        tuple(GateEvaluation(one.at, one.state.value, one.reason) for one in evaluations[: -_EVALUATIONS - 1 : -1]),
        tuple(_decided(one) for one in reversed(_retrains(log))),
        _COMMANDS,
        sql,
        _note(scope),
    )


def newest_evaluation(log: Sequence[Decision]) -> Decision | None:
    """Return the newest entry that an evaluation made, of a day or after a ruling."""
    return next((entry for entry in reversed(log) if entry.event in _JUDGES), None)


def _retrains(log: Sequence[Decision]) -> list[_Retrain]:
    """Return every retrain, in order, with how far it has come."""
    found: list[_Retrain] = []
    before = GateState.UNKNOWN
    for entry in log:
        if entry.state is GateState.PREPARING and before is not GateState.PREPARING:
            found.append(_Retrain(entry))
        elif found and found[-1].is_open and entry.event not in ASIDE:
            one = found[-1]
            one.is_open = entry.state is not GateState.COOLING
            succeeded = "trained, waiting for its first predictions" if one.is_open else "completed"
            one.state = _ENDS.get(entry.event, succeeded)
        before = entry.state
    return found


def _decided(one: _Retrain) -> Decided:
    id_ = one.begun.decision or ""
    command = f"truthloop retrain resolve {id_}" if one.is_open else ""
    return Decided(id_, one.begun.at, one.state, one.begun.reason, command)


def _sentence(entry: Decision) -> str:
    text = entry.reason.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _note(scope: Scope) -> str:
    return "" if scope.config.retrain is not None else "The config asks nobody to retrain: it has no `retrain` section."
