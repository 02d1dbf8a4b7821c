"""What a log has ruled about backfills: the last word on each. Pure.

Must not decide; the rules are the monitor's, approvals a person's.
"""

from collections.abc import Iterable, Sequence

from schemas.backfill import Episode, Ruling, Verdict
from schemas.evidence import Decision

__all__ = ["rulings_of", "waiting_in"]


def rulings_of(entries: Iterable[Decision]) -> list[Ruling]:
    """Return the last ruling about each backfill of a log, in the order in which they were given.

    Where several definitions are of record, the one that was ruled about last is of the highest rank.
    """
    found: dict[str, Ruling] = {}
    for entry in entries:
        if entry.episode is not None and entry.verdict is not None:
            found.pop(entry.episode.id, None)
            found[entry.episode.id] = Ruling(episode=entry.episode, verdict=entry.verdict)
    return list(found.values())


def waiting_in(rulings: Iterable[Ruling]) -> Sequence[Episode]:
    """Return the backfills that wait for a person, the oldest first."""
    return [one.episode for one in rulings if one.verdict is Verdict.QUARANTINED]
