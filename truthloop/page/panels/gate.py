"""The panel of the gate: whether a retrain is asked for, what it waits for, and what became of earlier ones.

Rules are those of `panel`: builtin types, milliseconds in UTC, None for what nobody knows. Must not decide.
"""

from dataclasses import dataclass

__all__ = ["Decided", "GateCondition", "GateEvaluation", "GatePanel", "Typed"]


@dataclass(frozen=True, slots=True)
class GateCondition:
    """One thing that a retrain requires; `is_fulfilled` is None while nothing can be said."""

    name: str
    value: str
    needed: str
    is_fulfilled: bool | None


@dataclass(frozen=True, slots=True)
class GateEvaluation:
    """What the gate found at one time, and why."""

    at_ms: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision and how far it has come: requested, delivered, running, completed, failed, waiting, ..."""

    id: str
    at_ms: int
    state: str
    reason: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Typed:
    """A command, and what it does in a few words."""

    command: str
    what: str


@dataclass(frozen=True, slots=True)
class GatePanel:
    """Whether a retrain is asked for, and what stands in its way. Newest evaluations and decisions first."""

    state: str
    sentence: str
    since_ms: int | None = None
    conditions: tuple[GateCondition, ...] = ()
    evaluations: tuple[GateEvaluation, ...] = ()
    decisions: tuple[Decided, ...] = ()
    commands: tuple[Typed, ...] = ()
    sql: str = ""
    note: str = ""
