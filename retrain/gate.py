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
from schemas.events.backfill import Cause
from schemas.events.evidence import Decision, Event, GateState

__all__ = ["ASIDE", "DAY_MS", "NEXT_STATES", "Gate", "IllegalEvent", "decision_id", "gate_of"]

DAY_MS: Final = 86_400_000

_AT_REST = frozenset(
    {
        *(GateState.UNKNOWN, GateState.IDLE, GateState.WATCHING),
        *(GateState.HELD, GateState.WAITING, GateState.COOLING),
    }
)
_JUDGED = _AT_REST | {GateState.PREPARING}
_JUDGES = (Event.EVALUATED, Event.RESTATED)
_KEEPS = (Event.BACKFILLED, Event.APPROVED, Event.REJECTED, Event.JUDGED, Event.REFUSED)

NEXT_STATES: Final[Mapping[tuple[GateState, Event], frozenset[GateState]]] = MappingProxyType(
    {
        # at rest, an evaluation may lead anywhere but out of a cooldown that still lasts
        **{(state, event): frozenset(_JUDGED) for state in _AT_REST for event in _JUDGES},
        # a backfill, or what is said of a version, moves no retrain; at rest the gate may wait for a person
        **{(state, event): frozenset({state}) for state in GateState for event in _KEEPS},
        **{
            (state, Event.BACKFILLED): frozenset({state, GateState.WAITING}) for state in _AT_REST - {GateState.COOLING}
        },
        **{(state, Event.DEPLOYED): frozenset({GateState.COOLING}) for state in GateState},
        # a data set is being written; what is found meanwhile changes nothing
        **{(GateState.PREPARING, event): frozenset({GateState.PREPARING}) for event in _JUDGES},
        (GateState.PREPARING, Event.PREPARED): frozenset({GateState.REQUESTED}),
        (GateState.PREPARING, Event.RESOLVED): frozenset({GateState.COOLING}),
        # the request is on its way; a fast pipeline may answer before the delivery is known to have worked
        **{(GateState.REQUESTED, event): frozenset({GateState.REQUESTED}) for event in _JUDGES},
        (GateState.REQUESTED, Event.OVERDUE): frozenset({GateState.REQUESTED}),
        (GateState.REQUESTED, Event.DELIVERED): frozenset({GateState.RUNNING}),
        (GateState.REQUESTED, Event.UNDELIVERABLE): frozenset({GateState.COOLING}),
        (GateState.REQUESTED, Event.ACCEPTED): frozenset({GateState.RUNNING}),
        (GateState.REQUESTED, Event.SUCCEEDED): frozenset({GateState.RUNNING, GateState.COOLING}),
        (GateState.REQUESTED, Event.FAILED): frozenset({GateState.COOLING}),
        (GateState.REQUESTED, Event.RESOLVED): frozenset({GateState.COOLING}),
        # the pipeline works; it succeeds by callback, or when its version predicts
        **{(GateState.RUNNING, event): frozenset({GateState.RUNNING}) for event in _JUDGES},
        (GateState.RUNNING, Event.OVERDUE): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.DELIVERED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.ACCEPTED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.SUCCEEDED): frozenset({GateState.RUNNING, GateState.COOLING}),
        (GateState.RUNNING, Event.FAILED): frozenset({GateState.COOLING}),
        (GateState.RUNNING, Event.RESOLVED): frozenset({GateState.COOLING}),
    }
)
"""Where each event may lead from each state; what is not listed is refused and moves nothing."""

ASIDE: Final = frozenset({*_JUDGES, *_KEEPS})
"""Events that never move a retrain that is open."""

_TELLS_VERSION = frozenset({Event.EVALUATED, Event.DEPLOYED})
_ENDS = frozenset({Event.DEPLOYED, Event.RESOLVED, Event.UNDELIVERABLE, Event.SUCCEEDED, Event.FAILED})
_ENDED_BADLY = frozenset({Event.UNDELIVERABLE, Event.FAILED})


class IllegalEvent(TruthloopError):  # noqa: N818 - it names what happened; the suffix adds nothing
    """An event that the gate's state does not take; nothing has changed."""


@dataclass(frozen=True)
class Gate:
    """Where the gate of one label kind stands.

    Attributes:
        state: of the table above.
        at_ms: the greatest evidence time of an entry; None before the first.
        since_ms: evidence time at which the state was entered.
        evaluated_ms: evidence time of the newest evaluation.
        decision: id of the open retrain; None while none is.
        decided_ms: how far evidence had come when the open retrain was decided.
        is_overdue: nobody has answered for too long.
        asked_ms: evidence times of all retrains that were asked for.
        ended_ms: evidence time at which the newest retrain or deployment ended.
        failures: retrains in a row that were not delivered or failed.
        approved: ids of the backfills that a person approved and no retrain was asked for since.
        ruled: whether a person ruled about a backfill, or labels came to count otherwise, and nothing was judged since.
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
    approved: tuple[str, ...] = ()
    ruled: bool = False
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
            at_ms=max(entry.at, self.at_ms or 0),
            since_ms=self.since_ms if entry.state is self.state else entry.at,
            following=entry.number + 1,
            version=entry.version if entry.event in _TELLS_VERSION else self.version,
            is_overdue=self.is_overdue or entry.event is Event.OVERDUE,
        )
        if entry.event is Event.EVALUATED:
            moved = replace(moved, evaluated_ms=entry.at)
        if entry.event in _JUDGES:
            moved = replace(moved, ruled=False)
        if entry.episode is not None:
            moved = replace(moved, approved=_approved(self.approved, entry), ruled=self.ruled or _rules(entry))
        if entry.state is GateState.PREPARING and self.state is not GateState.PREPARING:
            asked_ms = (*self.asked_ms, entry.at)
            asked = replace(moved, decision=entry.decision, decided_ms=moved.at_ms, asked_ms=asked_ms)
            return replace(asked, approved=())
        if entry.state is GateState.COOLING and entry.event in _ENDS:
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


def _approved(before: tuple[str, ...], entry: Decision) -> tuple[str, ...]:
    """Return the approved backfills after a ruling."""
    if entry.episode is None:
        return before
    others = tuple(one for one in before if one != entry.episode.id)
    return (*others, entry.episode.id) if entry.event is Event.APPROVED else others


def _rules(entry: Decision) -> bool:
    """Return whether a person has ruled, or labels count that would not, or do not that would."""
    if entry.episode is None or entry.verdict is None:
        return False
    by_default = not {Cause.DECLARED, Cause.REDEFINED} & {*entry.episode.causes}
    return entry.event is not Event.BACKFILLED or entry.verdict.is_of_record != by_default


def gate_of(entries: Iterable[Decision]) -> Gate:
    """Return where a log leaves the gate.

    Raises:
        IllegalEvent: the log is not one that a gate can have written.
    """
    gate = Gate()
    for entry in entries:
        gate = gate.after(entry)
    return gate


def decision_id(loop: str, kind: str, at_ms: int, version: str | None, entry: str | None = None) -> str:
    """Return the id of the retrain that an evaluation decides: the same evaluation always has the same.

    Args:
        loop: name of the loop.
        kind: label kind.
        at_ms: evidence time.
        version: that runs.
        entry: the number of the entry, where a ruling is judged; None: the end of a day is, which comes once.
    """
    text = "\0".join((loop, kind, str(at_ms), version or "", *(() if entry is None else (entry,))))
    return f"rt-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
