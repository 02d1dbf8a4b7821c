"""The gate between evidence and a retrain: a state table, and what each event makes of it. Pure.

Laws: the gate is a fold of its log, so that what was decided is read and never decided again. Only an evaluation can
begin a retrain, and only one is open at a time. Time is evidence time: a year that is replayed is decided like a
year that was lived. Must not read a clock, the lake or the network.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from schemas.errors import TruthloopError
from schemas.evidence import Decision, Event, GateState

__all__ = ["DAY_MS", "NEXT_STATES", "Gate", "IllegalEvent", "decision_id", "gate_of"]

DAY_MS: Final = 86_400_000

_AT_REST = frozenset({GateState.UNKNOWN, GateState.IDLE, GateState.WATCHING, GateState.HELD, GateState.COOLING})
_JUDGED = _AT_REST | {GateState.PREPARING}

NEXT_STATES: Final[Mapping[tuple[GateState, Event], frozenset[GateState]]] = MappingProxyType(
    {
        # at rest, an evaluation may lead anywhere but out of a cooldown that still lasts
        **{(state, Event.EVALUATED): frozenset(_JUDGED) for state in _AT_REST},
        **{(state, Event.DEPLOYED): frozenset({GateState.COOLING}) for state in GateState},
        # a data set is being written; what is found meanwhile changes nothing
        (GateState.PREPARING, Event.EVALUATED): frozenset({GateState.PREPARING}),
        (GateState.PREPARING, Event.PREPARED): frozenset({GateState.REQUESTED}),
        (GateState.PREPARING, Event.RESOLVED): frozenset({GateState.COOLING}),
        # the request is on its way; a fast pipeline may answer before the delivery is known to have worked
        (GateState.REQUESTED, Event.EVALUATED): frozenset({GateState.REQUESTED}),
        (GateState.REQUESTED, Event.OVERDUE): frozenset({GateState.REQUESTED}),
        (GateState.REQUESTED, Event.DELIVERED): frozenset({GateState.RUNNING}),
        (GateState.REQUESTED, Event.UNDELIVERABLE): frozenset({GateState.COOLING}),
        (GateState.REQUESTED, Event.ACCEPTED): frozenset({GateState.RUNNING}),
        (GateState.REQUESTED, Event.SUCCEEDED): frozenset({GateState.RUNNING, GateState.COOLING}),
        (GateState.REQUESTED, Event.FAILED): frozenset({GateState.COOLING}),
        (GateState.REQUESTED, Event.RESOLVED): frozenset({GateState.COOLING}),
        # the pipeline works; it succeeds by callback, or when its version predicts
        (GateState.RUNNING, Event.EVALUATED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.OVERDUE): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.DELIVERED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.ACCEPTED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.SUCCEEDED): frozenset({GateState.RUNNING, GateState.COOLING}),
        (GateState.RUNNING, Event.FAILED): frozenset({GateState.COOLING}),
        (GateState.RUNNING, Event.RESOLVED): frozenset({GateState.COOLING}),
    }
)
"""Where each event may lead from each state; what is not listed is refused and moves nothing."""

_TELLS_VERSION = frozenset({Event.EVALUATED, Event.DEPLOYED})
_ENDED_BADLY = frozenset({Event.UNDELIVERABLE, Event.FAILED})


class IllegalEvent(TruthloopError):  # noqa: N818 - it names what happened; the suffix adds nothing
    """An event that the gate's state does not take; nothing has changed."""


@dataclass(frozen=True)
class Gate:
    """Where the gate of one label kind stands.

    Attributes:
        state: of the table above.
        at_ms: evidence time of the newest entry; None before the first.
        since_ms: evidence time at which the state was entered.
        evaluated_ms: evidence time of the newest evaluation.
        decision: id of the open retrain; None while none is.
        decided_ms: evidence time at which the open retrain was decided.
        is_overdue: nobody has answered for too long.
        asked_ms: evidence times of all retrains that were asked for.
        ended_ms: evidence time at which the newest retrain or deployment ended.
        failures: retrains in a row that were not delivered or failed.
        version: the version that ran when the gate last looked.
        following: number of the next entry of the log.
    """

    state: GateState = GateState.UNKNOWN
    at_ms: int | None = None
    since_ms: int | None = None
    evaluated_ms: int | None = None
    decision: str | None = None
    decided_ms: int | None = None
    is_overdue: bool = False
    asked_ms: tuple[int, ...] = ()
    ended_ms: int | None = None
    failures: int = 0
    version: str | None = None
    following: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a retrain has been decided and has not ended."""
        return self.decision is not None

    def after(self, entry: Decision) -> "Gate":
        """Return the gate after an entry of its log.

        Raises:
            IllegalEvent: the state does not take the event, or the entry belongs to another retrain or place.
        """
        self._check(entry)
        moved = replace(
            self,
            state=entry.state,
            at_ms=entry.at,
            since_ms=self.since_ms if entry.state is self.state else entry.at,
            following=entry.number + 1,
            version=entry.version if entry.event in _TELLS_VERSION else self.version,
            is_overdue=self.is_overdue or entry.event is Event.OVERDUE,
        )
        if entry.event is Event.EVALUATED:
            moved = replace(moved, evaluated_ms=entry.at)
        if entry.state is GateState.PREPARING and self.state is not GateState.PREPARING:
            return replace(moved, decision=entry.decision, decided_ms=entry.at, asked_ms=(*self.asked_ms, entry.at))
        if entry.state is GateState.COOLING and entry.event is not Event.EVALUATED:
            failures = self.failures + 1 if entry.event in _ENDED_BADLY else 0
            ended = replace(moved, decision=None, decided_ms=None, is_overdue=False, ended_ms=entry.at)
            return replace(ended, failures=failures)
        return moved

    def _check(self, entry: Decision) -> None:
        place = f"entry {entry.number} of the log of {entry.kind}"
        if entry.number != self.following:
            raise IllegalEvent(f"comes where entry {self.following} is due", where=place)
        if entry.state not in NEXT_STATES.get((self.state, entry.event), frozenset()):
            raise IllegalEvent(
                f"{entry.event.value!r} does not lead from {self.state.value!r} to {entry.state.value!r}", where=place
            )
        begins = entry.state is GateState.PREPARING and self.state is not GateState.PREPARING
        if begins and entry.decision is None:
            raise IllegalEvent("begins a retrain without an id", where=place)
        if not begins and self.is_open and entry.decision not in (self.decision, None):
            raise IllegalEvent(f"belongs to {entry.decision}, and {self.decision} is open", where=place)


def gate_of(entries: Iterable[Decision]) -> Gate:
    """Return where a log leaves the gate.

    Raises:
        IllegalEvent: the log is not one that a gate can have written.
    """
    gate = Gate()
    for entry in entries:
        gate = gate.after(entry)
    return gate


def decision_id(loop: str, kind: str, at_ms: int, version: str | None) -> str:
    """Return the id of the retrain that an evaluation decides: the same evaluation always has the same."""
    text = "\0".join((loop, kind, str(at_ms), version or ""))
    return f"rt-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
