"""What a pipeline answers: verified, known again by its id, and taken by the gate or refused without a trace.

Must not trust a header before its signature, and must not tell who asks more than whether it was taken.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.entry import Origin, answered
from retrain.gate import IllegalEvent, gate_of
from retrain.signing import Secret, SignatureError, verify
from schemas.evidence import Decision
from schemas.retrain_request import RetrainCallback

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
        origins: Sequence[Origin],
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
            if any(entry.detail.get("callback_id") == callback_id for entry in entries):
                return 200, {"status": "known", "decision": answer.decision}
            gate = gate_of(entries)
            if gate.decision != answer.decision:
                return self._refuse(409, "closed", "this retrain has ended")
            entry = answered(origin, gate, answer, callback_id)
            try:
                gate.after(entry)
            except IllegalEvent:
                return self._refuse(409, "out_of_order", f"a retrain that is {gate.state.value} does not take this")
            if not decisions.append([entry], self._now_ms()):
                return None
            log.info("retrain %s: the pipeline says %s", answer.decision, answer.status)
            return 200, {"status": "taken", "decision": answer.decision, "state": _state_of(entry)}
        return self._refuse(404, "unknown", "no such decision")

    def _refuse(self, status: int, word: str, reason: str) -> tuple[int, object]:
        self._refused(word)
        log.warning("a callback was refused: %s", reason)
        return status, {"status": "refused", "reason": reason}


def _state_of(entry: Decision) -> str:
    return entry.state.value
