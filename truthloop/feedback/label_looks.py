"""Looks at the labels of a kind between two ends of days, and builds the log's entries for what interrupts them.

A look that finds nothing is not logged: it is repeated after a restart, from the last logged one on, with the same
result.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

from monitor.cells.cohort import day_at
from monitor.cells.label_flow import block_ends_ms
from monitor.coverage.source import LabelMemory, SourceArrivals
from monitor.label_watch import LabelWatch
from retrain.evaluation_entries import interrupted
from retrain.gate import Gate
from retrain.log_entries import EntryOrigin
from schemas.events.evidence import Decision
from truthloop.evidence.cells import Evidence

__all__ = ["LabelLooks"]


class LabelLooks:
    """The looks of one kind.

    Args:
        origin: of the log's entries.
        timezone: of the loop.
        memory: returns what the evaluations and looks up to a gate of the kind have found.
    """

    def __init__(self, origin: EntryOrigin, timezone: str, memory: Callable[[Gate], LabelMemory]) -> None:
        self._origin = origin
        self._timezone = timezone
        self._memory = memory
        self._done_ms = 0

    def due(self, evidence: Evidence, gate: Gate, days: Sequence[date], until_ms: int) -> LabelWatch | None:
        """Return the watch for what is due; None if no day and no block has ended since the last look.

        Args:
            evidence: as it is now.
            gate: of the kind.
            days: that have ended and are to be evaluated, in order.
            until_ms: up to where predictions and labels have been read.
        """
        last = day_at(until_ms, self._timezone)
        if not days:
            if gate.looked_ms is None or not evidence.plan.kind(self._origin.kind).has_hourly_panes:
                return None
            ends_ms = block_ends_ms([last - timedelta(days=1), last], self._timezone)
            if ends_ms[ends_ms <= until_ms][-1] <= max(gate.looked_ms, self._done_ms):
                return None
        first = days[0] if days or gate.looked_ms is None else day_at(gate.looked_ms, self._timezone)
        return LabelWatch(evidence.cells, evidence.plan, self._origin.kind, (first, last))

    def entries(
        self, watch: LabelWatch, gate: Gate, arrivals: Mapping[str, SourceArrivals], until_ms: int
    ) -> list[Decision]:
        """Return the entries of all looks between the last logged one and a time; none before the first evaluation."""
        found: list[Decision] = []
        if gate.looked_ms is None:
            return found
        for at_ms in watch.instants(gate.looked_ms, until_ms):
            interruption = watch.look(at_ms, arrivals, self._memory(gate))
            if interruption is not None:
                found.append(interrupted(self._origin, gate, interruption))
                gate = gate.after(found[-1])
        return found

    def done(self, until_ms: int) -> None:
        """Note that the looks up to a time are made, and what they found is logged."""
        self._done_ms = until_ms
