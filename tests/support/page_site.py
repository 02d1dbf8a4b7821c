"""The page as it is served: on a loopback socket, with answers made by hand."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from page_case import rich_view

from truthloop.page.panels.view import Offer, Selection, View
from truthloop.page.web.access import Access
from truthloop.page.web.app import Answers, Limits, make_app
from truthloop.page.web.backfill_pages import Answered, Backfills, Form, Shown

__all__ = ["Site", "raw", "visit"]

VIEW = rich_view(10)


class NoBackfills:
    """A loop whose past was never told anew; remembers what was refused."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def show(self, _episode: str, _user: str) -> Shown | None:
        """There is none."""
        return None

    def document(self, _episode: str) -> bytes | None:
        """There is none."""
        return None

    def rule(self, _form: Form) -> Answered:
        """There is none."""
        return Answered(404, "there is no such backfill", word="unknown")

    def refused(self, word: str) -> None:
        """Remember the word."""
        self.words.append(word)


Client = TestClient[Any, Any]


@dataclass
class Site:
    """What the page is told, and what it was asked for."""

    shown: View = VIEW
    stalled: str = ""
    unready: str = ""
    fails: Callable[[], None] | None = None
    answer: tuple[int, object] = (202, {"status": "taken"})
    asked: list[Selection] = field(default_factory=list)
    called_back: list[tuple[bytes, Mapping[str, str]]] = field(default_factory=list)
    counters: bytes = b"truthloop_records_total 1.0\n"
    scraped: int = 0
    backfills: Backfills = field(default_factory=NoBackfills)

    def offer(self) -> Offer:
        """Return what is offered, or fail as told."""
        if self.fails is not None:
            self.fails()
        return self.shown.offer

    def view(self, selection: Selection) -> View:
        """Return the view for a selection, and remember that it was asked for."""
        self.asked.append(selection)
        return replace(self.shown, selection=selection)

    def callback(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, object]:
        """Take a callback."""
        if self.fails is not None:
            self.fails()
        self.called_back.append((body, headers))
        return self.answer

    def metrics(self) -> bytes:
        """Return the counters, and count that they were asked for."""
        self.scraped += 1
        return self.counters

    def answers(self) -> Answers:
        """Return what the application is made of."""
        words = (lambda: self.stalled, lambda: self.unready)
        return Answers(self.offer, self.view, *words, self.metrics, self.callback, self.backfills)


def visit(
    site: Site,
    use: Callable[[Client], Awaitable[None]],
    access: Access | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve a site on a loopback port for as long as `use` needs it."""

    async def run() -> None:
        async with TestClient(TestServer(make_app(site.answers(), access, limits))) as client:
            await use(client)

    asyncio.run(run())


async def raw(client: Client, sent: bytes) -> bytes:
    """Send bytes on a connection of its own, and return all that comes until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    with closing(writer):
        writer.write(sent)
        await writer.drain()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
