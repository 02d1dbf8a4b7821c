"""Builds the entries of the gate's log, one function per event. Pure.

Each function gets the gate before the entry, and numbers the entry from it. `retrain.decision_log` writes them.
"""

from collections.abc import Mapping, Sequence

from retrain.dataset_rows import approved_rows, approved_texts, lack_text, rows_to_detail
from retrain.episode_status import REASON_MAX
from retrain.gate import Gate
from retrain.schedule import Attempt
from schemas.config.loop import LoopConfig
from schemas.config.retrain import RetrainConfig
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from schemas.events.dataset_rows import DatasetRows
from schemas.events.evidence import Decision, Event, GateState
from schemas.events.retrain_request import RetrainCallback

__all__ = [
    "EntryOrigin",
    "answered",
    "attempted",
    "backfilled",
    "prepared",
    "resolved",
    "retired",
    "ruled",
]

Detail = Mapping[str, str | int | float | None]

_ANSWERS = {
    "accepted": Event.ACCEPTED,
    "running": Event.ACCEPTED,
    "succeeded": Event.SUCCEEDED,
    "failed": Event.FAILED,
}
_SUBJECTS = {Cause.RESENT: "predictions that were sent again with other content"}
_UNDELIVERABLE = {"gave_up": "not delivered in time", "gone": "the target will never accept it"}


class EntryOrigin:
    """Loop, label kind and retrain config that log entries are built for.

    Args:
        retrain: section of the config; None: no retrain is ever requested.
    """

    def __init__(self, loop: str, kind: str, retrain: RetrainConfig | None) -> None:
        self.loop = loop
        self.kind = kind
        self.retrain = retrain

    @classmethod
    def all_of(cls, config: LoopConfig) -> "list[EntryOrigin]":
        """Return one origin for each label kind of a loop."""
        return [cls(config.loop, kind, config.retrain) for kind in config.labels]

    def entry(self, gate: Gate, event: Event, state: GateState, reason: str, **fields: object) -> Decision:
        """Return the log's next entry, by default with the gate's evidence time and open retrain.

        Args:
            gate: before the entry.
            state: of the gate after it.
            reason: one sentence; cut to `REASON_MAX` characters.
            fields: further fields of `Decision`; they override the defaults.
        """
        defaults = {"at": gate.at_ms or 0, "decision": gate.decision}
        own = {"number": gate.following, "loop": self.loop, "kind": self.kind, "event": event, "state": state}
        return Decision.model_validate(defaults | fields | own | {"reason": reason[:REASON_MAX]})


def backfilled(origin: EntryOrigin, gate: Gate, found: Ruling, reasons: Sequence[str], detail: Detail) -> Decision:
    """Return the entry for a backfill that was found or has grown, with the rules' verdict.

    Args:
        gate: before the entry.
        found: the backfill and its verdict by rule.
        reasons: for the verdict, as sentences.
        detail: the digest of its diff.
    """
    waits = found.verdict is Verdict.QUARANTINED
    rests = not gate.is_open and gate.state is not GateState.COOLING
    state = GateState.WAITING if waits and rests else gate.state
    text = f"{found.episode.labels:,} {_SUBJECTS.get(found.episode.causes[0], 'labels')} restate the past: "
    text += f"{found.verdict.value}. {' '.join(reasons)}"
    fields = {"episode": found.episode, "verdict": found.verdict, "decision": None, "detail": detail}
    return origin.entry(gate, Event.BACKFILLED, state, text, at=_known_ms(gate, found.episode), **fields)


def ruled(origin: EntryOrigin, gate: Gate, ruling: Ruling, reason: str, detail: Detail) -> Decision:
    """Return the entry for a backfill that a person has approved or rejected.

    Args:
        gate: before the entry.
        ruling: the backfill and the person's verdict.
        reason: in the person's words.
        detail: who rules, how that is known, and the digest of the diff that was read.
    """
    event = Event.APPROVED if ruling.verdict is Verdict.APPROVED else Event.REJECTED
    fields = {"episode": ruling.episode, "verdict": ruling.verdict, "decision": None, "detail": detail}
    at_ms = _known_ms(gate, ruling.episode)
    return origin.entry(gate, event, gate.state, reason, at=at_ms, source="person", **fields)


def prepared(
    origin: EntryOrigin, gate: Gate, detail: Detail, counts: DatasetRows, approved: Sequence[str] = ()
) -> Decision:
    """Return the entry for a data set that has been written; one without training or holdout rows ends the retrain.

    Args:
        gate: in state `preparing`.
        detail: URI and digest of the data set.
        counts: numbers of its rows.
        approved: ids of the backfills that were approved since the retrain before.
    """
    own = approved_rows(counts, approved)
    known = {**detail, **rows_to_detail(counts, own)}
    if lack := lack_text(counts, 0 if origin.retrain is None else origin.retrain.dataset.holdout):
        text = f"the data set would have {lack}"
        return origin.entry(gate, Event.RESOLVED, GateState.COOLING, text, detail=known)
    text = f"a data set of {counts.rows:,} training rows and {counts.holdout_rows:,} holdout rows is written"
    text = "; ".join((text, *approved_texts(own)))
    return origin.entry(gate, Event.PREPARED, GateState.REQUESTED, text, detail=known)


def attempted(origin: EntryOrigin, gate: Gate, attempt: Attempt) -> Decision | None:
    """Return the entry for a delivery attempt that ended the delivery; None if it will be repeated."""
    detail: Detail = {"attempt": attempt.number, "http_status": attempt.status, "attempted_at_ms": attempt.at_ms}
    if attempt.outcome == "delivered":
        reason = f"the request was delivered at attempt {attempt.number}"
        if attempt.detail:  # that the run was there already, or that its DAG is paused
            reason = f"{reason}: {attempt.detail}"
        return origin.entry(gate, Event.DELIVERED, GateState.RUNNING, reason, detail=detail)
    if attempt.outcome in _UNDELIVERABLE:
        reason = f"{_UNDELIVERABLE[attempt.outcome]}; the last answer: {attempt.detail or attempt.status}"
        return origin.entry(gate, Event.UNDELIVERABLE, GateState.COOLING, reason, detail=detail)
    return None


def answered(origin: EntryOrigin, gate: Gate, answer: RetrainCallback, callback_id: str) -> Decision:
    """Return the entry for a pipeline's callback. `Gate.after` raises if the gate's state does not allow it.

    Args:
        gate: before the entry.
        answer: verified and valid.
        callback_id: id of the callback, by which a repeated one is recognised.
    """
    event = _ANSWERS[answer.status]
    waits_for_predictions = origin.retrain is None or origin.retrain.target.completion == "first_predictions"
    is_over = event is Event.FAILED or (event is Event.SUCCEEDED and not waits_for_predictions)
    state = GateState.COOLING if is_over else GateState.RUNNING
    text = f"the pipeline says: {answer.status}"
    if answer.message:
        text = f"{text}. {answer.message}"
    detail: dict[str, str | int | float | None] = {"callback_id": callback_id, "model_sha256": answer.model_sha256}
    detail |= {f"metric:{name}": value for name, value in sorted((answer.metrics or {}).items())}
    return origin.entry(
        gate, event, state, text, decision=answer.decision, version=answer.version, detail=detail, source="pipeline"
    )


def resolved(origin: EntryOrigin, gate: Gate, reason: str, detail: Detail) -> Decision:
    """Return the entry for an open retrain that a person has ended.

    Args:
        gate: with an open retrain.
        reason: in the person's words.
        detail: who resolved it.
    """
    return origin.entry(gate, Event.RESOLVED, GateState.COOLING, reason, detail=detail, source="person")


def retired(origin: EntryOrigin, gate: Gate, subject: str, since_ms: int, reason: str, detail: Detail) -> Decision:
    """Return the entry for a label source, or a slice whose labels are missing, that a person has retired.

    Args:
        gate: before the entry.
        subject: name of the source, or the slice as NAME=VALUE.
        since_ms: since when; labels that became known before it teach nothing any more.
        reason: in the person's words.
        detail: who retires it.
    """
    known = {"subject": subject, "since_ms": since_ms, **detail}
    return origin.entry(gate, Event.RETIRED, gate.state, reason, decision=None, detail=known, source="person")


def _known_ms(gate: Gate, episode: Episode) -> int:
    """Return the evidence time of a backfill: that of its last label, but never before the log's newest entry."""
    return max(gate.at_ms or 0, episode.until)
