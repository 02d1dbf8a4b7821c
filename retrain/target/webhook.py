"""The signed webhook: one POST in the form of Standard Webhooks, idempotent by the header `webhook-id`. Pure.

A webhook cannot be asked how it gets on: the pipeline calls back, or its version predicts.
"""

from dataclasses import dataclass, field

from retrain.schedule import DeliveryResult
from retrain.signing import Secret, sign
from retrain.target.exchange import Call, Delivery, Reply
from schemas.events.retrain_request import CONTENT_TYPE

__all__ = ["Webhook"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of signed requests.

    Attributes:
        url: of the receiver.
        secret: signs every request.
    """

    url: str = field(repr=False)  # its path may be a secret of its own
    secret: Secret

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:
        """Send the request; the status line alone decides, as `retrain.schedule.judge` reads it."""
        headers = {**sign(self.secret, decision, at_s, body), "Content-Type": CONTENT_TYPE}
        reply: Reply = yield Call("ask for the retrain", "POST", self.url, headers, body)
        return DeliveryResult(reply.status, reply.retry_after_ms, reply.fault)

    def look(self, decision: str) -> None:  # noqa: ARG002 - of the protocol
        """Return None: a webhook cannot be asked."""
        return
