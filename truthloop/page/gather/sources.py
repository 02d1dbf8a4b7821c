"""The sources of labels as they are now: what the panel of the data flow shows, and the verdict agrees with."""

from dataclasses import dataclass

from monitor.coverage.source import SourceWatch, watch_sources
from retrain.gate import gate_of
from truthloop.evidence.arrivals import label_memory
from truthloop.page.gather.scope import Scope

__all__ = ["SourcesNow", "sources_now"]


@dataclass(frozen=True)
class SourcesNow:
    """The sources of a kind at a time: those with labels, and those that are known though they send none any more."""

    at_ms: int
    watches: tuple[SourceWatch, ...]

    @property
    def silent(self) -> dict[str, str]:
        """Names of the known sources that have stopped, and a sentence about each."""
        return {
            one.source: one.liveness.sentence
            for one in self.watches
            if one.is_known and one.fault is not None and one.fault.until is None
        }


def sources_now(scope: Scope, kind: str, now_ms: int) -> SourcesNow:
    """Return the sources of a kind.

    Args:
        now_ms: wall clock; with `clock: event` the time up to which predictions were read is used instead.
    """
    clock_ms = scope.snapshot.progress.read_until_ms if scope.config.clock == "event" else now_ms
    arrivals = scope.snapshot.arrivals[kind]
    signs = [one.last_ms for one in arrivals.values() if one.last_ms is not None]
    at_ms = max([*signs, clock_ms or 0])
    memory = label_memory({name: gate_of(entries) for name, entries in scope.snapshot.log.items()}, kind)
    return SourcesNow(at_ms, tuple(watch_sources(arrivals, memory, at_ms, scope.config.timezone)))
