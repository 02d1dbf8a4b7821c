"""The deciding role, on Faust: it is woken by commit notices, and one of its workers at a time decides.

Laws: Faust reads only topics that are written without transactions, a notice is a hint (the lake is the truth), and
nothing blocks the event loop: all work on the lake runs in an executor. What is to be done is handed in, as `Handlers`;
this module must not know evidence or decisions.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import faust

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError, TruthloopError
from streams.feedback.faust_security import broker_urls, credentials, group_timeouts
from streams.kafka.client import KafkaClients, kafka_secrets
from streams.kafka.topics import Topics, check_topics, partition_counts
from streams.runtime.backoff import Backoff
from streams.runtime.worker import Worker

__all__ = ["FeedbackRole", "Handlers", "Message", "Progress"]

log = logging.getLogger("truthloop.feedback")

INTERVAL_S = 5.0
"""The lake is looked at this often when no notice comes."""

REST_MAX_S = 10.0
"""After a look the role rests for half as long as it took, up to this: it never takes a whole core for long."""

DELIVERY_INTERVAL_S = 0.5

CANARY_BEYOND_SESSION_S = 15.0
"""A group that has just lost a member waits for its session to end before anybody is given anything."""

_WAIT_S = 0.2


@dataclass(frozen=True)
class Message:
    """A record for one of the loop's topics.

    Attributes:
        topic: its full name.
        key: of the record.
        value: JSON.
    """

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Progress:
    """What one look at the lake has brought.

    Attributes:
        moved: steps that were folded.
        behind: steps that are still to be folded.
        messages: to be published; `published` is called when they are.
        published: remembers that they were.
    """

    moved: int
    behind: int
    messages: Sequence[Message] = ()
    published: Callable[[], None] = field(default=lambda: None)


class Handlers(Protocol):
    """What the role does; made by the wiring."""

    def advance(self) -> Progress:
        """Take in what the lake has gained, and decide. Called in a thread, by the active worker only."""

    async def deliver(self) -> None:
        """Send what is due. Called by the active worker only."""

    async def serve(self, *, is_active: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
        """Start to answer HTTP requests; return what ends it."""


class FeedbackRole:
    """One worker of the deciding role.

    Args:
        clients: of the cluster.
        config: the loop's.
        worker: who it is.
        handlers: what it does.
        environ: where secrets are.
    """

    def __init__(
        self, clients: KafkaClients, config: LoopConfig, worker: Worker, handlers: Handlers, environ: Mapping[str, str]
    ) -> None:
        self._clients = clients
        self._config = config
        self._worker = worker
        self._handlers = handlers
        self._environ = environ
        self._topics = Topics.of(config)
        self._trouble = Backoff(worker.health)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until told to stop.

        Raises:
            BrokerError: the topics are not what the loop needs, or Faust reads nothing.
        """
        check_topics(partition_counts(self._clients, self._topics.all), self._topics)
        asyncio.run(self._run(should_stop))

    async def _run(self, should_stop: Callable[[], bool]) -> None:
        shell = _Shell(self._app(), self._topics)
        end_serving = await self._handlers.serve(is_active=shell.is_active)
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feedback")
        try:
            await shell.start()
            self._worker.health.ready("it waits for its first message")
            await shell.prove(should_stop)
            self._worker.health.ready()
            deliveries = asyncio.create_task(self._deliver(shell, should_stop))
            rest_s = 0.0
            while not should_stop() and not deliveries.done():
                shell.check()
                await shell.woken(INTERVAL_S, should_stop)
                await shell.rest(rest_s, should_stop)
                if should_stop():
                    break
                started_s = time.monotonic()
                if shell.is_active() and not self._trouble.must_wait:
                    await self._advance(shell, pool)
                elif not shell.is_active():
                    self._trouble.tell(0, 0)
                rest_s = min((time.monotonic() - started_s) / 2, REST_MAX_S)
            if deliveries.done() and not deliveries.cancelled():
                deliveries.result()
            deliveries.cancel()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            await shell.stop()
            await end_serving()

    async def _advance(self, shell: "_Shell", pool: ThreadPoolExecutor) -> None:
        """Look at the lake once, and publish what came of it."""
        loop = asyncio.get_running_loop()
        try:
            with self._worker.health.seconds.labels("feedback").time():
                progress = await loop.run_in_executor(pool, self._handlers.advance)
            if progress.messages:
                await shell.publish(progress.messages)
                await loop.run_in_executor(pool, progress.published)
        except TruthloopError as error:
            self._trouble.begin("advance", error)
            self._trouble.tell(0, 1)
            return
        self._trouble.end("advance")
        self._worker.health.records.labels("feedback", "steps").inc(progress.moved)
        self._trouble.tell(progress.moved, progress.behind)

    async def _deliver(self, shell: "_Shell", should_stop: Callable[[], bool]) -> None:
        while not should_stop():
            if shell.is_active():
                try:
                    await self._handlers.deliver()
                except TruthloopError as error:
                    log.error("deliveries wait: %s", error)  # noqa: TRY400 - it is told in full
            await asyncio.sleep(DELIVERY_INTERVAL_S)

    def _app(self) -> faust.App:
        folder = self._worker.state / f"faust-{self._worker.slot}"
        folder.mkdir(parents=True, exist_ok=True)
        if self._config.kafka is None:
            raise BrokerError("has no `kafka` section", where="config")
        timeouts: dict[str, Any] = {**group_timeouts(self._config.kafka)}
        return faust.App(
            self._topics.group("feedback"),
            broker=broker_urls(self._config.kafka),
            broker_credentials=credentials(self._config.kafka, kafka_secrets(self._environ)),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,  # every topic is made with its partitions by `truthloop start`
            topic_disable_leader=False,
            topic_partitions=self._topics.partitions,
            consumer_auto_offset_reset="latest",  # notices are hints: what was missed stands in the lake
            producer_acks=-1,
            producer_compression_type="lz4",
            datadir=str(folder),
            store="memory://",
            **timeouts,
        )


class _Shell:
    """Faust's side: reads notices, proves that it reads, publishes, and knows whether this worker is the active one."""

    def __init__(self, app: faust.App, topics: Topics) -> None:
        self._app = app
        self._notice = asyncio.Event()
        self._canary = asyncio.Event()
        self._token = uuid.uuid4().hex.encode()
        raw: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw", "value_type": bytes}
        self._commits = app.topic(topics.commits, **raw)
        self._raw = raw
        self._commits_name = topics.commits
        app.agent(self._commits, name="notices")(self._read)

    async def _read(self, stream: Any) -> None:  # noqa: ANN401 - Faust's stream has no type of use
        """Be woken by notices."""
        async for value in stream:
            if self._token in value:
                self._canary.set()
            self._notice.set()

    async def start(self) -> None:
        """Join the group.

        Raises:
            BrokerError: Faust cannot start.
        """
        try:
            await self._app.start()
        except Exception as error:
            raise BrokerError(f"Faust does not start: {error}", hint="See that the cluster answers.") from error

    async def stop(self) -> None:
        """Leave the group."""
        with suppress(Exception):  # it is over; a broker that is away must not hold up the end
            await asyncio.wait_for(self._app.stop(), 15.0)

    def check(self) -> None:
        """Raise what has ended Faust's own work: it dies in silence otherwise.

        Raises:
            BrokerError: with what Faust gave as the reason.
        """
        if self._app.should_stop:
            raise BrokerError(
                f"Faust has stopped: {self._app.crash_reason or 'no reason was given'}",
                hint="The role ends and is to be started again.",
            )

    def is_active(self) -> bool:
        """Tell whether this is the worker that decides."""
        return bool(self._app.consumer is not None and self._app.is_leader())

    async def prove(self, should_stop: Callable[[], bool]) -> None:
        """Return once a message that was sent to a partition of this worker has come through.

        A worker without partitions stands by, and proves nothing until it is given one.

        Raises:
            BrokerError: nothing came through.
        """
        deadline_s = time.monotonic() + self._app.conf.broker_session_timeout + CANARY_BEYOND_SESSION_S
        sent = False
        while not self._canary.is_set() and not should_stop():
            self.check()
            mine = [tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._commits_name]
            if mine and not sent:
                await self._commits.send(value=b'{"canary":"' + self._token + b'"}', partition=min(mine))
                sent = True
            if time.monotonic() > deadline_s:
                if not mine:
                    log.info("more workers than partitions: this one stands by")
                    return
                raise BrokerError(
                    f"Faust was given partitions of {self._commits_name} and reads nothing from them",
                    where=f"topic {self._commits_name}",
                    hint="The role ends and is to be started again. If that does not help, see that the topic has the "
                    "loop's number of partitions and that the group may read it.",
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._canary.wait(), _WAIT_S)

    async def woken(self, timeout_s: float, should_stop: Callable[[], bool]) -> None:
        """Return when a notice comes, when the time is over, or when told to stop."""
        deadline_s = time.monotonic() + timeout_s
        while not should_stop() and time.monotonic() < deadline_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._notice.wait(), _WAIT_S)
                break
        self._notice.clear()

    async def rest(self, duration_s: float, should_stop: Callable[[], bool]) -> None:
        """Return when the time is over, or when told to stop; notices that come meanwhile are not lost."""
        never = asyncio.Event()
        deadline_s = time.monotonic() + duration_s
        while not should_stop() and (left_s := deadline_s - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), min(left_s, _WAIT_S))

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return once all messages are with the cluster.

        Raises:
            BrokerError: one was not taken.
        """
        try:
            for message in messages:
                topic = self._app.topic(message.topic, **self._raw)
                await (await topic.send(key=message.key, value=message.value))
        except Exception as error:
            raise BrokerError(f"a decision was not published: {error}", hint="It is published again.") from error
