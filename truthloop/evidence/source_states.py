"""The sources of labels as they are now: the page, its verdict and `truthloop source list` say the same of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joins import Checkpoint
from joins.watermark import PREDICTIONS
from monitor.coverage.source import SourceArrivals, SourceWatch, watch_sources
from retrain.gate import Gate
from schemas.config.loop import LoopConfig
from truthloop.evidence.arrivals import label_memory

__all__ = ["SourcesNow", "predicted_until_ms", "sources_now"]


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


def predicted_until_ms(checkpoints: Iterable[Checkpoint]) -> int | None:
    """Return the greatest watermark of predictions over partitions; None before the first."""
    watermarks = [checkpoint.watermarks.get(PREDICTIONS) for checkpoint in checkpoints]
    reached = [one.reached_ms for one in watermarks if one is not None and one.reached_ms is not None]
    return max(reached, default=None)


def sources_now(
    config: LoopConfig,
    arrivals: Mapping[str, Mapping[str, SourceArrivals]],
    gates: Mapping[str, Gate],
    read_until_ms: int | None,
    now_ms: int,
) -> Mapping[str, SourcesNow]:
    """Return by kind the sources of its labels.

    Args:
        config: of the loop.
        arrivals: by kind and source.
        gates: by kind, of all kinds.
        read_until_ms: `predicted_until_ms`: the time to judge with `clock: event`.
        now_ms: wall clock: the time to judge otherwise.
    """
    clock_ms = read_until_ms if config.clock == "event" else now_ms
    found = {}
    for kind, own in arrivals.items():
        signs = [one.last_ms for one in own.values() if one.last_ms is not None]
        at_ms = max([*signs, clock_ms or 0])
        watches = watch_sources(own, label_memory(gates, kind), at_ms, config.timezone)
        found[kind] = SourcesNow(at_ms, tuple(watches))
    return found
