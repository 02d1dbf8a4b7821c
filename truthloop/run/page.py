"""Serves a loop's page from its lake alone: for loops of files, which run no roles."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final

from streams.runtime.health import Health
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.feedback.metrics import FeedbackMetrics
from truthloop.feedback.page_server import PageServer
from truthloop.run.logs import log_to_stderr
from truthloop.run.roles import stop_signal

__all__ = ["serve_page"]

log = logging.getLogger("truthloop")

ROLE: Final = "page"
"""Its name in the log and in answers to probes."""

_STOP_CHECK_S: Final = 0.2


def serve_page(settings: Settings, port: int, *, is_read_only: bool) -> None:
    """Serve the page until SIGTERM or SIGINT.

    Args:
        port: 0: any free one.
        is_read_only: nothing is ruled about, and no callback is taken.

    Raises:
        ConfigError: the port is taken or needs a token, or a secret is missing.
        LakeError: there is no lake yet.
    """
    log_to_stderr(ROLE, settings.config.loop)
    health = Health(ROLE)
    metrics = FeedbackMetrics(health.registry)
    page = PageServer(settings, health, metrics, now_ms, os.environ, is_read_only=is_read_only)
    with stop_signal() as should_stop:
        asyncio.run(_serve(page, port, health, should_stop))
    log.info("stopped")


async def _serve(page: PageServer, port: int, health: Health, should_stop: Callable[[], bool]) -> None:
    end_serving = await page.serve(port)
    health.set_readiness()
    try:
        while not should_stop():
            health.report_alive()
            await asyncio.sleep(_STOP_CHECK_S)
    finally:
        await end_serving()
