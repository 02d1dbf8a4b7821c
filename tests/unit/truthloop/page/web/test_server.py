"""What is no request gets an answer like any other, and nothing of it reaches the log."""

import asyncio

import pytest
from page_site import Client, Site, raw, visit

from truthloop.page.web.access import SECURITY_HEADERS, Access
from truthloop.page.web.app import Limits

TOKEN = "a-secret-of-many-characters"  # noqa: S105 - of this test alone


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /?x=" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["long line", "long header", "many headers", "two hosts", "two lengths", "TLS"],
)
def test_a_malformed_request_is_refused_at_once(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Without a call of the sources, with the security headers, and without a traceback, here and in the log."""
    site = Site()

    async def use(client: Client) -> None:
        answer = await asyncio.wait_for(raw(client, sent), 20)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0].split()[1] == b"400"
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert headers.items() >= {**SECURITY_HEADERS, "Server": "truthloop"}.items()
        assert body == b"this is no request that can be read\n"

    caplog.set_level("INFO")
    visit(site, use, limits=Limits(head_s=0.5))
    assert len(site.asked) == 1  # the first page, which is made at the start
    assert all(one.exc_info is None for one in caplog.records)
    assert "a client sent what is no request" in caplog.text


def test_nothing_of_a_malformed_request_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Not its credentials, its path or its body, however many there are."""
    caplog.set_level("DEBUG")
    head = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    broken = (
        f"GET /{TOKEN}?{TOKEN} HTTP/9.9\r\n{head}\r\n",
        f"GET / HTTP/1.1\r\n{head}Content-Length: {TOKEN}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{head}{TOKEN}\x01: 1\r\n\r\n",
        f"{TOKEN} / HTTP/1.1\r\n{head}{TOKEN}\r\n\r\n",
        f"POST /v1/callback HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n",
    )

    async def use(client: Client) -> None:
        for text in broken:
            answer = await asyncio.wait_for(raw(client, text.encode()), 20)
            assert answer.split(b"\r\n")[0].split()[1] == b"400"

    visit(Site(), use, Access(token=TOKEN), Limits(head_s=0.5))
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("path", ["/", "/metrics", "/panels/coverage.json"])
def test_a_client_that_hangs_up_is_no_error(
    path: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whether it goes before the answer or while it is sent; others are answered."""
    caplog.set_level("INFO")

    async def use(client: Client) -> None:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await writer.drain()
            writer.transport.abort()
        assert (await client.get(path)).status == 200

    visit(Site(), use)
    assert all(one.exc_info is None and one.levelname == "INFO" for one in caplog.records), caplog.text
    assert "Traceback" not in capfd.readouterr().err
