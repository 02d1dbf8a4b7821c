"""The page of one backfill, and the form on it through which a person approves or rejects it.

Only a POST changes anything, and only from this page's own form: the headers Origin and Sec-Fetch-Site must not name
another site, and the form has a token that no other site can read. `BackfillService` applies the ruling.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from aiohttp import web
from markupsafe import Markup

from retrain.episode_status import BY_MAX, REASON_MAX
from schemas.errors import TruthloopError
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.page.markup.backfill import render_backfill
from truthloop.page.markup.templates import render
from truthloop.page.web.access import Access, is_own_form
from truthloop.page.web.middleware import HttpError
from truthloop.text.format import name as shown_name

__all__ = ["BODY_MAX", "BackfillPages", "BackfillService", "BackfillView", "RulingAnswer", "RulingForm", "parse_form"]

BODY_MAX: Final = 16 * 1024
"""Bytes of a form: the longest reason with every character percent-encoded, and the other fields."""

_TYPE: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = ("verdict", "reason", "by", "token", "diff")
_VERDICTS: Final = (Verdict.APPROVED, Verdict.REJECTED)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BackfillView:
    """What the page of a backfill shows.

    Attributes:
        verdict: of the newest ruling.
        why: the rules' verdict with its reasons.
        state: one sentence.
        token: for the form; empty if the backfill does not wait for a person, and then there is no form.
        until: when the token expires, as text.
    """

    diff: BackfillDiff
    verdict: Verdict
    why: str
    state: str
    token: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class RulingForm:
    """A form that was sent.

    Attributes:
        episode: id of the backfill.
        diff_sha256: digest of the diff on the page of the form.
        verdict: APPROVED or REJECTED.
        by: the user named by the proxy, or the name typed into the form.
        is_proved: whether a proxy has named the user.
        token: not verified yet.
    """

    episode: str
    diff_sha256: str
    verdict: Verdict
    reason: str
    by: str
    is_proved: bool
    token: str


@dataclass(frozen=True, slots=True)
class RulingAnswer:
    """The response to a form: status 303 if it was accepted; else error, hint, and the reason it is counted by."""

    status: int
    what: str = ""
    hint: str = ""
    reason: str = ""


class BackfillService(Protocol):
    """What the pages call, several threads at once; all but `count_refusal` may raise a `TruthloopError`."""

    def show(self, episode: str, user: str) -> BackfillView | None:
        """Return a backfill for the user named by the proxy (empty: there is no proxy); None: unknown."""

    def document(self, episode: str) -> bytes | None:
        """Return the diff as JSON; None: unknown."""

    def rule(self, form: RulingForm) -> RulingAnswer:
        """Log a ruling, or return why it is rejected."""

    def count_refusal(self, reason: str) -> None:
        """Count a rejected ruling; called from the event loop."""


class BackfillPages:
    """The request handlers.

    Args:
        body_s: how long a form may take to arrive.
        read: calls a function that reads, in a thread.
        write: calls a function that rules, in another thread.
    """

    def __init__(
        self,
        backfills: BackfillService,
        access: Access,
        body_s: float,
        read: Callable[[Callable[[], Any]], Awaitable[Any]],
        write: Callable[[Callable[[], RulingAnswer]], Awaitable[RulingAnswer]],
    ) -> None:
        self._backfills = backfills
        self._access = access
        self._body_s = body_s
        self._read = read
        self._write = write

    async def page(self, request: web.Request) -> web.Response:
        """Show a backfill; changes nothing."""
        if request.query_string:
            raise HttpError(400, "this page has no parameters")
        user = self._user(request)
        html = await self._read(partial(self._html, request.match_info["id"], user))
        return web.Response(text=_found(html), content_type="text/html", charset="utf-8")

    async def document(self, request: web.Request) -> web.Response:
        """Return the diff as JSON: the bytes that its digest is computed from."""
        body = await self._read(partial(self._backfills.document, request.match_info["id"]))
        return web.Response(body=_found(body), content_type="application/json", charset="utf-8")

    async def rule(self, request: web.Request) -> web.Response:
        """Handle a form: 303 back to the page of the backfill, or an error page."""
        fetched = request.headers.getall("Sec-Fetch-Site", [])
        if not is_own_form(request.headers.get("Host"), request.headers.getall("Origin", []), fetched):
            raise HttpError(
                403,
                "this form was sent by another site",
                hint="Open the backfill here and send its form. A proxy must pass the Host header on unchanged.",
                reason="origin",
            )
        user = self._user(request)
        if user == "":
            raise HttpError(
                403,
                "the proxy has not sent your name",
                hint=f"It must send the header {self._access.user_header}, once.",
                reason="user",
            )
        body = await self._body(request)
        form = parse_form(request.match_info["id"], body, user)
        try:
            answer = await self._write(partial(self._backfills.rule, form))
        except TruthloopError as error:
            hint = "Open the backfill again: its page shows if the ruling was logged. If not, send it again."
            raise HttpError(
                503, f"the ruling could not be logged: {error.what}", where=error.where, hint=hint
            ) from None
        if answer.status != HTTPStatus.SEE_OTHER:
            raise HttpError(answer.status, answer.what, hint=answer.hint, reason=answer.reason)
        return web.Response(status=303, headers={"Location": f"../{form.episode}"})

    def _user(self, request: web.Request) -> str | None:
        """Return the user named by the proxy; empty if it should have named one; None if there is no proxy."""
        if self._access.user_header is None:
            return None
        names = [one.strip() for one in request.headers.getall(self._access.user_header, [])]
        is_plain = len(names) == 1 and len(names[0]) <= BY_MAX and names[0].isprintable()
        return names[0] if is_plain else ""

    async def _body(self, request: web.Request) -> bytes:
        kinds = request.headers.getall("Content-Type", [])
        if len(kinds) != 1 or request.content_type != _TYPE or (request.charset or "utf-8").lower() != "utf-8":
            raise HttpError(415, f"a ruling must be sent as {_TYPE}")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise HttpError(415, "a ruling must be sent without compression")
        if (request.content_length or 0) > BODY_MAX:
            raise HttpError(413, f"a ruling has at most {BODY_MAX:,} bytes")
        try:
            async with asyncio.timeout(self._body_s):
                body = await request.read()
        except TimeoutError:
            raise HttpError(408, f"the form did not arrive within {self._body_s:g} s") from None
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


def parse_form(episode: str, body: bytes, user: str | None) -> RulingForm:
    """Return the parsed body of a form.

    Args:
        episode: from the form's address.
        user: named by the proxy; None: the form must have a name.

    Raises:
        HttpError: 400 not a form of this page, 403 without token or digest, 422 without a choice.
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
        raise HttpError(400, "this is not a form of this page", reason="malformed") from None
    fields: dict[str, str] = {}
    allowed = [name for name in _FIELDS if user is None or name != "by"]
    for name, value in pairs:
        if name not in allowed:
            raise HttpError(400, f"the form has no field {shown_name(name)!r}", reason="malformed")
        if name in fields:
            raise HttpError(400, f"{name} is given twice", reason="malformed")
        fields[name] = value
    for name in ("token", "diff"):
        if name not in fields:
            raise HttpError(403, f"the form has no {name}", hint="Open the backfill and send its form.", reason=name)
    if _DIGEST.fullmatch(fields["diff"]) is None:
        raise HttpError(400, "diff is not a SHA-256 digest", reason="malformed")
    if not fields.get("verdict"):
        raise HttpError(422, "no verdict is selected", hint="Go back and select one.", reason="incomplete")
    if fields["verdict"] not in _VERDICTS:
        raise HttpError(400, "verdict is neither approved nor rejected", reason="malformed")
    by = fields.get("by", "") if user is None else user
    verdict = Verdict(fields["verdict"])
    return RulingForm(episode, fields["diff"], verdict, fields.get("reason", ""), by, user is not None, fields["token"])


def _form(shown: BackfillView, user: str | None) -> Markup:
    """Return the form; `user` as in `parse_form`."""
    html = render(
        "ruling.html",
        episode=shown.diff.episode.id,
        digest=shown.diff.sha256(),
        token=shown.token,
        until=shown.until,
        user=user,
        REASON_MAX=REASON_MAX,
        BY_MAX=BY_MAX,
    )
    return Markup(html)  # noqa: S704 - the template escapes its values


def _found(result: Any) -> Any:  # noqa: ANN401 - text or bytes
    if result is None:
        raise HttpError(
            404,
            "there is no such backfill",
            hint="The loop's page and truthloop backfill list show all backfills.",
            reason="unknown",
        )
    return result
