"""What a target and the sender say to each other: calls to be made, replies, and what comes of them in the end. Pure.

A delivery, or a look at how a run gets on, is a generator. It yields calls and is sent replies, one for each, also
where nothing was answered; what it returns is the result. So the same code serves the network, the tests and
`send --dry-run`, which replies what a server usually does.
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
    "Look",
    "Reply",
    "RunState",
    "RunStatus",
    "Target",
    "encode",
    "json_of",
    "judged",
    "named_state",
]

JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json", "Accept": "application/json"}

ANSWER_BYTES_MAX = 64 * 1_024
"""What is read of an answer, unless a call says otherwise."""

RunStatus = Literal["accepted", "running", "succeeded", "failed"]

_SUCCESS = range(200, 300)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE, _UNPROCESSABLE = 401, 403, 404, 410, 422
_PLAIN = {
    _UNAUTHORIZED: "the credentials are not accepted",
    _FORBIDDEN: "the credentials do not allow it, or are not accepted",
    _UNPROCESSABLE: "the request is not accepted as it is",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call.

    Attributes:
        status: of the HTTP answer; None where there was none.
        body: of the answer, as far as it was read.
        retry_after_ms: how long the server wants to be left alone; None where it did not say.
        fault: what went wrong, in words; empty where nothing did.
    """

    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    retry_after_ms: int | None = None
    fault: str = ""

    @property
    def is_success(self) -> bool:
        """Whether it is a 2xx."""
        return self.status in _SUCCESS


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    Attributes:
        purpose: what it is for, for a person.
        method: of HTTP.
        url: absolute.
        headers: all that matter to the server.
        body: empty for none.
        usual: what a server replies when all is well.
        answer_bytes_max: what is read of the answer.
    """

    purpose: str
    method: Literal["GET", "POST"]
    url: str = field(repr=False)  # its path may be a secret of its own
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    usual: Reply = Reply(200)
    answer_bytes_max: int = ANSWER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run has come.

    Attributes:
        status: as a pipeline would call back; None: the server did not say, and nothing is known.
        message: what a person should know of it.
        retry_after_ms: how long the server wants to be left alone; None where it did not say.
        detail: why nothing is known.
    """

    status: RunStatus | None = None
    message: str = ""
    retry_after_ms: int | None = None
    detail: str = ""

    @classmethod
    def unknown(cls, reply: Reply, detail: str = "") -> "RunState":
        """Return that a reply says nothing."""
        return cls(retry_after_ms=reply.retry_after_ms, detail=detail or judged(reply, "no such run (404)").detail)


Delivery = Generator[Call, Reply, DeliveryResult]
Look = Generator[Call, Reply, RunState]


class Target(Protocol):
    """One place that retrains are asked of."""

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:
        """Ask for a retrain, so that the same decision has one effect however often it is asked for.

        Args:
            decision: its id.
            body: the request document, as `RetrainRequest.body` gives it.
            at_s: the present, in seconds since 1970, for what is signed.
        """
        ...

    def look(self, decision: str) -> Look | None:
        """Ask how the run of a decision gets on; None where this cannot be asked."""
        ...


def encode(document: object) -> bytes:
    """Return JSON, the same bytes for the same document."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def json_of(reply: Reply) -> dict[str, Any]:
    """Return the object that an answer holds; an empty one where it holds none, or was not read as a whole."""
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def named_state(state: object, states: Mapping[str, RunStatus], server: str, run: str) -> RunState:
    """Return how far a run has come whose server names its state by one word.

    Args:
        state: as the server told it.
        states: what its words mean.
        server: its name, for people.
        run: what it calls a run.
    """
    status = states.get(state) if isinstance(state, str) else None
    if status is None:
        return RunState(detail=f"the answer holds no state of a {run}")
    message = f"{server} calls the {run} {state}" if status in ("succeeded", "failed") else ""
    return RunState(status, message)


def judged(reply: Reply, missing: str) -> DeliveryResult:
    """Return what a reply to a delivery means: 2xx is taken, 404 and 410 are for ever, all else comes again.

    The text of a server has no place in the result: it may repeat what was sent.

    Args:
        reply: the one that decides.
        missing: what 404 means.
    """
    if reply.is_success:
        return DeliveryResult(reply.status, reply.retry_after_ms, reply.fault, "delivered")
    if reply.status == _NOT_FOUND:
        return DeliveryResult(reply.status, reply.retry_after_ms, missing, "gone")
    if reply.status == _GONE:
        return DeliveryResult(reply.status, reply.retry_after_ms, "the target is gone for good (410)", "gone")
    if reply.status is None:
        return DeliveryResult(detail=reply.fault or "nothing was answered")
    words = reply.fault or f"{_PLAIN.get(reply.status, 'it was not taken')} ({reply.status})"
    return DeliveryResult(reply.status, reply.retry_after_ms, words)
