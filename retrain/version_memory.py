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
    before_ruling: dict[str, int] = {}
    for entry in entries:
        if entry.event is Event.RESTATED:
            before_ruling = {version: len(found) for version, found in known.items()}
        if entry.memory is not None:
            known.setdefault(entry.memory.version, []).append(entry.memory)
    newest = max((found[-1].day for found in known.values()), default=None)
    recent = {
        version: found for version, found in known.items() if newest is not None and newest - found[-1].day <= PAST
    }
    for version, found in recent.items():
        ruled = before_ruling.get(version, 0)
        found[:ruled] = map(for_restated_labels, found[:ruled])
    return {version: continued(found, since) for version, found in recent.items()}
