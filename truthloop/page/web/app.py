"""The HTTP application: pages, downloads, forms, probes, Prometheus metrics, and callbacks of pipelines.

Views are made in threads, so that a slow lake never delays /livez. Where a view takes longer than a reader should wait,
the answer is 202 with what is being done; the view is made once for all who ask. A `TruthloopError` becomes an error
page with a hint; any other exception is logged, and its traceback is not sent. `PageSources` are the callables that
read the lake.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from schemas.errors import TruthloopError
from streams.runtime.health import PROBE_PATHS, ProbeAnswer
from truthloop.page.markup.page import asset, render_making, render_page
from truthloop.page.panels.download import panel_csv, panel_json
from truthloop.page.panels.selection import parse_refresh, parse_selection
from truthloop.page.panels.tables import PANELS
from truthloop.page.panels.view import Choices, PageView, Selection
from truthloop.page.web.access import Access
from truthloop.page.web.backfill_pages import BackfillPages, BackfillService
from truthloop.page.web.middleware import HttpError, make_middleware
from truthloop.page.web.pool import RequestPool

__all__ = ["Limits", "PageSources", "make_app"]

log = logging.getLogger("truthloop.page")

T = TypeVar("T")

AGAIN_S = 5
"""After this time a page that is being made reloads itself."""

_THREADS = 2
_HEADERS_MAX = 64
_LINE_MAX = 8_190
_FIELD_MAX = 4_096
_LINGER_S = 1.0
_EPISODE = "{id:bf-[0-9a-f]{32}}"


@dataclass(frozen=True)
class PageSources:
    """What the application calls.

    `choices`, `view` and `callback` are called in threads, several at once, and may raise a `TruthloopError`; the
    others are called from the event loop.

    Attributes:
        view: everything shown for a selection of the choices.
        progress: what is being done to make a view, and for how long already.
        probe: answers one of `PROBE_PATHS`, as every role does; the second argument says why the page is not ready.
        callback: raw body and headers (names in lower case) of a callback -> status and JSON document.
    """

    choices: Callable[[], Choices]
    view: Callable[[Selection], PageView]
    progress: Callable[[], str]
    probe: Callable[[str, str], ProbeAnswer]
    callback: Callable[[bytes, Mapping[str, str]], tuple[int, object]]
    backfills: BackfillService


@dataclass(frozen=True)
class Limits:
    """Time limits and sizes of requests.

    Attributes:
        head_s: for a request's line and headers, and for the next request on a connection.
        body_s: for a body to arrive.
        view_s: for a view to be made, before the answer is that it is being made.
        answer_s: for a backfill to be shown, or a callback or ruling to be handled.
        send_s: for a client to receive the response.
        body_bytes: of a body, except that of a ruling.
    """

    head_s: float = 15.0
    body_s: float = 10.0
    view_s: float = 10.0
    answer_s: float = 20.0
    send_s: float = 30.0
    body_bytes: int = 64 * 1024


class _Page:
    """The request handlers and their threads."""

    def __init__(self, sources: PageSources, limits: Limits) -> None:
        self._sources = sources
        self._limits = limits
        self._views: dict[Hashable, asyncio.Future[str]] = {}
        self._is_made = False
        self._failure = ""
        # apart from each other: views that hang neither delay nor refuse a callback or a ruling
        self._view_pool = RequestPool("page", _THREADS, limits.answer_s)
        self._callback_pool = RequestPool("callback", 1, limits.answer_s)
        self._ruling_pool = RequestPool("ruling", 1, limits.answer_s)

    async def threads(self, _app: web.Application) -> AsyncIterator[None]:
        self._make_first_view()
        yield
        for pool in (self._view_pool, self._callback_pool, self._ruling_pool):
            pool.close()

    def backfill_pages(self, access: Access) -> BackfillPages:
        """Return the handlers of the pages of backfills."""
        return BackfillPages(
            self._sources.backfills, access, self._limits.body_s, self._view_pool.run, self._ruling_pool.run
        )

    async def page(self, request: web.Request) -> web.Response:
        query = list(request.query.items())
        text = await self._view_text(("page", *query), partial(self._page_text, query))
        if text is None:
            return _being_made(render_making(self._sources.progress(), AGAIN_S), "text/html")
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    async def panel(self, request: web.Request) -> web.Response:
        name, form = request.match_info["name"], request.match_info["form"]
        if name not in PANELS:
            raise HttpError(404, "there is no such panel", hint=f"Panels are {', '.join(PANELS)}.")
        write, kind = (panel_json, "application/json") if form == "json" else (panel_csv, "text/csv")
        query = [(key, value) for key, value in request.query.items() if key != "refresh"]
        text = await self._view_text((name, form, *query), lambda: write(self._view_of(query), name))
        if text is None:
            return _being_made(_json({"status": "being made", "doing": self._sources.progress()}), "application/json")
        response = web.Response(text=text, content_type=kind, charset="utf-8")
        if form == "csv":
            response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return response

    async def probe(self, request: web.Request) -> web.Response:
        answer = self._sources.probe(request.path, self._unready())
        return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})

    async def callback(self, request: web.Request) -> web.Response:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise HttpError(415, "a callback must be sent without compression")
        try:
            async with asyncio.timeout(self._limits.body_s):
                body = await request.read()
        except TimeoutError:
            raise HttpError(408, f"the body did not arrive within {self._limits.body_s:g} s") from None
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            handle = partial(self._sources.callback, body, headers)
            status, document = await self._callback_pool.run(handle)
        except TruthloopError as error:
            # the response tells nothing about the lake
            log.warning("a callback could not be handled: %s", error)
            raise HttpError(503, "the callback could not be handled", hint="Send it again later.") from None
        return _document(status, document)

    async def _view_text(self, key: Hashable, make: Callable[[], str]) -> str | None:
        """Return a view as text; None if that takes longer. All who ask for the same one wait for the same thread."""
        future = self._views.get(key) or self._start_view(key, make)
        try:
            async with asyncio.timeout(self._limits.view_s):
                return await asyncio.shield(future)
        except TimeoutError:
            if future.done():
                raise
            return None

    def _make_first_view(self) -> None:
        """Make the page for the first reader before there is one."""
        self._start_view(("page",), partial(self._page_text, []))

    def _unready(self) -> str:
        """Return why the page is not ready; empty once it was made. If making it has failed, that is tried again."""
        if self._is_made:
            return ""
        if not self._views:
            self._make_first_view()
        if self._failure:
            return f"the page cannot be made: {self._failure}"
        return f"the page is being made: {self._sources.progress()}"

    def _start_view(self, key: Hashable, make: Callable[[], str]) -> "asyncio.Future[str]":
        future = self._views[key] = self._view_pool.submit(make)

        def made(done: "asyncio.Future[str]") -> None:
            self._views.pop(key, None)
            if done.cancelled():
                return
            error = done.exception()
            self._is_made = self._is_made or error is None
            self._failure = "" if error is None else str(error)

        future.add_done_callback(made)
        return future

    def _view_of(self, query: list[tuple[str, str]]) -> PageView:
        return self._sources.view(parse_selection(query, self._sources.choices()))

    def _page_text(self, query: list[tuple[str, str]]) -> str:
        refresh_s = parse_refresh(query)
        return render_page(self._view_of(query), refresh_s)


def make_app(sources: PageSources, access: Access | None = None, limits: Limits | None = None) -> web.Application:
    """Return the aiohttp application.

    Args:
        access: who may open the page; None: everybody who reaches the port.
        limits: None: the defaults.
    """
    limits, access = limits or Limits(), access or Access()
    page = _Page(sources, limits)
    backfills = page.backfill_pages(access)
    app = web.Application(
        middlewares=[make_middleware(access, limits.send_s, sources.backfills.count_refusal)],
        client_max_size=limits.body_bytes,
        handler_args={
            "keepalive_timeout": limits.head_s,
            "lingering_time": _LINGER_S,
            "max_line_size": _LINE_MAX,
            "max_field_size": _FIELD_MAX,
            "max_headers": _HEADERS_MAX,
            # signatures are over the raw bytes, and a small body must not expand to a large one
            "auto_decompress": False,
        },
    )
    app.cleanup_ctx.append(page.threads)
    app.add_routes(
        [
            web.get("/", page.page),
            web.get(r"/panels/{name}.{form:json|csv}", page.panel),
            web.get(f"/backfill/{_EPISODE}", backfills.page),
            web.get(f"/backfill/{_EPISODE}.json", backfills.document),
            web.post(f"/backfill/{_EPISODE}/rule", backfills.rule),
            web.get("/style.css", _file("style.css", "text/css")),
            web.get("/icon.svg", _file("icon.svg", "image/svg+xml")),
            *(web.get(path, page.probe) for path in PROBE_PATHS),
            web.post("/v1/callback", page.callback),
        ]
    )
    return app


def _file(name: str, kind: str) -> Handler:
    """Return the handler of a static file."""

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=asset(name), content_type=kind, charset="utf-8")

    return serve


def _document(status: int, document: object) -> web.Response:
    return web.Response(status=status, text=_json(document), content_type="application/json", charset="utf-8")


def _being_made(text: str, kind: str) -> web.Response:
    """Return the response to a request whose view takes longer."""
    headers = {"Retry-After": f"{AGAIN_S}"}
    return web.Response(status=202, text=text, content_type=kind, charset="utf-8", headers=headers)


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
