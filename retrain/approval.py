"""Approval or rejection of a backfill by a person: once per diff, bound to the digest that was read, with a reason.

A ruling is one compare-and-set on the gate's log, so of many concurrent ones exactly one takes effect. A refused ruling
is logged once per form, up to a limit per backfill. Callers state who rules and how that is known; it is recorded as
stated.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock
from typing import Literal
from unicodedata import category

from retrain.decision_log import DecisionLog
from retrain.episode_status import BY_MAX, PERSON_EVENTS, REASON_MAX, EpisodeStatus, episode_statuses
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin, ruled
from schemas.events.backfill import Ruling, Verdict
from schemas.events.evidence import Decision, Event

__all__ = [
    "ATTEMPTS_MAX",
    "REFUSALS_MAX",
    "Approvals",
    "Person",
    "RulingOutcome",
    "RulingRequest",
    "RulingResult",
    "one_line",
]

log = logging.getLogger("truthloop.feedback")

REFUSALS_MAX = 100
"""Refused rulings that are logged for each backfill; later ones leave no entry."""

ATTEMPTS_MAX = 2 * REFUSALS_MAX
"""How often the log is read again because another writer came first.

Each time means an entry of that writer, so a crowd that rules about a backfill cannot come first more often than it has
entries: the ruling and the refusals.
"""


class RulingOutcome(StrEnum):
    """Result code of a ruling: DONE, or why it was refused."""

    DONE = "done"
    UNKNOWN = "unknown"
    INCOMPLETE = "incomplete"
    DECIDED = "decided"
    CHANGED = "changed"
    EXPIRED = "expired"
    USED = "used"
    BUSY = "busy"
    GONE = "gone"


_LOGGED = {
    RulingOutcome.DECIDED: "it has been ruled about already",
    RulingOutcome.CHANGED: "the diff is not the one that was read",
    RulingOutcome.EXPIRED: "the form has expired",
    RulingOutcome.GONE: "records that it concerns have left the lake",
}
"""Refusals that are logged, with their reason: those of complete rulings that came too late."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who rules.

    Attributes:
        name: as the proxy or the person gives it.
        source: `proxy` if a proxy has authenticated the name, `attested` if nobody has.
        via: where the ruling was made.
    """

    name: str
    source: Literal["attested", "proxy"]
    via: Literal["page", "terminal"]


@dataclass(frozen=True, slots=True)
class RulingRequest:
    """A person's ruling about a backfill, as submitted.

    Attributes:
        episode: id of the backfill.
        diff_sha256: digest of the diff that the person read.
        verdict: APPROVED or REJECTED.
        reason: in the person's words.
        token_sha256: digest of the form's single-use token; None where there was no form.
    """

    episode: str
    diff_sha256: str
    verdict: Verdict
    reason: str
    person: Person
    token_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class RulingResult:
    """Outcome of a ruling, and the status of the backfill after it; None for an unknown backfill."""

    outcome: RulingOutcome
    status: EpisodeStatus | None = None


class Approvals:
    """The backfills of a loop and the rulings of people about them. Thread-safe.

    Args:
        logs: of all label kinds.
        now_ms: wall clock; recorded for people, nothing depends on it.
        kept_since_ms: since when labels are kept with all predictions that they are about; backfills with older ones
            cannot be approved, because nothing can be restated.
    """

    def __init__(
        self,
        logs: Sequence[tuple[EntryOrigin, DecisionLog]],
        now_ms: Callable[[], int],
        kept_since_ms: Callable[[], int] = int,
    ) -> None:
        self._logs = logs
        self._now_ms = now_ms
        self._kept_since_ms = kept_since_ms
        # a table of the lake is written by one thread at a time
        self._lock = Lock()

    def statuses(self) -> list[EpisodeStatus]:
        """Return every backfill: those that wait, the oldest first; then the others, the newest first.

        Raises:
            LakeError: the log cannot be read.
        """
        with self._lock:
            return episode_statuses([entry for _, decisions in self._logs for entry in decisions.entries()])

    def status(self, episode: str) -> EpisodeStatus | None:
        """Return one backfill; None if there is none of this id.

        Raises:
            LakeError: the log cannot be read.
        """
        return _find(self.statuses(), episode)

    def rule(self, request: RulingRequest, *, is_expired: bool = False) -> RulingResult:
        """Record a ruling, or return why it is refused.

        Args:
            request: of somebody who is allowed to rule.
            is_expired: the form is too old; the ruling is refused, and the refusal logged.

        Raises:
            LakeError: the log cannot be read or written. The ruling may be in it: read the status again.
            ValueError: the verdict is none that a person gives.
        """
        if request.verdict not in (Verdict.APPROVED, Verdict.REJECTED):
            raise ValueError(f"a person does not rule {request.verdict.value!r}")
        person = replace(request.person, name=one_line(request.person.name))
        request = replace(request, reason=one_line(request.reason), person=person)
        with self._lock:
            for origin, decisions in self._logs:
                result = self._rule(origin, decisions, request, is_expired=is_expired)
                if result.outcome is not RulingOutcome.UNKNOWN:
                    return result
        return RulingResult(RulingOutcome.UNKNOWN)

    def _rule(
        self, origin: EntryOrigin, decisions: DecisionLog, request: RulingRequest, *, is_expired: bool
    ) -> RulingResult:
        """Write the ruling, or its refusal, to the log of one kind; UNKNOWN if the backfill is not in it."""
        result = RulingResult(RulingOutcome.UNKNOWN)

        def build(entries: list[Decision]) -> list[Decision]:
            nonlocal result
            status = _find(episode_statuses(entries), request.episode)
            if status is None:
                result = RulingResult(RulingOutcome.UNKNOWN)
                return []
            outcome = _outcome(request, status, entries, is_expired=is_expired)
            if outcome is RulingOutcome.DONE and self._is_gone(request, status):
                outcome = RulingOutcome.GONE
            new: list[Decision] = []
            if outcome is RulingOutcome.DONE:
                ruling = Ruling(episode=status.episode, verdict=request.verdict)
                new = [ruled(origin, gate_of(entries), ruling, request.reason, self._detail(request))]
                status = _find(episode_statuses([*entries, *new]), request.episode)
            elif outcome in _LOGGED and not _is_logged(entries, request, outcome):
                new = [self._refusal(origin, entries, request, outcome)]
            result = RulingResult(outcome, status)
            return new

        if decisions.update(build, self._now_ms, ATTEMPTS_MAX) is None:
            if result.outcome is RulingOutcome.DONE:
                return RulingResult(RulingOutcome.BUSY)
            log.warning("a refusal could not be logged: %s", result.outcome.value)
        return result

    def _is_gone(self, request: RulingRequest, status: EpisodeStatus) -> bool:
        return request.verdict is Verdict.APPROVED and status.episode.since < self._kept_since_ms()

    def _refusal(
        self, origin: EntryOrigin, entries: Sequence[Decision], request: RulingRequest, outcome: RulingOutcome
    ) -> Decision:
        gate, verdict = gate_of(entries), request.verdict.value
        reason = f"{verdict} by {request.person.name[:BY_MAX] or 'nobody'} is refused: {_LOGGED[outcome]}"
        detail = self._detail(request) | {"episode": request.episode, "verdict": verdict, "refused": outcome.value}
        return origin.entry(gate, Event.REFUSED, gate.state, reason, decision=None, detail=detail, source="person")

    def _detail(self, request: RulingRequest) -> dict[str, str | int | float | None]:
        token = {} if request.token_sha256 is None else {"token_sha256": request.token_sha256}
        return {
            "by": request.person.name[:BY_MAX],
            "by_source": request.person.source,
            "via": request.person.via,
            "diff_sha256": one_line(request.diff_sha256)[:BY_MAX],
            "ruled_at_ms": self._now_ms(),
            **token,
        }


def one_line(text: str) -> str:
    """Return what a person typed as one line that can be logged; empty where nothing of it is visible.

    Control characters are written as escapes, so that no terminal that shows the log obeys them; so are bytes that are
    not valid UTF-8.
    """
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    line = " ".join(whole.split())
    if not any(one.isprintable() and not one.isspace() for one in line):
        return ""
    return "".join(one if category(one) != "Cc" else one.encode("unicode_escape").decode() for one in line)


def _find(statuses: Sequence[EpisodeStatus], episode: str) -> EpisodeStatus | None:
    return next((one for one in statuses if one.episode.id == episode), None)


def _outcome(
    request: RulingRequest, status: EpisodeStatus, entries: Sequence[Decision], *, is_expired: bool
) -> RulingOutcome:
    """Return DONE if the ruling can be recorded, else why not."""
    token = request.token_sha256
    if token is not None and any(_has_token(entry, token) for entry in entries if entry.event in PERSON_EVENTS):
        return RulingOutcome.USED
    if is_expired:
        return RulingOutcome.EXPIRED
    if request.diff_sha256 != status.diff_sha256:
        return RulingOutcome.CHANGED
    if not status.is_waiting:
        return RulingOutcome.DECIDED
    if token is not None and any(_has_token(entry, token) for entry in entries):
        return RulingOutcome.USED
    is_complete = 0 < len(request.reason) <= REASON_MAX and 0 < len(request.person.name) <= BY_MAX
    return RulingOutcome.DONE if is_complete else RulingOutcome.INCOMPLETE


def _has_token(entry: Decision, token_sha256: str) -> bool:
    return entry.detail.get("token_sha256") == token_sha256


def _is_logged(entries: Sequence[Decision], request: RulingRequest, outcome: RulingOutcome) -> bool:
    """Tell whether this refusal is in the log already, or the backfill has as many as it may."""
    refusals = [one for one in entries if one.event is Event.REFUSED and one.detail.get("episode") == request.episode]
    if len(refusals) >= REFUSALS_MAX:
        return True
    if request.token_sha256 is not None:
        return any(_has_token(one, request.token_sha256) for one in refusals)
    same: Mapping[str, object] = {
        "by": request.person.name[:BY_MAX],
        "via": request.person.via,
        "verdict": request.verdict.value,
        "refused": outcome.value,
        "diff_sha256": one_line(request.diff_sha256)[:BY_MAX],
    }
    return any(all(one.detail.get(key) == value for key, value in same.items()) for one in refusals)
