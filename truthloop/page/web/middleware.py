"""Middleware of all requests: checks host and token, adds security headers, turns errors into pages or JSON."""

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
from streams.runtime.health import PROBE_PATHS
from truthloop.page.markup.page import ErrorPage, render_error
from truthloop.page.panels.selection import InvalidChoiceError
from truthloop.page.web.access import CHALLENGE, SECURITY_HEADERS, Access

__all__ = ["HttpError", "make_middleware"]

log = logging.getLogger("truthloop.page")

_WITHOUT_TOKEN: Final = (*PROBE_PATHS, "/v1/callback")
"""For probes and scrapers, which have no token and see no data; and for pipelines, whose callbacks are signed."""

_BACKFILL: Final = re.compile(r"/backfill/(?P<id>bf-[0-9a-f]{32})(?P<rule>/rule)?")
"""Paths of the pages of backfills, which get HTML errors."""

_REASONS: Final = {401: "page_token", 405: "method", 408: "malformed", 413: "malformed", 415: "malformed", 421: "host"}


class HttpError(Exception):
    """An error response.

    Args:
        status: of HTTP.
        what: one sentence.
        where: file, table or host; empty if obvious.
        hint: the next step.
        reason: under which a rejected ruling is counted; empty: the usual one of the status.
    """

    def __init__(self, status: int, what: str, *, where: str = "", hint: str = "", reason: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.where = where
        self.hint = hint
        self.reason = reason


def make_middleware(access: Access, send_s: float, count_refusal: Callable[[str], None]) -> Middleware:
    """Return the middleware.

    Args:
        send_s: how long a client may take to receive a response before the connection is cut.
        count_refusal: called with a reason for every ruling that is rejected, whoever sent it.
    """

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check(request, access)
            response = await handler(request)
        except web.HTTPException as error:
            response = _error_response(request, _from_aiohttp(request, error), count_refusal)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except (HttpError, TruthloopError, InvalidChoiceError) as error:
            response = _error_response(request, _as_http_error(error), count_refusal)
        except Exception:
            log.exception("the page could not answer %s %s", request.method, request.path)
            internal = HttpError(500, "Truthloop failed to answer this request", hint="See its log; please report it.")
            response = _error_response(request, internal, count_refusal)
        response.headers.update(SECURITY_HEADERS)
        response.headers["Server"] = "truthloop"
        await _send(request, response, send_s)
        return response

    return handle


def _check(request: web.Request, access: Access) -> None:
    """Reject a request for another host, or without the token."""
    if not access.is_own_host(request.headers.get("Host")):
        raise HttpError(421, "the Host header names another host", hint="Use localhost, or add the name to http.hosts.")
    if request.path not in _WITHOUT_TOKEN and not access.admits(request.headers.get("Authorization")):
        raise HttpError(
            401, "this page needs its token", hint="Send it as Authorization: Bearer, or as the password in a browser."
        )


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> HttpError:
    if error.status == HTTPStatus.METHOD_NOT_ALLOWED and _BACKFILL.fullmatch(request.path) is not None:
        return HttpError(error.status, "a backfill is ruled about only by sending the form on its page")
    return HttpError(error.status, HTTPStatus(error.status).phrase.lower())


def _as_http_error(error: HttpError | TruthloopError | InvalidChoiceError) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, TruthloopError):
        return HttpError(503, error.what, where=error.where, hint=error.hint)
    return HttpError(400, str(error))


def _error_response(request: web.Request, error: HttpError, count_refusal: Callable[[str], None]) -> web.Response:
    """Return an error as HTML for the paths of pages, as JSON for all others."""
    page = ErrorPage()
    if (found := _BACKFILL.fullmatch(request.path)) is not None:
        page = _backfill_error_page(found, error.status)
        if found["rule"] is not None:
            reason = error.reason or _REASONS.get(error.status, "other")
            count_refusal(reason)
            log.warning("a ruling on %s was refused (%s): %s", found["id"], reason, error.what)
    if request.path == "/" or found is not None:
        title = HTTPStatus(error.status).phrase
        html = render_error(error.what, error.where, error.hint, title, page)
        response = web.Response(status=error.status, text=html, content_type="text/html", charset="utf-8")
    else:
        document = {"error": error.what, "where": error.where, "hint": error.hint}
        text = json.dumps(document, ensure_ascii=False) + "\n"
        response = web.Response(status=error.status, text=text, content_type="application/json", charset="utf-8")
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = CHALLENGE
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "5"
    if error.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        response.force_close()
    return response


def _backfill_error_page(found: re.Match[str], status: int) -> ErrorPage:
    """Return links and heading of an error; that of a ruling says whether anything was changed."""
    if found["rule"] is None:
        return ErrorPage("../", found["id"])
    is_certain = status < HTTPStatus.INTERNAL_SERVER_ERROR
    return ErrorPage("../../", f"../{found['id']}", "Nothing was changed" if is_certain else "Not certain")


async def _send(request: web.Request, response: web.StreamResponse, send_s: float) -> None:
    """Send the response with a time limit, so that a client that does not receive it holds no connection."""
    try:
        async with asyncio.timeout(send_s):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        log.warning("a client did not receive %s within %g s", request.path, send_s)
        if request.transport is not None:
            request.transport.abort()
