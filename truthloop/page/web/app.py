"""The page over HTTP, for a browser, a person who rules, a probe and a pipeline that calls back.

Views are made in threads, so that a slow lake never keeps the event loop from answering /livez. An error of ours
becomes a page that says what is wrong and what to do; any other is logged, and no traceback leaves the process.
This module must not read the lake: it is handed callables that do.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from schemas.errors import TruthloopError
from truthloop.page.markup.page import asset, render_page
from truthloop.page.panels.download import panel_csv, panel_json
from truthloop.page.panels.selection import chosen, refresh_of
from truthloop.page.panels.tables import PANELS
from truthloop.page.panels.view import Offer, Selection, View
from truthloop.page.web.access import Access
from truthloop.page.web.backfill_pages import Backfills, RulingPages
from truthloop.page.web.middleware import HttpError, front

__all__ = ["Answers", "Limits", "make_app"]

log = logging.getLogger("truthloop.page")

T = TypeVar("T")

WAITING_MAX = 16
"""So many pages may be made or waited for at once; who comes next is told to come again."""

_THREADS = 2
_HEADERS_MAX = 64
_LINE_MAX = 8_190
_FIELD_MAX = 4_096
_LINGER_S = 1.0
_EPISODE = "{id:bf-[0-9a-f]{32}}"


@dataclass(frozen=True)
class Answers:
    """What the page asks for. `offer`, `view` and `callback` run in threads, several at once.

    Args:
        offer: what can be chosen now.
        view: everything shown for a selection of that offer. Both may raise a `TruthloopError`.
        stalled: why the process does not get on; empty while it does. Answers at once, as the next two do.
        unready: why the process does not do its work; empty while it does.
        metrics: Prometheus text.
        callback: raw body and headers (names in lower case) of a callback, to status and JSON document.
        backfills: the pages beside the page.
    """

    offer: Callable[[], Offer]
    view: Callable[[Selection], View]
    stalled: Callable[[], str]
    unready: Callable[[], str]
    metrics: Callable[[], bytes]
    callback: Callable[[bytes, Mapping[str, str]], tuple[int, object]]
    backfills: Backfills


@dataclass(frozen=True)
class Limits:
    """How long is waited, and how much is taken.

    Args:
        head_s: for a request's line and headers, and for the next request on a connection.
        body_s: for a body.
        answer_s: for a view to be made, or a callback or ruling to be handled.
        send_s: for a reader to take the answer.
        body_bytes: of a body.
    """

    head_s: float = 15.0
    body_s: float = 10.0
    answer_s: float = 20.0
    send_s: float = 30.0
    body_bytes: int = 64 * 1024


class _Page:
    """The handlers, and the threads that views are made in."""

    def __init__(self, answers: Answers, limits: Limits) -> None:
        self._answers = answers
        self._limits = limits
        self._waiting = 0
        self._makers = ThreadPoolExecutor(_THREADS, thread_name_prefix="page")
        # a thread of its own: a callback is not kept waiting by pages of a lake that hangs
        self._takers = ThreadPoolExecutor(1, thread_name_prefix="callback")
        self._rulers = ThreadPoolExecutor(1, thread_name_prefix="ruling")

    async def threads(self, _app: web.Application) -> AsyncIterator[None]:
        yield
        for pool in (self._makers, self._takers, self._rulers):
            pool.shutdown(wait=False, cancel_futures=True)

    def rulings(self, access: Access) -> RulingPages:
        """Return the handlers of the pages beside the page."""
        read, write = partial(self._in_thread, self._makers), partial(self._in_thread, self._rulers)
        return RulingPages(self._answers.backfills, access, self._limits.body_s, read, write)

    async def page(self, request: web.Request) -> web.Response:
        query = list(request.query.items())
        make = partial(self._page_text, query)
        return web.Response(text=await self._in_thread(self._makers, make), content_type="text/html", charset="utf-8")

    async def panel(self, request: web.Request) -> web.Response:
        name, form = request.match_info["name"], request.match_info["form"]
        if name not in PANELS:
            raise HttpError(404, "there is no such panel", hint=f"Panels are {', '.join(PANELS)}.")
        write, kind = (panel_json, "application/json") if form == "json" else (panel_csv, "text/csv")
        query = [(key, value) for key, value in request.query.items() if key != "refresh"]
        text = await self._in_thread(self._makers, lambda: write(self._view_of(query), name))
        response = web.Response(text=text, content_type=kind, charset="utf-8")
        if form == "csv":
            response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return response

    async def probe(self, request: web.Request) -> web.Response:
        reason = self._answers.stalled() if request.path == "/livez" else self._answers.unready()
        return _document(503 if reason else 200, {"status": "no" if reason else "ok", "reason": reason})

    async def metrics(self, _request: web.Request) -> web.Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=self._answers.metrics(), headers={"Content-Type": kind})

    async def callback(self, request: web.Request) -> web.Response:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise HttpError(415, "a callback is sent without compression")
        try:
            async with asyncio.timeout(self._limits.body_s):
                body = await request.read()
        except TimeoutError:
            raise HttpError(408, f"the body did not come within {self._limits.body_s:g} s") from None
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            status, document = await self._in_thread(self._takers, partial(self._answers.callback, body, headers))
        except TruthloopError as error:
            # who calls back gets no word on the insides of the loop
            log.warning("a callback could not be taken: %s", error)
            raise HttpError(503, "the callback could not be taken", hint="Send it again later.") from None
        return _document(status, document)

    async def _in_thread(self, pool: ThreadPoolExecutor, make: Callable[[], T]) -> T:
        """Return what `make` makes; refuse when too many wait, and give up when it takes too long."""
        if self._waiting >= WAITING_MAX:
            raise HttpError(503, "too many ask at once", hint="Try again in a few seconds.")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(pool, make)
        future.add_done_callback(self._done)
        try:
            # shielded: a thread cannot be cancelled, and counts for as long as it is at work
            async with asyncio.timeout(self._limits.answer_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise HttpError(
                503,
                f"no answer within {self._limits.answer_s:g} s",
                hint="The lake or its disk hangs, or the machine has too much to do.",
            ) from None

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()

    def _view_of(self, query: list[tuple[str, str]]) -> View:
        return self._answers.view(chosen(query, self._answers.offer()))

    def _page_text(self, query: list[tuple[str, str]]) -> str:
        refresh_s = refresh_of(query)
        return render_page(self._view_of(query), refresh_s)


def make_app(answers: Answers, access: Access | None = None, limits: Limits | None = None) -> web.Application:
    """Return the page as an application of aiohttp.

    Args:
        answers: what is asked for the content.
        access: who is let in; None: whoever reaches it. Listening on anything but loopback needs a token.
        limits: how long is waited, and how much is taken; None: the defaults.
    """
    limits, access = limits or Limits(), access or Access()
    page = _Page(answers, limits)
    rulings = page.rulings(access)
    app = web.Application(
        middlewares=[front(access, limits.send_s, answers.backfills.refused)],
        client_max_size=limits.body_bytes,
        handler_args={
            "keepalive_timeout": limits.head_s,
            "lingering_time": _LINGER_S,
            "max_line_size": _LINE_MAX,
            "max_field_size": _FIELD_MAX,
            "max_headers": _HEADERS_MAX,
            # what a signature is over is what came, and nothing small becomes large
            "auto_decompress": False,
        },
    )
    app.cleanup_ctx.append(page.threads)
    app.add_routes(
        [
            web.get("/", page.page),
            web.get(r"/panels/{name}.{form:json|csv}", page.panel),
            web.get(f"/backfill/{_EPISODE}", rulings.page),
            web.get(f"/backfill/{_EPISODE}.json", rulings.document),
            web.post(f"/backfill/{_EPISODE}/rule", rulings.rule),
            web.get("/style.css", _file("style.css", "text/css")),
            web.get("/icon.svg", _file("icon.svg", "image/svg+xml")),
            web.get("/livez", page.probe),
            web.get("/readyz", page.probe),
            web.get("/metrics", page.metrics),
            web.post("/v1/callback", page.callback),
        ]
    )
    return app


def _file(name: str, kind: str) -> Handler:
    """Return the handler of a file of the page's own."""

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=asset(name), content_type=kind, charset="utf-8")

    return serve


def _document(status: int, document: object) -> web.Response:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return web.Response(status=status, text=text + "\n", content_type="application/json", charset="utf-8")
