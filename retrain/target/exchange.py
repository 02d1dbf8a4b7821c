"""Protocol between a target and the sender: HTTP calls, replies, and results. Sans-IO.

A delivery, or a poll of a run, is a generator: it yields calls, is sent one reply for each, answered or not, and
returns its result. The same code serves the network, the tests and `send --dry-run`, which replies as a server usually
does.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from retrain.schedule import DeliveryResult

__all__ = [
    "ANSWER_BYTES_MAX",
    "JSON_HEADERS",
    "Call",
    "Delivery",
    "Reply",
    "RunPoll",
    "RunState",
    "RunStatus",
    "Target",
    "delivery_result",
    "encode",
    "json_of",
    "parse_state",
]

JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json", "Accept": "application/json"}

ANSWER_BYTES_MAX = 64 * 1_024
"""Default for the part of an answer that is read."""

RunStatus = Literal["accepted", "running", "succeeded", "failed"]

_SUCCESS = range(200, 300)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE, _UNPROCESSABLE = 401, 403, 404, 410, 422
_REASONS = {
    _UNAUTHORIZED: "the credentials are not accepted",
    _FORBIDDEN: "the credentials do not allow it, or are not accepted",
    _UNPROCESSABLE: "the request is not accepted as it is",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call, or why there is none.

    Attributes:
        status: HTTP status; None without an answer.
        body: as far as it was read.
        retry_after_ms: from the answer's Retry-After; None without one.
        fault: failure as a phrase; empty without one.
    """

    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    retry_after_ms: int | None = None
    fault: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.status in _SUCCESS


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    Attributes:
        purpose: as a phrase, for people.
        url: absolute.
        headers: without those that the sender adds.
        body: empty for none.
        usual: the reply of a server when all is well, for dry runs.
        answer_bytes_max: how much of the answer is read.
    """

    purpose: str
    method: Literal["GET", "POST"]
    url: str = field(repr=False)  # its path may be a secret
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    usual: Reply = Reply(200)
    answer_bytes_max: int = ANSWER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class RunState:
    """State of a run as its server reports it.

    Attributes:
        status: as in a callback; None if it is unknown.
        message: for people.
        retry_after_ms: from the answer's Retry-After; None without one.
        detail: why the status is unknown.
    """

    status: RunStatus | None = None
    message: str = ""
    retry_after_ms: int | None = None
    detail: str = ""

    @classmethod
    def unknown(cls, reply: Reply, detail: str = "") -> "RunState":
        """Return an unknown state, with the reason from `detail` or the reply."""
        return cls(
            retry_after_ms=reply.retry_after_ms, detail=detail or delivery_result(reply, "no such run (404)").detail
        )


Delivery = Generator[Call, Reply, DeliveryResult]
RunPoll = Generator[Call, Reply, RunState]


class Target(Protocol):
    """A system that retrains are requested from."""

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:
        """Request a retrain; idempotent by the decision's id.

        Args:
            decision: its id.
            body: the request document, from `RetrainRequest.body`.
            at_s: wall-clock time in seconds since 1970, for signatures.
        """
        ...

    def poll(self, decision: str) -> RunPoll | None:
        """Query the state of a decision's run; None if the target has no such query."""
        ...


def encode(document: object) -> bytes:
    """Encode as JSON, the same bytes for the same document."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def json_of(reply: Reply) -> dict[str, Any]:
    """Decode the JSON object in an answer; empty if it holds none, or was not read to its end."""
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def parse_state(state: object, states: Mapping[str, RunStatus], server: str, run: str) -> RunState:
    """Map a server's name of a state to the state of a run.

    Args:
        state: from the server's answer.
        states: the server's names of states -> status.
        server: its name, for people.
        run: its term for a run.
    """
    status = states.get(state) if isinstance(state, str) else None
    if status is None:
        return RunState(detail=f"the answer holds no state of a {run}")
    message = f"{server} calls the {run} {state}" if status in ("succeeded", "failed") else ""
    return RunState(status, message)


def delivery_result(reply: Reply, missing: str) -> DeliveryResult:
    """Classify a reply to a delivery: 2xx is delivered, 404 and 410 are gone, all else is retried.

    The server's text is left out of the result, because it may repeat what was sent.

    Args:
        reply: to the call that decides.
        missing: detail for a 404.
    """
    if reply.is_success:
        return DeliveryResult(reply.status, reply.retry_after_ms, reply.fault, "delivered")
    if reply.status == _NOT_FOUND:
        return DeliveryResult(reply.status, reply.retry_after_ms, missing, "gone")
    if reply.status == _GONE:
        return DeliveryResult(reply.status, reply.retry_after_ms, "the target is gone for good (410)", "gone")
    if reply.status is None:
        return DeliveryResult(detail=reply.fault or "there was no answer")
    detail = reply.fault or f"{_REASONS.get(reply.status, 'it was not accepted')} ({reply.status})"
    return DeliveryResult(reply.status, reply.retry_after_ms, detail)
