"""Watches the labels of a kind between two ends of days: where they come within hours, a day is long to wait. Pure.

Only what interrupts the labels is looked for. Everything else is judged at the end of a day (`monitor.evaluation`),
also that labels come again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.cohort import day_at
from monitor.cells.flow_cells import FlowCells
from monitor.cells.label_flow import block_ends_ms
from monitor.cells.plan import CellPlan
from monitor.coverage.lookback import lookback_days
from monitor.coverage.loss_watch import LossWatch
from monitor.coverage.source import LabelMemory, SourceArrivals, watch_sources
from monitor.label_verdict import fault_findings
from schemas.events.evidence import Finding, LabelFault

__all__ = ["Interruption", "LabelWatch"]

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Interruption:
    """Labels that have begun to be missing.

    Attributes:
        at_ms: the end of the block that shows it.
        findings: on the labels that are missing since the last look; at least one.
        faults: all that are open then, or were lately.
    """

    at_ms: int
    findings: Sequence[Finding]
    faults: Sequence[LabelFault]


class LabelWatch:
    """Watches one kind.

    Args:
        cells: of the loop.
        plan: the plan they were folded with.
        kind: name of a kind of the plan.
        days: the first and the last day that are looked at; the last may be under way.
    """

    def __init__(self, cells: CellsByDay, plan: CellPlan, kind: str, days: tuple[date, date]) -> None:
        horizon_ms = plan.kind(kind).horizon_ms
        first = days[0] - timedelta(days=lookback_days(horizon_ms))
        self._days = days
        self._flows = FlowCells(cells, plan, kind, (first, days[1]))
        self._losses = LossWatch(self._flows, kind, horizon_ms, plan.timezone)
        self._timezone = plan.timezone

    def instants(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """Yield the ends of blocks after a time and up to another at which the labels are looked at, in order.

        There are none where half of the labels take a day or longer, and none at the end of a day.
        """
        if self._flows.per_day == 1:
            return
        first, last = (day_at(time_ms, self._timezone) for time_ms in (after_ms, until_ms))
        first, last = max(first, self._days[0]), min(last, self._days[1])
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            if 0 < self._losses.median_ms(day) < _DAY_MS:
                ends_ms = block_ends_ms([day], self._timezone)[:-1]
                yield from (int(end_ms) for end_ms in ends_ms if after_ms < end_ms <= until_ms)

    def losses(self, at_ms: int, memory: LabelMemory) -> list[LabelFault]:
        """Return the losses as of the end of a block or day (`LossWatch.faults`)."""
        return self._losses.faults(at_ms, memory)

    def look(self, at_ms: int, arrivals: Mapping[str, SourceArrivals], memory: LabelMemory) -> Interruption | None:
        """Return what interrupts the labels as of the end of a block; None if nothing new does.

        Args:
            at_ms: one of `instants`.
            arrivals: of this kind's labels, by source; later ones are ignored.
            memory: what the evaluations and looks before have found. No further source becomes known by a look.
        """
        states = [*watch_sources(arrivals, replace(memory, room=0), at_ms, self._timezone)]
        losses = self.losses(at_ms, memory)
        known = {_identity(one) for one in memory.faults if one.until is None}
        findings = [finding for fault, finding in fault_findings(states, losses) if _identity(fault) not in known]
        if not findings:
            return None
        return Interruption(at_ms, findings, [*(one.fault for one in states if one.fault is not None), *losses])


def _identity(fault: LabelFault) -> tuple[str, str, str]:
    return fault.check, fault.scope, fault.subject
