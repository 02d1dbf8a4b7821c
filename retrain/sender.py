"""Makes the calls of a target, each to one pinned address, and a row of the delivery log of what came of them.

Laws: it connects to the address that the guard judged and to no other; it follows no redirect, takes no proxy
and no cookie from anywhere, and hands over no credentials but those that the target put into a call; an answer is read
up to a cap. Must not log: a payload, a secret or a path has no place in a log.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, AddressFamily
from typing import TypeVar

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from retrain.address_guard import Endpoint, PinnedTarget, Refusal, Resolver, resolve, system_resolver
from retrain.schedule import Attempt, DeliveryLog, DeliveryResult, Due, judge, outstanding, parse_retry_after_ms
from retrain.signing import Secret
from retrain.target.exchange import ANSWER_BYTES_MAX, Call, Reply, RunState, Target
from retrain.target.webhook import Webhook
from schemas.errors import ConfigError

__all__ = ["ANSWER_BYTES_MAX", "OWN_HEADERS", "TIMEOUT_S", "Outgoing", "Receiver", "ask", "deliver_due", "send"]

TIMEOUT_S = 20.0
"""Of one call, from looking up the name to the end of the answer."""

OWN_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "truthloop"}
"""Sent with every call, next to what the target puts there."""

SENDS_AT_ONCE = 4
"""A receiver that does not answer must not hold up the requests of the others for long, nor be flooded."""

DETAIL_LENGTH_MAX = 200

_Outcome = TypeVar("_Outcome")
_REDIRECTS = range(300, 400)
_CHUNK_BYTES = 16 * 1_024


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where requests go, and on what terms.

    Attributes:
        url: an https URL; see `retrain.address_guard`.
        secret: signs webhooks and callbacks; None where there are neither.
        allow: endpoints that may lie in a private network or on this machine.
        resolver: asked once a call.
        timeout_s: of a call.
        tls: what certificates are checked with; None: the system's authorities.
        server: what is asked for a retrain; None: a signed webhook at `url`.
    """

    url: str = field(repr=False)  # its path may be a secret of its own
    secret: Secret | None
    allow: frozenset[Endpoint] = frozenset()
    resolver: Resolver = system_resolver
    timeout_s: float = TIMEOUT_S
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server: Target | None = field(default=None, repr=False)

    @property
    def target(self) -> Target:
        """What is asked for a retrain.

        Raises:
            ConfigError: a webhook has no secret.
        """
        if self.server is not None:
            return self.server
        if self.secret is None:
            raise ConfigError("has no secret, and a webhook is signed", where="retrain.target")
        return Webhook(self.url, self.secret)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to be delivered.

    Attributes:
        decided_at_ms: when it was decided.
        body: the same bytes at every attempt.
    """

    decided_at_ms: int
    body: bytes = field(repr=False)


async def send(receiver: Receiver, due: Due, body: bytes, at_ms: int) -> Attempt:
    """Make one attempt and return its row for the log. What goes wrong on the way is told there, not raised.

    Args:
        receiver: where it goes.
        due: which attempt it is; after the end of its window nothing is sent, and it is given up.
        body: what is signed and sent.
        at_ms: the present; its second is what the signature is made for.

    Raises:
        ConfigError: the receiver's URL can never be sent to.
    """
    if due.not_after_ms is not None and at_ms > due.not_after_ms:
        return judge(due, at_ms, DeliveryResult(detail="not sent: its time has passed"))
    delivery = receiver.target.deliver(due.decision, body, at_ms // 1_000)
    return judge(due, at_ms, await _talk(receiver, delivery, at_ms))


async def ask(receiver: Receiver, decision: str, at_ms: int) -> RunState:
    """Return how the run of a decision gets on; what goes wrong on the way is told there, not raised.

    Args:
        receiver: of the run.
        decision: its id.
        at_ms: the present.

    Raises:
        ConfigError: the receiver's URL can never be sent to.
    """
    look = receiver.target.look(decision)
    return RunState(detail="cannot be asked") if look is None else await _talk(receiver, look, at_ms)


async def deliver_due(
    receiver: Receiver, requests: Mapping[str, Outgoing], log: DeliveryLog, now_ms: Callable[[], int]
) -> list[Attempt]:
    """Make all attempts that are due, and record each as soon as it is made.

    Args:
        receiver: where they go.
        requests: by decision, all that are to be delivered; those that have ended cost nothing but a look.
        log: what was attempted; it says what is due.
        now_ms: the present; read again for every attempt, because its signature holds for minutes only.

    Returns:
        What was recorded, in the order of its end. An attempt that another sender recorded first is not among
        them; the receiver got it twice, under one id.

    Raises:
        ConfigError: the receiver's URL can never be sent to.
    """
    started_ms = now_ms()
    decided = {decision: request.decided_at_ms for decision, request in requests.items()}
    waiting = deque(due for due in outstanding(decided, log.attempts()) if due.at_ms <= started_ms)
    recorded: list[Attempt] = []

    async def work() -> None:
        try:
            while waiting:
                due = waiting.popleft()
                attempt = await send(receiver, due, requests[due.decision].body, now_ms())
                if log.append(attempt, due.number):
                    recorded.append(attempt)
        finally:
            waiting.clear()  # none is left, or the log or the URL is broken: then no other may begin anew

    for ended in await asyncio.gather(*(work() for _ in range(SENDS_AT_ONCE)), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    return recorded


async def _talk(receiver: Receiver, exchange: Generator[Call, Reply, _Outcome], at_ms: int) -> _Outcome:
    """Make the calls of an exchange, and return what it makes of the replies."""
    try:
        call = next(exchange)
        while True:
            call = exchange.send(await _reply(receiver, call, at_ms))
    except StopIteration as ended:
        outcome: _Outcome = ended.value
        return outcome


async def _reply(receiver: Receiver, call: Call, at_ms: int) -> Reply:
    answer = _Answer(at_ms)
    try:
        async with asyncio.timeout(receiver.timeout_s):
            place = await resolve(call.url, receiver.allow, receiver.resolver)
            if isinstance(place, Refusal):
                return Reply(fault=f"not sent: {place.reason}")
            await _make(call, place, receiver, answer)
    except TimeoutError:
        answer.fail(f"did not end within {receiver.timeout_s:g} s")
    except (ClientError, OSError, ValueError) as error:  # a ValueError: an answer that is no HTTP
        answer.fail(f"failed: {_named(error)}")
    return answer.reply


class _Answer:
    """What is known of an answer so far: a failure after the status line takes nothing of it away."""

    def __init__(self, at_ms: int) -> None:
        self._at_ms = at_ms
        self.reply = Reply()

    def begin(self, response: ClientResponse) -> None:
        """Take over the status line and what it says about the next attempt."""
        asked = response.headers.get("Retry-After")
        retry_after_ms = None if asked is None else parse_retry_after_ms(asked, self._at_ms)
        fault = "a redirect, which is not followed" if response.status in _REDIRECTS else ""
        self.reply = Reply(response.status, b"", retry_after_ms, fault)

    def end(self, body: bytes) -> None:
        """Add what was read of the body."""
        self.reply = replace(self.reply, body=body)

    def fail(self, fault: str) -> None:
        """Add what went wrong."""
        told = fault if self.reply.status is None else f"the body of its answer {fault}"
        self.reply = replace(self.reply, fault=told)


class _Pinned(AbstractResolver):
    """Knows one address for one name, and no other."""

    def __init__(self, place: PinnedTarget) -> None:
        self._place = place

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AF_INET,  # noqa: ARG002 - the address has one already
    ) -> list[ResolveResult]:
        """Return the pinned address, whatever family is asked for."""
        if (host, port) != (self._place.host, self._place.port):
            raise OSError(f"{host} was not judged")
        pinned = AF_INET6 if ":" in self._place.ip else AF_INET
        return [
            ResolveResult(hostname=host, host=self._place.ip, port=port, family=pinned, proto=0, flags=AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        """Hold nothing, so have nothing to close."""


async def _make(call: Call, place: PinnedTarget, receiver: Receiver, answer: _Answer) -> None:
    path, _, query = place.path.partition("?")
    host = f"[{place.host}]" if ":" in place.host else place.host
    url = URL.build(scheme=place.scheme, host=host, port=place.port, path=path, query_string=query, encoded=True)
    connector = TCPConnector(resolver=_Pinned(place), use_dns_cache=False, force_close=True, ssl=receiver.tls or True)
    async with (
        ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=ClientTimeout(total=None),
        ) as session,
        session.request(
            call.method,
            url,
            data=call.body or None,
            headers={**call.headers, **OWN_HEADERS},
            allow_redirects=False,
        ) as response,
    ):
        answer.begin(response)
        body = bytearray()
        while (left := call.answer_bytes_max - len(body)) > 0:
            if not (chunk := await response.content.read(min(left, _CHUNK_BYTES))):
                break
            body += chunk
        answer.end(bytes(body))
        response.close()  # what is left of it must not be waited for


def _named(error: Exception) -> str:
    """Return the kind of an error and what the system says of it; its own text may hold the URL."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    told = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or ""
    text = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:DETAIL_LENGTH_MAX]
