"""HTTP client of deliveries and polls: makes the calls of a target, and records each attempt in the delivery log.

It connects to pinned addresses only, follows no redirects, uses no proxies, cookies or credentials from the
environment, and reads answers up to a limit. It writes no log lines, because payloads, secrets and paths could get into
them.
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

from retrain.address_guard import Endpoint, PinnedAddress, Refusal, Resolver, resolve, system_resolver
from retrain.schedule import (
    Attempt,
    DeliveryLog,
    DeliveryResult,
    Due,
    classify_result,
    outstanding,
    parse_retry_after_ms,
)
from retrain.signing import Secret
from retrain.target.exchange import ANSWER_BYTES_MAX, Call, Reply, RunState, Target
from retrain.target.webhook import Webhook
from schemas.errors import ConfigError

__all__ = ["ANSWER_BYTES_MAX", "OWN_HEADERS", "TIMEOUT_S", "Outgoing", "Receiver", "deliver_due", "poll_run", "send"]

TIMEOUT_S = 20.0
"""Timeout of one call, from the DNS query to the end of the answer."""

OWN_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "truthloop"}
"""Sent with every call, in addition to the target's headers."""

SENDS_AT_ONCE = 4
"""Requests in flight: few, so as not to flood a receiver; several, so that one without an answer delays few others."""

DETAIL_LENGTH_MAX = 200

_Result = TypeVar("_Result")
_REDIRECTS = range(300, 400)
_CHUNK_BYTES = 16 * 1_024


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where and how requests are sent.

    Attributes:
        url: an https URL; see `retrain.address_guard`.
        secret: signs webhooks and callbacks; None if there are neither.
        allow: endpoints that may be in a private network or on this machine.
        resolver: called once per call.
        tls: for the check of certificates; None: the system's authorities.
        server: the target; None: a signed webhook at `url`.
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
        """The target that retrains are requested from.

        Raises:
            ConfigError: a webhook has no secret.
        """
        if self.server is not None:
            return self.server
        if self.secret is None:
            raise ConfigError("has no secret, which a webhook is signed with", where="retrain.target")
        return Webhook(self.url, self.secret)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to be delivered.

    Attributes:
        decided_at_ms: time of the decision.
        body: the same bytes at every attempt.
    """

    decided_at_ms: int
    body: bytes = field(repr=False)


async def send(receiver: Receiver, due: Due, body: bytes, at_ms: int) -> Attempt:
    """Make one attempt and return its row for the log; network failures are recorded there, not raised.

    Args:
        due: the attempt; after the end of its window nothing is sent and the delivery is given up.
        body: the request document.
        at_ms: wall-clock time, which is signed in whole seconds.

    Raises:
        ConfigError: the receiver's URL is not allowed.
    """
    if due.not_after_ms is not None and at_ms > due.not_after_ms:
        return classify_result(due, at_ms, DeliveryResult(detail="not sent: the delivery window has ended"))
    delivery = receiver.target.deliver(due.decision, body, at_ms // 1_000)
    return classify_result(due, at_ms, await _drive(receiver, delivery, at_ms))


async def poll_run(receiver: Receiver, decision: str, at_ms: int) -> RunState:
    """Ask the target for the state of a decision's run; failures are described in the state, not raised.

    Raises:
        ConfigError: the target's URL is not allowed.
    """
    poll = receiver.target.poll(decision)
    return RunState(detail="cannot be polled") if poll is None else await _drive(receiver, poll, at_ms)


async def deliver_due(
    receiver: Receiver, requests: Mapping[str, Outgoing], log: DeliveryLog, now_ms: Callable[[], int]
) -> list[Attempt]:
    """Make all attempts that are due, and record each as soon as it has ended.

    Args:
        requests: by decision; may include deliveries that have ended.
        log: of earlier attempts, from which the due ones follow.
        now_ms: wall clock; read for every attempt, because a signature is valid for minutes only.

    Returns:
        The recorded attempts in the order of their end, without those that another sender recorded first: the receiver
        got these twice, under one id.

    Raises:
        ConfigError: the receiver's URL is not allowed.
    """
    started_ms = now_ms()
    decided = {decision: request.decided_at_ms for decision, request in requests.items()}
    waiting = deque(due for due in outstanding(decided, log.attempts(decided)) if due.at_ms <= started_ms)
    recorded: list[Attempt] = []

    async def work() -> None:
        try:
            while waiting:
                due = waiting.popleft()
                attempt = await send(receiver, due, requests[due.decision].body, now_ms())
                if log.append(attempt, due.number):
                    recorded.append(attempt)
        finally:
            waiting.clear()  # after an error of the log or the URL no other attempt may begin

    for ended in await asyncio.gather(*(work() for _ in range(SENDS_AT_ONCE)), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    return recorded


async def _drive(receiver: Receiver, exchange: Generator[Call, Reply, _Result], at_ms: int) -> _Result:
    """Make the calls of an exchange, send it the replies, and return its result."""
    try:
        call = next(exchange)
        while True:
            call = exchange.send(await _make_call(receiver, call, at_ms))
    except StopIteration as ended:
        result: _Result = ended.value
        return result


async def _make_call(receiver: Receiver, call: Call, at_ms: int) -> Reply:
    answer = _Answer(at_ms)
    try:
        async with asyncio.timeout(receiver.timeout_s):
            address = await resolve(call.url, receiver.allow, receiver.resolver)
            if isinstance(address, Refusal):
                return Reply(fault=f"not sent: {address.reason}")
            await _send(call, address, receiver, answer)
    except TimeoutError:
        answer.fail(f"did not end within {receiver.timeout_s:g} s")
    except (ClientError, OSError, ValueError) as error:  # a ValueError: the answer is not HTTP
        answer.fail(f"failed: {_describe(error)}")
    return answer.reply


class _Answer:
    """The part of an answer received so far; a failure after the status line keeps the status."""

    def __init__(self, at_ms: int) -> None:
        self._at_ms = at_ms
        self.reply = Reply()

    def begin(self, response: ClientResponse) -> None:
        """Take the status line and the Retry-After header."""
        header = response.headers.get("Retry-After")
        retry_after_ms = None if header is None else parse_retry_after_ms(header, self._at_ms)
        fault = "a redirect, which is not followed" if response.status in _REDIRECTS else ""
        self.reply = Reply(response.status, b"", retry_after_ms, fault)

    def end(self, body: bytes) -> None:
        """Add the body, as far as it was read."""
        self.reply = replace(self.reply, body=body)

    def fail(self, fault: str) -> None:
        """Add a failure."""
        text = fault if self.reply.status is None else f"the body of its answer {fault}"
        self.reply = replace(self.reply, fault=text)


class _PinnedResolver(AbstractResolver):
    """Resolves one host to its pinned address, and no other host."""

    def __init__(self, address: PinnedAddress) -> None:
        self._address = address

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AF_INET,  # noqa: ARG002 - the address has its own
    ) -> list[ResolveResult]:
        """Return the pinned address, whatever family is requested."""
        if (host, port) != (self._address.host, self._address.port):
            raise OSError(f"{host} was not checked")
        pinned = AF_INET6 if ":" in self._address.ip else AF_INET
        return [
            ResolveResult(hostname=host, host=self._address.ip, port=port, family=pinned, proto=0, flags=AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


async def _send(call: Call, address: PinnedAddress, receiver: Receiver, answer: _Answer) -> None:
    path, _, query = address.path.partition("?")
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = URL.build(scheme=address.scheme, host=host, port=address.port, path=path, query_string=query, encoded=True)
    pinned = _PinnedResolver(address)
    connector = TCPConnector(resolver=pinned, use_dns_cache=False, force_close=True, ssl=receiver.tls or True)
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
        response.close()  # without waiting for the rest of the body


def _describe(error: Exception) -> str:
    """Return the type of an error and the system's message, without the error's own text, which may hold the URL."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    message = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or ""
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:DETAIL_LENGTH_MAX]
