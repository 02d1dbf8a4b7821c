"""The Faust application of the feedback role: reads commit notices, elects the active worker, and publishes messages.

Faust reads only topics that are written without transactions.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import faust

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.feedback.faust_security import broker_urls, credentials, group_timeouts
from streams.kafka.client import kafka_secrets
from streams.kafka.topics import Topics
from streams.runtime.folder import make_state_folder

__all__ = ["FaustApp"]

log = logging.getLogger("truthloop.feedback")

CANARY_BEYOND_SESSION_S = 15.0
"""How long after a session's timeout the canary may come: a group that has just lost a member waits for the end of that
member's session before it assigns any partition."""

_WAIT_S = 0.5
_STOP_TIMEOUT_S = 15.0
_RAW: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw", "value_type": bytes}


class FaustApp:
    """One worker's Faust application.

    Args:
        folder: for Faust's files; it is created.
        environ: holds the secrets, or the paths of files with the secrets.

    Raises:
        BrokerError: the config has no `kafka` section.
        ConfigError: the connection is secured in a way that Faust's client does not support.
    """

    def __init__(self, config: LoopConfig, folder: Path, environ: Mapping[str, str]) -> None:
        make_state_folder(folder)
        if config.kafka is None:
            raise BrokerError("has no `kafka` section", where="config")
        topics = Topics.of(config)
        timeouts: dict[str, Any] = {**group_timeouts(config.kafka)}
        self._app = faust.App(
            topics.group("feedback"),
            broker=broker_urls(config.kafka),
            broker_credentials=credentials(config.kafka, kafka_secrets(environ)),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,  # `truthloop start` creates every topic with its partitions
            topic_disable_leader=False,
            topic_partitions=topics.partitions,
            consumer_auto_offset_reset="latest",  # notices are hints: the lake has what a missed one announced
            producer_acks=-1,
            producer_compression_type="lz4",
            datadir=str(folder),
            store="memory://",
            **timeouts,
        )
        self._notice = asyncio.Event()
        self._canary = asyncio.Event()
        self._token = uuid.uuid4().hex.encode()
        self._commits_name = topics.commits
        self._commits = self._app.topic(topics.commits, **_RAW)
        self._app.agent(self._commits, name="notices")(self._read_notices)

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
        with suppress(Exception):  # the role ends anyway: an unreachable broker only delays that
            await asyncio.wait_for(self._app.stop(), _STOP_TIMEOUT_S)

    def check_running(self) -> None:
        """Raise an error if Faust's own tasks have ended: Faust itself stays silent about that.

        Raises:
            BrokerError: with the reason that Faust gives.
        """
        if self._app.should_stop:
            raise BrokerError(
                f"Faust has stopped: {self._app.crash_reason or 'no reason was given'}",
                hint="The role ends and is to be started again.",
            )

    def is_active(self) -> bool:
        """Tell whether this worker is the active one."""
        return bool(self._app.consumer is not None and self._app.is_leader())

    async def wait_for_canary(self, should_stop: Callable[[], bool]) -> None:
        """Send a message to a partition of this worker, and return once it is read: a proof that Faust reads.

        A worker without partitions is on standby and sends no canary.

        Raises:
            BrokerError: the message was not read in time.
        """
        deadline_s = time.monotonic() + self._app.conf.broker_session_timeout + CANARY_BEYOND_SESSION_S
        sent = False
        while not self._canary.is_set() and not should_stop():
            self.check_running()
            mine = [tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._commits_name]
            if mine and not sent:
                await self._commits.send(value=b'{"canary":"' + self._token + b'"}', partition=min(mine))
                sent = True
            if time.monotonic() > deadline_s:
                if not mine:
                    log.info("more workers than partitions: this one is on standby")
                    return
                raise BrokerError(
                    f"Faust was given partitions of {self._commits_name} and reads nothing from them",
                    where=f"topic {self._commits_name}",
                    hint="The role ends and is to be started again. If that does not help, see that the topic has the "
                    "loop's number of partitions and that the group may read it.",
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._canary.wait(), _WAIT_S)

    async def wait_for_notice(self, timeout_s: float, should_stop: Callable[[], bool]) -> None:
        """Return when a notice comes, at the timeout, or when `should_stop` is true."""
        deadline_s = time.monotonic() + timeout_s
        while not should_stop() and time.monotonic() < deadline_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._notice.wait(), _WAIT_S)
                break
        self._notice.clear()

    async def rest(self, duration_s: float, should_stop: Callable[[], bool]) -> None:
        """Return after a time, or when `should_stop` is true; notices that come meanwhile are kept."""
        never = asyncio.Event()
        deadline_s = time.monotonic() + duration_s
        while not should_stop() and (left_s := deadline_s - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), min(left_s, _WAIT_S))

    async def publish(self, topic: str, key: bytes | None, value: bytes, partition: int | None = None) -> None:
        """Send a message to a partition (None: that of the key), and return once the cluster has it.

        Raises:
            BrokerError: it was not sent.
        """
        try:
            await (await self._app.topic(topic, **_RAW).send(key=key, value=value, partition=partition))
        except Exception as error:
            raise BrokerError(
                f"a message was not published: {error}", where=f"topic {topic}", hint="It is published again."
            ) from error

    async def _read_notices(self, stream: Any) -> None:  # noqa: ANN401 - Faust's stream has no useful type
        async for value in stream:
            if self._token in value:
                self._canary.set()
            self._notice.set()
