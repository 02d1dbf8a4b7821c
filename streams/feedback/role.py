"""The feedback worker: commit notices wake it, and one worker at a time is active and decides.

A notice is only a hint; what there is to do is read from the lake, in a thread, so that the event loop never blocks.
The work itself is passed in as `Handlers`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from schemas.config.loop import LoopConfig
from schemas.errors import TruthloopError
from streams.feedback.faust_app import FaustApp
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, check_topics, partition_counts
from streams.runtime.backoff import Backoff
from streams.runtime.worker import Worker

__all__ = ["FeedbackRole", "Handlers", "Message", "Progress"]

log = logging.getLogger("truthloop.feedback")

INTERVAL_S = 5.0
"""Between two reconciliations when no notice comes."""

REST_MAX_S = 10.0
"""After a reconciliation that found nothing to log the role rests for half of its duration, up to this: it uses a whole
core only to catch up."""

DELIVERY_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Message:
    """A message for one of the loop's topics.

    Attributes:
        topic: its full name.
        value: JSON.
        partition: None: that of the key.
    """

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None


@dataclass(frozen=True)
class Progress:
    """Result of one reconciliation.

    Attributes:
        moved: number of evaluations and decisions that were made.
        behind: number of days that have ended and are still to be evaluated.
        messages: to be published.
        published: called once they are published, to remember that.
    """

    moved: int
    behind: int
    messages: Sequence[Message] = ()
    published: Callable[[], None] = field(default=lambda: None)


class Handlers(Protocol):
    """The work of the role; `truthloop.feedback.service` implements it."""

    def advance(self) -> Progress:
        """Reconcile with the lake: take in its new steps and decide. Called in a thread, by the active worker only."""

    async def deliver(self) -> None:
        """Send the deliveries that are due. Called by the active worker only."""

    async def serve(self, *, is_active: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
        """Start the HTTP server; return a function that stops it."""


class FeedbackRole:
    """One worker of the feedback role.

    Args:
        environ: holds the secrets, or the paths of files with the secrets.
    """

    def __init__(
        self, clients: KafkaClients, config: LoopConfig, worker: Worker, handlers: Handlers, environ: Mapping[str, str]
    ) -> None:
        self._clients = clients
        self._config = config
        self._worker = worker
        self._handlers = handlers
        self._environ = environ
        self._backoff = Backoff(worker.health)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop` is true.

        Raises:
            BrokerError: a topic is missing or unfit, or Faust reads nothing.
        """
        asyncio.run(self._run(should_stop))

    async def _run(self, should_stop: Callable[[], bool]) -> None:
        """Serve the page, which needs the lake alone, and work while the cluster is there."""
        app = FaustApp(self._config, self._worker.state / f"faust-{self._worker.slot}", self._environ)
        end_serving = await self._handlers.serve(is_active=app.is_active)
        try:
            if await asyncio.to_thread(self._is_cluster_fit, should_stop):
                await self._work(app, should_stop)
        finally:
            await end_serving()

    def _is_cluster_fit(self, should_stop: Callable[[], bool]) -> bool:
        """Wait for the cluster and check the loop's topics; false if `should_stop` is true before."""
        if not self._worker.wait_for_cluster(should_stop):
            return False
        topics = Topics.of(self._config)
        check_topics(partition_counts(self._clients, topics.all), topics)
        return True

    async def _work(self, app: FaustApp, should_stop: Callable[[], bool]) -> None:
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feedback")
        try:
            await app.start()
            self._worker.health.set_readiness("it waits for its first message")
            await app.wait_for_canary(should_stop)
            self._worker.health.set_readiness()
            deliveries = asyncio.create_task(self._deliver(app, should_stop))
            rest_s, is_catching_up = 0.0, False
            while not should_stop() and not deliveries.done():
                app.check_running()
                if not is_catching_up:
                    await app.wait_for_notice(INTERVAL_S, should_stop)
                    await app.rest(rest_s, should_stop)
                if should_stop():
                    break
                started_s, moved, behind = time.monotonic(), 0, 0
                if app.is_active() and not self._backoff.must_wait:
                    moved, behind = await self._advance(app, pool)
                elif not app.is_active():
                    self._backoff.report_progress(0, 0)
                is_catching_up = moved > 0 and behind > 0
                rest_s = 0.0 if moved else min((time.monotonic() - started_s) / 2, REST_MAX_S)
            if deliveries.done() and not deliveries.cancelled():
                deliveries.result()
            deliveries.cancel()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            await app.stop()

    async def _advance(self, app: FaustApp, pool: ThreadPoolExecutor) -> tuple[int, int]:
        """Reconcile once, publish the result, and return how far it has moved and how far it is behind."""
        loop = asyncio.get_running_loop()
        try:
            with self._worker.health.seconds.labels("feedback").time():
                progress = await loop.run_in_executor(pool, self._handlers.advance)
            if progress.messages:
                for message in progress.messages:
                    await app.publish(message.topic, message.key, message.value, message.partition)
                await loop.run_in_executor(pool, progress.published)
        except TruthloopError as error:
            self._backoff.failed("advance", error)
            self._backoff.report_progress(0, 1)
            return 0, 1
        self._backoff.succeeded("advance")
        self._worker.health.records.labels("feedback", "steps").inc(progress.moved)
        self._backoff.report_progress(progress.moved, progress.behind)
        return progress.moved, progress.behind

    async def _deliver(self, app: FaustApp, should_stop: Callable[[], bool]) -> None:
        while not should_stop():
            if app.is_active():
                try:
                    await self._handlers.deliver()
                except TruthloopError as error:
                    log.error("deliveries wait: %s", error)  # noqa: TRY400 - the message has everything
            await asyncio.sleep(DELIVERY_INTERVAL_S)
