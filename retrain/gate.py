"""The gate between evidence and a retrain: a state machine that is a fold of its log. Pure.

What was decided is read from the log and never decided again. Only an evaluation begins a retrain, and one retrain is
open at a time. Time is evidence time, so a replayed year is decided as it would have been live.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from schemas.errors import TruthloopError
from schemas.events.backfill import Cause
from schemas.events.evidence import Decision, Event, GateState, LabelFault

__all__ = [
    "DAY_MS",
    "KNOWN_SOURCES",
    "NEUTRAL_EVENTS",
    "NEXT_STATES",
    "Gate",
    "IllegalEvent",
    "decision_id",
    "gate_of",
    "state_entry",
]

DAY_MS: Final = 86_400_000

KNOWN_SOURCES: Final = "known_sources"
"""Detail of an evaluation that has looked at label sources: how many are known. Older logs do not have it."""

_AT_REST = frozenset(
    {
        *(GateState.UNKNOWN, GateState.IDLE, GateState.WATCHING),
        *(GateState.HELD, GateState.WAITING, GateState.COOLING),
    }
)
_AFTER_EVALUATION = _AT_REST | {GateState.PREPARING}
_EVALUATIONS = (Event.EVALUATED, Event.RESTATED)
_NOTES = (Event.BACKFILLED, Event.APPROVED, Event.REJECTED, Event.JUDGED, Event.REFUSED, Event.RETIRED)

NEXT_STATES: Final[Mapping[tuple[GateState, Event], frozenset[GateState]]] = MappingProxyType(
    {
        # at rest, an evaluation leads to any of these; `retrain.policy` keeps a cooldown until it is over
        **{(state, event): frozenset(_AFTER_EVALUATION) for state in _AT_REST for event in _EVALUATIONS},
        # a backfill, a ruling, a judged version or a retired source moves no retrain; at rest a backfill may make the
        # gate wait
        **{(state, event): frozenset({state}) for state in GateState for event in _NOTES},
        **{
            (state, Event.BACKFILLED): frozenset({state, GateState.WAITING}) for state in _AT_REST - {GateState.COOLING}
        },
        **{(state, Event.DEPLOYED): frozenset({GateState.COOLING}) for state in GateState},
        # a data set is being written; evaluations in the meantime change nothing
        **{(GateState.PREPARING, event): frozenset({GateState.PREPARING}) for event in _EVALUATIONS},
        (GateState.PREPARING, Event.PREPARED): frozenset({GateState.REQUESTED}),
        (GateState.PREPARING, Event.RESOLVED): frozenset({GateState.COOLING}),
        # the request is being delivered; a fast pipeline may answer before the delivery is recorded
        **{(GateState.REQUESTED, event): frozenset({GateState.REQUESTED}) for event in _EVALUATIONS},
        **{(state, Event.INTERRUPTED): frozenset({state}) for state in GateState},
        # what cannot be trusted holds a gate that rests, or is watched
        (GateState.IDLE, Event.INTERRUPTED): frozenset({GateState.HELD, GateState.WATCHING}),
        (GateState.WATCHING, Event.INTERRUPTED): frozenset({GateState.HELD, GateState.WATCHING}),
        (GateState.WAITING, Event.INTERRUPTED): frozenset({GateState.HELD, GateState.WAITING}),
        (GateState.REQUESTED, Event.OVERDUE): frozenset({GateState.REQUESTED}),
        (GateState.REQUESTED, Event.DELIVERED): frozenset({GateState.RUNNING}),
        (GateState.REQUESTED, Event.UNDELIVERABLE): frozenset({GateState.COOLING}),
        (GateState.REQUESTED, Event.ACCEPTED): frozenset({GateState.RUNNING}),
        (GateState.REQUESTED, Event.SUCCEEDED): frozenset({GateState.RUNNING, GateState.COOLING}),
        (GateState.REQUESTED, Event.FAILED): frozenset({GateState.COOLING}),
        (GateState.REQUESTED, Event.RESOLVED): frozenset({GateState.COOLING}),
        # the pipeline runs; it is done by callback, by polling, or when its version predicts
        **{(GateState.RUNNING, event): frozenset({GateState.RUNNING}) for event in _EVALUATIONS},
        (GateState.RUNNING, Event.OVERDUE): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.DELIVERED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.ACCEPTED): frozenset({GateState.RUNNING}),
        (GateState.RUNNING, Event.SUCCEEDED): frozenset({GateState.RUNNING, GateState.COOLING}),
        (GateState.RUNNING, Event.FAILED): frozenset({GateState.COOLING}),
        (GateState.RUNNING, Event.RESOLVED): frozenset({GateState.COOLING}),
    }
)
"""(state, event) -> states that it may lead to. A pair that is not listed is illegal and changes nothing."""

NEUTRAL_EVENTS: Final = frozenset({*_EVALUATIONS, Event.INTERRUPTED, *_NOTES})
"""Events that never change the state of an open retrain."""

_VERSION_EVENTS = frozenset({Event.EVALUATED, Event.DEPLOYED})
_END_EVENTS = frozenset({Event.DEPLOYED, Event.RESOLVED, Event.UNDELIVERABLE, Event.SUCCEEDED, Event.FAILED})
_FAILURE_EVENTS = frozenset({Event.UNDELIVERABLE, Event.FAILED})


class IllegalEvent(TruthloopError):  # noqa: N818 - it names what happened; the suffix adds nothing
    """An event that is not allowed in the gate's state; nothing has changed."""


@dataclass(frozen=True)
class Gate:
    """State of the gate of one label kind after its log.

    Attributes:
        at_ms: greatest evidence time of an entry; None before the first.
        since_ms: evidence time at which the state was entered.
        evaluated_ms: evidence time of the newest evaluation.
        looked_ms: evidence time up to which the log tells whether labels are missing: that of the newest evaluation, or
            of an interruption of the labels that was found since.
        decision: id of the open retrain; None while none is open.
        decided_ms: evidence time up to which was known when the open retrain was decided.
        is_overdue: the open retrain has had no answer for too long.
        asked_ms: evidence times of all retrains that were requested.
        ended_ms: evidence time at which the newest retrain or deployment ended.
        failures: number of retrains in a row that were not delivered or failed.
        approved: ids of backfills that were approved since the last retrain was requested.
        ruled: whether labels of record may have changed since the last evaluation, by a person's ruling or a rule's, or
            a source was retired: the newest day is evaluated again.
        version: model version that was running at the last evaluation or deployment.
        sources: label sources that are known, in the order in which they became so; no evaluation forgets one.
        retired_ms: by label source (or slice) that a person retired, the time since which; it may be known again since.
        faults: labels that were missing at the last evaluation, or not long before it.
        following: number of the next log entry.
    """

    state: GateState = GateState.UNKNOWN
    at_ms: int | None = None
    since_ms: int | None = None
    evaluated_ms: int | None = None
    looked_ms: int | None = None
    decision: str | None = None
    decided_ms: int | None = None
    is_overdue: bool = False
    asked_ms: tuple[int, ...] = ()
    ended_ms: int | None = None
    failures: int = 0
    approved: tuple[str, ...] = ()
    ruled: bool = False
    version: str | None = None
    sources: tuple[str, ...] | None = None
    retired_ms: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[LabelFault, ...] = ()
    following: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a retrain has been decided and has not ended."""
        return self.decision is not None

    def open_for_ms(self, at_ms: int) -> int:
        """Return for how long the open retrain has been open at an evidence time; 0 while none is open.

        The log's newest evidence time counts if it is later: a backfill that is known only now may have come first, and
        the days before it are evaluated afterwards.
        """
        return 0 if self.decided_ms is None else max(at_ms, self.at_ms or at_ms) - self.decided_ms

    def after(self, entry: Decision) -> "Gate":
        """Return the gate after an entry of its log.

        Raises:
            IllegalEvent: the state does not allow the event, or the entry has another number or retrain.
        """
        self._check(entry)
        moved = replace(
            self,
            state=entry.state,
            at_ms=max(entry.at, self.at_ms or 0),
            since_ms=self.since_ms if entry.state is self.state else entry.at,
            following=entry.number + 1,
            version=entry.version if entry.event in _VERSION_EVENTS else self.version,
            is_overdue=self.is_overdue or entry.event is Event.OVERDUE,
        )
        if entry.event is Event.EVALUATED:
            moved = replace(moved, evaluated_ms=entry.at, looked_ms=entry.at)
        if entry.event is Event.INTERRUPTED:
            moved = replace(moved, looked_ms=entry.at, faults=tuple(entry.faults))
        if entry.event in _EVALUATIONS:
            moved = replace(moved, ruled=False, faults=tuple(entry.faults), sources=_sources(self.sources, entry))
        if entry.event is Event.RETIRED:
            moved = _without_retired(moved, entry)
        if entry.episode is not None:
            moved = replace(moved, approved=_approved(self.approved, entry), ruled=self.ruled or _changes_record(entry))
        if entry.state is GateState.PREPARING and self.state is not GateState.PREPARING:
            asked_ms = (*self.asked_ms, entry.at)
            begun = replace(moved, decision=entry.decision, decided_ms=moved.at_ms, asked_ms=asked_ms)
            return replace(begun, approved=())
        if entry.state is GateState.COOLING and entry.event in _END_EVENTS:
            failures = self.failures + 1 if entry.event in _FAILURE_EVENTS else 0
            ended = replace(moved, decision=None, decided_ms=None, is_overdue=False, ended_ms=entry.at)
            return replace(ended, failures=failures)
        return moved

    def after_all(self, entries: Iterable[Decision]) -> "Gate":
        """Return the gate after some entries; raises like `after`."""
        gate = self
        for entry in entries:
            gate = gate.after(entry)
        return gate

    def _check(self, entry: Decision) -> None:
        where = f"entry {entry.number} of the log of {entry.kind}"
        if entry.number != self.following:
            raise IllegalEvent(f"is out of order: entry {self.following} comes next", where=where)
        if entry.state not in NEXT_STATES.get((self.state, entry.event), frozenset()):
            raise IllegalEvent(
                f"{entry.event.value!r} does not lead from {self.state.value!r} to {entry.state.value!r}", where=where
            )
        begins = entry.state is GateState.PREPARING and self.state is not GateState.PREPARING
        if begins and entry.decision is None:
            raise IllegalEvent("begins a retrain without an id", where=where)
        if not begins and self.is_open and entry.decision not in (self.decision, None):
            raise IllegalEvent(f"belongs to {entry.decision}, and {self.decision} is open", where=where)


def _sources(before: tuple[str, ...] | None, entry: Decision) -> tuple[str, ...] | None:
    """Return the known sources after an evaluation; None while no evaluation has ever looked at sources."""
    if before is None and KNOWN_SOURCES not in entry.detail:
        return None
    return tuple(dict.fromkeys((*(before or ()), *entry.sources)))


def _without_retired(gate: Gate, entry: Decision) -> Gate:
    """Return the gate after a person has retired a source or a slice: the faults that it explains are over."""
    name, since_ms = entry.detail.get("subject"), entry.detail.get("since_ms")
    if not isinstance(name, str) or not isinstance(since_ms, int):
        return gate
    known = None if gate.sources is None else tuple(one for one in gate.sources if one != name)
    faults = tuple(one for one in gate.faults if one.scope == "source" and one.subject != name)
    retired_ms = {**gate.retired_ms, name: since_ms}
    return replace(gate, sources=known, retired_ms=retired_ms, faults=faults, ruled=True)


def _approved(before: tuple[str, ...], entry: Decision) -> tuple[str, ...]:
    """Return the ids of approved backfills after an entry about a backfill."""
    if entry.episode is None:
        return before
    others = tuple(one for one in before if one != entry.episode.id)
    return (*others, entry.episode.id) if entry.event is Event.APPROVED else others


def _changes_record(entry: Decision) -> bool:
    """Tell whether a person has ruled, or a rule's verdict differs from what counts without any verdict."""
    if entry.episode is None or entry.verdict is None:
        return False
    counts_by_default = not {Cause.DECLARED, Cause.REDEFINED} & {*entry.episode.causes}
    return entry.event is not Event.BACKFILLED or entry.verdict.is_of_record != counts_by_default


def gate_of(entries: Iterable[Decision]) -> Gate:
    """Return the gate after a whole log.

    Raises:
        IllegalEvent: no gate can have written this log.
    """
    return Gate().after_all(entries)


def state_entry(entries: Sequence[Decision]) -> Decision | None:
    """Return the newest entry that says why the gate is in its state; None of an empty log.

    A note about a ruling, a refused callback or a judged version says nothing about it, unless it moved the gate.
    """
    for number in range(len(entries) - 1, -1, -1):
        entry = entries[number]
        before = entries[number - 1].state if number else GateState.UNKNOWN
        if entry.event not in _NOTES or entry.state is not before:
            return entry
    return None


def decision_id(loop: str, kind: str, at_ms: int, version: str | None, entry: str | None = None) -> str:
    """Return the id of the retrain that an evaluation decides; the same evaluation always gives the same id.

    Args:
        at_ms: evidence time.
        version: the running model version.
        entry: number of the log entry for an evaluation that follows a ruling, of which there may be several at one
            evidence time; None for the evaluation of a day's end.
    """
    text = "\0".join((loop, kind, str(at_ms), version or "", *(() if entry is None else (entry,))))
    return f"rt-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
