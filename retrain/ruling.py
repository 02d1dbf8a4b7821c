"""What a log has ruled about backfills: the last word on each. Pure.

Must not decide; the rules are the monitor's, approvals a person's.
"""

from collections.abc import Iterable, Sequence

from schemas.backfill import Episode, Ruling, Verdict
from schemas.evidence import Decision

__all__ = ["last_words", "rulings_of", "waiting_in"]


def last_words(entries: Iterable[Decision]) -> list[Decision]:
    """Return the last entry about each backfill of a log, in the order in which they were written."""
    found: dict[str, Decision] = {}
    for entry in entries:
        if entry.episode is not None and entry.verdict is not None:
            found.pop(entry.episode.id, None)
            found[entry.episode.id] = entry
    return list(found.values())


def rulings_of(entries: Iterable[Decision]) -> list[Ruling]:
    """Return the last ruling about each backfill of a log, in the order in which they were given.

    Where several definitions are of record, the one that was ruled about last is of the highest rank.
    """
    return [
        Ruling(episode=entry.episode, verdict=entry.verdict)
        for entry in last_words(entries)
        if entry.episode is not None and entry.verdict is not None
    ]


def waiting_in(rulings: Iterable[Ruling]) -> Sequence[Episode]:
    """Return the backfills that wait for a person, the oldest first."""
    return [one.episode for one in rulings if one.verdict is Verdict.QUARANTINED]
