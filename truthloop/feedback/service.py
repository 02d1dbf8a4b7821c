"""Wires the feedback role: reconciliation, deliveries and the page, as `streams.feedback.role` calls them."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from lake import Claim, Lake
from lake.failure import store_errors_told
from lake.storage.probe import check_store
from retrain.log_entries import EntryOrigin
from schemas.events.evidence import Decision, Evaluation
from streams.feedback.role import Message, Progress
from streams.kafka.topics import Topics
from streams.runtime.health import Health
from truthloop.config.settings import Settings
from truthloop.feedback.deliveries import Deliveries
from truthloop.feedback.endpoints import receiver_of
from truthloop.feedback.metrics import FeedbackMetrics
from truthloop.feedback.metrics_reader import MetricsReader
from truthloop.feedback.page_server import PageServer
from truthloop.feedback.reconcile import Reconciler
from truthloop.feedback.withdrawal_commands import WithdrawalCommands

__all__ = ["FeedbackHandlers"]

log = logging.getLogger("truthloop.feedback")

_NEVER_SENT = {"memory"}
"""What the next evaluation goes on from is of no use to others, and grows with the number of features."""


class FeedbackHandlers:
    """The work of the feedback role for one loop; implements `streams.feedback.role.Handlers`.

    Args:
        metrics: the role's; they outlive an attempt that fails.
        now_ms: the wall clock.
        port: of the page; 0: any free one.
        environ: environment variables with secrets, or names of their files.

    Raises:
        ConfigError: a secret is missing or too short, or requests to the target are not allowed.
        LakeError: there is no lake yet, or its object store lets two writers create the same object.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        metrics: FeedbackMetrics,
        now_ms: Callable[[], int],
        port: int,
        environ: Mapping[str, str],
    ) -> None:
        config = settings.config
        self._settings = settings
        self._port = port
        self._topics = Topics.of(config)
        check_store(settings.lake)
        self._lake = Lake.open(settings.lake)
        self._reconciler = Reconciler(settings, now_ms, health.report_alive)
        self._metrics = metrics
        self._metrics_reader = MetricsReader(settings, self._metrics)
        origins = EntryOrigin.all_of(config)
        receiver = receiver_of(settings, environ)
        self._deliveries: Deliveries | None = None
        if receiver is not None:
            lake = Lake.open(settings.lake)
            self._deliveries = Deliveries(lake, origins, receiver, now_ms, self._metrics.count_attempt)
        self._page = PageServer(settings, health, self._metrics, now_ms, environ)
        self._withdrawals = WithdrawalCommands(Lake.open(settings.lake), self._topics)

    @store_errors_told()
    def advance(self) -> Progress:
        """Reconcile the gate with the lake, and return the messages to publish."""
        result = self._reconciler.run()
        self._metrics_reader.update(self._reconciler)
        messages, claims = self._unpublished(result.evaluations)
        evidence = self._reconciler.evidence
        messages += [] if evidence is None else self._withdrawals.due(evidence.rulings)
        moved = len(result.evaluations) + len(result.decisions)

        def published() -> None:
            self._note_published(claims)
            self._withdrawals.note_sent()

        return Progress(moved, result.behind, messages, published)

    async def deliver(self) -> None:
        """Send the requests that are due."""
        if self._deliveries is not None:
            with store_errors_told():
                entries = await self._deliveries.send_due()
            for entry in entries:
                log.info("retrain %s: %s", entry.decision, entry.reason)

    async def serve(self, *, is_active: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
        """Answer HTTP requests until the returned function is called.

        Raises:
            ConfigError: the port is taken or not allowed.
        """
        self._metrics.set_active(is_active)
        return await self._page.serve(self._port)

    def _unpublished(self, evaluations: Sequence[Evaluation]) -> tuple[list[Message], list[tuple[str, int, int]]]:
        """Return messages of new evaluations and unpublished log entries, and the claims that mark these as published.

        Evaluations are sent once, when they are made: the lake has them, and so have the decisions made from them.
        """
        messages = [
            Message(self._topics.evidence, one.kind.encode(), one.model_dump_json(exclude=_NEVER_SENT).encode())
            for one in evaluations
        ]
        claims = []
        for kind in self._settings.config.labels:
            app = f"published:{kind}"
            first = self._lake.applied("decisions", app)
            entries = self._reconciler.entries_from(kind, first)
            if entries:
                messages += [self._message(entry) for entry in entries]
                claims.append((app, first, entries[-1].number + 1))
        return messages, claims

    def _message(self, entry: Decision) -> Message:
        return Message(self._topics.decisions, entry.kind.encode(), entry.model_dump_json(exclude=_NEVER_SENT).encode())

    def _note_published(self, claims: Sequence[tuple[str, int, int]]) -> None:
        """Store in the lake how far each log was published: at least once."""
        for app, first, following in claims:
            if not self._reconciler.note_published(Claim(app, first, following)):
                log.info("another worker has published these entries")
