"""What a person rules about a backfill: taken once, bound to the diff that was read, and never without a reason.

Laws: a ruling is one compare-and-set on the gate's log, so of many at once one has an effect. It holds for the diff
whose digest is given and for no other. What is refused is told, and written down at most once for each form and so
often for each backfill, so that nobody can fill the log. Who rules is what the caller says; this module cannot prove
it, and writes down how it is known. Must not read a clock, restate anything, or ask for a retrain.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Literal
from unicodedata import category

from retrain.decision_log import DecisionLog
from retrain.episode_status import BY_MAX, PERSONS, REASON_MAX, EpisodeStatus, episode_statuses
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin, ruled
from schemas.events.backfill import Ruling, Verdict
from schemas.events.evidence import Decision, Event

__all__ = ["REFUSALS_MAX", "Approvals", "Person", "RulingOutcome", "RulingResult", "Statement", "one_line"]

log = logging.getLogger("truthloop.feedback")

ATTEMPTS_MAX = 20
"""The log may move on between reading it and writing to it; so often is it read again."""

REFUSALS_MAX = 100
"""Refused attempts that are written down for each backfill; what comes later is only counted."""

Source = Literal["attested", "proxy"]
Via = Literal["page", "terminal"]


class RulingOutcome(StrEnum):
    """What became of what a person said."""

    DONE = "done"
    UNKNOWN = "unknown"
    INCOMPLETE = "incomplete"
    DECIDED = "decided"
    CHANGED = "changed"
    EXPIRED = "expired"
    USED = "used"
    BUSY = "busy"


_RECORDED = {
    RulingOutcome.DECIDED: "was ruled about already",
    RulingOutcome.CHANGED: "the diff is not the one that was read",
    RulingOutcome.EXPIRED: "the form has expired",
}
"""What was refused because the loop has moved on is worth an entry; what was never a ruling is not."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who rules.

    Attributes:
        name: as the proxy or the person gives it.
        source: `proxy` if a proxy has authenticated that name; `attested` if nobody has.
        via: where it was said.
    """

    name: str
    source: Source
    via: Via


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person says about a backfill.

    Attributes:
        episode: id of the backfill.
        diff_sha256: digest of the diff that the person read.
        verdict: APPROVED or REJECTED.
        reason: in the person's words.
        person: who says it.
        token_sha256: digest of the single-use token of the form; None where there was no form.
    """

    episode: str
    diff_sha256: str
    verdict: Verdict
    reason: str
    person: Person
    token_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class RulingResult:
    """What became of a statement.

    Attributes:
        outcome: only DONE has changed anything that counts.
        standing: of the backfill now; None for one that is unknown.
    """

    outcome: RulingOutcome
    standing: EpisodeStatus | None = None


class Approvals:
    """The backfills of a loop, and what people rule about them. Several threads may use it at once.

    Args:
        logs: of all label kinds.
        now_ms: the wall clock; written down for people, nothing depends on it.
    """

    def __init__(self, logs: Sequence[tuple[EntryOrigin, DecisionLog]], now_ms: Callable[[], int]) -> None:
        self._logs = logs
        self._now_ms = now_ms
        # a table of the lake is written by one thread at a time
        self._lock = Lock()

    def standings(self) -> list[EpisodeStatus]:
        """Return every backfill: those that wait, the oldest first; then the others, the newest first.

        Raises:
            LakeError: the log cannot be read.
        """
        with self._lock:
            return episode_statuses([entry for _, decisions in self._logs for entry in decisions.entries()])

    def standing(self, episode: str) -> EpisodeStatus | None:
        """Return one backfill; None if there is none of this id.

        Raises:
            LakeError: the log cannot be read.
        """
        return next((one for one in self.standings() if one.episode.id == episode), None)

    def rule(self, statement: Statement, *, is_expired: bool = False) -> RulingResult:
        """Take a ruling, or say why not.

        Args:
            statement: what is said, by somebody who may say it.
            is_expired: the form that it came with is too old; it is refused, and that is written down.

        Raises:
            LakeError: the log cannot be read or written. What was said may stand in it: look again.
            ValueError: the verdict is none that a person gives.
        """
        if statement.verdict not in (Verdict.APPROVED, Verdict.REJECTED):
            raise ValueError(f"a person does not rule {statement.verdict.value!r}")
        reason, name = one_line(statement.reason), one_line(statement.person.name)
        result = RulingResult(RulingOutcome.BUSY)
        with self._lock:
            for _ in range(ATTEMPTS_MAX):
                result, is_over = self._try(statement, reason, name, is_expired=is_expired)
                if is_over:
                    return result
        # a refusal holds whether or not others let it be written down
        if result.outcome is RulingOutcome.DONE:
            return RulingResult(RulingOutcome.BUSY)
        log.warning("a refusal could not be written down: %s", result.outcome.value)
        return result

    def _try(self, statement: Statement, reason: str, name: str, *, is_expired: bool) -> tuple[RulingResult, bool]:
        """Return what comes of it, and whether that is all; if not, somebody else wrote to the log meanwhile."""
        for origin, decisions in self._logs:
            entries = decisions.entries()
            standing = next((one for one in episode_statuses(entries) if one.episode.id == statement.episode), None)
            if standing is None:
                continue
            outcome = _outcome(statement, standing, entries, is_expired=is_expired)
            if outcome is RulingOutcome.DONE and not (0 < len(reason) <= REASON_MAX and 0 < len(name) <= BY_MAX):
                return RulingResult(RulingOutcome.INCOMPLETE, standing), True
            detail = _detail(statement, name[:BY_MAX], self._now_ms())
            gate = gate_of(entries)
            if outcome is RulingOutcome.DONE:
                ruling = Ruling(episode=standing.episode, verdict=statement.verdict)
                entry = ruled(origin, gate, ruling, reason, detail)
            elif outcome in _RECORDED and not _is_enough(entries, statement, name[:BY_MAX], outcome):
                said = f"{statement.verdict.value} by {name[:BY_MAX] or 'nobody'} is refused: {_RECORDED[outcome]}"
                told = {"episode": statement.episode, "verdict": statement.verdict.value, "refused": outcome.value}
                entry = origin.entry(
                    gate, Event.REFUSED, gate.state, said, decision=None, detail=detail | told, source="person"
                )
            else:
                return RulingResult(outcome, standing), True
            is_written = decisions.append([entry], self._now_ms())
            if is_written and outcome is RulingOutcome.DONE:
                standing = next(
                    one for one in episode_statuses([*entries, entry]) if one.episode.id == statement.episode
                )
            return RulingResult(outcome, standing), is_written
        return RulingResult(RulingOutcome.UNKNOWN), True


def one_line(text: str) -> str:
    """Return what a person typed as one line that can be written down; empty where nothing of it can be read.

    Control characters are written as escapes, because nobody who reads the log is to obey them; and so are bytes that
    are no text.
    """
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    line = " ".join(whole.split())
    if not any(one.isprintable() and not one.isspace() for one in line):
        return ""
    return "".join(one if category(one) != "Cc" else one.encode("unicode_escape").decode() for one in line)


def _outcome(
    statement: Statement, standing: EpisodeStatus, entries: Sequence[Decision], *, is_expired: bool
) -> RulingOutcome:
    """Return what a statement comes to, if it is complete; DONE: it can be taken."""
    token = statement.token_sha256
    if token is not None and any(_holds(entry, token) for entry in entries if entry.event in PERSONS):
        return RulingOutcome.USED
    if is_expired:
        return RulingOutcome.EXPIRED
    if statement.diff_sha256 != standing.diff_sha256:
        return RulingOutcome.CHANGED
    if not standing.is_waiting:
        return RulingOutcome.DECIDED
    if token is not None and any(_holds(entry, token) for entry in entries):
        return RulingOutcome.USED
    return RulingOutcome.DONE


def _holds(entry: Decision, token_sha256: str) -> bool:
    return entry.detail.get("token_sha256") == token_sha256


def _detail(statement: Statement, name: str, now_ms: int) -> dict[str, str | int | float | None]:
    detail: dict[str, str | int | float | None] = {
        "by": name,
        "by_source": statement.person.source,
        "via": statement.person.via,
        "diff_sha256": one_line(statement.diff_sha256)[:BY_MAX],
        "ruled_at_ms": now_ms,
    }
    if statement.token_sha256 is not None:
        detail["token_sha256"] = statement.token_sha256
    return detail


def _is_enough(entries: Sequence[Decision], statement: Statement, name: str, outcome: RulingOutcome) -> bool:
    """Return whether another refusal would say nothing new, or there are too many of them."""
    refusals = [one for one in entries if one.event is Event.REFUSED and one.detail.get("episode") == statement.episode]
    if len(refusals) >= REFUSALS_MAX:
        return True
    if statement.token_sha256 is not None:
        return any(_holds(one, statement.token_sha256) for one in refusals)
    same: Mapping[str, object] = {
        "by": name,
        "via": statement.person.via,
        "verdict": statement.verdict.value,
        "refused": outcome.value,
        "diff_sha256": one_line(statement.diff_sha256)[:BY_MAX],
    }
    return any(all(one.detail.get(key) == value for key, value in same.items()) for one in refusals)
