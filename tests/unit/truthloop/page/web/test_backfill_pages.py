"""Rulings on the page, over a real loopback socket and on a real lake: only its own form changes anything, and once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from html import unescape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from multidict import CIMultiDict
from page_case import HOSTILE
from page_site import Client, Site, raw, visit
from ruling_case import (
    BODY,
    EPISODE,
    Clock,
    Fields,
    approvals,
    found,
    grown,
    log_of,
    make_loop,
    statement,
    write_found,
)

from retrain.form_token import TTL_MS
from schemas.errors import ConfigError, LakeError
from schemas.events.evidence import Event
from truthloop.feedback.backfill_forms import Rulings
from truthloop.feedback.endpoints import access_of
from truthloop.page.web.access import Access, is_own_form
from truthloop.page.web.app import Limits
from truthloop.page.web.backfill_pages import BODY_MAX, Form, form_of
from truthloop.page.web.middleware import HttpError

PAGE = f"/backfill/{EPISODE}"
RULE = f"{PAGE}/rule"
TOKEN = "a-secret-of-many-characters"  # noqa: S105 - of this test alone
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROXY = Access(token=TOKEN, user_header="X-Forwarded-User")
TYPED = {"verdict": "approved", "reason": "checked", "by": "Ann"}


class Desk:
    """A loop with one backfill, its page, and what was counted."""

    def __init__(self, folder: Path, access: Access | None = None) -> None:
        self.loop = make_loop(folder)
        self.sha256 = write_found(self.loop, found())
        self.clock = Clock()
        self.words: list[str] = []
        self.access = access or Access()
        self.rulings = Rulings(self.loop, self.access, None, self.clock, self.words.append)

    def visit(self, use: Callable[[Client], Awaitable[None]], limits: Limits | None = None) -> None:
        """Serve it for as long as `use` needs it."""
        visit(Site(backfills=self.rulings), use, self.access, limits)

    @property
    def events(self) -> list[Event]:
        """What the log is about."""
        return [entry.event for entry in log_of(self.loop)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A page that nobody needs a token for."""
    return Desk(tmp_path)


async def form(client: Client, **headers: str) -> dict[str, str]:
    """Open the page, and return what its form holds, filled in."""
    got = await client.get(PAGE, headers=headers)
    assert got.status == 200, await got.text()
    fields = Fields(await got.text())
    assert fields.action == f"{EPISODE}/rule"
    return fields.values | TYPED


async def send(client: Client, fields: Mapping[str, str] | bytes, **headers: str) -> tuple[int, str]:
    """Send a form; return the status and the text of the page that comes."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    given = CIMultiDict({"Content-Type": BODY, **headers})
    got = await client.post(RULE, data=body, headers=given, allow_redirects=False)
    return got.status, unescape(await got.text())


def test_an_approval_on_the_page_is_taken_and_leads_back_to_it(desk: Desk) -> None:
    """303, so that a reload sends nothing again; and the page says who, how that is known, and why."""

    async def use(client: Client) -> None:
        fields = await form(client)
        got = await client.post(RULE, data=fields, allow_redirects=False)
        assert (got.status, got.headers["Location"]) == (303, f"../{EPISODE}")
        text = unescape(await (await client.get(PAGE)).text())
        assert "APPROVED" in text
        assert "Approved by Ann (an attestation: nobody has checked who that is)" in text
        assert "<form" not in text

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.APPROVED]
    detail = log_of(desk.loop)[-1].detail
    assert (detail["by"], detail["by_source"], detail["via"]) == ("Ann", "attested", "page")
    assert detail["diff_sha256"] == desk.sha256
    assert len(str(detail["token_sha256"])) == 64
    assert desk.words == []


@pytest.mark.parametrize("headers", [{}, {"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"}])
def test_looking_changes_nothing_however_often(desk: Desk, headers: dict[str, str]) -> None:
    """Also a browser that loads links before anybody clicks, and a program that follows each of them."""

    async def use(client: Client) -> None:
        for path in (PAGE, f"{PAGE}.json"):
            for _ in range(2):
                assert (await client.get(path, headers=headers)).status == 200
            assert (await client.head(path, headers=headers)).status == 200
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            query = urlencode(await form(client))
            got = await client.request(method, f"{RULE}?{query}", headers=headers)
            assert (got.status, got.headers["Allow"]) == (405, "POST")
            assert method == "HEAD" or "Nothing was changed" in await got.text()
        for path in (PAGE, f"{PAGE}.json"):
            assert (await client.post(path, data=TYPED)).status == 405

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED]


def test_the_json_is_the_bytes_that_the_digest_is_of(desk: Desk) -> None:
    """What is approved can be kept and checked."""

    async def use(client: Client) -> None:
        got = await client.get(f"{PAGE}.json")
        assert await got.read() == found().document()
        assert got.content_type == "application/json"

    desk.visit(use)


def test_a_diff_that_has_changed_is_refused_and_the_new_one_is_named(desk: Desk) -> None:
    """What was read is not what would count; and the attempt is on record."""

    async def use(client: Client) -> None:
        fields = await form(client)
        new = write_found(desk.loop, grown(found()))
        status, text = await send(client, fields)
        assert status == 409
        for part in ("Nothing was changed", "the diff has changed", "4 labels now", new, f'href="../{EPISODE}"'):
            assert part in text
        assert (await send(client, fields))[0] == 409
        assert (await send(client, await form(client)))[0] == 303

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.BACKFILLED, Event.REFUSED, Event.APPROVED]
    assert desk.words == ["changed", "changed"]


def test_a_form_that_is_sent_twice_is_taken_once(desk: Desk) -> None:
    """A double click, or back and send again."""

    async def use(client: Client) -> None:
        fields = await form(client)
        assert (await send(client, fields))[0] == 303
        status, text = await send(client, fields | {"verdict": "rejected"})
        assert status == 409
        assert "this form was sent before. Approved by Ann" in text

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.APPROVED]
    assert desk.words == ["used"]


def test_who_comes_second_is_told_who_decided_and_when(desk: Desk) -> None:
    """With a form of their own, opened before; on record once."""

    async def use(client: Client) -> None:
        mine, theirs = await form(client), await form(client)
        assert (await send(client, theirs | {"by": "Bob", "verdict": "rejected"}))[0] == 303
        for _ in range(2):
            status, text = await send(client, mine)
            assert status == 409
            assert "it is decided already. Rejected by Bob (an attestation" in text
            assert "on 2013-08-" in text

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.REJECTED, Event.REFUSED]
    assert desk.words == ["decided", "decided"]


def test_an_expired_form_is_refused_and_on_record(desk: Desk) -> None:
    """72 hours are enough; another form is a click away."""

    async def use(client: Client) -> None:
        fields = await form(client)
        desk.clock.at_ms += TTL_MS
        status, text = await send(client, fields)
        assert status == 410
        assert "the form has expired" in text
        assert "Nothing was changed" in text
        assert (await send(client, await form(client)))[0] == 303

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.REFUSED, Event.APPROVED]
    assert log_of(desk.loop)[1].detail["refused"] == "expired"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Origin": "{own}"}, 303),
        ({"Origin": "{tls}"}, 303),
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "{own}.evil.example"}, 403),
        ({"Origin": "http://evil.example, {own}"}, 403),
        ({"Origin": "file://{place}"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "{own}", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_form_that_another_site_sends_is_refused_and_leaves_no_entry(
    desk: Desk, headers: dict[str, str], status: int
) -> None:
    """Even with a good token: the browser says where it comes from. It is counted, and that is all."""

    async def use(client: Client) -> None:
        place = f"127.0.0.1:{client.port}"
        known = {"{own}": f"http://{place}", "{tls}": f"https://{place}", "{place}": place}
        filled = dict(headers)
        for name, value in known.items():
            filled = {header: text.replace(name, value) for header, text in filled.items()}
        got, text = await send(client, await form(client), **filled)
        assert got == status
        assert status == 303 or "Nothing was changed" in text

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED] + [Event.APPROVED] * (status == 303)
    assert desk.words == ([] if status == 303 else ["origin"])


@pytest.mark.parametrize(
    ("host", "origins", "sites", "is_ours"),
    [
        ("loop.example", ["https://loop.example"], [], True),
        ("loop.example:443", ["https://loop.example"], ["same-origin"], True),
        ("Loop.Example", ["https://loop.example:443"], [], True),
        ("loop.example:80", ["https://loop.example"], [], False),
        ("[::1]:8080", ["http://[::1]:8080"], [], True),
        ("loop.example", ["https://loop.example", "https://loop.example"], [], False),
        ("loop.example", [], ["same-origin", "cross-site"], False),
        ("loop.example", ["https://user@loop.example"], [], False),
        ("loop.example", ["https://loop.example/"], [], False),
        ("", ["https://"], [], False),
        (None, ["https://loop.example"], [], False),
    ],
)
def test_an_origin_is_ours_if_it_names_the_host_that_was_asked(
    host: str | None, origins: list[str], sites: list[str], is_ours: bool
) -> None:
    """Whatever the scheme, since a proxy may have taken TLS off; twice is never."""
    assert is_own_form(host, origins, sites) is is_ours


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"token": None}, 403, "token"),
        ({"token": ""}, 403, "token"),
        ({"token": "A" * 96}, 403, "token"),
        ({"token": "\udce4"}, 400, "malformed"),
        ({"diff": None}, 403, "diff"),
        ({"diff": "0" * 64}, 403, "token"),
        ({"diff": "../../etc"}, 400, "malformed"),
        ({"verdict": None}, 422, "incomplete"),
        ({"verdict": "passed"}, 400, "malformed"),
        ({"verdict": "APPROVED"}, 400, "malformed"),
        ({"reason": None}, 422, "incomplete"),
        ({"reason": " \r\n "}, 422, "incomplete"),
        ({"reason": "x" * 1_001}, 422, "incomplete"),
        ({"by": None}, 422, "incomplete"),
        ({"by": "\t"}, 422, "incomplete"),
        ({"colour": "red"}, 400, "malformed"),
        ({"<script>": "1"}, 400, "malformed"),
    ],
)
def test_a_form_that_is_not_as_it_should_be_is_refused_and_leaves_no_entry(
    desk: Desk, change: dict[str, str | None], status: int, word: str
) -> None:
    """None of it was a ruling; a missing reason can be filled in, and the same form sent then."""

    async def use(client: Client) -> None:
        fields = await form(client)
        wrong = {name: value for name, value in (fields | change).items() if value is not None}
        body = urlencode(wrong, errors="surrogateescape").encode()
        got, text = await send(client, body)
        assert got == status
        assert "Nothing was changed" in text
        assert "<script>" not in text
        assert desk.events == [Event.BACKFILLED]
        assert (await send(client, fields))[0] == 303

    desk.visit(use)
    assert desk.words == [word]


@pytest.mark.parametrize(
    "body",
    [
        b"&&&",
        b"verdict",
        b"\xff\xfe=1",
        b"reason=%ff%fe&token=a&diff=b",
        b'{"verdict": "approved"}',
        b"&".join(b"a%d=1" % number for number in range(50)),
        b"token=a&token=b&diff=" + b"0" * 64,
    ],
)
def test_a_body_that_is_no_form_of_ours_is_refused(desk: Desk, body: bytes) -> None:
    """400, never an error of our own."""

    async def use(client: Client) -> None:
        assert (await send(client, body))[0] == 400

    desk.visit(use)
    assert desk.words == ["malformed"]
    assert desk.events == [Event.BACKFILLED]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": f"{BODY}; charset=utf-16"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
def test_a_form_of_another_type_is_refused(desk: Desk, headers: dict[str, str]) -> None:
    """Those are the types that other sites can send without being asked, and what nobody needs."""

    async def use(client: Client) -> None:
        body = urlencode(await form(client)).encode()
        given = {"Content-Type": BODY} | headers
        got = await client.post(RULE, data=body, headers=given, skip_auto_headers=["Content-Type"])
        assert got.status == 415

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED]


def test_a_body_that_is_too_large_or_too_slow_is_refused(desk: Desk) -> None:
    """Told before it comes, or noticed while it does."""

    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 1_000

    async def use(client: Client) -> None:
        fields = await form(client)
        status, text = await send(client, fields | {"reason": "x" * BODY_MAX})
        assert (status, "Nothing was changed" in text) == (413, True)
        got = await client.post(RULE, data=chunks(), headers={"Content-Type": BODY})
        assert got.status == 413
        head = f"POST {RULE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {BODY}\r\nContent-Length: 10\r\n\r\nab"
        answer = await asyncio.wait_for(raw(client, head.encode()), 20)
        assert answer.split(b"\r\n")[0].split()[1] == b"408"

    desk.visit(use, Limits(body_s=0.2))
    assert desk.words == ["malformed"] * 3
    assert desk.events == [Event.BACKFILLED]


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}.json", RULE])
def test_without_the_token_of_the_page_nothing_is_shown_or_taken(tmp_path: Path, path: str) -> None:
    """And under another name neither: that is what a site needs that resolves to this machine."""
    desk = Desk(tmp_path, Access(token=TOKEN))

    async def use(client: Client) -> None:
        method = "POST" if path == RULE else "GET"
        fields = urlencode(await form(client, **BEARER))
        sent = {"data": fields, "headers": {"Content-Type": BODY}} if path == RULE else {"headers": {}}
        for extra, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401), (BEARER | {"Host": "evil"}, 421)):
            got = await client.request(method, path, **sent | {"headers": sent["headers"] | extra})
            assert got.status == status
            assert EPISODE not in (await got.text()).replace(f"../{EPISODE}", "").replace(f'"{EPISODE}"', "")

    desk.visit(use)
    assert desk.words == (["page_token", "page_token", "host"] if path == RULE else [])
    assert desk.events == [Event.BACKFILLED]


def test_where_a_proxy_names_the_user_nobody_types_a_name(tmp_path: Path) -> None:
    """The name is the proxy's, and page and log say so."""
    desk = Desk(tmp_path, PROXY)

    async def use(client: Client) -> None:
        ann = BEARER | {"X-Forwarded-User": "ann@example.org"}
        page = await (await client.get(PAGE, headers=ann)).text()
        assert 'name="by"' not in page
        assert "as the proxy in front of this page says" in page
        fields = await form(client, **ann)
        assert (await send(client, fields, **ann))[0] == 400
        del fields["by"]
        # of another user, of nobody, and of two
        assert (await send(client, fields, **BEARER, **{"X-Forwarded-User": "bob"}))[0] == 403
        assert (await send(client, fields, **BEARER))[0] == 403
        assert (await send(client, fields, **BEARER, **{"X-Forwarded-User": "a\tb"}))[0] == 403
        two = CIMultiDict([("Content-Type", BODY), *ann.items(), ("X-Forwarded-User", "root")])
        assert (await client.post(RULE, data=urlencode(fields), headers=two)).status == 403
        assert (await send(client, fields, **ann))[0] == 303
        text = unescape(await (await client.get(PAGE, headers=ann)).text())
        assert "Approved by ann@example.org (authenticated by the proxy)" in text

    desk.visit(use)
    assert desk.words == ["malformed", "token", "user", "user", "user"]
    detail = log_of(desk.loop)[-1].detail
    assert (detail["by"], detail["by_source"]) == ("ann@example.org", "proxy")
    assert desk.events == [Event.BACKFILLED, Event.APPROVED]


def test_a_header_of_a_reader_names_nobody_where_no_proxy_is_configured(desk: Desk) -> None:
    """Then it is only what somebody sent."""

    async def use(client: Client) -> None:
        assert (await send(client, await form(client), **{"X-Forwarded-User": "root"}))[0] == 303

    desk.visit(use)
    detail = log_of(desk.loop)[-1].detail
    assert (detail["by"], detail["by_source"]) == ("Ann", "attested")


def test_a_proxy_may_name_users_only_where_a_token_keeps_others_out(tmp_path: Path) -> None:
    """Else whoever reaches the port could be anybody."""
    loop = make_loop(tmp_path, "http: {user_header: X-Forwarded-User}\n")
    with pytest.raises(ConfigError, match="would let anybody") as refused:
        access_of(loop, {})
    assert "TRUTHLOOP_HTTP_TOKEN" in refused.value.hint
    assert access_of(loop, {"TRUTHLOOP_HTTP_TOKEN": TOKEN}) == PROXY
    with pytest.raises(ValueError, match="without a token"):
        Access(user_header="X-Forwarded-User")


def test_injected_headers_and_lines_stay_text(desk: Desk) -> None:
    """In the answer's headers, in the log, and on the page."""

    async def use(client: Client) -> None:
        fields = await form(client)
        fields |= {"by": "Ann\r\nSet-Cookie: x=1", "reason": "so\r\n\r\n<script>alert(1)</script>\x00\x1b[2J"}
        got = await client.post(RULE, data=fields, allow_redirects=False)
        assert got.status == 303
        assert "Set-Cookie" not in got.headers
        text = await (await client.get(PAGE)).text()
        assert "<script>" not in text
        assert "&lt;script&gt;alert(1)" in text

    desk.visit(use)
    entry = log_of(desk.loop)[-1]
    assert entry.detail["by"] == "Ann Set-Cookie: x=1"
    assert entry.reason == "so <script>alert(1)</script>\\x00\\x1b[2J"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert_on_the_page_of_a_backfill_and_in_refusals(tmp_path: Path, name: str) -> None:
    """Whoever ruled, and whatever the proxy calls a reader."""
    desk = Desk(tmp_path, PROXY)
    said = statement(desk.sha256, reason=name[:900])

    async def use(client: Client) -> None:
        user = "".join(one for one in name[:200] if one.isprintable() and one.isascii()) or "x"
        ann = BEARER | {"X-Forwarded-User": user}
        for path, is_ruled in ((PAGE, False), (PAGE, True), (RULE, True)):
            if is_ruled:
                approvals(desk.loop).rule(said)
            text = await (await client.get(path, headers=ann)).text()
            assert ("<form" in text) is not is_ruled
            for tag in ("<script", "<img", "<style>", 'onerror="'):
                assert tag not in text

    desk.visit(use)


@pytest.mark.parametrize("path", ["/backfill/", "/backfill/x", "/backfill/bf-1/rule", f"/backfill/bf-{8:032x}.html"])
def test_addresses_of_no_backfill_are_not_found(desk: Desk, path: str) -> None:
    """By their form alone."""

    async def use(client: Client) -> None:
        assert (await client.get(path)).status == 404

    desk.visit(use)


def test_an_unknown_backfill_is_not_found(desk: Desk) -> None:
    """As a page, as JSON, and as a form, whose token is for another one."""
    other = f"/backfill/bf-{8:032x}"

    async def use(client: Client) -> None:
        got = await client.get(other)
        assert (got.status, "there is no such backfill" in await got.text()) == (404, True)
        assert (await client.get(f"{other}.json")).status == 404
        data = await form(client)
        assert (await client.post(f"{other}/rule", data=data)).status == 403
        assert (await client.get(f"{PAGE}?x=1")).status == 400

    desk.visit(use)
    bound = desk.rulings._bound(f"bf-{8:032x}", "0" * 64, "")
    assert bound.loop == "flights"


def test_a_lake_that_fails_says_that_it_is_not_certain(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before the disk failed may stand: nobody is told that nothing has changed."""

    def fail(_form: Form) -> None:
        raise LakeError("the disk is full", where="/lake")

    monkeypatch.setattr(desk.rulings, "rule", fail)

    async def use(client: Client) -> None:
        status, text = await send(client, await form(client))
        assert status == 503
        assert "Not certain" in text
        assert "Nothing was changed" not in text
        assert "it says whether the ruling stands" in text

    desk.visit(use)


def test_a_diff_that_is_missing_from_the_lake_is_an_error_and_no_form(tmp_path: Path) -> None:
    """Nobody rules about what nobody can read."""
    desk = Desk(tmp_path)
    empty = make_loop(tmp_path / "other") if (tmp_path / "other").mkdir() is None else desk.loop
    diffs = Rulings(empty, Access(), None, desk.clock, desk.words.append)._diffs
    desk.rulings._diffs = diffs

    async def use(client: Client) -> None:
        got = await client.get(PAGE)
        assert got.status == 503
        assert "a diff that is not there" in await got.text()

    desk.visit(use)


def test_two_processes_with_the_same_secret_take_each_others_forms(tmp_path: Path) -> None:
    """Behind a balancer the page and the form may meet different ones; without a secret they do not."""
    desk = Desk(tmp_path, Access(token=TOKEN))
    other = Rulings(desk.loop, desk.access, None, desk.clock, desk.words.append)
    stranger = Rulings(desk.loop, Access(), None, desk.clock, desk.words.append)
    shown = desk.rulings.show(EPISODE, "")
    assert shown is not None
    sent = form_of(EPISODE, urlencode({"token": shown.token, "diff": desk.sha256} | TYPED).encode(), None)
    assert stranger.rule(sent).status == HTTPStatus.FORBIDDEN
    assert other.rule(sent).status == HTTPStatus.SEE_OTHER


def test_a_form_is_read_field_by_field() -> None:
    """The pure part, with a name that the form gives and with one that the proxy gives."""
    digest = "0" * 64
    body = urlencode({"token": "t", "diff": digest, "verdict": "rejected", "reason": "ä+b", "by": "Ann"}).encode()
    read = form_of(EPISODE, body, None)
    assert (read.reason, read.by, read.is_proved, read.verdict.value) == ("ä+b", "Ann", False, "rejected")
    with pytest.raises(HttpError, match="no field 'by'"):
        form_of(EPISODE, body, "Bob")
    assert form_of(EPISODE, body.removesuffix(b"&by=Ann"), "Bob").by == "Bob"
