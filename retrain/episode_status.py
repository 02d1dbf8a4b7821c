"""What a log has ruled about backfills: the last word on each. Pure.

Must not decide; the rules are the monitor's, approvals a person's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.events.backfill import Episode, Ruling, Verdict
from schemas.events.evidence import Decision, Event

__all__ = [
    "BY_MAX",
    "PERSONS",
    "REASON_MAX",
    "EpisodeRuling",
    "EpisodeStatus",
    "episode_statuses",
    "latest_rulings",
    "rulings_of",
    "waiting_in",
]


def latest_rulings(entries: Iterable[Decision]) -> list[Decision]:
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
        for entry in latest_rulings(entries)
        if entry.episode is not None and entry.verdict is not None
    ]


def waiting_in(rulings: Iterable[Ruling]) -> Sequence[Episode]:
    """Return the backfills that wait for a person, the oldest first."""
    return [one.episode for one in rulings if one.verdict is Verdict.QUARANTINED]


PERSONS = (Event.APPROVED, Event.REJECTED)

REASON_MAX = 1_000
"""Characters of a person's reason, as many as an entry of the log has."""

BY_MAX = 200
"""Characters of a person's name."""


@dataclass(frozen=True, slots=True)
class EpisodeRuling:
    """What a person ruled.

    Attributes:
        by: who says so.
        is_proved: a proxy authenticated that person; else the name is an attestation.
        via: `page` or `terminal`.
        at_ms: when, by the wall clock; None where the log does not tell.
        reason: in the person's words.
    """

    by: str
    is_proved: bool
    via: str
    at_ms: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class EpisodeStatus:
    """A backfill and the last word on it.

    Attributes:
        episode: as it was last written down.
        verdict: the newest.
        diff_sha256: of the diff that was put before people last; empty where there is none.
        found_ms: evidence time at which it was found, or grew, last.
        why: what the rules made of it then, and why.
        ruled: by a person; None where nobody has, or it has grown since.
    """

    episode: Episode
    verdict: Verdict
    diff_sha256: str
    found_ms: int
    why: str
    ruled: EpisodeRuling | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a person has to rule about it."""
        return self.verdict is Verdict.QUARANTINED


def episode_statuses(entries: Iterable[Decision]) -> list[EpisodeStatus]:
    """Return every backfill of a log: those that wait, the oldest first; then the others, the newest first.

    Args:
        entries: of one kind's log, or of several, each in its own order.
    """
    known = [*entries]
    found = latest_rulings(entry for entry in known if entry.event is Event.BACKFILLED)
    by_id = {entry.episode.id: entry for entry in found if entry.episode is not None}
    standings = [
        _standing(by_id.get(entry.episode.id, entry), entry)
        for entry in latest_rulings(known)
        if entry.episode is not None
    ]
    waiting = sorted((one for one in standings if one.is_waiting), key=lambda one: one.episode.since)
    others = sorted((one for one in standings if not one.is_waiting), key=lambda one: -one.found_ms)
    return [*waiting, *others]


def _standing(found: Decision, last: Decision) -> EpisodeStatus:
    episode, verdict = last.episode, last.verdict
    if episode is None or verdict is None:  # episode_statuses has looked
        raise ValueError(f"entry {last.number} of the log of {last.kind} is about no backfill")
    sha256 = found.detail.get("diff_sha256")
    return EpisodeStatus(
        episode=episode,
        verdict=verdict,
        diff_sha256=sha256 if isinstance(sha256, str) else "",
        found_ms=found.at,
        why=found.reason,
        ruled=_ruled(last) if last.event in PERSONS else None,
    )


def _ruled(entry: Decision) -> EpisodeRuling:
    at_ms = entry.detail.get("ruled_at_ms")
    return EpisodeRuling(
        by=str(entry.detail.get("by") or "unknown"),
        is_proved=entry.detail.get("by_source") == "proxy",
        via=str(entry.detail.get("via") or "unknown"),
        at_ms=at_ms if isinstance(at_ms, int) else None,
        reason=entry.reason,
    )
