"""Signed webhook: one POST by Standard Webhooks, idempotent by the header `webhook-id`. Pure.

A webhook cannot be polled: the pipeline calls back, or its new version starts to predict.
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
        secret: signs every request.
    """

    url: str = field(repr=False)  # its path may be a secret
    secret: Secret

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:
        """Send the request; `retrain.schedule.classify_result` decides by the status alone."""
        headers = {**sign(self.secret, decision, at_s, body), "Content-Type": CONTENT_TYPE}
        reply: Reply = yield Call("request the retrain", "POST", self.url, headers, body)
        return DeliveryResult(reply.status, reply.retry_after_ms, reply.fault)

    def poll(self, decision: str) -> None:  # noqa: ARG002 - part of the protocol
        """Return None: a webhook cannot be polled."""
        return
