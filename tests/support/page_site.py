"""The page served on a loopback socket, with sources made for tests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from page_case import rich_view

from streams.runtime.health import Health, ProbeAnswer
from truthloop.page.panels.view import Choices, PageView, Selection
from truthloop.page.web.access import Access
from truthloop.page.web.app import Limits, PageSources, make_app
from truthloop.page.web.backfill_pages import BackfillService, BackfillView, RulingAnswer, RulingForm
from truthloop.page.web.server import PageRunner

__all__ = ["Site", "raw", "visit"]

VIEW = rich_view(10)


class NoBackfills:
    """A loop without backfills; records the reasons of refusals."""

    def __init__(self) -> None:
        self.refusals: list[str] = []

    def show(self, _episode: str, _user: str) -> BackfillView | None:
        """Answer that it is unknown."""
        return None

    def document(self, _episode: str) -> bytes | None:
        """Answer that it is unknown."""
        return None

    def rule(self, _form: RulingForm) -> RulingAnswer:
        """Answer that it is unknown."""
        return RulingAnswer(404, "there is no such backfill", reason="unknown")

    def count_refusal(self, reason: str) -> None:
        """Record the reason."""
        self.refusals.append(reason)


def _ready() -> Health:
    health = Health("feedback")
    health.set_readiness()
    return health


Client = TestClient[Any, Any]


@dataclass
class Site:
    """The sources of a page, and a record of its calls."""

    shown: PageView = VIEW
    health: Health = field(default_factory=_ready)
    probe: Callable[[str, str], ProbeAnswer] | None = None
    fails: Callable[[], None] | None = None
    answer: tuple[int, object] = (202, {"status": "taken"})
    asked: list[Selection] = field(default_factory=list)
    called_back: list[tuple[bytes, Mapping[str, str]]] = field(default_factory=list)
    backfills: BackfillService = field(default_factory=NoBackfills)

    def choices(self) -> Choices:
        """Return the choices of the view, or fail."""
        if self.fails is not None:
            self.fails()
        return self.shown.choices

    def view(self, selection: Selection) -> PageView:
        """Return the view for a selection, and record the call."""
        self.asked.append(selection)
        return replace(self.shown, selection=selection)

    def progress(self) -> str:
        """Say what is being done."""
        return "reading rejects, for 7 s"

    def callback(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, object]:
        """Handle a callback."""
        if self.fails is not None:
            self.fails()
        self.called_back.append((body, headers))
        return self.answer

    def sources(self) -> PageSources:
        """Return the sources of the application."""
        probe = self.probe or self.health.answer
        return PageSources(self.choices, self.view, self.progress, probe, self.callback, self.backfills)


class _Server(TestServer):
    """The product's own server."""

    async def _make_runner(self, **_options: Any) -> web.AppRunner:
        return PageRunner(self.app)


def visit(
    site: Site,
    use: Callable[[Client], Awaitable[None]],
    access: Access | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve a site on a loopback port for as long as `use` needs it, once its first page is made or cannot be made."""

    async def run() -> None:
        async with TestClient(_Server(make_app(site.sources(), access, limits))) as client:
            while site.fails is None and "being made" in await (await client.get("/readyz")).text():
                pass
            await use(client)

    asyncio.run(run())


async def raw(client: Client, sent: bytes) -> bytes:
    """Send bytes on a new connection, and return all bytes until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    with closing(writer):
        writer.write(sent)
        await writer.drain()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
