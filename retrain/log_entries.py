"""What is written into the gate's log for what happens: pure, numbered from the log's end.

Must not write, send or read anything.
"""

from collections.abc import Mapping, Sequence

from retrain.gate import Gate, decision_id
from retrain.policy import judge
from retrain.schedule import Attempt
from schemas.config.loop import LoopConfig
from schemas.config.retrain import RetrainConfig
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from schemas.events.evidence import Decision, Evaluation, Event, Finding, FindingKind, GateState, Level
from schemas.events.retrain_request import RetrainCallback

__all__ = [
    "EntryOrigin",
    "answered",
    "attempted",
    "backfilled",
    "evaluated",
    "prepared",
    "resolved",
    "restated",
    "ruled",
]

REASON_MAX = 1_000

Detail = Mapping[str, str | int | float | None]

_ANSWERS = {
    "accepted": Event.ACCEPTED,
    "running": Event.ACCEPTED,
    "succeeded": Event.SUCCEEDED,
    "failed": Event.FAILED,
}
_THINGS = {Cause.RESENT: "predictions that came again with other content"}
_SENT_IN_VAIN = {"gave_up": "nobody took it in time", "gone": "the target will never take it"}


class EntryOrigin:
    """Whose log it is.

    Args:
        loop: name of the loop.
        kind: label kind.
        retrain: the config's section; None: nobody is ever asked.
    """

    def __init__(self, loop: str, kind: str, retrain: RetrainConfig | None) -> None:
        self.loop = loop
        self.kind = kind
        self.retrain = retrain

    @classmethod
    def all_of(cls, config: LoopConfig) -> "list[EntryOrigin]":
        """Return whose logs a loop has: one for each label kind."""
        return [cls(config.loop, kind, config.retrain) for kind in config.labels]

    def entry(self, gate: Gate, event: Event, state: GateState, reason: str, **told: object) -> Decision:
        """Return the log's next entry: of the evidence time and the retrain that the gate has, unless told otherwise.

        Args:
            gate: before it.
            event: what happened.
            state: where it leads.
            reason: why; cut where it is too long.
            told: further fields of `Decision`.
        """
        usual = {"at": gate.at_ms or 0, "decision": gate.decision}
        own = {"number": gate.following, "loop": self.loop, "kind": self.kind, "event": event, "state": state}
        return Decision.model_validate(usual | told | own | {"reason": reason[:REASON_MAX]})


def evaluated(
    origin: EntryOrigin, gate: Gate, evaluation: Evaluation, waiting: Sequence[Episode] = ()
) -> list[Decision]:
    """Return what an evaluation adds: before itself, that another version runs, or that nobody answers.

    Args:
        origin: whose log.
        gate: before it.
        evaluation: of the end of a day.
        waiting: backfills that nobody has ruled about.
    """
    entries: list[Decision] = []
    evaluation = _held(gate, evaluation)
    if gate.version is not None and evaluation.version not in (None, gate.version):
        entries.append(_deployed(origin, gate, evaluation))
        gate = gate.after(entries[-1])
    if _is_overdue(origin, gate, evaluation):
        days = (evaluation.at - (gate.decided_ms or evaluation.at)) / 86_400_000
        reason = f"nobody has answered for {days:.1f} days"
        told = origin.entry(gate, Event.OVERDUE, gate.state, reason, at=evaluation.at)
        entries.append(told)
        gate = gate.after(told)
    entries.append(_judged(origin, gate, evaluation, waiting, Event.EVALUATED))
    return entries


def restated(origin: EntryOrigin, gate: Gate, evaluation: Evaluation, waiting: Sequence[Episode]) -> Decision:
    """Return what the newest day's evaluation says once a backfill counts, or stands beside.

    Args:
        origin: whose log.
        gate: before it; its newest entry tells when this is known.
        evaluation: of the day that was evaluated last, made again.
        waiting: backfills that nobody has ruled about.
    """
    now_known = _held(gate, evaluation).model_copy(update={"at": max(evaluation.at, gate.at_ms or 0)})
    return _judged(origin, gate, now_known, waiting, Event.RESTATED)


def backfilled(origin: EntryOrigin, gate: Gate, found: Ruling, reasons: Sequence[str], detail: Detail) -> Decision:
    """Return that a backfill was found, or has grown, and what the rules make of it.

    Args:
        origin: whose log.
        gate: before it.
        found: the backfill and its verdict, which no person gave.
        reasons: why that verdict, as sentences.
        detail: the digest of its diff.
    """
    waits = found.verdict is Verdict.QUARANTINED
    rests = not gate.is_open and gate.state is not GateState.COOLING
    state = GateState.WAITING if waits and rests else gate.state
    text = f"{found.episode.labels:,} {_THINGS.get(found.episode.causes[0], 'labels')} tell the past anew: "
    text += f"{found.verdict.value}. {' '.join(reasons)}"
    told = {"episode": found.episode, "verdict": found.verdict, "decision": None, "detail": detail}
    return origin.entry(gate, Event.BACKFILLED, state, text, at=_known_ms(gate, found.episode), **told)


def ruled(origin: EntryOrigin, gate: Gate, ruling: Ruling, reason: str, detail: Detail) -> Decision:
    """Return that a person has approved or rejected a backfill.

    Args:
        origin: whose log.
        gate: before it.
        ruling: the backfill and the person's verdict.
        reason: in the person's words.
        detail: who says so, how that is known, and the digest of the diff that was looked at.
    """
    event = Event.APPROVED if ruling.verdict is Verdict.APPROVED else Event.REJECTED
    told = {"episode": ruling.episode, "verdict": ruling.verdict, "decision": None, "detail": detail}
    at_ms = _known_ms(gate, ruling.episode)
    return origin.entry(gate, event, gate.state, reason, at=at_ms, source="person", **told)


def prepared(origin: EntryOrigin, gate: Gate, detail: Detail, rows: int) -> Decision:
    """Return that the data set is written; one without rows ends the retrain.

    Args:
        origin: whose log.
        gate: in `preparing`.
        detail: the data set's place and digest.
        rows: to learn from.
    """
    if rows == 0:
        return origin.entry(gate, Event.RESOLVED, GateState.COOLING, "the data set would be empty", detail=detail)
    reason = f"a data set of {rows:,} rows is written"
    return origin.entry(gate, Event.PREPARED, GateState.REQUESTED, reason, detail=detail)


def attempted(origin: EntryOrigin, gate: Gate, attempt: Attempt) -> Decision | None:
    """Return what an attempt adds: that the request was taken, or never will be; None for one that is repeated."""
    detail: Detail = {"attempt": attempt.number, "http_status": attempt.status, "attempted_at_ms": attempt.at_ms}
    if attempt.outcome == "delivered":
        reason = f"the request was taken at attempt {attempt.number}"
        if attempt.detail:  # that the run was there already, or that its DAG is paused
            reason = f"{reason}: {attempt.detail}"
        return origin.entry(gate, Event.DELIVERED, GateState.RUNNING, reason, detail=detail)
    if attempt.outcome in _SENT_IN_VAIN:
        reason = f"{_SENT_IN_VAIN[attempt.outcome]}; the last answer: {attempt.detail or attempt.status}"
        return origin.entry(gate, Event.UNDELIVERABLE, GateState.COOLING, reason, detail=detail)
    return None


def answered(origin: EntryOrigin, gate: Gate, answer: RetrainCallback, callback_id: str) -> Decision:
    """Return what a pipeline's answer adds. Whether the gate takes it shows when it is applied.

    Args:
        origin: whose log.
        gate: before it.
        answer: signed and valid.
        callback_id: the answer's own id, by which it is known again.
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
    """Return that a person has ended the open retrain.

    Args:
        origin: whose log.
        gate: with a retrain open.
        reason: in the person's words.
        detail: who says so.
    """
    return origin.entry(gate, Event.RESOLVED, GateState.COOLING, reason, detail=detail, source="person")


def _judged(
    origin: EntryOrigin, gate: Gate, evaluation: Evaluation, waiting: Sequence[Episode], event: Event
) -> Decision:
    judgement = judge(gate, evaluation, origin.retrain, waiting)
    begins = judgement.state is GateState.PREPARING and gate.state is not GateState.PREPARING
    # a day ends once; rulings may be judged several times at one evidence time
    judged = f"{gate.following}" if event is Event.RESTATED else None
    new_id = decision_id(origin.loop, origin.kind, evaluation.at, evaluation.version, judged)
    return origin.entry(
        gate,
        event,
        judgement.state,
        judgement.reason,
        at=evaluation.at,
        decision=new_id if begins else gate.decision,
        findings=judgement.findings,
        conditions=judgement.conditions,
        version=evaluation.version,
        detail={"judged_day": evaluation.judged_day, "mature_labels": evaluation.mature_labels},
    )


def _held(gate: Gate, evaluation: Evaluation) -> Evaluation:
    """Return the evaluation as of the gate's version where the new one breaks the contract: it is not deployed yet."""
    if gate.version is None or not any(map(_breaks_contract, evaluation.findings)):
        return evaluation
    return evaluation.model_copy(update={"version": gate.version})


def _breaks_contract(finding: Finding) -> bool:
    return finding.kind is FindingKind.CONTRACT and finding.level is Level.ALARM


def _known_ms(gate: Gate, episode: Episode) -> int:
    """Return when a backfill was known: with its last label, and never before what the log already knows."""
    return max(gate.at_ms or 0, episode.until)


def _deployed(origin: EntryOrigin, gate: Gate, evaluation: Evaluation) -> Decision:
    reason = f"{evaluation.version} predicts in place of {gate.version}"
    if gate.is_open:
        reason = f"{reason}: the retrain is done"
    return origin.entry(gate, Event.DEPLOYED, GateState.COOLING, reason, at=evaluation.at, version=evaluation.version)


def _is_overdue(origin: EntryOrigin, gate: Gate, evaluation: Evaluation) -> bool:
    waits = gate.state in (GateState.REQUESTED, GateState.RUNNING) and not gate.is_overdue
    if not waits or origin.retrain is None or gate.decided_ms is None:
        return False
    return evaluation.at - gate.decided_ms >= origin.retrain.target.overdue
