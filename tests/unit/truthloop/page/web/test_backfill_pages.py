"""Rulings through the page, over a real socket and on a real lake: only its own form is accepted, and only once."""

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
    backfill_diff,
    grown,
    log_backfill,
    log_of,
    make_loop,
    statement,
)

from retrain.form_token import TTL_MS
from schemas.errors import ConfigError, LakeError
from schemas.events.evidence import Event
from truthloop.feedback.backfill_forms import BackfillForms
from truthloop.feedback.endpoints import access_of
from truthloop.page.web.access import Access, is_own_form
from truthloop.page.web.app import Limits
from truthloop.page.web.backfill_pages import BODY_MAX, RulingForm, parse_form
from truthloop.page.web.middleware import HttpError

PAGE = f"/backfill/{EPISODE}"
RULE = f"{PAGE}/rule"
TOKEN = "a-secret-of-many-characters"  # noqa: S105 - of this test alone
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROXY = Access(token=TOKEN, user_header="X-Forwarded-User")
TYPED = {"verdict": "approved", "reason": "checked", "by": "Ann"}


class Desk:
    """A loop with one backfill, its page, and the counted refusals."""

    def __init__(self, folder: Path, access: Access | None = None) -> None:
        self.loop = make_loop(folder)
        self.sha256 = log_backfill(self.loop, backfill_diff())
        self.clock = Clock()
        self.refusals: list[str] = []
        self.access = access or Access()
        self.forms = BackfillForms(self.loop, self.access, None, self.clock, self.refusals.append)

    def visit(self, use: Callable[[Client], Awaitable[None]], limits: Limits | None = None) -> None:
        """Serve the page while `use` runs."""
        visit(Site(backfills=self.forms), use, self.access, limits)

    @property
    def events(self) -> list[Event]:
        """The events of the log."""
        return [entry.event for entry in log_of(self.loop)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A page without a token."""
    return Desk(tmp_path)


async def form(client: Client, **headers: str) -> dict[str, str]:
    """Open the page, and return the fields of its form, filled in."""
    got = await client.get(PAGE, headers=headers)
    assert got.status == 200, await got.text()
    fields = Fields(await got.text())
    assert fields.action == f"{EPISODE}/rule"
    return fields.values | TYPED


async def send(client: Client, fields: Mapping[str, str] | bytes, **headers: str) -> tuple[int, str]:
    """Send a form; return the status and the text of the response."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    given = CIMultiDict({"Content-Type": BODY, **headers})
    got = await client.post(RULE, data=body, headers=given, allow_redirects=False)
    return got.status, unescape(await got.text())


def test_an_approval_is_logged_and_redirects_to_the_page(desk: Desk) -> None:
    """303, so that a reload sends nothing again; the page shows who ruled, how that is known, and why."""

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
    assert desk.refusals == []


@pytest.mark.parametrize("headers", [{}, {"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"}])
def test_reading_changes_nothing_however_often(desk: Desk, headers: dict[str, str]) -> None:
    """Also with a browser that prefetches links, and a program that follows each of them."""

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


def test_the_json_is_the_bytes_of_the_digest(desk: Desk) -> None:
    """What was approved can be archived and verified."""

    async def use(client: Client) -> None:
        got = await client.get(f"{PAGE}.json")
        assert await got.read() == backfill_diff().document()
        assert got.content_type == "application/json"

    desk.visit(use)


def test_a_ruling_about_an_outdated_diff_is_refused_and_names_the_new_one(desk: Desk) -> None:
    """The person has read another diff than the one that would be ruled about; the attempt is logged."""

    async def use(client: Client) -> None:
        fields = await form(client)
        new = log_backfill(desk.loop, grown(backfill_diff()))
        status, text = await send(client, fields)
        assert status == 409
        for part in ("Nothing was changed", "the diff has changed", "4 labels now", new, f'href="../{EPISODE}"'):
            assert part in text
        assert (await send(client, fields))[0] == 409
        assert (await send(client, await form(client)))[0] == 303

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.BACKFILLED, Event.REFUSED, Event.APPROVED]
    assert desk.refusals == ["changed", "changed"]


def test_a_form_that_is_sent_twice_is_accepted_once(desk: Desk) -> None:
    """A double click, or back and send again."""

    async def use(client: Client) -> None:
        fields = await form(client)
        assert (await send(client, fields))[0] == 303
        status, text = await send(client, fields | {"verdict": "rejected"})
        assert status == 409
        assert "this form was sent before. Approved by Ann" in text

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED, Event.APPROVED]
    assert desk.refusals == ["used"]


def test_the_second_person_sees_who_decided_and_when(desk: Desk) -> None:
    """With another form, opened before; the attempt is logged once."""

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
    assert desk.refusals == ["decided", "decided"]


def test_an_expired_form_is_refused_and_logged(desk: Desk) -> None:
    """After 72 hours; a new form is accepted."""

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
        ({"Origin": "file://{authority}"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "{own}", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_form_that_another_site_sends_is_refused_and_leaves_no_entry(
    desk: Desk, headers: dict[str, str], status: int
) -> None:
    """Even with a valid token: the browser sends the origin. It is counted, but not logged."""

    async def use(client: Client) -> None:
        authority = f"127.0.0.1:{client.port}"
        known = {"{own}": f"http://{authority}", "{tls}": f"https://{authority}", "{authority}": authority}
        filled = dict(headers)
        for name, value in known.items():
            filled = {header: text.replace(name, value) for header, text in filled.items()}
        got, text = await send(client, await form(client), **filled)
        assert got == status
        assert status == 303 or "Nothing was changed" in text

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED] + [Event.APPROVED] * (status == 303)
    assert desk.refusals == ([] if status == 303 else ["origin"])


@pytest.mark.parametrize(
    ("host", "origins", "sites", "is_own"),
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
def test_an_origin_is_own_if_it_equals_the_host_header(
    host: str | None, origins: list[str], sites: list[str], is_own: bool
) -> None:
    """Whatever the scheme, since a proxy may end TLS; two headers never are."""
    assert is_own_form(host, origins, sites) is is_own


@pytest.mark.parametrize(
    ("change", "status", "reason"),
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
def test_an_invalid_form_is_refused_and_leaves_no_entry(
    desk: Desk, change: dict[str, str | None], status: int, reason: str
) -> None:
    """The same form can be completed and sent again."""

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
    assert desk.refusals == [reason]


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
def test_a_body_that_is_not_the_form_is_refused(desk: Desk, body: bytes) -> None:
    """400, never 500."""

    async def use(client: Client) -> None:
        assert (await send(client, body))[0] == 400

    desk.visit(use)
    assert desk.refusals == ["malformed"]
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
    """Including the types that other sites can send without a preflight request."""

    async def use(client: Client) -> None:
        body = urlencode(await form(client)).encode()
        given = {"Content-Type": BODY} | headers
        got = await client.post(RULE, data=body, headers=given, skip_auto_headers=["Content-Type"])
        assert got.status == 415

    desk.visit(use)
    assert desk.events == [Event.BACKFILLED]


def test_a_body_that_is_too_large_or_too_slow_is_refused(desk: Desk) -> None:
    """By its Content-Length, or while it arrives."""

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
    assert desk.refusals == ["malformed"] * 3
    assert desk.events == [Event.BACKFILLED]


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}.json", RULE])
def test_without_the_token_of_the_page_nothing_is_shown_or_accepted(tmp_path: Path, path: str) -> None:
    """Nor with another host name, which DNS rebinding needs."""
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
    assert desk.refusals == (["page_token", "page_token", "host"] if path == RULE else [])
    assert desk.events == [Event.BACKFILLED]


def test_behind_a_proxy_the_form_has_no_name(tmp_path: Path) -> None:
    """The proxy sends the name, and page and log show that."""
    desk = Desk(tmp_path, PROXY)

    async def use(client: Client) -> None:
        ann = BEARER | {"X-Forwarded-User": "ann@example.org"}
        page = await (await client.get(PAGE, headers=ann)).text()
        assert 'name="by"' not in page
        assert "as reported by the proxy in front of this page" in page
        fields = await form(client, **ann)
        assert (await send(client, fields, **ann))[0] == 400
        del fields["by"]
        # of another user, without a user, with an invalid one, and with two
        assert (await send(client, fields, **BEARER, **{"X-Forwarded-User": "bob"}))[0] == 403
        assert (await send(client, fields, **BEARER))[0] == 403
        assert (await send(client, fields, **BEARER, **{"X-Forwarded-User": "a\tb"}))[0] == 403
        two = CIMultiDict([("Content-Type", BODY), *ann.items(), ("X-Forwarded-User", "root")])
        assert (await client.post(RULE, data=urlencode(fields), headers=two)).status == 403
        assert (await send(client, fields, **ann))[0] == 303
        text = unescape(await (await client.get(PAGE, headers=ann)).text())
        assert "Approved by ann@example.org (authenticated by the proxy)" in text

    desk.visit(use)
    assert desk.refusals == ["malformed", "token", "user", "user", "user"]
    detail = log_of(desk.loop)[-1].detail
    assert (detail["by"], detail["by_source"]) == ("ann@example.org", "proxy")
    assert desk.events == [Event.BACKFILLED, Event.APPROVED]


def test_without_a_configured_proxy_the_user_header_is_ignored(desk: Desk) -> None:
    """Anybody could send it."""

    async def use(client: Client) -> None:
        assert (await send(client, await form(client), **{"X-Forwarded-User": "root"}))[0] == 303

    desk.visit(use)
    detail = log_of(desk.loop)[-1].detail
    assert (detail["by"], detail["by_source"]) == ("Ann", "attested")


def test_a_user_header_needs_a_token(tmp_path: Path) -> None:
    """Otherwise anybody who reaches the port could send any name."""
    loop = make_loop(tmp_path, "http: {user_header: X-Forwarded-User}\n")
    with pytest.raises(ConfigError, match="can send any user name") as refused:
        access_of(loop, {})
    assert "TRUTHLOOP_HTTP_TOKEN" in refused.value.hint
    assert access_of(loop, {"TRUTHLOOP_HTTP_TOKEN": TOKEN}) == PROXY
    with pytest.raises(ValueError, match="without a token"):
        Access(user_header="X-Forwarded-User")


def test_injected_headers_and_lines_remain_text(desk: Desk) -> None:
    """In the response's headers, in the log, and on the page."""

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
    """As names of who ruled, and as names from the proxy."""
    desk = Desk(tmp_path, PROXY)
    ruling = statement(desk.sha256, reason=name[:900])

    async def use(client: Client) -> None:
        user = "".join(one for one in name[:200] if one.isprintable() and one.isascii()) or "x"
        ann = BEARER | {"X-Forwarded-User": user}
        for path, is_ruled in ((PAGE, False), (PAGE, True), (RULE, True)):
            if is_ruled:
                approvals(desk.loop).rule(ruling)
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
    binding = desk.forms._binding(f"bf-{8:032x}", "0" * 64, "")
    assert binding.loop == "flights"


def test_after_a_failure_of_the_lake_the_result_is_not_certain(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry written before the disk failed may be in the log, so the page does not say that nothing was changed."""

    def fail(_form: RulingForm) -> None:
        raise LakeError("the disk is full", where="/lake")

    monkeypatch.setattr(desk.forms, "rule", fail)

    async def use(client: Client) -> None:
        status, text = await send(client, await form(client))
        assert status == 503
        assert "Not certain" in text
        assert "Nothing was changed" not in text
        assert "its page shows if the ruling was logged" in text

    desk.visit(use)


def test_a_diff_that_is_missing_from_the_lake_is_an_error_without_a_form(tmp_path: Path) -> None:
    """Nobody can rule about a diff that cannot be read."""
    desk = Desk(tmp_path)
    empty = make_loop(tmp_path / "other") if (tmp_path / "other").mkdir() is None else desk.loop
    diffs = BackfillForms(empty, Access(), None, desk.clock, desk.refusals.append)._diffs
    desk.forms._diffs = diffs

    async def use(client: Client) -> None:
        got = await client.get(PAGE)
        assert got.status == 503
        assert "a diff that is missing" in await got.text()

    desk.visit(use)


def test_processes_with_the_same_secret_accept_each_others_forms(tmp_path: Path) -> None:
    """Behind a load balancer page and form may reach different processes; without a secret this does not work."""
    desk = Desk(tmp_path, Access(token=TOKEN))
    other = BackfillForms(desk.loop, desk.access, None, desk.clock, desk.refusals.append)
    stranger = BackfillForms(desk.loop, Access(), None, desk.clock, desk.refusals.append)
    shown = desk.forms.show(EPISODE, "")
    assert shown is not None
    sent = parse_form(EPISODE, urlencode({"token": shown.token, "diff": desk.sha256} | TYPED).encode(), None)
    assert stranger.rule(sent).status == HTTPStatus.FORBIDDEN
    assert other.rule(sent).status == HTTPStatus.SEE_OTHER


def test_a_form_is_read_field_by_field() -> None:
    """`parse_form` alone, with a name in the form and with one from the proxy."""
    digest = "0" * 64
    body = urlencode({"token": "t", "diff": digest, "verdict": "rejected", "reason": "ä+b", "by": "Ann"}).encode()
    read = parse_form(EPISODE, body, None)
    assert (read.reason, read.by, read.is_proved, read.verdict.value) == ("ä+b", "Ann", False, "rejected")
    with pytest.raises(HttpError, match="no field 'by'"):
        parse_form(EPISODE, body, "Bob")
    assert parse_form(EPISODE, body.removesuffix(b"&by=Ann"), "Bob").by == "Bob"
