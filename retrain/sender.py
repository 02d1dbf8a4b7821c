"""Sends one signed request to one pinned address, and makes a row of the delivery log of what came of it.

Laws: it connects to the address that the guard judged and to no other; it follows no redirect, takes no proxy
and no cookie from anywhere, and hands no credentials over; the status line alone decides, and what follows it
is read up to a cap and thrown away. Must not log: a payload, a secret or a path has no place in a log.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, AddressFamily

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from retrain.address_guard import Endpoint, Refusal, Resolver, Target, resolve, system_resolver
from retrain.outbox import Attempt, DeliveryLog, Due, Result, judge, outstanding, parse_retry_after_ms
from retrain.signing import Secret, sign
from schemas.retrain_request import CONTENT_TYPE

__all__ = ["ANSWER_BYTES_MAX", "TIMEOUT_S", "Outgoing", "Receiver", "deliver_due", "send"]

TIMEOUT_S = 20.0
"""From looking up the name to the end of the answer."""

ANSWER_BYTES_MAX = 64 * 1_024
"""Nothing of the answer's body is used; it is read only so that honest receivers can finish theirs."""

SENDS_AT_ONCE = 4
"""A receiver that does not answer must not hold up the requests of the others for long, nor be flooded."""

DETAIL_LENGTH_MAX = 200

_REDIRECTS = range(300, 400)
_CHUNK_BYTES = 16 * 1_024


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where requests go, and on what terms.

    Attributes:
        url: an https URL; see `retrain.address_guard`.
        secret: signs every request.
        allow: endpoints that may lie in a private network or on this machine.
        resolver: asked once an attempt.
        timeout_s: of a whole attempt.
        tls: what certificates are checked with; None: the system's authorities.
    """

    url: str = field(repr=False)  # its path may be a secret of its own
    secret: Secret
    allow: frozenset[Endpoint] = frozenset()
    resolver: Resolver = system_resolver
    timeout_s: float = TIMEOUT_S
    tls: ssl.SSLContext | None = field(default=None, repr=False)


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
        return judge(due, at_ms, Result(detail="not sent: its time has passed"))
    answer = _Answer(at_ms)
    headers = sign(receiver.secret, due.decision, at_ms // 1_000, body)
    try:
        async with asyncio.timeout(receiver.timeout_s):
            target = await resolve(receiver.url, receiver.allow, receiver.resolver)
            if isinstance(target, Refusal):
                return judge(due, at_ms, Result(detail=f"not sent: {target.reason}"))
            await _post(target, headers, body, receiver, answer)
    except TimeoutError:
        answer.fail(f"did not end within {receiver.timeout_s:g} s")
    except (ClientError, OSError, ValueError) as error:  # a ValueError: an answer that is no HTTP
        answer.fail(f"failed: {_named(error)}")
    return judge(due, at_ms, answer.result)


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


class _Answer:
    """What is known of an answer so far: a failure after the status line takes nothing of it away."""

    def __init__(self, at_ms: int) -> None:
        self._at_ms = at_ms
        self.result = Result()

    def begin(self, response: ClientResponse) -> None:
        """Take over the status line and what it says about the next attempt."""
        asked = response.headers.get("Retry-After")
        retry_after_ms = None if asked is None else parse_retry_after_ms(asked, self._at_ms)
        detail = "a redirect, which is not followed" if response.status in _REDIRECTS else ""
        self.result = Result(response.status, retry_after_ms, detail)

    def fail(self, detail: str) -> None:
        """Add what went wrong."""
        told = detail if self.result.status is None else f"the body of its answer {detail}"
        self.result = replace(self.result, detail=told)


class _Pinned(AbstractResolver):
    """Knows one address for one name, and no other."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AF_INET,  # noqa: ARG002 - the address has one already
    ) -> list[ResolveResult]:
        """Return the pinned address, whatever family is asked for."""
        if (host, port) != (self._target.host, self._target.port):
            raise OSError(f"{host} was not judged")
        pinned = AF_INET6 if ":" in self._target.ip else AF_INET
        return [
            ResolveResult(hostname=host, host=self._target.ip, port=port, family=pinned, proto=0, flags=AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        """Hold nothing, so have nothing to close."""


async def _post(target: Target, headers: dict[str, str], body: bytes, receiver: Receiver, answer: _Answer) -> None:
    path, _, query = target.path.partition("?")
    host = f"[{target.host}]" if ":" in target.host else target.host
    url = URL.build(scheme=target.scheme, host=host, port=target.port, path=path, query_string=query, encoded=True)
    connector = TCPConnector(resolver=_Pinned(target), use_dns_cache=False, force_close=True, ssl=receiver.tls or True)
    async with (
        ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=ClientTimeout(total=None),
        ) as session,
        session.post(
            url,
            data=body,
            headers={**headers, "Content-Type": CONTENT_TYPE, "Accept-Encoding": "identity", "User-Agent": "truthloop"},
            allow_redirects=False,
        ) as response,
    ):
        answer.begin(response)
        left = ANSWER_BYTES_MAX
        while left > 0 and (chunk := await response.content.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
        response.close()  # what is left of it must not be waited for


def _named(error: Exception) -> str:
    """Return the kind of an error and what the system says of it; its own text may hold the URL."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    told = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or ""
    text = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:DETAIL_LENGTH_MAX]
