"""What a pipeline answers: verified, known again by its id, and taken by the gate or refused without a trace.

Must not trust a header before its signature, and must not tell who asks more than whether it was taken.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.gate import Gate, IllegalEvent, gate_of
from retrain.log_entries import EntryOrigin, answered
from retrain.signing import Secret, SignatureError, verify
from schemas.events.evidence import Decision, Event
from schemas.events.retrain_request import RetrainCallback

__all__ = ["Callbacks"]

log = logging.getLogger("truthloop.feedback")

ATTEMPTS_MAX = 5
"""The log may move on between reading it and writing to it; so often is it read again."""


class Callbacks:
    """Takes callbacks for one loop.

    Args:
        lake: of the loop.
        origins: of all label kinds.
        secret: signs requests and callbacks alike.
        now_ms: the wall clock.
        refused: called with the reason of every refusal, a word.
    """

    def __init__(
        self,
        lake: Lake,
        origins: Sequence[EntryOrigin],
        secret: Secret | None,
        now_ms: Callable[[], int],
        refused: Callable[[str], None],
    ) -> None:
        self._kinds = [(origin, DecisionLog(lake, origin.kind)) for origin in origins]
        self._secret = secret
        self._now_ms = now_ms
        self._refused = refused

    def take(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, object]:
        """Return the HTTP status and the answer's document.

        Args:
            body: raw, because the signature is over its bytes.
            headers: names in lower case.

        Raises:
            LakeError: the log cannot be read or written; the caller is to come again.
        """
        if self._secret is None:
            return self._refuse(404, "unexpected", "this loop asks nobody")
        try:
            signed = verify(headers, body, self._secret, self._now_ms() // 1000)
        except SignatureError:
            return self._refuse(401, "signature", "the signature does not hold")
        try:
            answer = RetrainCallback.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            return self._refuse(422, "invalid", f"{place}: {first['msg']}" if place else first["msg"])
        for _ in range(ATTEMPTS_MAX):
            if (done := self._try(answer, signed.id)) is not None:
                return done
        return self._refuse(503, "busy", "others write to the log; send it again")

    def _try(self, answer: RetrainCallback, callback_id: str) -> tuple[int, object] | None:
        """Return what became of it; None where somebody else wrote to the log meanwhile."""
        for origin, decisions in self._kinds:
            entries = decisions.entries()
            if not any(entry.decision == answer.decision for entry in entries):
                continue
            known = [entry for entry in entries if entry.detail.get("callback_id") == callback_id]
            if known and known[0].event is not Event.REFUSED:
                return 200, {"status": "known", "decision": answer.decision}
            gate = gate_of(entries)
            if (other := _not_judged(entries, answer)) is not None:
                return self._record_refusal((origin, decisions), entries, answer, callback_id, other)
            if gate.decision != answer.decision and answer.status != "deployed":
                return self._refuse(409, "closed", "this retrain has ended")
            make = _deployed if answer.status == "deployed" else answered
            return self._write(decisions, gate, make(origin, gate, answer, callback_id), answer)
        return self._refuse(404, "unknown", "no such decision")

    def _write(
        self, decisions: DecisionLog, gate: Gate, entry: Decision, answer: RetrainCallback
    ) -> tuple[int, object] | None:
        try:
            gate.after(entry)
        except IllegalEvent:
            return self._refuse(409, "out_of_order", f"a retrain that is {gate.state.value} does not take this")
        if not decisions.append([entry], self._now_ms()):
            return None
        log.info("retrain %s: the pipeline says %s", answer.decision, answer.status)
        return 200, {"status": "taken", "decision": answer.decision, "state": _state_of(entry)}

    def _record_refusal(
        self,
        kind: tuple[EntryOrigin, DecisionLog],
        entries: Sequence[Decision],
        answer: RetrainCallback,
        callback_id: str,
        reason: str,
    ) -> tuple[int, object] | None:
        """Refuse another model than the one that was judged, and write it down once; None where the log moved on."""
        origin, decisions = kind
        gate = gate_of(entries)
        detail = {
            "callback_id": callback_id,
            "decision": answer.decision,
            "status": answer.status,
            "model_sha256": answer.model_sha256,
            "version": answer.version,
        }
        if not any(_says_the_same(entry, detail) for entry in entries):
            own = answer.decision if gate.decision in (None, answer.decision) else None
            told = {"decision": own, "version": answer.version, "detail": detail, "source": "pipeline"}
            entry = origin.entry(gate, Event.REFUSED, gate.state, reason, **told)
            if not decisions.append([entry], self._now_ms()):
                return None
        return self._refuse(409, "another_model", reason)

    def _refuse(self, status: int, word: str, reason: str) -> tuple[int, object]:
        self._refused(word)
        log.warning("a callback was refused: %s", reason)
        return status, {"status": "refused", "reason": reason}


def _state_of(entry: Decision) -> str:
    return entry.state.value


def _judged(entries: Sequence[Decision], decision: str) -> Decision | None:
    """Return the first success of a retrain that names the model's digest."""
    for entry in entries:
        is_success = entry.event is Event.SUCCEEDED and entry.decision == decision
        if is_success and entry.detail.get("model_sha256") is not None:
            return entry
    return None


def _not_judged(entries: Sequence[Decision], answer: RetrainCallback) -> str | None:
    """Say why the answer's model is not the one that was judged; None where nothing is wrong with it."""
    judged = _judged(entries, answer.decision)
    if judged is None:
        return "no model of this retrain was judged yet" if answer.status == "deployed" else None
    if answer.model_sha256 not in (None, judged.detail["model_sha256"]):
        return f"{answer.status} names another model_sha256 than the one that was judged"
    if answer.status == "deployed" and judged.version not in (None, answer.version):
        return f"deployed names another version than {judged.version!r}, which was judged"
    return None


def _says_the_same(entry: Decision, detail: Mapping[str, object]) -> bool:
    """Return whether a refusal is written down already: a pipeline that asks again must not fill the log."""
    if entry.event is not Event.REFUSED:
        return False
    return all(entry.detail.get(name) == value for name, value in detail.items() if name != "callback_id")


def _deployed(origin: EntryOrigin, gate: Gate, answer: RetrainCallback, callback_id: str) -> Decision:
    """Return that the pipeline has deployed what was judged. Whether it predicts is seen from its predictions."""
    own = answer.decision if gate.decision in (None, answer.decision) else None
    detail = {"callback_id": callback_id, "decision": answer.decision, "model_sha256": answer.model_sha256}
    text = f"the pipeline says: {answer.version} is deployed, as it was judged"
    if answer.message:
        text = f"{text}. {answer.message}"
    told = {"decision": own, "version": answer.version, "detail": detail, "source": "pipeline"}
    return origin.entry(gate, Event.JUDGED, gate.state, text, **told)
