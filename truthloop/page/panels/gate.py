"""The panel of the gate: its state, what a retrain still requires, and earlier retrains.

Conventions are those of `truthloop.page.panels.model`.
"""

from dataclasses import dataclass

__all__ = ["CommandHint", "GateCondition", "GateEvaluation", "GatePanel", "GateRetrain"]


@dataclass(frozen=True, slots=True)
class GateCondition:
    """One requirement of a retrain; `is_fulfilled` is None while it is unknown."""

    name: str
    value: str
    needed: str
    is_fulfilled: bool | None


@dataclass(frozen=True, slots=True)
class GateEvaluation:
    """An evaluation: the gate's state after it, and the reason.

    Attributes:
        at_ms: end of the day that was evaluated.
        is_again: whether that day was evaluated once more, because a ruling has changed which labels are of record.
    """

    at_ms: int
    state: str
    reason: str
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class GateRetrain:
    """A decided retrain; its state is requested, delivered, running, completed, failed, waiting, ..."""

    id: str
    at_ms: int
    state: str
    reason: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class CommandHint:
    """A command of the shell, and what it does."""

    command: str
    what: str


@dataclass(frozen=True, slots=True)
class GatePanel:
    """The state of the gate; newest evaluations and retrains first."""

    state: str
    sentence: str
    since_ms: int | None = None
    conditions: tuple[GateCondition, ...] = ()
    evaluations: tuple[GateEvaluation, ...] = ()
    decisions: tuple[GateRetrain, ...] = ()
    commands: tuple[CommandHint, ...] = ()
    sql: str = ""
    note: str = ""
