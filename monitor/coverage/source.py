"""Known sources of labels: a source stays known, and its silence open, until labels come again or a person retires it.

What is remembered between evaluations is an argument (`LabelMemory`); the gate's log keeps it. The look back is bounded
for that reason: a source that has been dead for years is known from the log, not from its labels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from monitor.cells.source_name import SOURCES_MAX
from monitor.coverage.liveness import Liveness, source_liveness
from schemas.base.figures import age
from schemas.events.evidence import LabelFault

__all__ = ["LabelMemory", "SourceArrivals", "SourceWatch", "newly_missing", "watch_sources"]

_MINUTE_MS = 60_000
_KNOWN_AFTER_MINUTES = 7 * 1_440
_NEVER_MS = 2**62


@dataclass(frozen=True)
class SourceArrivals:
    """Arrival times of one label source.

    Attributes:
        minutes: epoch minutes in which labels arrived, growing, each once.
        heartbeats_ms: times of the heartbeats by which the source declares itself complete, growing.
    """

    minutes: npt.NDArray[np.int64]
    heartbeats_ms: tuple[int, ...] = ()

    def between(self, since_ms: int, until_ms: int) -> "SourceArrivals":
        """Return the minutes that begin from one time on and before the other, and the heartbeats after the one."""
        first, end = -(-since_ms // _MINUTE_MS), -(-until_ms // _MINUTE_MS)
        begin, end = np.searchsorted(self.minutes, [first, end])
        return SourceArrivals(
            self.minutes[begin:end], tuple(time for time in self.heartbeats_ms if since_ms < time <= until_ms)
        )

    @property
    def last_ms(self) -> int | None:
        """The newest sign of life."""
        minutes = [(int(self.minutes[-1]) + 1) * _MINUTE_MS] if len(self.minutes) else []
        return max([*minutes, *self.heartbeats_ms[-1:]], default=None)


@dataclass(frozen=True)
class LabelMemory:
    """What evaluations of a kind have found before: an input of the next one.

    Attributes:
        sources: label sources that are known.
        retired_ms: by label source or slice that a person has retired, the time since which.
        faults: labels that were missing at the last evaluation, or not long before it.
        room: how many further sources may become known.
    """

    sources: frozenset[str] = frozenset()
    retired_ms: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[LabelFault, ...] = ()
    room: int = SOURCES_MAX


@dataclass(frozen=True)
class SourceWatch:
    """State of one source at the end of a day.

    Attributes:
        is_known: it has, or had at some earlier evaluation, seven days of history.
        is_new: it is known since this evaluation.
        fault: its newest silence; it is over if it has an end.
    """

    source: str
    liveness: Liveness
    is_known: bool
    is_new: bool
    fault: LabelFault | None


def watch_sources(
    arrivals: Mapping[str, SourceArrivals], memory: LabelMemory, at_ms: int, timezone: str
) -> Iterator[SourceWatch]:
    """Yield the state of every source that is known or has labels, by name.

    A silence that was found stays open until the next sign of life: at night, or when its history is no longer read. It
    is never part of what is usual.

    Args:
        arrivals: by source, of the time that is looked back on; later ones are ignored.
        memory: of the evaluations before.
        at_ms: the time to judge, in milliseconds since 1970.
        timezone: of the loop.
    """
    room = memory.room
    silences = {one.subject: one for one in memory.faults if one.check == "silence"}
    for source in sorted(memory.sources | set(arrivals)):
        one = arrivals.get(source, SourceArrivals(np.zeros(0, np.int64)))
        one = one.between(memory.retired_ms.get(source, 0), at_ms)
        fault = _resumed(silences.get(source), one)
        found = _liveness(one, fault, at_ms, timezone)
        is_new = source not in memory.sources and found.state != "unknown" and room > 0
        room -= is_new
        is_known = is_new or source in memory.sources
        is_open = fault is not None and fault.until is None
        if is_known and not is_open and (found.state == "silent" or one.last_ms is None):
            since_ms = at_ms if one.last_ms is None else one.last_ms
            fault = LabelFault(check="silence", scope="source", subject=source, since=min(since_ms, at_ms))
        yield SourceWatch(source, found, is_known, is_new, fault)


def _resumed(fault: LabelFault | None, one: SourceArrivals) -> LabelFault | None:
    """Return the fault with its end, if a sign of life has come since."""
    if fault is None or fault.until is not None:
        return fault
    after = one.between(fault.since, _NEVER_MS)
    signs = [*(int(minute) * _MINUTE_MS for minute in after.minutes[:1]), *after.heartbeats_ms[:1]]
    return fault.model_copy(update={"until": min(signs)}) if signs else fault


def _liveness(one: SourceArrivals, fault: LabelFault | None, at_ms: int, timezone: str) -> Liveness:
    """Judge by the history after the last silence that was found; by that before it until there are seven days."""
    heartbeat_ms = one.heartbeats_ms[-1] if one.heartbeats_ms else None
    if fault is None:
        return source_liveness(one.minutes, at_ms, timezone, heartbeat_ms)
    if fault.until is None:
        return _still_silent(fault, source_liveness(one.minutes, at_ms, timezone, heartbeat_ms), at_ms)
    after = one.between(fault.until, at_ms)
    if _has_history(after):
        return source_liveness(after.minutes, at_ms, timezone, heartbeat_ms)
    before = one.between(0, fault.since)
    return source_liveness(before.minutes, at_ms, timezone, one.last_ms)


def newly_missing(arrivals: Mapping[str, SourceArrivals], memory: LabelMemory) -> set[str]:
    """Return the known sources whose usual silence these arrivals do not show, and whose silence is not known either.

    Their history lies further back.
    """
    silent = {one.subject for one in memory.faults if one.check == "silence" and one.until is None}
    return {source for source in memory.sources - silent if not _has_history(arrivals.get(source))}


def _has_history(one: SourceArrivals | None) -> bool:
    return one is not None and len(one.minutes) > 0 and bool(one.minutes[-1] - one.minutes[0] >= _KNOWN_AFTER_MINUTES)


def _still_silent(fault: LabelFault, found: Liveness, at_ms: int) -> Liveness:
    silent_ms = at_ms - fault.since
    whole = age(silent_ms - silent_ms % _MINUTE_MS)
    sentence = found.sentence if found.state == "silent" else f"No label or heartbeat for {whole}."
    return replace(found, state="silent", silent_ms=silent_ms, sentence=sentence)
