"""The HTTP server of the page: what is no request gets an answer like any other, and nothing of it reaches the log."""

import logging
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from truthloop.page.web.access import SECURITY_HEADERS

__all__ = ["PageRunner"]

log = logging.getLogger("truthloop.page")

_CLIENT_ERRORS: Final = range(400, 500)


class PageRunner(web.AppRunner):
    """Runs the application of `truthloop.page.web.app`."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, access_log=None)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _PageServer(made.request_handler, request_factory=made.request_factory, **made._kwargs)  # noqa: SLF001 - no public way


class _PageServer(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    """One connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Return the answer to bytes that are no request, or to a request that the application did not answer."""
        kind = type(exc).__name__
        if isinstance(exc, ConnectionError):
            log.info("a client has hung up (%s)", kind)
        elif status in _CLIENT_ERRORS:
            log.info("a client sent what is no request (%s)", kind)
        else:
            log.error("a request was not answered (%s)", kind)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent already")
        reason = "this is no request that can be read" if status in _CLIENT_ERRORS else "no response could be made"
        response = web.Response(status=status, text=f"{reason}\n", content_type="text/plain", charset="utf-8")
        response.headers.update(SECURITY_HEADERS)
        response.headers["Server"] = "truthloop"
        response.force_close()
        return response
