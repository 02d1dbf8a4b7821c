"""Status of backfill episodes as a gate's log records it: the latest verdict on each, and who gave it. Pure.

Verdicts by rule come from `monitor.backfill`, those of people from `retrain.approval`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.events.backfill import Episode, Ruling, Verdict
from schemas.events.evidence import Decision, Event

__all__ = [
    "BY_MAX",
    "PERSON_EVENTS",
    "REASON_MAX",
    "VERDICT_EVENTS",
    "EpisodeRuling",
    "EpisodeStatus",
    "episode_statuses",
    "rulings_of",
    "waiting_episodes",
]

PERSON_EVENTS = (Event.APPROVED, Event.REJECTED)
"""Events by which a person rules about an episode."""

VERDICT_EVENTS = (Event.BACKFILLED, *PERSON_EVENTS)
"""Events whose entries hold a verdict on an episode."""

REASON_MAX = 1_000
"""Greatest length of a person's reason in characters; a log entry holds no more."""

BY_MAX = 200
"""Greatest length of a person's name in characters."""


@dataclass(frozen=True, slots=True)
class EpisodeRuling:
    """A person's ruling about an episode.

    Attributes:
        by: name of the person.
        is_proved: a proxy authenticated that person; otherwise the name is an attestation.
        via: `page` or `terminal`.
        at_ms: wall-clock time of the ruling; None where the log does not record it.
        reason: as the person typed it.
    """

    by: str
    is_proved: bool
    via: str
    at_ms: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class EpisodeStatus:
    """An episode and its latest verdict.

    Attributes:
        episode: as its newest log entry describes it.
        verdict: the newest, by rule or by a person.
        diff_sha256: digest of the newest diff; empty where there is none.
        found_ms: evidence time at which the episode was found, or last grew.
        why: the rules' reason at that time.
        ruled: the person's ruling; None if nobody has ruled, or the episode has grown since.
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
    """Return the status of every episode: waiting ones first, the oldest first; then the others, the newest first.

    Args:
        entries: the log of one label kind, or of several, each in its own order.
    """
    known = [*entries]
    found = _latest_rulings(entry for entry in known if entry.event is Event.BACKFILLED)
    by_id = {entry.episode.id: entry for entry in found if entry.episode is not None}
    statuses = [
        _status(by_id.get(entry.episode.id, entry), entry)
        for entry in _latest_rulings(known)
        if entry.episode is not None
    ]
    waiting = sorted((one for one in statuses if one.is_waiting), key=lambda one: one.episode.since)
    others = sorted((one for one in statuses if not one.is_waiting), key=lambda one: -one.found_ms)
    return [*waiting, *others]


def rulings_of(entries: Iterable[Decision]) -> list[Ruling]:
    """Return the latest ruling about each episode of a log, in the order in which they were given.

    Where several definitions are of record, the one with the latest ruling ranks highest.
    """
    return [
        Ruling(episode=entry.episode, verdict=entry.verdict)
        for entry in _latest_rulings(entries)
        if entry.episode is not None and entry.verdict is not None
    ]


def waiting_episodes(rulings: Iterable[Ruling]) -> Sequence[Episode]:
    """Return the episodes that wait for a person's ruling, the oldest first."""
    return [one.episode for one in rulings if one.verdict is Verdict.QUARANTINED]


def _latest_rulings(entries: Iterable[Decision]) -> list[Decision]:
    """Return the last entry about each episode of a log, in the order in which they were written."""
    found: dict[str, Decision] = {}
    for entry in entries:
        if entry.episode is not None and entry.verdict is not None:
            found.pop(entry.episode.id, None)
            found[entry.episode.id] = entry
    return list(found.values())


def _status(found: Decision, last: Decision) -> EpisodeStatus:
    """Return the status from the entry that found the episode, and the last entry about it."""
    episode, verdict = last.episode, last.verdict
    if episode is None or verdict is None:  # for mypy: `_latest_rulings` returns entries with both
        raise ValueError(f"entry {last.number} of the log of {last.kind} is about no backfill")
    sha256 = found.detail.get("diff_sha256")
    return EpisodeStatus(
        episode=episode,
        verdict=verdict,
        diff_sha256=sha256 if isinstance(sha256, str) else "",
        found_ms=found.at,
        why=found.reason,
        ruled=_person_ruling(last) if last.event in PERSON_EVENTS else None,
    )


def _person_ruling(entry: Decision) -> EpisodeRuling:
    at_ms = entry.detail.get("ruled_at_ms")
    return EpisodeRuling(
        by=str(entry.detail.get("by") or "unknown"),
        is_proved=entry.detail.get("by_source") == "proxy",
        via=str(entry.detail.get("via") or "unknown"),
        at_ms=at_ms if isinstance(at_ms, int) else None,
        reason=entry.reason,
    )
