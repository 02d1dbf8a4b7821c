"""The page in a real Chromium: nothing is loaded from elsewhere, nothing scrolls sideways, all is legible.

Needs `playwright` (`pip install 'truthloop[browser]'`) and a Chromium; run it with `make test-browser`.
"""

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestServer
from page_case import HOSTILE, empty_view, hostile_view, rich_view
from page_site import Site
from playwright import sync_api

from truthloop.page.panels.tables import PANELS
from truthloop.page.web.access import Access
from truthloop.page.web.app import make_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (360, 768, 1440)
SCHEMES = ("light", "dark")
VIEWS = {"rich": rich_view(), "empty": empty_view(), **{f"hostile-{n}": hostile_view(x) for n, x in enumerate(HOSTILE)}}
TOKEN = "a-secret-of-many-characters"  # noqa: S105 - of this test alone
CONTRAST_MIN = 4.5
"""WCAG 2.2, 1.4.3, for text of usual size."""

CONTRASTS = """
() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const one = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * one(r) + .7152 * one(g) + .0722 * one(b);
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return 'Canvas';
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    const hidden = element.closest('.v, .skip, desc, title') || parseFloat(style.fontSize) === 0;
    if (!walker.currentNode.data.trim() || hidden || !element.checkVisibility()) continue;
    const ink = element.closest('svg') ? style.fill : style.color;
    const [one, two] = [light(rgba(ink)), light(rgba(ground(element)))].sort((a, b) => b - a);
    const ratio = (one + .05) / (two + .05);
    const key = `${element.tagName.toLowerCase()}.${element.getAttribute('class')} ${ink} on ${ground(element)}`;
    found[key] = Math.min(found[key] ?? 99, ratio);
  }
  return found;
}
"""


@contextmanager
def served(site: Site, access: Access | None = None) -> Iterator[str]:
    """Serve a site from another thread, since Playwright needs the main one."""
    started, stop, address = threading.Event(), asyncio.Event(), ""
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal address
        async with TestServer(make_app(site.sources(), access)) as server:
            address = f"http://127.0.0.1:{server.port}/"
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
            # without a path Playwright uses the one of `playwright install chromium`
            found = playwright.chromium.launch(executable_path=path, args=flags.split())
        except sync_api.Error as error:
            pytest.fail(f"no Chromium: apt install chromium, or set TRUTHLOOP_CHROMIUM to its path.\n{error}")
        yield found
        found.close()


@dataclass
class Opened:
    """An open page, its requests, and its errors."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: "Browser", address: str, **options: Any) -> Iterator[Opened]:
    """Open the page and record its requests and errors."""
    with browser.new_context(**options) as context:
        found = Opened(context.new_page())
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("requestfailed", lambda request: found.errors.append(f"failed: {request.url}"))
        found.page.on("console", lambda message: found.errors.append(f"console: {message.text}"))
        found.page.on("pageerror", lambda error: found.errors.append(f"error: {error}"))
        found.page.goto(address)
        yield found


def shown(browser: "Browser", name: str, **options: Any) -> Any:
    """Serve a view by name and open it."""

    @contextmanager
    def both() -> Iterator[Opened]:
        with served(Site(shown=VIEWS[name])) as address, opened(browser, address, **options) as found:
            yield found

    return both()


@pytest.mark.parametrize(
    ("view", "java_script"),
    [*((view, True) for view in VIEWS), ("rich", False), ("empty", False), ("hostile-0", False)],
)
def test_no_other_host_is_requested_and_there_are_no_errors(browser: "Browser", view: str, java_script: bool) -> None:
    """Violations of the content policy are console messages, too; with and without JavaScript."""
    with shown(browser, view, java_script_enabled=java_script) as found:
        own = found.page.url
        assert set(found.requests) - {own, f"{own}style.css", f"{own}icon.svg"} == set()
        assert f"{own}style.css" in found.requests
        assert found.errors == []
        assert found.page.locator("h2").count() == len(PANELS)


@pytest.mark.parametrize("view", [view for view in VIEWS if view.startswith("hostile")])
def test_hostile_names_are_inert(browser: "Browser", view: str) -> None:
    """Nothing runs, no element is added, and the style sheet is applied."""
    with shown(browser, view) as found:
        page = found.page
        assert page.title().startswith("HOLD: ")
        assert page.locator("script, img, iframe, style").count() == 0
        assert page.locator("main").is_visible()
        assert found.errors == []


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_never_scrolls_sideways(browser: "Browser", view: str) -> None:
    """At common widths, with all details open: wide content scrolls in its own box."""
    with shown(browser, view) as found:
        for width in WIDTHS:
            found.page.set_viewport_size({"width": width, "height": 800})
            found.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            wide = found.page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
            assert max(wide) <= width


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("view", ["rich", "empty", "hostile-0"])
def test_every_text_has_enough_contrast(browser: "Browser", view: str, scheme: str) -> None:
    """With the colours that the browser computes, of every text, light and dark."""
    with shown(browser, view, color_scheme=scheme) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        ratios = found.page.evaluate(CONTRASTS)
        assert len(ratios) > 10
        assert {key: round(ratio, 2) for key, ratio in ratios.items() if ratio < CONTRAST_MIN} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_shade_of_the_table_has_enough_contrast(browser: "Browser", scheme: str) -> None:
    """The whole scale, and all shades differ."""
    with shown(browser, "rich", color_scheme=scheme) as found:
        grounds = found.page.evaluate(
            """() => {
              const cells = [...document.querySelectorAll('.heat td.s9')].slice(0, 11);
              cells.forEach((cell, step) => { cell.className = `s${step}`; });
              return cells.map(cell => getComputedStyle(cell).backgroundColor);
            }"""
        )
        assert len(set(grounds)) == 11
        ratios = found.page.evaluate(CONTRASTS)
        assert {key: ratio for key, ratio in ratios.items() if ratio < CONTRAST_MIN} == {}


def test_a_narrow_screen_shows_the_newest_days_first(browser: "Browser") -> None:
    """Where time runs to the right, the newest days are visible without scrolling."""
    with shown(browser, "rich", viewport={"width": 360, "height": 800}) as found:
        for box in (found.page.locator("#metric .chart"), found.page.locator("#drift .box")):
            edges = box.evaluate("one => [one, one.firstElementChild].map(part => part.getBoundingClientRect().right)")
            assert abs(edges[0] - edges[1]) <= 1
            assert box.evaluate("one => one.scrollWidth > one.clientWidth")


def test_every_input_has_a_label_and_every_drawing_a_name(browser: "Browser") -> None:
    """For screen readers."""
    with shown(browser, "rich") as found:
        page = found.page
        for label in ("Label", "Version", "Slice", "Metric", "Days"):
            assert page.get_by_label(label, exact=True).count() == 1
        assert page.evaluate("[...document.querySelectorAll('input, select')].every(one => one.labels.length === 1)")
        for drawing in page.locator("svg").all():
            assert drawing.get_attribute("role") == "img"
        for name in ("accuracy by day", "Share of labels known by age"):
            assert page.get_by_role("img", name=name).count() == 1
        assert page.locator("html").get_attribute("lang") == "en"
        for landmark in ("main", "banner", "contentinfo", "navigation"):
            assert page.get_by_role(landmark).count() == 1


def test_headings_and_tables_have_their_structure(browser: "Browser") -> None:
    """One h1, an h2 per panel, a caption on each table, and headers on each row and column."""
    with shown(browser, "rich") as found:
        levels = found.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(one => one.tagName)")
        assert levels == ["H1"] + ["H2"] * len(PANELS)
        assert found.page.evaluate("[...document.querySelectorAll('table')].every(one => one.caption)")
        assert found.page.evaluate("[...document.querySelectorAll('th')].every(one => one.scope)")
        rows = (
            "[...document.querySelectorAll('table')].map(one => new Set([...one.rows].map(r => r.cells.length)).size)"
        )
        assert set(found.page.evaluate(rows)) == {1}


def test_a_cohort_that_is_not_due_is_hatched_and_has_a_text(browser: "Browser") -> None:
    """In the rendered table."""
    with shown(browser, "rich") as found:
        young = found.page.locator(".heat tbody tr").first
        assert young.locator("td.n").all_text_contents() == ["not yet due"] * 6
        image = young.locator("td.n").first.evaluate("one => getComputedStyle(one).backgroundImage")
        assert "repeating-linear-gradient" in image


def test_the_keyboard_reaches_everything_with_an_outline(browser: "Browser") -> None:
    """Links, fields, details, and boxes that scroll."""
    with shown(browser, "rich") as found:
        page = found.page
        wanted = page.locator("a[href], select, input, button, summary, [tabindex='0']").count()
        hidden = page.locator("details:not([open]) [tabindex='0']").count()
        reached: set[str] = set()
        for _ in range(wanted - hidden):
            page.keyboard.press("Tab")
            at, outline = page.evaluate(
                "[document.activeElement].map(at => [at.outerHTML, getComputedStyle(at).outlineStyle])[0]"
            )
            assert outline != "none"
            reached.add(at[:200])
        assert page.evaluate("document.activeElement.tagName") == "A"
        for part in ("skip", "<select", "<summary", 'class="box"', "panels/flow.csv", "refresh=300"):
            assert any(part in one for one in reached), part


def test_a_selection_works_without_javascript(browser: "Browser") -> None:
    """The form reloads the page with the selection."""
    with (
        served(Site(shown=rich_view(10))) as address,
        opened(browser, address, java_script_enabled=False) as found,
    ):
        page = found.page
        page.get_by_label("Version", exact=True).select_option("flights-v2")
        page.get_by_label("Days", exact=True).fill("7")
        page.get_by_role("button", name="Show").click()
        assert "version=flights-v2" in page.url
        assert page.get_by_label("Version", exact=True).input_value() == "flights-v2"
        assert page.get_by_label("Days", exact=True).input_value() == "7"
        assert found.errors == []


def test_a_browser_can_send_the_token_as_a_password(browser: "Browser") -> None:
    """Also with the files that the page loads."""
    credentials = {"username": "reader", "password": TOKEN}
    with (
        served(Site(shown=rich_view(3)), Access(token=TOKEN)) as address,
        opened(browser, address, http_credentials=credentials) as found,
    ):
        assert found.page.title().startswith("WATCH")
        assert found.page.locator(".panel").first.evaluate("one => getComputedStyle(one).display") == "flex"


def test_nothing_is_cut_off_on_paper(browser: "Browser") -> None:
    """Boxes do not scroll, and navigation and forms are left out."""
    with shown(browser, "rich") as found:
        found.page.emulate_media(media="print")
        assert not found.page.locator("nav").is_visible()
        assert not found.page.locator("form").is_visible()
        assert set(found.page.locator(".box").evaluate_all("all => all.map(b => getComputedStyle(b).overflow)")) == {
            "visible"
        }


def test_an_internal_error_has_a_page(browser: "Browser") -> None:
    """With the style sheet, and without other errors."""

    def fail() -> None:
        raise ValueError("not for readers")

    site = Site(fails=fail)
    with served(site) as address, opened(browser, address) as found:
        assert "Truthloop failed to answer" in found.page.locator("main").inner_text()
        assert "not for readers" not in found.page.content()
        # Chromium logs the status itself
        assert [one for one in found.errors if "500" not in one] == []
