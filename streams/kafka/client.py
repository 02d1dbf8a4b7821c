"""Clients of one loop's Kafka cluster: the config's properties, its secrets, and what exactly-once stands on.

Law: nobody else makes a client, so that no property that a guarantee needs can be forgotten somewhere.
Must not decide what is read or written.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from schemas.config.connection import KAFKA_SECRETS, KafkaConfig
from schemas.errors import BrokerError, ConfigError

__all__ = ["KafkaClients", "broker_error", "ends_membership", "kafka_secrets"]

log = logging.getLogger("truthloop.kafka")

Client = TypeVar("Client", Consumer, Producer, AdminClient)

REACH_TIMEOUT_S = 10.0
"""A cluster that does not answer within this is reported; running roles go on trying by themselves."""

SOCKET_TIMEOUT_MS = 10_000
"""A request without an answer for this long is doubtful; see `streams.kafka.transaction`."""

QUIET_S = 30.0
"""While a broker is down, the same error comes several times a second."""

SESSION_TIMEOUT_MS = 45_000

LEFT_AFTER_S = SESSION_TIMEOUT_MS / 1000 + 5
"""A worker that was stopped keeps its partitions until its session has ended: mostly it comes back before."""
TRANSACTION_TIMEOUT_MS = 30_000
"""Less than the session's, so that a dead worker's transaction is gone when its partitions are taken over."""

MESSAGE_BYTES_MAX = 1_000_000
"""What brokers take by default, less the overhead of a batch."""

_DEFAULTS: Mapping[str, Any] = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.max.bytes": MESSAGE_BYTES_MAX,
    "socket.keepalive.enable": True,
    "socket.timeout.ms": SOCKET_TIMEOUT_MS,
    "topic.metadata.refresh.interval.ms": 30_000,
}
_CONSUMER_DEFAULTS: Mapping[str, Any] = {
    "check.crcs": True,
    "fetch.max.bytes": 32_000_000,
    "fetch.wait.max.ms": 50,
    "max.partition.fetch.bytes": 4_000_000,
    "max.poll.interval.ms": 300_000,
    "queued.max.messages.kbytes": 65_536,
    "session.timeout.ms": SESSION_TIMEOUT_MS,
}
_CONSUMER: Mapping[str, Any] = {
    # the only assignment that gives one worker the same partitions of every topic; pinned, because a wish for
    # another protocol would break the join without a word
    "group.protocol": "classic",
    "partition.assignment.strategy": "range",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
}
_PRODUCER_DEFAULTS: Mapping[str, Any] = {
    "queue.buffering.max.kbytes": 262_144,
    "queue.buffering.max.messages": 500_000,
    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
}
_PRODUCER: Mapping[str, Any] = {"partitioner": "murmur2_random", "enable.idempotence": True, "acks": "all"}
_OF_CONSUMERS = frozenset(_CONSUMER_DEFAULTS)
_OF_PRODUCERS = frozenset(_PRODUCER_DEFAULTS) | {"compression.type", "linger.ms", "message.max.bytes"}


_TELLING = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})  # noqa: SLF001 - their public names
"""Why a connection does not come about; that all brokers are down comes behind it and says nothing."""


class KafkaClients:
    """Makes consumers, producers and admin clients of one cluster.

    Args:
        config: the loop's `kafka` section.
        environ: where secrets are, or the names of files that hold them.
        name: of the role, shown to the broker as the client's id.

    Raises:
        ConfigError: a secret's file cannot be read, or a property does not exist.
    """

    def __init__(self, config: KafkaConfig, environ: Mapping[str, str], name: str = "truthloop") -> None:
        self.bootstrap_servers = config.bootstrap_servers
        self.last_error: KafkaError | None = None
        self.disturbances = 0
        self._told_s: dict[int, float] = {}
        self._wishes = {**_DEFAULTS, **config.client}
        self._common: dict[str, Any] = {
            **kafka_secrets(environ),
            "bootstrap.servers": config.bootstrap_servers,
            "client.id": name,
            "error_cb": self._note_error,
            "log_level": 0,  # librdkafka's own lines on stderr say nothing more than its errors
        }

    def member(self, group: str, *, instance: str | None = None) -> Consumer:
        """Return a consumer that takes part in a group; `instance` makes its membership static."""
        own: dict[str, Any] = {"group.id": group}
        if instance is not None:
            own["group.instance.id"] = instance
        return self._make(Consumer, self._of_consumer({**_CONSUMER, **own}))

    def reader(self) -> Consumer:
        """Return a consumer for partitions that are assigned by hand; it commits nothing."""
        own = {"group.id": "truthloop-reader", "enable.partition.eof": True}
        return self._make(Consumer, self._of_consumer({**_CONSUMER, **own}))

    def onlooker(self, group: str) -> Consumer:
        """Return a consumer that asks what a group has committed, and takes no part in it.

        It does not wait for open transactions: what they will commit is not committed.
        """
        own = {"group.id": group, "isolation.level": "read_uncommitted"}
        return self._make(Consumer, self._of_consumer({**_CONSUMER, **own}))

    def producer(self) -> Producer:
        """Return an idempotent producer without transactions."""
        return self._make(Producer, self._of_producer(_PRODUCER))

    def transactional_producer(self, transactional_id: str) -> Producer:
        """Return a producer whose `init_transactions` is still to be called."""
        return self._make(Producer, self._of_producer({**_PRODUCER, "transactional.id": transactional_id}))

    def admin(self) -> AdminClient:
        """Return an admin client."""
        return self._make(AdminClient, _without(self._wishes, _OF_CONSUMERS | _OF_PRODUCERS))

    def _of_consumer(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return {**_CONSUMER_DEFAULTS, **_without(self._wishes, _OF_PRODUCERS), **own}

    def _of_producer(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return {**_PRODUCER_DEFAULTS, **_without(self._wishes, _OF_CONSUMERS), **own}

    def reach(self, timeout_s: float = REACH_TIMEOUT_S) -> None:
        """Return once the cluster has answered.

        Raises:
            BrokerError: it does not; says what was the last thing heard of it.
        """
        admin = self.admin()
        try:
            admin.list_topics(timeout=timeout_s)
        except KafkaException as error:
            admin.poll(0)  # hands over what librdkafka has to say
            raise broker_error("cannot be reached", error, self) from None

    def _make(self, kind: Callable[[dict[str, Any]], Client], own: Mapping[str, Any]) -> Client:
        try:
            return kind({**own, **self._common})
        except KafkaException as error:
            raise ConfigError(
                f"librdkafka refuses a property: {error.args[0].str()}",
                where="kafka.client",
                hint="Its properties are listed in librdkafka's CONFIGURATION.md.",
            ) from None

    def _note_error(self, error: KafkaError) -> None:
        """Remember what librdkafka says went wrong; it goes on trying by itself."""
        now_s = monotonic()
        if now_s - self._told_s.get(error.code(), -QUIET_S) >= QUIET_S:
            log.warning("kafka: %s", error.str())
            self._told_s[error.code()] = now_s
        if self.last_error is None or self.last_error.code() not in _TELLING or error.code() in _TELLING:
            self.last_error = error
        self.disturbances += 1


def ends_membership(error: KafkaError) -> bool:
    """Tell whether a member of a group can go on no more; by far the most often another one has its name."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL  # noqa: SLF001 - its public name


def broker_error(what: str, error: KafkaException, clients: KafkaClients) -> BrokerError:
    """Return the error that tells a person what went wrong between us and the cluster."""
    fault = error.args[0]
    heard = clients.last_error or fault
    code = heard.code()
    if code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):  # noqa: SLF001 - its public name
        hint = "It refuses who we are: check sasl.username in kafka.client and TRUTHLOOP_KAFKA_SASL_PASSWORD."
    elif code == KafkaError._SSL:  # noqa: SLF001 - the same
        hint = "TLS does not come about: check security.protocol and ssl.ca.location in kafka.client."
    elif code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        hint = "Its access rules refuse it: docs/operations.md lists what each role needs."
    elif code == KafkaError.UNKNOWN_TOPIC_OR_PART:
        hint = "It is missing: see its name in the config. `truthloop start` makes the loop's own topics, no others."
    else:
        hint = "See that it runs and that kafka.bootstrap_servers and security.protocol are right."
    return BrokerError(f"{what}: {heard.str()}", where=f"kafka {clients.bootstrap_servers}", hint=hint)


def _without(properties: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Leave out what the other kind of client would complain about."""
    return {name: value for name, value in properties.items() if name not in names}


def kafka_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's secret properties, from the environment or from the files that it names.

    Raises:
        ConfigError: a file cannot be read.
    """
    found = {}
    for name, variable in KAFKA_SECRETS.items():
        if file := environ.get(f"{variable}_FILE"):
            try:
                found[name] = Path(file).read_text("utf-8").strip("\r\n")
            except OSError as error:
                raise ConfigError(
                    f"the file it names cannot be read: {error.strerror}", where=f"environment variable {variable}_FILE"
                ) from None
        elif value := environ.get(variable):
            found[name] = value
    return found
