"""What every request passes and every answer gets: host, token, security headers, errors in plain words.

Must not know what is served.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from schemas.errors import TruthloopError
from truthloop.page.markup.page import Spot, render_error
from truthloop.page.panels.selection import NotOfferedError
from truthloop.page.web.access import CHALLENGE, SECURITY_HEADERS, Access

__all__ = ["OPEN", "HttpError", "front"]

log = logging.getLogger("truthloop.page")

OPEN: Final = ("/livez", "/readyz", "/metrics", "/v1/callback")
"""Asked by probes and scrapers, which have no token and are told nothing of what flows; and by pipelines, whose
callbacks carry a signature."""

_BACKFILL: Final = re.compile(r"/backfill/(?P<id>bf-[0-9a-f]{32})(?P<rule>/rule)?")
"""Addresses that are pages beside the page."""

_WORDS: Final = {401: "page_token", 405: "method", 408: "malformed", 413: "malformed", 415: "malformed", 421: "host"}


class HttpError(Exception):
    """A request that gets no page: what is wrong, where, and what to do.

    Args:
        status: of HTTP.
        what: one sentence.
        where: file, table or host; empty when the place is plain.
        hint: the next step.
        word: under which it is counted; empty: that of the status.
    """

    def __init__(self, status: int, what: str, *, where: str = "", hint: str = "", word: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.where = where
        self.hint = hint
        self.word = word


def front(access: Access, send_s: float, refused: Callable[[str], None]) -> Middleware:
    """Return the middleware.

    Args:
        access: who is let in.
        send_s: how long a reader may take to receive an answer before the connection is cut.
        refused: called with a word for every ruling that is refused, whoever sent it.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check(request, access)
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(request, _known(request, error), refused)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except (HttpError, TruthloopError, NotOfferedError) as error:
            response = _refusal(request, _trouble(error), refused)
        except Exception:
            log.exception("the page could not answer %s %s", request.method, request.path)
            ours = HttpError(
                500, "Truthloop itself failed to answer this", hint="Its log says where; please report it."
            )
            response = _refusal(request, ours, refused)
        response.headers.update(SECURITY_HEADERS)
        response.headers["Server"] = "truthloop"
        await _send(request, response, send_s)
        return response

    return guarded


def _check(request: web.Request, access: Access) -> None:
    """Refuse a request for another host, or without the token."""
    if not access.knows_host(request.headers.get("Host")):
        raise HttpError(
            421, "this page is not known under that host name", hint="Ask for localhost, or add the name to http.hosts."
        )
    if request.path not in OPEN and not access.admits(request.headers.get("Authorization")):
        raise HttpError(
            401, "this page needs its token", hint="Send it as Authorization: Bearer, or as the password in a browser."
        )


def _known(request: web.Request, error: web.HTTPException) -> HttpError:
    if error.status == HTTPStatus.METHOD_NOT_ALLOWED and _BACKFILL.fullmatch(request.path) is not None:
        return HttpError(error.status, "only sending the form on the page of a backfill rules about it")
    return HttpError(error.status, HTTPStatus(error.status).phrase.lower())


def _trouble(error: HttpError | TruthloopError | NotOfferedError) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, TruthloopError):
        return HttpError(503, error.what, where=error.where, hint=error.hint)
    return HttpError(400, str(error))


def _refusal(request: web.Request, trouble: HttpError, refused: Callable[[str], None]) -> web.Response:
    """Return HTML where a person asked for a page, JSON elsewhere."""
    spot = Spot()
    if (found := _BACKFILL.fullmatch(request.path)) is not None:
        is_ruling = found["rule"] is not None
        spot = _spot(found, trouble.status)
        if is_ruling:
            word = trouble.word or _WORDS.get(trouble.status, "other")
            refused(word)
            log.warning("a ruling on %s was refused (%s): %s", found["id"], word, trouble.what)
    if request.path == "/" or found is not None:
        title = HTTPStatus(trouble.status).phrase
        html = render_error(trouble.what, trouble.where, trouble.hint, title, spot)
        response = web.Response(status=trouble.status, text=html, content_type="text/html", charset="utf-8")
    else:
        document = {"error": trouble.what, "where": trouble.where, "hint": trouble.hint}
        text = json.dumps(document, ensure_ascii=False) + "\n"
        response = web.Response(status=trouble.status, text=text, content_type="application/json", charset="utf-8")
    if trouble.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = CHALLENGE
    if trouble.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "5"
    if trouble.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        response.force_close()
    return response


def _spot(found: re.Match[str], status: int) -> Spot:
    """Return where a page about a backfill stands; one about a ruling says first whether it has changed anything."""
    if found["rule"] is None:
        return Spot("../", found["id"])
    is_certain = status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Spot("../../", f"../{found['id']}", "Nothing was changed" if is_certain else "Not certain")


async def _send(request: web.Request, response: web.StreamResponse, send_s: float) -> None:
    """Send the answer here and not later, so that a reader who does not take it holds no connection."""
    try:
        async with asyncio.timeout(send_s):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        log.warning("a reader did not take %s within %g s", request.path, send_s)
        if request.transport is not None:
            request.transport.abort()
