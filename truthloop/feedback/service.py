"""What the deciding role does, as Faust's shell calls it: turns, deliveries, the page. Wiring only."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web
from prometheus_client import generate_latest

from lake import Claim, Lake
from retrain.log_entries import EntryOrigin
from schemas.errors import ConfigError
from schemas.events.evidence import Decision, Evaluation
from streams.feedback.role import Message, Progress
from streams.kafka.topics import Topics
from streams.runtime.health import Health
from truthloop.config.settings import Settings
from truthloop.feedback.backfill_forms import Rulings
from truthloop.feedback.callbacks import Callbacks
from truthloop.feedback.deliveries import Deliveries
from truthloop.feedback.endpoints import access_of, receiver_of
from truthloop.feedback.metrics import Gauges
from truthloop.feedback.metrics_reader import MetricsReader
from truthloop.feedback.reconcile import Reconciler
from truthloop.page.gather import Gatherer
from truthloop.page.web.app import Answers, make_app

__all__ = ["FeedbackHandlers"]

log = logging.getLogger("truthloop.feedback")


class FeedbackHandlers:
    """Does the deciding role's work for one loop.

    Args:
        settings: the loop's.
        health: of the role.
        now_ms: the wall clock.
        port: where the page is served; 0: any.
        environ: where secrets are.

    Raises:
        ConfigError: a secret is missing or too short, or the target can never be asked.
        LakeError: there is no lake yet.
    """

    def __init__(
        self, settings: Settings, health: Health, now_ms: Callable[[], int], port: int, environ: Mapping[str, str]
    ) -> None:
        config = settings.config
        self._settings = settings
        self._health = health
        self._now_ms = now_ms
        self._port = port
        self._topics = Topics.of(config)
        self._access = access_of(settings, environ)
        self._lake = Lake.open(settings.lake)
        self._turn = Reconciler(settings, now_ms)
        self._gauges = Gauges(health.registry)
        self._board = MetricsReader(settings, self._gauges)
        origins = EntryOrigin.all_of(config)
        receiver = receiver_of(settings, environ)
        self._deliveries = (
            None
            if receiver is None
            else Deliveries(Lake.open(settings.lake), origins, receiver, now_ms, self._gauges.attempted)
        )
        secret = None if receiver is None else receiver.secret
        self._callbacks = Callbacks(Lake.open(settings.lake), origins, secret, now_ms, self._gauges.refused)
        self._rulings = Rulings(settings, self._access, secret, now_ms, self._gauges.ruling_refused)
        self._gatherer = Gatherer(settings, now_ms)

    def advance(self) -> Progress:
        """Take in what the lake has gained, decide, and give what is to be published."""
        result = self._turn.run()
        self._board.tell(self._turn)
        messages, claims = self._unpublished(result.evaluations)
        moved = len(result.evaluations) + len(result.decisions)
        return Progress(moved, 0, messages, lambda: self._remember(claims))

    async def deliver(self) -> None:
        """Send what is due."""
        if self._deliveries is not None:
            for entry in await self._deliveries.send_due():
                log.info("retrain %s: %s", entry.decision, entry.reason)

    async def serve(self, *, is_active: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
        """Answer HTTP requests until the returned function is called.

        Raises:
            ConfigError: the port cannot be had.
        """
        self._gauges.active(is_active)
        answers = Answers(
            offer=self._gatherer.offer,
            view=self._gatherer.view,
            stalled=self._health.stalled,
            unready=self._health.unready,
            metrics=lambda: generate_latest(self._health.registry),
            callback=self._callbacks.take,
            backfills=self._rulings,
        )
        runner = web.AppRunner(make_app(answers, self._access), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.config.http.bind, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"cannot listen: {error.strerror}",
                where=f"{self._settings.config.http.bind}:{self._port}",
                hint="Another process has the port; choose others with http.port.",
            ) from None
        log.info("the page is at http://%s:%d/", self._settings.config.http.bind, self._port)
        return runner.cleanup

    def _unpublished(self, evaluations: Sequence[Evaluation]) -> tuple[list[Message], list[tuple[str, int, int]]]:
        """Return the log's entries that are not on their topic yet, and what is to be remembered once they are.

        Evaluations go out once, as they are made: they stand in the lake, and in the decisions that follow from them.
        """
        messages = [
            Message(self._topics.evidence, one.kind.encode(), one.model_dump_json().encode()) for one in evaluations
        ]
        claims = []
        for kind in self._settings.config.labels:
            app = f"published:{kind}"
            first = self._lake.applied("decisions", app)
            entries = self._turn.entries_from(kind, first)
            if entries:
                messages += [self._told(entry) for entry in entries]
                claims.append((app, first, entries[-1].number + 1))
        return messages, claims

    def _told(self, entry: Decision) -> Message:
        return Message(self._topics.decisions, entry.kind.encode(), entry.model_dump_json().encode())

    def _remember(self, claims: Sequence[tuple[str, int, int]]) -> None:
        """Note in the lake how far the log was published: a message may come twice, and never not at all."""
        for app, first, following in claims:
            if not self._turn.note_published(Claim(app, first, following)):
                log.info("another worker has published up to another place")
