"""The form for rulings in a real Chromium: by keyboard, without JavaScript, at every width.

Needs what tests/browser/test_page.py needs; run it with `make test-browser`.
"""

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from page_site import Site
from playwright import sync_api
from ruling_case import EPISODE, NOW_MS, backfill_diff, grown, log_backfill, log_of, make_loop

from schemas.events.evidence import Event
from truthloop.feedback.backfill_forms import BackfillForms
from truthloop.page.gather import Gatherer
from truthloop.page.web.access import Access
from truthloop.page.web.app import make_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (360, 768, 1440)
PATH = f"backfill/{EPISODE}"
TOKEN = "a-secret-of-many-characters"  # noqa: S105 - of this test alone


@contextmanager
def served(app: web.Application, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve an application from another thread, since Playwright needs the main one."""
    started, stop, address = threading.Event(), asyncio.Event(), ""
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal address
        async with TestServer(app, host=host) as server:
            address = f"http://{host}:{server.port}/"
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Start Chromium once for this file."""
    path = os.environ.get("TRUTHLOOP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync"
    )
    with sync_api.sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=path, args=flags.split())
        except sync_api.Error as error:
            pytest.fail(f"no Chromium: apt install chromium, or set TRUTHLOOP_CHROMIUM to its path.\n{error}")
        yield launched
        launched.close()


class Desk:
    """A loop with one waiting backfill, and its page on a real lake."""

    def __init__(self, folder: Path, access: Access | None = None) -> None:
        self.loop = make_loop(folder)
        self.sha256 = log_backfill(self.loop, backfill_diff())
        self.refusals: list[str] = []
        self._access = access or Access()
        forms = BackfillForms(self.loop, self._access, None, lambda: NOW_MS, self.refusals.append)
        gatherer = Gatherer(self.loop, lambda: NOW_MS, wait_s=60.0)
        site = Site(backfills=forms)
        site.choices, site.view = gatherer.choices, gatherer.view  # type: ignore[method-assign] # the real ones
        self._app = lambda: make_app(site.sources(), self._access)

    @contextmanager
    def opened(self, browser: "Browser", path: str = PATH, **options: Any) -> Iterator["Page"]:
        """Open the page, and check that it logs no errors."""
        wrong: list[str] = []
        with served(self._app()) as address, browser.new_context(**options) as context:
            page = context.new_page()
            page.on("console", lambda message: wrong.append(message.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(f"{address}{path}")
            yield page
        # Chromium logs a status of 4xx itself
        assert [one for one in wrong if "status of 4" not in one] == []

    @property
    def events(self) -> list[Event]:
        """The events of the log."""
        return [entry.event for entry in log_of(self.loop)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A page without a token."""
    return Desk(tmp_path)


@pytest.mark.parametrize("java_script", [True, False])
@pytest.mark.parametrize("choice", ["Approve: its labels count", "Reject: its labels do not count"])
def test_a_person_rules_from_the_page_of_the_loop(
    browser: "Browser", desk: Desk, choice: str, java_script: bool
) -> None:
    """From the panel to the diff, and back to a page with the ruling; the browser sends the page's origin."""
    with desk.opened(browser, "", java_script_enabled=java_script) as page:
        page.get_by_role("link", name="Read the diff and rule").click()
        page.get_by_label(choice).check()
        page.get_by_label("Reason").fill("the desk has checked it")
        page.get_by_label("Your name").fill("Ann")
        with page.expect_request("**/rule") as sent:
            page.get_by_role("button", name="Record the ruling").click()
        assert sent.value.headers["origin"] == page.url.removesuffix(f"/{PATH}")
        assert page.url.endswith(f"/{PATH}")
        assert "by Ann (an attestation" in page.locator("main").inner_text()
        assert page.locator("form").count() == 0
    assert desk.events == [Event.BACKFILLED, Event.APPROVED if "Approve" in choice else Event.REJECTED]
    assert desk.refusals == []


def test_the_form_can_be_sent_by_keyboard_alone(browser: "Browser", desk: Desk) -> None:
    """Every field can be reached, has an outline and a label."""
    with desk.opened(browser) as page:
        page.locator("#rule-approved").focus()
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")  # to the other choice
        reached = []
        for text in ("because of x", "Ann", None):
            page.keyboard.press("Tab")
            at, outline, label = page.evaluate(
                "[document.activeElement].map(at => [at.tagName, getComputedStyle(at).outlineStyle, "
                "at.labels.length ? at.labels[0].innerText : at.innerText])[0]"
            )
            assert outline != "none"
            reached.append((at, label))
            if text is not None:
                page.keyboard.type(text)
        assert reached == [("TEXTAREA", "Reason"), ("INPUT", "Your name"), ("BUTTON", "Record the ruling")]
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Rejected by Ann")
    assert desk.events == [Event.BACKFILLED, Event.REJECTED]


def test_an_incomplete_form_is_not_sent(browser: "Browser", desk: Desk) -> None:
    """No verdict is preselected, and the browser asks for missing fields."""
    with desk.opened(browser) as page:
        assert page.locator("input[name=verdict]:checked").count() == 0
        page.get_by_label("Your name").fill("Ann")
        page.keyboard.press("Enter")
        assert page.locator("form:invalid").count() == 1
        assert page.url.endswith(PATH)
    assert desk.events == [Event.BACKFILLED]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/rule"])
def test_neither_the_form_nor_a_refusal_scrolls_sideways(browser: "Browser", desk: Desk, path: str) -> None:
    """And each field is large enough for touch."""
    with desk.opened(browser, path) as page:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            wide = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
            assert max(wide) <= width
            if path == PATH:
                for box in page.locator(".rule .pick, .rule textarea, .rule input[type=text], .rule button").all():
                    found_box = box.bounding_box()
                    assert found_box is not None
                    assert found_box["height"] >= 24
                    assert found_box["x"] + found_box["width"] <= width


def test_every_field_of_the_form_has_one_label(browser: "Browser", desk: Desk) -> None:
    """For screen readers; the two verdicts are a named group."""
    with desk.opened(browser) as page:
        fields = "[...document.querySelectorAll('.rule input:not([type=hidden]), .rule textarea')]"
        assert page.evaluate(f"{fields}.length") == 4
        assert page.evaluate(f"{fields}.every(one => one.labels.length === 1)")
        assert page.get_by_role("group", name="Your ruling").count() == 1
        assert page.get_by_role("form", name="Rule about this backfill").count() == 1


@pytest.mark.parametrize("java_script", [True, False])
def test_a_refusal_says_that_nothing_was_changed_and_links_back(
    browser: "Browser", desk: Desk, java_script: bool
) -> None:
    """The diff has changed while the form was open."""
    with desk.opened(browser, java_script_enabled=java_script) as page:
        log_backfill(desk.loop, grown(backfill_diff()))
        page.get_by_label("Approve: its labels count").check()
        page.get_by_label("Reason").fill("so")
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Record the ruling").click()
        assert "Nothing was changed" in page.locator("h2").inner_text()
        assert "the diff has changed" in page.locator("main").inner_text()
        assert page.locator(".verdict").evaluate("one => getComputedStyle(one).display") == "grid"
        page.get_by_role("link", name="Back to the page").click()
        assert page.url.endswith(PATH)
        assert page.locator("form").count() == 1
    assert desk.events == [Event.BACKFILLED, Event.BACKFILLED, Event.REFUSED]


def test_a_form_on_another_site_changes_nothing(browser: "Browser", desk: Desk) -> None:
    """Even with a valid token: the browser sends the origin."""
    with desk.opened(browser) as page:
        values = {name: page.locator(f"input[name={name}]").input_value() for name in ("token", "diff")}
        fields = values | {"verdict": "approved", "reason": "so", "by": "Eve"}
        inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())

        async def trap(_request: web.Request) -> web.Response:
            text = f'<form method="post" action="{page.url}/rule">{inputs}<button>Win</button></form>'
            return web.Response(text=text, content_type="text/html")

        other = web.Application()
        other.router.add_get("/", trap)
        with served(other, "localhost") as evil:
            page.goto(evil)
            page.get_by_role("button", name="Win").click()
            assert "Nothing was changed" in page.locator("h2").inner_text()
            assert "another site" in page.locator("main").inner_text()
    assert desk.events == [Event.BACKFILLED]
    assert desk.refusals == ["origin"]


def test_a_page_with_a_token_accepts_the_form_too(browser: "Browser", tmp_path: Path) -> None:
    """The browser sends the password with the form."""
    desk = Desk(tmp_path, Access(token=TOKEN))
    with desk.opened(browser, http_credentials={"username": "reader", "password": TOKEN}) as page:
        page.get_by_label("Approve: its labels count").check()
        page.get_by_label("Reason").fill("so")
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Record the ruling").click()
        assert "Approved by Ann" in page.locator("main").inner_text()
    assert desk.events == [Event.BACKFILLED, Event.APPROVED]


def test_the_form_is_not_printed(browser: "Browser", desk: Desk) -> None:
    """It cannot be filled in on paper."""
    with desk.opened(browser) as page:
        page.emulate_media(media="print")
        assert not page.locator("form").is_visible()
