"""The page over a real loopback socket: access, invalid requests, and errors.

Tests `truthloop.page.panels.selection`, too.
"""

import asyncio
import base64
import json
import socket
import threading
from dataclasses import replace

import pytest
from page_case import empty_view, hostile_view
from page_site import Client, Site, raw, visit

from schemas.errors import LakeError
from streams.runtime.health import Health, ProbeAnswer
from truthloop.page.panels.view import Choices, Selection
from truthloop.page.web.access import SECURITY_HEADERS, Access
from truthloop.page.web.app import Limits
from truthloop.page.web.pool import PENDING_MAX

TOKEN = "a-secret-of-many-characters"  # noqa: S105 - of this test alone
PATHS = (
    "/",
    "/style.css",
    "/icon.svg",
    "/panels/coverage.json",
    "/panels/coverage.csv",
    "/livez",
    "/readyz",
    "/metrics",
)

FIRST = Selection("arrived_late", "", "", "accuracy", 60)
"""The page that is made before the first request."""


def basic(user: str, password: str) -> str:
    """Return the Authorization header that a browser sends."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_answered_with_all_security_headers(path: str) -> None:
    """GET and HEAD differ only in the body."""

    async def use(client: Client) -> None:
        got, head = await client.get(path), await client.head(path)
        assert (got.status, head.status) == (200, 200)
        assert await got.read()
        assert await head.read() == b""
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
        for name, value in SECURITY_HEADERS.items():
            assert got.headers[name] == value
        assert "aiohttp" not in got.headers["Server"]

    visit(Site(), use)


@pytest.mark.parametrize("path", ["/", "/panels/coverage.json"])
@pytest.mark.parametrize("status", [400, 401, 421, 503, 500])
def test_errors_have_the_security_headers_too(path: str, status: int) -> None:
    """For pages and for JSON."""
    site = Site()

    def fail() -> None:
        raise LakeError("no lake") if status == 503 else RuntimeError("hidden words")

    site.fails = fail if status >= 500 else None
    query = "?unknown=1" if status == 400 else ""
    headers = {"Host": "evil.example"} if status == 421 else {}
    access = Access(token=TOKEN) if status == 401 else None

    async def use(client: Client) -> None:
        got = await client.get(path + query, headers=headers)
        assert got.status == status
        for name, value in SECURITY_HEADERS.items():
            assert got.headers[name] == value
        text = await got.text()
        assert "Traceback" not in text
        assert "hidden words" not in text

    visit(site, use, access)


@pytest.mark.parametrize("path", [*PATHS, "/v1/callback"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_refused_and_the_allowed_ones_are_named(path: str, method: str) -> None:
    """Pages allow GET and HEAD, the callback allows POST."""
    if path == "/v1/callback":
        method = "GET" if method == "POST" else method

    async def use(client: Client) -> None:
        got = await client.request(method, path)
        assert got.status == 405
        assert got.headers["Allow"] == ("POST" if path == "/v1/callback" else "GET,HEAD")

    visit(Site(), use)


@pytest.mark.parametrize(
    "path", ["/nothing", "/panels/nothing.json", "/panels/coverage.xml", "/../etc/passwd", "/static/"]
)
def test_an_unknown_path_is_404(path: str) -> None:
    """As JSON."""

    async def use(client: Client) -> None:
        got = await client.get(path)
        assert got.status == 404
        assert set(await got.json()) == {"error", "where", "hint"}

    visit(Site(), use)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "known are kind, version, slice, metric, days, refresh"),
        ("days=0", "a whole number from 1 to 400"),
        ("days=401", "a whole number from 1 to 400"),
        ("days=-1", "a whole number from 1 to 400"),
        ("days=1e2", "a whole number from 1 to 400"),
        ("days=%D9%A3", "a whole number from 1 to 400"),
        ("days=7&days=8", "days is given twice"),
        ("version=flights-v9", "flights-v1, flights-v2"),
        ("kind=", "arrived_late"),
        ("slice=origin%3DXXX", "origin=EWR"),
        ("slice=seat%3D12A", "seat is kept with every outcome, but not counted by"),
        ("metric=f1", "accuracy, roc_auc, log_loss"),
        ("refresh=1", "0, 30, 60, 300"),
        ("version=%3Cscript%3E", "flights-v1"),
    ],
)
def test_an_invalid_parameter_is_refused_and_the_valid_ones_are_named(query: str, named: str) -> None:
    """No invalid selection reaches the source of views."""
    site = Site()

    async def use(client: Client) -> None:
        got = await client.get(f"/?{query}")
        text = await got.text()
        assert got.status == 400
        assert named in text
        assert "<script" not in text

    visit(site, use)
    assert site.asked == [FIRST]


def test_a_selection_reaches_the_source_of_views() -> None:
    """The defaults are the first kind and metric, all versions and slices, 60 days."""
    site = Site()

    async def use(client: Client) -> None:
        assert (await client.get("/")).status == 200
        query = {"version": "flights-v2", "slice": "origin=JFK", "metric": "roc_auc", "days": "7", "refresh": "60"}
        got = await client.get("/", params=query)
        assert '<meta http-equiv="refresh" content="60">' in await got.text()

    visit(site, use)
    assert site.asked == [
        FIRST,
        FIRST,
        Selection("arrived_late", "flights-v2", "origin=JFK", "roc_auc", 7),
    ]


def test_the_metric_of_another_kind_falls_back_to_the_first_of_this_one() -> None:
    """The form sends both; a change of the kind must not be an error."""
    site = Site()
    choices = Choices(("click", "amount"), (), (), (("click", ("accuracy",)), ("amount", ("mae", "rmse"))), days_max=30)
    site.shown = replace(site.shown, choices=choices)

    async def use(client: Client) -> None:
        assert (await client.get("/?kind=amount&metric=accuracy")).status == 200
        assert (await client.get("/?kind=amount&metric=rmse")).status == 200

    visit(site, use)
    assert site.asked == [
        Selection("click", metric="accuracy", days=30),
        Selection("amount", metric="mae", days=30),
        Selection("amount", metric="rmse", days=30),
    ]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("10.1.2.3:8080", 200),
        ("truthloop.internal", 200),
        ("Truthloop.Internal:443", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("truthloop.internal:80:80", 421),
        ("[::1", 421),
        ("2130706433", 421),
        ("localhost:evil", 421),
    ],
)
def test_only_own_host_names_and_addresses_are_answered(host: str, status: int) -> None:
    """Another name that resolves to this machine is refused: DNS rebinding needs one."""

    async def use(client: Client) -> None:
        for path in ("/", "/livez", "/panels/flow.json"):
            assert (await client.get(path, headers={"Host": host})).status == status

    visit(Site(), use, Access(hosts=("truthloop.internal",)))


def test_a_request_without_a_host_is_refused() -> None:
    """HTTP/1.0 has none; no browser uses it."""

    async def use(client: Client) -> None:
        answer = await raw(client, b"GET / HTTP/1.0\r\n\r\n")
        assert answer.split(b"\r\n")[0].split()[1] == b"421"

    visit(Site(), use)


@pytest.mark.parametrize("path", ["/", "/style.css", "/panels/gate.csv"])
@pytest.mark.parametrize(
    ("authorization", "is_admitted"),
    [
        (None, False),
        ("", False),
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer ", False),
        ("Bearer", False),
        (basic("anybody", TOKEN), True),
        (basic("", TOKEN), True),
        (basic(TOKEN, ""), False),
        (basic("anybody", TOKEN + ":"), False),
        ("Basic !!!", False),
        ("Basic", False),
        (f"Digest {TOKEN}", False),
        ("Bearer \N{SNOWMAN}", False),
    ],
)
def test_with_a_token_only_requests_with_it_are_admitted(
    path: str, authorization: str | None, is_admitted: bool
) -> None:
    """As Bearer, or as the password of Basic."""

    async def use(client: Client) -> None:
        headers = {} if authorization is None else {"Authorization": authorization}
        got = await client.get(path, headers=headers)
        assert (got.status != 401) == is_admitted
        assert is_admitted or got.headers["WWW-Authenticate"].startswith("Basic ")

    visit(Site(), use, Access(token=TOKEN))


def test_probes_scrapers_and_pipelines_need_no_token() -> None:
    """The first two see no data; a callback is signed."""

    async def use(client: Client) -> None:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status == 200
        assert (await client.post("/v1/callback", data=b"{}")).status != 401

    visit(Site(), use, Access(token=TOKEN))


def test_a_short_token_is_refused() -> None:
    """Before the server starts."""
    with pytest.raises(ValueError, match="at least 16"):
        Access(token="short")  # noqa: S106 - too short to be a secret


def test_failed_probes_have_a_reason() -> None:
    """With status 503."""
    now_s = [0.0]
    site = Site(health=Health("feedback", lambda: now_s[0]))
    site.health.report_progress(1, lag=1)
    now_s[0] = 61.0
    reasons = {"/livez": "no progress for 61 s although there is work", "/readyz": "it is starting"}

    async def use(client: Client) -> None:
        for path, reason in reasons.items():
            got = await client.get(path)
            assert (got.status, got.content_type) == (503, "application/json")
            assert await got.json() == {"role": "feedback", "status": "no", "reason": reason}

    visit(site, use)


def test_a_truthloop_error_becomes_a_page_with_a_hint() -> None:
    """What, where and the next step; the next request works again."""
    site = Site()

    def fail() -> None:
        raise LakeError("the table <cells> cannot be read", where="/data/lake", hint="Bring back the backup.")

    site.fails = fail

    async def use(client: Client) -> None:
        got = await client.get("/")
        text = await got.text()
        assert got.status == 503
        assert got.headers["Retry-After"]
        for part in ("the table &lt;cells&gt; cannot be read", "/data/lake", "Bring back the backup."):
            assert part in text
        document = await (await client.get("/panels/flow.json")).json()
        assert document["hint"] == "Bring back the backup."
        assert (await client.get("/livez")).status == 200
        site.fails = None
        assert (await client.get("/")).status == 200

    visit(site, use)


def test_a_page_that_takes_long_says_that_it_is_being_made() -> None:
    """With what is being done; it is made once for all who ask, and nobody is told to look for a fault."""
    free = threading.Event()
    site = Site()
    calls: list[int] = []

    def wait() -> None:
        calls.append(1)
        free.wait(20)

    site.fails = wait

    async def use(client: Client) -> None:
        answers = await asyncio.gather(*(client.get("/") for _ in range(PENDING_MAX + 3)))
        assert {answer.status for answer in answers} == {202}
        text = await answers[0].text()
        assert "reading rejects, for 7 s" in text
        assert '<meta http-equiv="refresh" content="5">' in text
        for name, value in {**SECURITY_HEADERS, "Retry-After": "5"}.items():
            assert answers[0].headers[name] == value
        panel = await client.get("/panels/flow.json")
        assert panel.status == 202
        assert await panel.json() == {"status": "being made", "doing": "reading rejects, for 7 s"}
        ready = await client.get("/readyz")
        assert ready.status == 503
        assert (await ready.json())["reason"] == "the page is being made: reading rejects, for 7 s"
        assert (await client.get("/livez")).status == 200
        assert len(calls) == 2  # the page and the panel
        free.set()
        while (await client.get("/")).status != 200:
            pass
        assert (await client.get("/readyz")).status == 200

    visit(site, use, limits=Limits(view_s=0.05))


def test_the_page_is_made_before_its_first_reader_comes() -> None:
    """So that a probe alone makes it ready; if that fails, the next probe tries again."""
    site = Site()
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise LakeError("there is no lake")

    site.fails = fail

    async def use(client: Client) -> None:
        reason = ""
        while reason != "the page cannot be made: there is no lake":
            reason = (await (await client.get("/readyz")).json())["reason"]
        before = len(tries)
        while len(tries) == before:
            await client.get("/readyz")
        site.fails = None
        while (await client.get("/readyz")).status != 200:
            pass

    visit(site, use)


def test_a_lake_that_hangs_does_not_delay_the_probes() -> None:
    """Too many pending requests get 503; afterwards all work again."""
    free = threading.Event()

    def hang() -> None:
        free.wait(20)

    site = Site(fails=hang)

    async def use(client: Client) -> None:
        answers = await asyncio.gather(*(client.get(f"/?days={1 + days}") for days in range(PENDING_MAX + 3)))
        texts = [await answer.text() for answer in answers if answer.status == 503]
        assert len(texts) == 4  # the first page is pending since the start
        assert all("too many requests at once" in text for text in texts)
        assert (await client.get("/livez")).status == 200
        free.set()
        site.fails = None
        while (await client.get("/panels/flow.csv")).status != 200:
            pass

    visit(site, use, limits=Limits(view_s=0.2))


def test_views_that_hang_refuse_no_callback_and_no_ruling() -> None:
    """Each sort of request has threads and a limit of its own; here twice as many views hang as may wait."""
    free = threading.Event()
    free.set()
    site = Site()
    site.choices = lambda: (free.wait(30), site.shown.choices)[1]  # type: ignore[method-assign] # hangs

    async def use(client: Client) -> None:
        free.clear()
        views = [asyncio.ensure_future(client.get(f"/?days={1 + days}")) for days in range(2 * PENDING_MAX)]
        refused, _ = await asyncio.wait(views, return_when=asyncio.FIRST_COMPLETED)
        assert {one.result().status for one in refused} == {503}
        for _ in range(PENDING_MAX):
            assert (await client.post("/v1/callback", data=b"{}")).status == 202
        form = {"verdict": "approved", "token": "t", "diff": "0" * 64, "by": "ann", "reason": "r"}
        ruled = await client.post(f"/backfill/bf-{'0' * 32}/rule", data=form)
        assert ruled.status == 404
        assert "there is no such backfill" in await ruled.text()
        free.set()
        await asyncio.wait(views)

    visit(site, use)
    assert len(site.called_back) == PENDING_MAX


def test_a_callback_is_passed_on_unchanged() -> None:
    """The signature is over the raw bytes; names of headers are in lower case."""
    site = Site(answer=(200, {"decision": "rt-1"}))
    body = b'{"state": "completed",  "x": "\xff"}'

    async def use(client: Client) -> None:
        got = await client.post("/v1/callback", data=body, headers={"Webhook-Id": "rt-1"})
        assert (got.status, await got.json()) == (200, {"decision": "rt-1"})

    visit(site, use)
    assert [(given, headers["webhook-id"]) for given, headers in site.called_back] == [(body, "rt-1")]


def test_an_error_in_a_callback_tells_nothing_about_the_lake() -> None:
    """The pipeline should send it again; it does not see the lake's path."""
    site = Site()

    def fail() -> None:
        raise LakeError("broken", where="/data/lake")

    site.fails = fail

    async def use(client: Client) -> None:
        got = await client.post("/v1/callback", data=b"{}")
        assert got.status == 503
        assert "/data/lake" not in await got.text()

    visit(site, use)


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
def test_a_body_has_at_most_64_kib(size: int) -> None:
    """The largest that is accepted, and one byte more."""
    site = Site()

    async def use(client: Client) -> None:
        got = await client.post("/v1/callback", data=b"x" * size)
        assert got.status == (202 if size == 64 * 1024 else 413)

    visit(site, use)
    assert len(site.called_back) == (size == 64 * 1024)


def test_an_endless_body_is_refused() -> None:
    """Chunks are not collected in memory without a limit."""
    site = Site()

    async def use(client: Client) -> None:
        head = b"POST /v1/callback HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await raw(
            client, head + b"8000\r\n" + b"x" * 0x8000 + b"\r\n" + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 9
        )
        assert answer.split(b"\r\n")[0].split()[1] == b"413"

    visit(site, use)
    assert site.called_back == []


def test_a_compressed_body_is_refused() -> None:
    """A small body must not expand to a large one."""

    async def use(client: Client) -> None:
        got = await client.post("/v1/callback", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        assert got.status == 415

    visit(Site(), use)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    ],
)
def test_a_connection_that_does_not_finish_its_headers_is_closed(sent: bytes) -> None:
    """Many of them would use up the process's sockets."""

    async def use(client: Client) -> None:
        assert await asyncio.wait_for(raw(client, sent), 20) == b""

    visit(Site(), use, limits=Limits(head_s=0.2))


def test_a_body_that_does_not_arrive_is_408() -> None:
    """The connection is closed."""

    async def use(client: Client) -> None:
        sent = b"POST /v1/callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        answer = await asyncio.wait_for(raw(client, sent), 20)
        assert answer.split(b"\r\n")[0].split()[1] == b"408"
        assert b"connection: close" in answer.lower()

    visit(Site(), use, limits=Limits(body_s=0.2))


def test_a_client_that_does_not_receive_the_response_is_disconnected() -> None:
    """Otherwise the response would stay in memory."""
    scraped: list[str] = []

    def probe(path: str, _unready: str) -> ProbeAnswer:
        if path == "/metrics":
            scraped.append(path)
        return ProbeAnswer(200, b"x" * (30_000_000 if path == "/metrics" else 1), "text/plain")

    site = Site(probe=probe)

    async def use(client: Client) -> None:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)  # noqa: FBT003 - the signature of socket
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", client.port))
            await loop.sock_sendall(slow, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # the connection of the probes remains
            while not scraped or len(client.server.handler.connections) > 1:
                assert (await client.get("/livez")).status == 200

    visit(site, use, limits=Limits(send_s=0.3))


@pytest.mark.parametrize("view", [empty_view(), hostile_view("<script>alert(1)</script>")])
def test_every_panel_has_json_and_csv_whatever_is_in_it(view: object) -> None:
    """JSON without NaN, CSV as a download, neither as HTML."""
    site = Site(shown=view)  # type: ignore[arg-type] # both are views

    async def use(client: Client) -> None:
        for panel in ("verdict", "coverage", "maturity", "metric", "drift", "quality", "gate", "backfills", "flow"):
            got = await client.get(f"/panels/{panel}.json")
            assert got.content_type == "application/json"
            json.loads(await got.text(), parse_constant=pytest.fail)
            got = await client.get(f"/panels/{panel}.csv")
            assert (got.content_type, got.status) == ("text/csv", 200)
            assert got.headers["Content-Disposition"] == f'attachment; filename="{panel}.csv"'

    visit(site, use)
