"""Serves the page of a loop: everything that its HTTP application calls, and the server itself."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from lake import Lake
from retrain.log_entries import EntryOrigin
from schemas.errors import ConfigError
from streams.runtime.health import Health
from truthloop.config.settings import Settings
from truthloop.feedback.backfill_forms import BackfillForms
from truthloop.feedback.callbacks import CallbackHandler
from truthloop.feedback.endpoints import access_of, receiver_of
from truthloop.feedback.metrics import FeedbackMetrics
from truthloop.page.gather import Gatherer
from truthloop.page.web.app import PageSources, make_app
from truthloop.page.web.server import PageRunner

__all__ = ["PageServer"]

log = logging.getLogger("truthloop.page")


class PageServer:
    """The page of one loop.

    Args:
        health: answers the probes.
        metrics: counts refused callbacks and rulings.
        now_ms: the wall clock.
        environ: environment variables with secrets, or names of their files.
        is_read_only: people rule about nothing here, and no callback is taken.

    Raises:
        ConfigError: the page would be open to other machines without a token, or a secret is missing or too short.
        LakeError: there is no lake yet.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        metrics: FeedbackMetrics,
        now_ms: Callable[[], int],
        environ: Mapping[str, str],
        *,
        is_read_only: bool = False,
    ) -> None:
        self._http = settings.config.http
        self._access = access_of(settings, environ)
        self._gatherer = Gatherer(settings, now_ms)
        receiver = None if is_read_only else receiver_of(settings, environ)
        secret = None if receiver is None else receiver.secret
        origins = EntryOrigin.all_of(settings.config)
        callbacks = CallbackHandler(Lake.open(settings.lake), origins, secret, now_ms, metrics.count_refused_callback)
        self._sources = PageSources(
            choices=self._gatherer.choices,
            view=self._gatherer.view,
            progress=self._gatherer.progress,
            probe=health.answer,
            callback=_refuse_callback if is_read_only else callbacks.handle,
            backfills=BackfillForms(
                settings, self._access, secret, now_ms, metrics.count_refused_ruling, is_read_only=is_read_only
            ),
        )

    async def serve(self, port: int) -> Callable[[], Awaitable[None]]:
        """Answer HTTP requests until the returned function is called.

        Args:
            port: 0: any free one.

        Raises:
            ConfigError: the port is taken or not allowed.
        """
        runner = PageRunner(make_app(self._sources, self._access))
        await runner.setup()
        try:
            await web.TCPSite(runner, self._http.bind, port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"cannot listen: {error.strerror}",
                where=f"{self._http.bind}:{port}",
                hint="Another process uses the port; choose another with http.port.",
            ) from None
        log.info("the page is at http://%s:%d/", self._http.bind, runner.addresses[0][1])
        return runner.cleanup


def _refuse_callback(_body: bytes, _headers: Mapping[str, str]) -> tuple[int, object]:
    return 404, {"status": "refused", "reason": "this page is read-only"}
