"""Handles callbacks of a pipeline: verifies the signature, recognizes repeated ids, logs the answer or rejects it.

The signature is checked before anything else is used. Of the loop's state a response tells only what became of the
callback.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import ValidationError

from lake import Lake
from retrain.approval import ATTEMPTS_MAX
from retrain.decision_log import DecisionLog
from retrain.gate import Gate, IllegalEvent, gate_of
from retrain.log_entries import EntryOrigin, answered
from retrain.signing import Secret, SignatureError, verify
from schemas.base.json_names import RepeatedNameError, names_once
from schemas.events.evidence import Decision, Event
from schemas.events.retrain_request import RetrainCallback
from truthloop.text.format import name as shown_name

__all__ = ["CallbackHandler"]

log = logging.getLogger("truthloop.feedback")


class CallbackHandler:
    """Handles the callbacks of one loop.

    Args:
        origins: of all label kinds.
        secret: signs requests and callbacks; None: the loop sends no requests.
        now_ms: the wall clock.
        count_refusal: called with the reason of every refusal, one of a closed vocabulary.
    """

    def __init__(
        self,
        lake: Lake,
        origins: Sequence[EntryOrigin],
        secret: Secret | None,
        now_ms: Callable[[], int],
        count_refusal: Callable[[str], None],
    ) -> None:
        self._kinds = [(origin, DecisionLog(lake, origin.kind)) for origin in origins]
        self._secret = secret
        self._now_ms = now_ms
        self._count_refusal = count_refusal

    def handle(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, object]:
        """Return the HTTP status and the JSON document of the response.

        Args:
            body: raw bytes, which the signature is over.
            headers: names in lower case.

        Raises:
            LakeError: the log cannot be read or written; the callback should be sent again.
        """
        if self._secret is None:
            return self._refuse(404, "unexpected", "this loop sends no requests")
        try:
            signed = verify(headers, body, self._secret, self._now_ms() // 1000)
        except SignatureError:
            return self._refuse(401, "signature", "the signature is invalid")
        if (name := _repeated_name(body)) is not None:
            return self._refuse(422, "invalid", f"{shown_name(name)} is given twice")
        try:
            answer = RetrainCallback.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            return self._refuse(422, "invalid", f"{field}: {first['msg']}" if field else first["msg"])
        for origin, decisions in self._kinds:
            if any(entry.decision == answer.decision for entry in decisions.entries()):
                return self._log_callback(origin, decisions, answer, signed.id)
        return self._refuse(404, "unknown", "no such decision")

    def _log_callback(
        self, origin: EntryOrigin, decisions: DecisionLog, answer: RetrainCallback, callback_id: str
    ) -> tuple[int, object]:
        """Log a callback and return the response."""
        try:
            new = decisions.update(partial(_entries, origin, answer, callback_id), self._now_ms, ATTEMPTS_MAX)
        except _RefusedError as refused:
            return self._refuse(409, refused.code, str(refused))
        if new is None:
            return self._refuse(503, "busy", "other processes are writing to the log; send it again")
        if not new:
            return 200, {"status": "known", "decision": answer.decision}
        if new[0].event is Event.REFUSED:
            return self._refuse(409, "another_model", new[0].reason)
        log.info("retrain %s: the pipeline reports %s", answer.decision, answer.status)
        return 200, {"status": "taken", "decision": answer.decision, "state": new[0].state.value}

    def _refuse(self, status: int, code: str, reason: str) -> tuple[int, object]:
        self._count_refusal(code)
        log.warning("a callback was refused: %s", reason)
        return status, {"status": "refused", "reason": reason}


def _repeated_name(body: bytes) -> str | None:
    """Return a name that some object of a JSON document has twice: parsers differ in which value they take."""
    try:
        json.loads(body, object_pairs_hook=names_once)
    except RepeatedNameError as error:
        return str(error)
    except (ValueError, RecursionError):  # no JSON: the model says what is wrong with it
        return None
    return None


class _RefusedError(Exception):
    """A callback is refused without an entry in the log."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _entries(
    origin: EntryOrigin, answer: RetrainCallback, callback_id: str, entries: Sequence[Decision]
) -> list[Decision]:
    """Return the log's next entry: the callback, or its refusal; none if the callback is logged already.

    Raises:
        _RefusedError: the retrain cannot take the callback, or the same refusal is logged already.
    """
    known = [entry for entry in entries if entry.detail.get("callback_id") == callback_id]
    if known and known[0].event is not Event.REFUSED:
        return []
    gate = gate_of(entries)
    if (reason := _not_judged(entries, answer)) is not None:
        refusal = _refusal(origin, gate, answer, callback_id, reason)
        if any(_is_same_refusal(entry, refusal.detail) for entry in entries):
            raise _RefusedError("another_model", reason)
        return [refusal]
    if gate.decision != answer.decision and answer.status != "deployed":
        raise _RefusedError("closed", "this retrain has ended")
    make = _deployed if answer.status == "deployed" else answered
    entry = make(origin, gate, answer, callback_id)
    try:
        gate.after(entry)
    except IllegalEvent:
        reason = f"a retrain that is {gate.state.value} does not take this"
        raise _RefusedError("out_of_order", reason) from None
    return [entry]


def _refusal(origin: EntryOrigin, gate: Gate, answer: RetrainCallback, callback_id: str, reason: str) -> Decision:
    """Return the entry of a callback that names another model than the judged one."""
    own = answer.decision if gate.decision in (None, answer.decision) else None
    detail = {
        "callback_id": callback_id,
        "decision": answer.decision,
        "status": answer.status,
        "model_sha256": answer.model_sha256,
        "version": answer.version,
    }
    fields = {"decision": own, "version": answer.version, "detail": detail, "source": "pipeline"}
    return origin.entry(gate, Event.REFUSED, gate.state, reason, **fields)


def _judged(entries: Sequence[Decision], decision: str) -> Decision | None:
    """Return the first success of a retrain that names the model's digest."""
    for entry in entries:
        is_success = entry.event is Event.SUCCEEDED and entry.decision == decision
        if is_success and entry.detail.get("model_sha256") is not None:
            return entry
    return None


def _not_judged(entries: Sequence[Decision], answer: RetrainCallback) -> str | None:
    """Return why the answer's model cannot be the judged one; None if it can."""
    judged = _judged(entries, answer.decision)
    if judged is None:
        return "no model of this retrain was judged yet" if answer.status == "deployed" else None
    if answer.model_sha256 not in (None, judged.detail["model_sha256"]):
        return f"{answer.status} names another model_sha256 than the one that was judged"
    if answer.status == "deployed" and judged.version not in (None, answer.version):
        return f"deployed names another version than {judged.version!r}, which was judged"
    return None


def _is_same_refusal(entry: Decision, detail: Mapping[str, object]) -> bool:
    """Return whether an entry logs this refusal already: a repeated callback must not fill the log."""
    if entry.event is not Event.REFUSED:
        return False
    return all(entry.detail.get(name) == value for name, value in detail.items() if name != "callback_id")


def _deployed(origin: EntryOrigin, gate: Gate, answer: RetrainCallback, callback_id: str) -> Decision:
    """Return the entry of a deployment. It moves no gate: a version is deployed once its predictions come in."""
    own = answer.decision if gate.decision in (None, answer.decision) else None
    detail = {"callback_id": callback_id, "decision": answer.decision, "model_sha256": answer.model_sha256}
    text = f"the pipeline says: {answer.version} is deployed, as it was judged"
    if answer.message:
        text = f"{text}. {answer.message}"
    fields = {"decision": own, "version": answer.version, "detail": detail, "source": "pipeline"}
    return origin.entry(gate, Event.JUDGED, gate.state, text, **fields)
