"""Label sources as a person lists and retires them: from the gate's log, and from the labels in the lake."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lake import Lake
from retrain.approval import ATTEMPTS_MAX
from retrain.decision_log import DecisionLog
from retrain.gate import Gate, gate_of
from retrain.log_entries import EntryOrigin, retired
from schemas.errors import ConfigError, LakeConflict
from schemas.events.evidence import Decision
from streams.ledger.lake_kind import complete_rows
from truthloop.config.settings import Settings
from truthloop.evidence.arrivals import newest_arrivals
from truthloop.evidence.source_states import SourcesNow, predicted_until_ms, sources_now

__all__ = ["ListedSource", "Retirement", "list_sources", "retire_source"]


@dataclass(frozen=True)
class ListedSource:
    """A label source.

    Attributes:
        state: `alive`, `silent` (and known), or `unknown`: less than seven days of labels.
        is_known: its silence would be an alarm.
        last_ms: its newest label or heartbeat.
        retired_ms: since when a person has retired it; None if nobody has.
    """

    kind: str
    source: str
    state: str
    is_known: bool
    last_ms: int | None
    retired_ms: int | None


@dataclass(frozen=True)
class Retirement:
    """A person's wish to retire a source, or a slice whose labels are missing.

    Attributes:
        subject: name of the source, or the slice as NAME=VALUE.
        kind: label kind; None where only one kind has the subject.
        since_ms: labels that became known before it teach nothing any more.
        reason: in the person's words.
        by: the person's name.
    """

    subject: str
    kind: str | None
    since_ms: int
    reason: str
    by: str


def list_sources(settings: Settings, now_ms: int) -> list[ListedSource]:
    """Return every source that is known, has labels, or was retired, by kind and name.

    Raises:
        LakeError: there is no lake, or it cannot be read.
    """
    lake, config = Lake.open(settings.lake), settings.config
    gates = {kind: gate_of(DecisionLog(lake, kind).entries()) for kind in config.labels}
    arrivals = {kind: newest_arrivals(lake, kind, config.labels[kind], gate) for kind, gate in gates.items()}
    until_ms = predicted_until_ms(row.checkpoint for row in complete_rows(lake).values())
    found = sources_now(config, arrivals, gates, until_ms, now_ms)
    return [one for kind, gate in gates.items() for one in _of_kind(kind, gate, found[kind])]


def _of_kind(kind: str, gate: Gate, now: SourcesNow) -> Iterator[ListedSource]:
    states = {one.source: one for one in now.watches}
    for source in sorted({*states, *(name for name in gate.retired_ms if "=" not in name)}):
        state = states.get(source)
        silent_ms = None if state is None else state.liveness.silent_ms
        yield ListedSource(
            kind=kind,
            source=source,
            state="unknown" if state is None else "silent" if source in now.silent else state.liveness.state,
            is_known=state is not None and state.is_known,
            last_ms=None if silent_ms is None else now.at_ms - silent_ms,
            retired_ms=gate.retired_ms.get(source),
        )


def retire_source(settings: Settings, wish: Retirement, now_ms: Callable[[], int]) -> Decision:
    """Record in a kind's log that a source, or a slice, is retired; return the entry.

    Raises:
        ConfigError: no log, or more than one, has the subject, or the time is in the future.
        LakeError: the log cannot be read or written.
    """
    if wish.since_ms > now_ms():
        raise ConfigError("is in the future", where="--since", hint="Retire it when its last label has come.")
    lake = Lake.open(settings.lake)
    logs = {
        origin: DecisionLog(lake, origin.kind)
        for origin in EntryOrigin.all_of(settings.config)
        if wish.kind in (None, origin.kind)
    }
    knowing = [origin for origin, log in logs.items() if wish.subject in _subjects(log.entries())]
    if len(knowing) != 1:
        known = sorted({name for log in logs.values() for name in _subjects(log.entries())})
        raise ConfigError(
            "is known to several label kinds" if knowing else "is no known source of labels",
            where=wish.subject,
            hint=f"Choose one with --kind: {', '.join(one.kind for one in knowing)}."
            if knowing
            else f"Known: {', '.join(known[:8]) or 'none'}. `truthloop source list` lists them.",
        )
    [origin] = knowing
    detail = {"by": wish.by, "via": "terminal"}

    def build(entries: Sequence[Decision]) -> list[Decision]:
        if wish.subject not in _subjects(entries):
            return []
        return [retired(origin, gate_of(entries), wish.subject, wish.since_ms, wish.reason, detail)]

    new = logs[origin].update(build, now_ms, ATTEMPTS_MAX)
    if not new:
        raise LakeConflict("the log has changed meanwhile", where=wish.subject, hint="Check the log, then try again.")
    return new[0]


def _subjects(entries: Sequence[Decision]) -> set[str]:
    """Return what can be retired: known sources, and what has open faults."""
    gate = gate_of(entries)
    return {*(gate.sources or ()), *(one.subject for one in gate.faults if one.until is None)}
