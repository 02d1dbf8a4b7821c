"""The page of one backfill, and the form on it by which a person rules: who may send it, and what must be in it.

Only a POST changes anything, and only one that comes from this page's own form: the browser says so (Origin,
Sec-Fetch-Site) where it says anything, and the form carries a token that no other site can read. What is judged is
the business of who is handed in. Must not read the lake.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from aiohttp import web
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from retrain.episode_status import BY_MAX, REASON_MAX
from schemas.errors import TruthloopError
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.page.markup.backfill import render_backfill
from truthloop.page.web.access import Access, is_own_form
from truthloop.page.web.middleware import HttpError
from truthloop.text import format as text

__all__ = ["BODY_MAX", "Answered", "Backfills", "Form", "RulingPages", "Shown", "form_of"]

BODY_MAX: Final = 16 * 1024
"""Bytes of a form: a reason of the greatest length, with every character percent-encoded, and the rest."""

_TYPE: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = ("verdict", "reason", "by", "token", "diff")
_VERDICTS: Final = (Verdict.APPROVED, Verdict.REJECTED)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page of a backfill shows.

    Attributes:
        diff: what was put before people.
        verdict: the newest.
        why: what the rules made of it, and why.
        state: where it stands, as one sentence.
        token: for the form; empty where nobody has to rule, and then there is no form.
        until: how long the token holds, in words.
    """

    diff: BackfillDiff
    verdict: Verdict
    why: str
    state: str
    token: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """What came back.

    Attributes:
        episode: id of the backfill.
        diff_sha256: digest of the diff beside the form.
        verdict: APPROVED or REJECTED.
        reason: as it was typed.
        by: who rules: as the proxy says, or as it was typed.
        is_proved: a proxy said so.
        token: as it came.
    """

    episode: str
    diff_sha256: str
    verdict: Verdict
    reason: str
    by: str
    is_proved: bool
    token: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a form: `status` 303 if it was taken; else what is wrong, what to do, and how it is counted."""

    status: int
    what: str = ""
    hint: str = ""
    word: str = ""


class Backfills(Protocol):
    """What the pages ask for. All but `refused` run in threads, several at once, and may raise a `TruthloopError`."""

    def show(self, episode: str, user: str) -> Shown | None:
        """Return what is shown of a backfill to a user whom a proxy has named (empty: to anybody); None: unknown."""

    def document(self, episode: str) -> bytes | None:
        """Return the diff as JSON; None: unknown."""

    def rule(self, form: Form) -> Answered:
        """Take a ruling, or say why not."""

    def refused(self, word: str) -> None:
        """Count a refusal. Answers at once."""


class RulingPages:
    """The handlers.

    Args:
        backfills: what is asked.
        access: who names users.
        body_s: how long is waited for a form.
        read: calls a function that reads, in a thread.
        write: the same for one that takes a ruling.
    """

    def __init__(
        self,
        backfills: Backfills,
        access: Access,
        body_s: float,
        read: Callable[[Callable[[], Any]], Awaitable[Any]],
        write: Callable[[Callable[[], Answered]], Awaitable[Answered]],
    ) -> None:
        self._backfills = backfills
        self._access = access
        self._body_s = body_s
        self._read = read
        self._write = write

    async def page(self, request: web.Request) -> web.Response:
        """Show a backfill; changes nothing, whoever asks and however often."""
        if request.query_string:
            raise HttpError(400, "this page has no parameters")
        user = self._user(request)
        html = await self._read(partial(self._html, request.match_info["id"], user))
        return web.Response(text=_found(html), content_type="text/html", charset="utf-8")

    async def document(self, request: web.Request) -> web.Response:
        """Give the diff as JSON: the very bytes that its digest is of."""
        body = await self._read(partial(self._backfills.document, request.match_info["id"]))
        return web.Response(body=_found(body), content_type="application/json", charset="utf-8")

    async def rule(self, request: web.Request) -> web.Response:
        """Take a form: 303 back to the page of the backfill, or a page that says why not."""
        fetched = request.headers.getall("Sec-Fetch-Site", [])
        if not is_own_form(request.headers.get("Host"), request.headers.getall("Origin", []), fetched):
            raise HttpError(
                403,
                "this form was sent by another site than this page",
                hint="Open the backfill here and send its form. A proxy has to hand the Host header on as it came.",
                word="origin",
            )
        user = self._user(request)
        if user == "":
            raise HttpError(
                403,
                "the proxy has not said who you are",
                hint=f"It has to send the header {self._access.user_header}, once.",
                word="user",
            )
        body = await self._body(request)
        form = form_of(request.match_info["id"], body, user)
        try:
            answered = await self._write(partial(self._backfills.rule, form))
        except TruthloopError as error:
            hint = "Open the backfill again: it says whether the ruling stands. If not, send it again."
            raise HttpError(503, f"the ruling could not be taken: {error.what}", where=error.where, hint=hint) from None
        if answered.status != 303:  # noqa: PLR2004 - of HTTP
            raise HttpError(answered.status, answered.what, hint=answered.hint, word=answered.word)
        return web.Response(status=303, headers={"Location": f"../{form.episode}"})

    def _user(self, request: web.Request) -> str | None:
        """Return whom the proxy names; empty where it should and does not; None where no proxy is asked."""
        if self._access.user_header is None:
            return None
        named = [one.strip() for one in request.headers.getall(self._access.user_header, [])]
        is_plain = len(named) == 1 and len(named[0]) <= BY_MAX and named[0].isprintable()
        return named[0] if is_plain else ""

    async def _body(self, request: web.Request) -> bytes:
        kinds = request.headers.getall("Content-Type", [])
        if len(kinds) != 1 or request.content_type != _TYPE or (request.charset or "utf-8").lower() != "utf-8":
            raise HttpError(415, f"a ruling is sent as {_TYPE}")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise HttpError(415, "a ruling is sent without compression")
        if (request.content_length or 0) > BODY_MAX:
            raise HttpError(413, f"a ruling has at most {BODY_MAX:,} bytes")
        try:
            async with asyncio.timeout(self._body_s):
                body = await request.read()
        except TimeoutError:
            raise HttpError(408, f"the form did not come within {self._body_s:g} s") from None
        if len(body) > BODY_MAX:
            raise HttpError(413, f"a ruling has at most {BODY_MAX:,} bytes")
        return body

    def _html(self, episode: str, user: str | None) -> str | None:
        shown = self._backfills.show(episode, user or "")
        if shown is None:
            return None
        form = _form(shown, user) if shown.token else None
        return render_backfill(
            shown.diff, shown.verdict, (shown.why,), state=shown.state, form=form, json_href=f"{episode}.json"
        )


def form_of(episode: str, body: bytes, user: str | None) -> Form:
    """Return what a form says.

    Args:
        episode: of its address.
        body: as it came.
        user: whom a proxy has named; None: the form has to say who rules.

    Raises:
        HttpError: 400 it is no form of this page, 422 something is not filled in.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=len(_FIELDS),
        )
    except ValueError:
        raise HttpError(400, "this is no form of this page", word="malformed") from None
    fields: dict[str, str] = {}
    wanted = [name for name in _FIELDS if user is None or name != "by"]
    for name, value in pairs:
        if name not in wanted:
            raise HttpError(400, f"the form has no field {text.name(name)!r}", word="malformed")
        if name in fields:
            raise HttpError(400, f"{name} is given twice", word="malformed")
        fields[name] = value
    for name in ("token", "diff"):
        if name not in fields:
            raise HttpError(403, f"the form has no {name}", hint="Open the backfill and send its form.", word=name)
    if _DIGEST.fullmatch(fields["diff"]) is None:
        raise HttpError(400, "diff is no SHA-256", word="malformed")
    if not fields.get("verdict"):
        raise HttpError(422, "choose whether to approve or to reject", hint="Go back, and choose.", word="incomplete")
    if fields["verdict"] not in _VERDICTS:
        raise HttpError(400, "verdict is neither approved nor rejected", word="malformed")
    by = fields.get("by", "") if user is None else user
    verdict = Verdict(fields["verdict"])
    return Form(episode, fields["diff"], verdict, fields.get("reason", ""), by, user is not None, fields["token"])


def _form(shown: Shown, user: str | None) -> Markup:
    """Return the form; `user` as in `form_of`."""
    told: Mapping[str, object] = {
        "episode": shown.diff.episode.id,
        "digest": shown.diff.sha256(),
        "token": shown.token,
        "until": shown.until,
        "user": user,
        "REASON_MAX": REASON_MAX,
        "BY_MAX": BY_MAX,
    }
    return Markup(_template().render(told))  # noqa: S704 - a template that escapes all it is given


@cache
def _template() -> Any:  # noqa: ANN401 - a template of Jinja's, which has no types for its module
    source = resources.files("truthloop.page.markup").joinpath("templates", "ruling.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(name=text.name)
    return environment.from_string(source)


def _found(made: Any) -> Any:  # noqa: ANN401 - text or bytes
    if made is None:
        raise HttpError(
            404,
            "there is no such backfill",
            hint="The page and truthloop backfill list name those there are.",
            word="unknown",
        )
    return made
