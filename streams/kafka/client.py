"""Makes the clients of one loop's Kafka cluster: consumers, producers and admin clients.

A client's properties are our defaults, then the config's `kafka.client`, then those that exactly-once needs and nobody
can change. All clients are made here, so that none of the last can be forgotten.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from schemas.base.secret import secret_value
from schemas.config.connection import KAFKA_SECRETS, KafkaConfig
from schemas.errors import BrokerError, ClusterAway, ConfigError

__all__ = ["KafkaClients", "broker_error", "check_limits", "kafka_secrets", "tied_limits"]

log = logging.getLogger("truthloop.kafka")

Client = TypeVar("Client", Consumer, Producer, AdminClient)

REQUEST_TIMEOUT_S = 10.0
"""Time limit of one request to the cluster. Commands then report an error; the clients of running roles try again."""

SOCKET_TIMEOUT_MS = 10_000
"""After this time without an answer the client sends a request again; see `streams.kafka.transaction`."""

LOST_S = 120.0
"""So long after a lost connection, a worker can be fenced by what it has sent before: a group that rebalances answers
late."""

LOG_INTERVAL_S = 30.0
"""Of the same error, which librdkafka may report several times a second."""

SESSION_TIMEOUT_MS = 45_000
POLL_INTERVAL_MS = 300_000
FETCH_BYTES = 32_000_000
FETCH_OVERHEAD_BYTES = 512

SESSION_SLACK_S = 5
"""Time that a broker takes to notice the end of a session."""

TRANSACTION_TIMEOUT_MS = 30_000
"""Less than the session's, so that a dead worker's transaction has ended when its partitions are reassigned."""

MESSAGE_BYTES_MAX = 1_000_000
"""The brokers' default limit, less the overhead of a batch."""

_DEFAULTS: Mapping[str, Any] = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "log_level": 2,  # beyond that, librdkafka's own lines repeat the errors that it reports
    "message.max.bytes": MESSAGE_BYTES_MAX,
    "socket.keepalive.enable": True,
    "topic.metadata.refresh.interval.ms": 30_000,
}
_CONSUMER_DEFAULTS: Mapping[str, Any] = {
    "check.crcs": True,
    "fetch.wait.max.ms": 50,
    "max.partition.fetch.bytes": 4_000_000,
    "queued.max.messages.kbytes": 65_536,
}
_MEMBER_DEFAULTS: Mapping[str, Any] = {
    # or every few records are an answer of their own, which costs broker and client more than the records; where there
    # are fewer, the broker answers after `fetch.wait.max.ms`
    "fetch.min.bytes": 30_000,
}
_CONSUMER: Mapping[str, Any] = {
    # the only assignor that gives one worker the same partitions of every topic; fixed, because the join would break
    # silently under another one
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
}
_PRODUCER: Mapping[str, Any] = {"partitioner": "murmur2_random", "enable.idempotence": True, "acks": "all"}
_CONSUMERS_ONLY = (
    frozenset(_CONSUMER_DEFAULTS)
    | frozenset(_MEMBER_DEFAULTS)
    | {"fetch.max.bytes", "max.poll.interval.ms", "session.timeout.ms"}
)
_PRODUCERS_ONLY = frozenset(_PRODUCER_DEFAULTS) | {
    *("compression.type", "linger.ms", "message.max.bytes", "transaction.timeout.ms")
}
_SECURITY = ("ssl.", "sasl.", "security.", "enable.ssl.", "enable.sasl.", "https.")
_PROPERTY = re.compile(r"`([a-z.]+)`")

READER_GROUP: Final = "truthloop-reader"
"""Name under which single ranges of topics are read; nothing is ever committed for it."""

_ROOT_CAUSES = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})  # noqa: SLF001 - their public names
"""Errors that explain why a connection fails; the 'all brokers are down' that follows them explains nothing."""

_CONNECTION = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT, KafkaError._TRANSPORT}  # noqa: SLF001 - the same
)
"""Reported again and again while a broker is down; whoever needs an answer reports that none comes."""

_AWAY = _CONNECTION | {
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001 - the same
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the same
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
}
"""Errors that end by themselves once the cluster is well."""


class KafkaClients:
    """Makes consumers, producers and admin clients of one cluster.

    Args:
        config: the loop's `kafka` section.
        environ: holds the secrets, or the paths of files with the secrets.
        name: client id that the brokers see.

    Attributes:
        last_error: what librdkafka last reported, preferring errors that explain why a connection fails.
        error_count: number of errors that librdkafka has reported to any of these clients.

    Raises:
        ConfigError: a secret's file cannot be read, or a property does not exist.
    """

    def __init__(self, config: KafkaConfig, environ: Mapping[str, str], name: str = "truthloop") -> None:
        self.bootstrap_servers = config.bootstrap_servers
        self.last_error: KafkaError | None = None
        self.error_count = 0
        self._asking: AdminClient | None = None
        self._logged_s: dict[int, float] = {}
        self._lost_s = -math.inf  # when a connection was last lost, or could not be made
        self._configured = {**_DEFAULTS, **tied_limits(config.client), **config.client}
        self._common: dict[str, Any] = {
            **kafka_secrets(environ),
            "bootstrap.servers": config.bootstrap_servers,
            "client.id": name,
            "error_cb": self._note_error,
            "logger": logging.getLogger("librdkafka"),
        }

    @property
    def credential_names(self) -> str:
        """Names of the settings that hold the credentials."""
        mechanism = self._configured.get("sasl.mechanism", self._configured.get("sasl.mechanisms"))
        if mechanism == "OAUTHBEARER":
            secret = KAFKA_SECRETS["sasl.oauthbearer.client.secret"]
            return f"sasl.oauthbearer.client.id, .token.endpoint.url and .scope in kafka.client, and {secret}"
        return f"sasl.username in kafka.client and {KAFKA_SECRETS['sasl.password']}"

    @property
    def session_ended_after_s(self) -> float:
        """Time after which a stopped worker has certainly lost its partitions.

        It keeps them until its session has ended, because most workers come back before.
        """
        return float(self._configured["session.timeout.ms"]) / 1_000 + SESSION_SLACK_S

    @property
    def resent_after_s(self) -> float:
        """Time without an answer after which a client sends a request again."""
        return float(self._configured["socket.timeout.ms"]) / 1_000

    def has_lost_connection(self) -> bool:
        """Tell whether a connection was lost, or could not be made, in the last two minutes."""
        return monotonic() - self._lost_s < LOST_S

    def member(self, group: str, *, instance: str | None = None) -> Consumer:
        """Return a consumer that joins a group; `instance` makes its membership static."""
        own: dict[str, Any] = {"group.id": group}
        if instance is not None:
            own["group.instance.id"] = instance
        return self._make(Consumer, {**_MEMBER_DEFAULTS, **self._consumer_properties({**_CONSUMER, **own})})

    def reader(self) -> Consumer:
        """Return a consumer for partitions that are assigned by hand; it commits nothing."""
        own = {"group.id": READER_GROUP, "enable.partition.eof": True}
        return self._make(Consumer, self._consumer_properties({**_CONSUMER, **own}))

    def observer(self, group: str) -> Consumer:
        """Return a consumer that reads a group's committed offsets without joining it.

        It does not wait for open transactions, whose offsets are not committed yet.
        """
        own = {"group.id": group, "isolation.level": "read_uncommitted"}
        return self._make(Consumer, self._consumer_properties({**_CONSUMER, **own}))

    def producer(self) -> Producer:
        """Return an idempotent producer without transactions."""
        return self._make(Producer, self._producer_properties(_PRODUCER))

    def transactional_producer(self, transactional_id: str) -> Producer:
        """Return a transactional producer; the caller calls its `init_transactions`."""
        return self._make(Producer, self._producer_properties({**_PRODUCER, "transactional.id": transactional_id}))

    def admin(self) -> AdminClient:
        """Return an admin client."""
        return self._make(AdminClient, _without(self._configured, _CONSUMERS_ONLY | _PRODUCERS_ONLY))

    def check_reachable(self) -> None:
        """Return once the cluster has answered. Not for several threads at once.

        Raises:
            ClusterAway: it does not answer; the message gives the last error of its clients.
            BrokerError: it refuses our credentials, or TLS fails.
        """
        if self._asking is None:
            self._asking = self.admin()
        try:
            self._asking.describe_cluster(request_timeout=REQUEST_TIMEOUT_S).result()
        except KafkaException as error:
            self._asking.poll(0)  # calls `_note_error` with what librdkafka has to report
            raise broker_error("cannot be reached", error, self) from None
        self.last_error = None

    def _consumer_properties(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return {**_CONSUMER_DEFAULTS, **_without(self._configured, _PRODUCERS_ONLY), **own}

    def _producer_properties(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return {**_PRODUCER_DEFAULTS, **_without(self._configured, _CONSUMERS_ONLY), **own}

    def _make(self, kind: Callable[[dict[str, Any]], Client], own: Mapping[str, Any]) -> Client:
        try:
            return kind({**own, **self._common})
        except KafkaException as error:
            text = error.args[0].str().strip()
            values = {name: {**self._configured, **own}.get(name) for name in _PROPERTY.findall(text)}
            shown = ", ".join(f"{name} is {value}" for name, value in values.items() if value is not None)
            raise ConfigError(
                f"librdkafka refuses a property: {text}{f' ({shown})' if shown else ''}",
                where="kafka.client",
                hint="Its properties are listed in librdkafka's CONFIGURATION.md.",
            ) from None

    def _note_error(self, error: KafkaError) -> None:
        """Take note of an error that librdkafka reports; it retries by itself."""
        now_s = monotonic()
        is_due = now_s - self._logged_s.get(error.code(), -LOG_INTERVAL_S) >= LOG_INTERVAL_S
        if is_due and error.code() not in _CONNECTION:
            log.warning("kafka: %s", error.str())
            self._logged_s[error.code()] = now_s
        if error.code() in _CONNECTION:
            self._lost_s = now_s
        if self.last_error is None or self.last_error.code() not in _ROOT_CAUSES or error.code() in _ROOT_CAUSES:
            self.last_error = error
        self.error_count += 1


def tied_limits(client: Mapping[str, Any]) -> dict[str, int]:
    """Return our defaults of limits that librdkafka ties to others, as far as the config's own values leave room.

    A value that is no number is left to librdkafka, which names it.
    """

    def given(name: str, default: int) -> int:
        try:
            return int(client.get(name, default))
        except (TypeError, ValueError):
            return default

    received = given("receive.message.max.bytes", FETCH_BYTES + FETCH_OVERHEAD_BYTES)
    return {
        "fetch.max.bytes": min(FETCH_BYTES, received - FETCH_OVERHEAD_BYTES),
        "max.poll.interval.ms": max(POLL_INTERVAL_MS, given("session.timeout.ms", POLL_INTERVAL_MS)),
        "session.timeout.ms": min(SESSION_TIMEOUT_MS, given("max.poll.interval.ms", SESSION_TIMEOUT_MS)),
        "socket.timeout.ms": min(SOCKET_TIMEOUT_MS, given("transaction.timeout.ms", SOCKET_TIMEOUT_MS)),
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }


def check_limits(config: KafkaConfig) -> None:
    """Make every kind of client without a cluster, so that librdkafka checks the properties together.

    Those of TLS and SASL are left out: their files and secrets are where the roles run.

    Raises:
        ConfigError: librdkafka refuses them.
    """
    client = {name: value for name, value in config.client.items() if not name.startswith(_SECURITY)}
    clients = KafkaClients(config.model_copy(update={"bootstrap_servers": "", "client": client}), {})
    clients.member("none").close()
    clients.reader().close()
    for make in (clients.producer, clients.admin):
        make()
    clients.transactional_producer("none")


def broker_error(what: str, error: KafkaException, clients: KafkaClients) -> BrokerError:
    """Return an error with its cause and a hint for the operator; `what` says what failed.

    It is a ClusterAway if the same request may work later.
    """
    cause = clients.last_error or error.args[0]
    code = cause.code()
    if code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):  # noqa: SLF001 - its public name
        hint = f"It rejects our credentials: check {clients.credential_names}."
    elif code == KafkaError._SSL:  # noqa: SLF001 - the same
        hint = "No TLS connection: check security.protocol and ssl.ca.location in kafka.client."
    elif code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        hint = "Its access rules deny it: docs/operations.md lists what each role needs."
    elif code == KafkaError.UNKNOWN_TOPIC_OR_PART:
        hint = "It is missing: check its name in the config. `truthloop start` creates only the loop's own topics."
    else:
        hint = "Check that it runs, and that kafka.bootstrap_servers and security.protocol are right."
    fault = error.args[0]
    is_away = (fault.code() in _AWAY or fault.retriable()) and code not in _ROOT_CAUSES
    kind = ClusterAway if is_away else BrokerError
    return kind(f"{what}: {cause.str()}", where=f"kafka {clients.bootstrap_servers}", hint=hint)


def kafka_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's secret properties, from the environment or from the files that it names.

    Raises:
        ConfigError: a file cannot be read.
    """
    secrets = {name: secret_value(variable, environ) for name, variable in KAFKA_SECRETS.items()}
    return {name: secret for name, secret in secrets.items() if secret is not None}


def _without(properties: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return properties without those that only another kind of client knows."""
    return {name: value for name, value in properties.items() if name not in names}
