"""Where each backfill of a loop stands, read from the gate's log: what was found, and who ruled about it. Pure.

Must not decide.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from retrain.ruling import last_words
from schemas.backfill import Episode, Verdict
from schemas.evidence import Decision, Event

__all__ = ["BY_MAX", "PERSONS", "REASON_MAX", "Ruled", "Standing", "standings_of"]

PERSONS = (Event.APPROVED, Event.REJECTED)

REASON_MAX = 1_000
"""Characters of a person's reason, as many as an entry of the log has."""

BY_MAX = 200
"""Characters of a person's name."""


@dataclass(frozen=True, slots=True)
class Ruled:
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
class Standing:
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
    ruled: Ruled | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a person has to rule about it."""
        return self.verdict is Verdict.QUARANTINED


def standings_of(entries: Iterable[Decision]) -> list[Standing]:
    """Return every backfill of a log: those that wait, the oldest first; then the others, the newest first.

    Args:
        entries: of one kind's log, or of several, each in its own order.
    """
    known = [*entries]
    found = last_words(entry for entry in known if entry.event is Event.BACKFILLED)
    by_id = {entry.episode.id: entry for entry in found if entry.episode is not None}
    standings = [
        _standing(by_id.get(entry.episode.id, entry), entry) for entry in last_words(known) if entry.episode is not None
    ]
    waiting = sorted((one for one in standings if one.is_waiting), key=lambda one: one.episode.since)
    others = sorted((one for one in standings if not one.is_waiting), key=lambda one: -one.found_ms)
    return [*waiting, *others]


def _standing(found: Decision, last: Decision) -> Standing:
    episode, verdict = last.episode, last.verdict
    if episode is None or verdict is None:  # standings_of has looked
        raise ValueError(f"entry {last.number} of the log of {last.kind} is about no backfill")
    sha256 = found.detail.get("diff_sha256")
    return Standing(
        episode=episode,
        verdict=verdict,
        diff_sha256=sha256 if isinstance(sha256, str) else "",
        found_ms=found.at,
        why=found.reason,
        ruled=_ruled(last) if last.event in PERSONS else None,
    )


def _ruled(entry: Decision) -> Ruled:
    at_ms = entry.detail.get("ruled_at_ms")
    return Ruled(
        by=str(entry.detail.get("by") or "unknown"),
        is_proved=entry.detail.get("by_source") == "proxy",
        via=str(entry.detail.get("via") or "unknown"),
        at_ms=at_ms if isinstance(at_ms, int) else None,
        reason=entry.reason,
    )
