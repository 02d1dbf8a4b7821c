"""The sources of labels as they are now: what the panel of the data flow shows, and the verdict agrees with."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.coverage.source import SourceWatch, watch_sources
from schemas.config.loop import LoopConfig
from truthloop.evidence.arrivals import label_memory
from truthloop.page.gather.snapshot import Snapshot

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


def sources_now(config: LoopConfig, snapshot: Snapshot, now_ms: int) -> Mapping[str, SourcesNow]:
    """Return by kind the sources of its labels.

    Args:
        now_ms: wall clock; with `clock: event` the time up to which predictions were read is used instead.
    """
    clock_ms = snapshot.progress.read_until_ms if config.clock == "event" else now_ms
    found = {}
    for kind, arrivals in snapshot.arrivals.items():
        signs = [one.last_ms for one in arrivals.values() if one.last_ms is not None]
        at_ms = max([*signs, clock_ms or 0])
        watches = watch_sources(arrivals, label_memory(snapshot.gates, kind), at_ms, config.timezone)
        found[kind] = SourcesNow(at_ms, tuple(watches))
    return found
