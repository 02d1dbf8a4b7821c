"""What the gate's log remembers of each model version, for the next evaluation. Pure."""

from collections.abc import Iterable
from datetime import date

from monitor.drift.shift import PAST
from monitor.version_watch import continued, for_restated_labels
from schemas.events.evidence import Decision, Event
from schemas.events.memory import VersionMemory

__all__ = ["memories_of"]


def memories_of(entries: Iterable[Decision], since: date = date.max) -> dict[str, VersionMemory]:
    """Return by version what evaluations have found.

    A ruling makes what labels had shown untrue, of the evaluated version and of all others: what the restatement found
    is remembered, and of the others only what their inputs showed.

    Args:
        entries: of the log, in order. A memory is kept for a year: of a version that has not run since, all days are
            judged anew.
        since: windows from this day on are wanted, too; those of the last year always are.
    """
    known: dict[str, list[VersionMemory]] = {}
    for entry in entries:
        if entry.event is Event.RESTATED:
            known = {version: [*map(for_restated_labels, found)] for version, found in known.items()}
        if entry.memory is not None:
            known.setdefault(entry.memory.version, []).append(entry.memory)
    newest = max((found[-1].day for found in known.values()), default=None)
    together = {version: continued(found, since) for version, found in known.items()}
    return {version: one for version, one in together.items() if newest is not None and newest - one.day <= PAST}
