"""One attempt over real sockets: what is sent, and how every kind of answer and of silence ends."""

import asyncio
import logging
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Self

import pytest
from aiohttp import web
from delivery_worker import SECRET, FileLog, decision_id, request_body, requests_of
from effort import examples

from retrain.address_guard import PinnedAddress, parse_allowed
from retrain.schedule import WINDOW_MS, Attempt, Due
from retrain.sender import Receiver, _PinnedResolver, deliver_due, send
from retrain.signing import Signed, verify
from schemas.errors import ConfigError

AT_MS = 1_700_000_000_900
DUE = Due(decision_id(1), 1, AT_MS, None)
BODY = request_body(1)
HOST = "pipeline.test"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scripted:
    """A server that does what its script says with every connection.

    Attributes:
        script: gets the connection once the request has been read.
        tls: None: plain HTTP.
        requests: head and body of each, as they came.
        bind: address to listen on.
    """

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    bind: str = "127.0.0.1"
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.bind, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head + await reader.readexactly(len(BODY)))
            await self.script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left, which is what some of these tests are about
        finally:
            writer.close()

    def receiver(self, path: str = "/hook", **changes: object) -> Receiver:
        """Return how to reach it."""
        fields = {"timeout_s": 30.0, "allow": parse_allowed([f"127.0.0.1:{self.port}"])} | changes
        return Receiver(f"http://127.0.0.1:{self.port}{path}", SECRET, **fields)  # type: ignore[arg-type] # fields of a test


def answering(*parts: bytes, then: Script | None = None) -> Script:
    """Return a script that writes and closes, or goes on with another."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()
        if then is not None:
            await then(reader, writer)

    return script


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client leaves."""
    await reader.read()


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send zeros until the client leaves."""
    while True:
        writer.write(bytes(65_536))
        await writer.drain()


def attempted(script: Script, path: str = "/hook", **changes: object) -> tuple[Attempt, list[bytes]]:
    """Make one attempt at a scripted server."""

    async def attempt() -> tuple[Attempt, list[bytes]]:
        async with Scripted(script) as server:
            return await send(server.receiver(path, **changes), DUE, BODY, AT_MS), server.requests

    return asyncio.run(attempt())


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_a_request_is_signed_and_says_no_more_than_it_must() -> None:
    """The signature is for the second of the attempt; path and query are as the config has them."""
    attempt, [request] = attempted(answering(OK), "/a%2Fb/c?d=%20e&f")
    assert attempt == Attempt(DUE.decision, 1, AT_MS, "delivered", 200)
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "POST /a%2Fb/c?d=%20e&f HTTP/1.1"
    assert body == BODY
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert verify(headers, body, SECRET, AT_MS // 1_000) == Signed(DUE.decision, AT_MS // 1_000)
    names = {name.lower() for name in headers}
    assert names == {
        *("host", "content-type", "content-length", "user-agent", "accept", "accept-encoding"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "connection"),
    } - ({"connection"} - names)


def test_an_ipv6_address_is_reached_and_named_in_brackets() -> None:
    """Brackets belong to URLs and to the Host header, and to nothing else."""

    async def attempt() -> tuple[Attempt, list[bytes], str]:
        async with Scripted(answering(OK), bind="::1") as server:
            place = f"[::1]:{server.port}"
            receiver = Receiver(f"http://{place}/a?b", SECRET, parse_allowed([place]))
            return await send(receiver, DUE, BODY, AT_MS), server.requests, place

    try:
        found, [request], place = asyncio.run(attempt())
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert found.outcome == "delivered"
    assert request.startswith(f"POST /a?b HTTP/1.1\r\nHost: {place}\r\n".encode())


@pytest.mark.parametrize(
    ("answer", "outcome", "retry_after_ms"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "delivered", None),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "gone", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "retry", None),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "retry", None),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "retry", 7_000),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: Tue, 14 Nov 2023 22:14:20 GMT\r\n\r\n", "retry", 59_100),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: whenever\r\nContent-Length: 0\r\n\r\n", "retry", None),
    ],
)
def test_the_status_line_decides(answer: bytes, outcome: str, retry_after_ms: int | None) -> None:
    """And Retry-After says when."""
    attempt, requests = attempted(answering(answer))
    assert (attempt.outcome, attempt.retry_after_ms) == (outcome, retry_after_ms)
    assert attempt.status == int(answer.split()[1])
    assert len(requests) == 1


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    """Not even to the same place: where it leads, no config has said."""
    for status in (301, 302, 303, 307, 308):
        script = answering(f"HTTP/1.1 {status} Elsewhere\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n".encode())
        attempt, requests = attempted(script)
        assert (attempt.outcome, attempt.status, len(requests)) == ("retry", status, 1)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n"


def test_a_receiver_that_is_silent_or_slow_ends_at_the_timeout() -> None:
    """Before its headers that is a failure; after a 2xx the request has arrived."""
    for script in (silent, answering(b"HTT", then=silent), answering(HEAD, then=silent)):
        attempt, _ = attempted(script, timeout_s=0.2)
        assert (attempt.outcome, attempt.status) == ("retry", None)
        assert attempt.detail == "did not end within 0.2 s"
    attempt, _ = attempted(answering(HEAD, b"\r\nab", then=silent), timeout_s=0.2)
    assert (attempt.outcome, attempt.status) == ("delivered", 200)
    assert "body of its answer" in attempt.detail


def test_a_resolver_that_is_silent_ends_at_the_timeout_too() -> None:
    """The limit is one for the whole attempt."""

    async def asleep(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    receiver = Receiver(f"https://{HOST}/", SECRET, resolver=asleep, timeout_s=0.05)
    assert asyncio.run(send(receiver, DUE, BODY, AT_MS)).detail == "did not end within 0.05 s"


def test_an_endless_body_is_read_to_the_cap_and_no_further() -> None:
    """Announced, without an end, or packed: nothing of it is kept, and nothing is unpacked."""
    chunk = b"7\r\nno gzip\r\n0\r\n\r\n"
    for script in (
        answering(HEAD, b"\r\n", then=endless),
        answering(b"HTTP/1.1 200 OK\r\n\r\n", then=endless),
        answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", chunk),
    ):
        attempt, _ = attempted(script)
        assert attempt == Attempt(DUE.decision, 1, AT_MS, "delivered", 200)


@pytest.mark.parametrize(
    "script",
    [
        answering(),
        answering(b"\x00\xff nothing of HTTP\r\n\r\n"),
        answering(b"HTTP/1.1 abc\r\n\r\n"),
        answering(b"HTTP/1.1 99999 Far\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(50_000)) + b"\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    ],
    ids=["nothing", "no-http", "no-number", "no-status", "long-header", "many-headers", "wrong-length"],
)
def test_what_is_no_answer_is_a_failed_attempt_and_no_exception(script: Script) -> None:
    """A receiver can send anything."""
    attempt, _ = attempted(script)
    assert (attempt.outcome, attempt.status) == ("retry", None)
    assert attempt.detail.startswith("failed: ")


def test_noise_is_an_attempt_like_any_other() -> None:
    """Answers with bytes turned, lost and doubled: whatever the parser makes of them, the row of the log is whole."""
    rng = Random(7)
    sample = b"HTTP/1.1 200 OK\r\nRetry-After: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    noises = []
    for _ in range(examples(800)):
        noise = bytearray(sample)
        for _ in range(rng.randrange(1, 6)):
            at, turn = rng.randrange(len(noise)), rng.random()
            noise[at : at + 1] = bytes([rng.randrange(256)]) if turn < 0.6 else noise[at : at + 4] * (turn < 0.8) * 2
        noises.append(bytes(noise))

    async def attempts() -> list[Attempt]:
        async def noisy(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(noises[len(server.requests) - 1])

        async with Scripted(noisy) as server:
            return [await send(server.receiver(timeout_s=0.5), DUE, BODY, AT_MS) for _ in noises]

    found = asyncio.run(attempts())
    assert {attempt.outcome for attempt in found} >= {"delivered", "retry"}
    assert all(attempt.detail.isprintable() and len(attempt.detail) < 300 for attempt in found)


def test_nobody_there_is_a_failed_attempt() -> None:
    """The port was free a moment ago."""

    async def attempt() -> Attempt:
        async with Scripted(silent) as server:
            receiver = server.receiver()
        return await send(receiver, DUE, BODY, AT_MS)

    found = asyncio.run(attempt())
    assert (found.outcome, found.status) == ("retry", None)
    assert found.detail.startswith("failed: ClientConnectorError")


def test_what_the_guard_refuses_is_told_and_tried_again() -> None:
    """A name may be bound rightly tomorrow; a URL that can never be right is the config's fault."""

    async def metadata(_host: str, _port: int) -> Sequence[str]:
        return ["93.184.216.34", "169.254.169.254"]

    attempt = asyncio.run(send(Receiver(f"https://{HOST}/", SECRET, resolver=metadata), DUE, BODY, AT_MS))
    assert (attempt.outcome, attempt.status) == ("retry", None)
    assert attempt.detail.startswith(f"not sent: {HOST} resolves to 169.254.169.254")
    with pytest.raises(ConfigError):
        asyncio.run(send(Receiver("http://93.184.216.34/", SECRET), DUE, BODY, AT_MS))


def test_after_the_end_of_its_window_nothing_is_sent() -> None:
    """The receiver may have forgotten the id by then."""

    async def attempts() -> tuple[list[Attempt], int]:
        async with Scripted(answering(OK)) as server:
            due = Due(DUE.decision, 3, AT_MS, AT_MS + WINDOW_MS)
            times = (AT_MS + WINDOW_MS, AT_MS + WINDOW_MS + 1)
            return [await send(server.receiver(), due, BODY, at_ms) for at_ms in times], len(server.requests)

    [in_time, too_late], requests = asyncio.run(attempts())
    assert (in_time.outcome, too_late.outcome, requests) == ("delivered", "gave_up", 1)


def test_proxies_and_credentials_of_the_environment_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy would connect wherever it likes, and a .netrc is for other programs."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password word\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    attempt, [request] = attempted(answering(OK))
    assert attempt.outcome == "delivered"
    assert b"authorization" not in request.lower()


def test_neither_payload_nor_secret_nor_path_is_in_a_log_or_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """With everything logged that can be, and in every way that an attempt can end."""
    caplog.set_level(logging.DEBUG)
    for script in (answering(OK), answering(), answering(b"HTTP/1.1 500 NO canary\r\n\r\ncanary"), silent):
        attempt, [request] = attempted(script, "/canary?canary", timeout_s=0.2)
        output = caplog.text + repr(attempt)
        assert "canary" not in output
        assert BODY.decode() not in output
        signature = request.decode().lower().partition("webhook-signature: v1,")[2].split("\r\n")[0]
        assert signature
        assert signature not in output.lower()
    receiver = Receiver("https://h.example/canary", SECRET)
    assert "canary" not in repr(receiver)
    assert repr(SECRET.keys[0]) not in repr(receiver)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate with its key that is good for one name."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes a certificate with openssl, which is not here")
    folder = tmp_path_factory.mktemp("tls")
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, *files, *names, "-days", "2"], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("host", "trusted", "outcome"), [(HOST, True, "delivered"), ("other.test", True, "retry"), (HOST, False, "retry")]
)
def test_the_pinned_address_has_to_prove_that_it_is_the_named_host(
    certificate: Path, host: str, trusted: bool, outcome: str
) -> None:
    """The name is in the TLS hello and in the Host header; the resolver is asked once and the answer is used."""
    named: list[str | None] = []
    asked: list[str] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "cert", certificate / "key")
    tls.sni_callback = lambda _socket, name, _context: named.append(name)
    trust = ssl.create_default_context(cafile=str(certificate / "cert")) if trusted else None

    async def local(name: str, _port: int) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async def attempt() -> tuple[Attempt, list[bytes]]:
        async with Scripted(answering(OK), tls) as server:
            place = f"{host}:{server.port}"
            receiver = Receiver(f"https://{place}/", SECRET, parse_allowed([place]), local, tls=trust)
            found = await send(receiver, DUE, BODY, AT_MS)
            if server.requests:
                assert f"host: {place}\r\n" in server.requests[0].decode().lower()
            return found, server.requests

    found, requests = asyncio.run(attempt())
    assert (found.outcome, bool(requests)) == (outcome, outcome == "delivered")
    assert named == [host]
    assert asked == [host]
    assert ("Certificate" in found.detail) == (outcome == "retry")


def test_of_two_senders_one_records_and_the_receiver_acts_once(tmp_path: Path) -> None:
    """Both send, under the same ids; the log takes each number once."""
    came: list[str] = []

    async def take(request: web.Request) -> web.Response:
        came.append(request.headers["webhook-id"])
        return web.Response()

    async def both() -> list[list[Attempt]]:
        application = web.Application()
        application.router.add_post("/", take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place = f"127.0.0.1:{runner.addresses[0][1]}"
        receiver = Receiver(f"http://{place}/", SECRET, parse_allowed([place]))
        log, requests = FileLog(tmp_path / "log"), requests_of(10)
        found = await asyncio.gather(*(deliver_due(receiver, requests, log, lambda: AT_MS + 60_000) for _ in range(2)))
        again = await deliver_due(receiver, requests, log, lambda: AT_MS + 9**12)
        await runner.cleanup()
        return [*found, again]

    *first, again = asyncio.run(both())
    assert again == []
    recorded = [attempt.decision for part in first for attempt in part]
    assert sorted(recorded) == sorted(requests_of(10))
    assert set(came) == set(requests_of(10))
    assert len(came) > len(recorded)


def test_the_pin_knows_no_other_name() -> None:
    """Should the client ever ask for one, it gets no address."""
    pin = _PinnedResolver(PinnedAddress("https", HOST, 443, "93.184.216.34", "/"))
    assert asyncio.run(pin.resolve(HOST, 443))[0]["host"] == "93.184.216.34"
    for host, port in [("other.test", 443), (HOST, 80)]:
        with pytest.raises(OSError, match="was not checked"):
            asyncio.run(pin.resolve(host, port))


class _Broken(FileLog):
    """Fails once; what is wrong with it may be wrong with the rest."""

    broken = True

    def append(self, attempt: Attempt, expected_number: int) -> bool:
        if self.broken:
            self.broken = False
            raise OSError("no room")
        return super().append(attempt, expected_number)


def test_a_log_that_cannot_be_written_ends_the_round(tmp_path: Path) -> None:
    """Going on could send every request of the outbox, and know of none."""

    async def deliver() -> int:
        async with Scripted(answering(OK)) as server:
            requests = {id_: replace(request, body=BODY) for id_, request in requests_of(100).items()}
            with pytest.raises(OSError, match="no room"):
                await deliver_due(server.receiver(), requests, _Broken(tmp_path / "log"), lambda: AT_MS + 9**12)
            return len(server.requests)

    assert asyncio.run(deliver()) < 20
