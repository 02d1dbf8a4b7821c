"""Checks before ingest starts: the topics exist, and those of the loop accept messages of the configured size."""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.kafka.client import MESSAGE_BYTES_MAX, REQUEST_TIMEOUT_S, KafkaClients
from streams.kafka.topics import Topics, check_topics, partition_counts

__all__ = ["canonical_bytes_max", "check_destinations", "check_sources", "message_bytes_max"]

log = logging.getLogger("truthloop.ingest")

OVERHEAD_BYTES: Final = 1_000
"""Of a message and its batch, in addition to key and value."""


def check_sources(clients: KafkaClients, sources: Sequence[str]) -> None:
    """Refuse source topics that do not exist.

    Raises:
        BrokerError: one is missing; names the first.
    """
    counts = partition_counts(clients, sources)
    for topic in sources:
        if topic not in counts:
            raise BrokerError("does not exist", where=f"topic {topic}", hint="It is named in `ingest`.")


def check_destinations(clients: KafkaClients, topics: Topics, size: int) -> None:
    """Refuse topics of the loop that are missing, or that do not accept messages of this many bytes.

    Raises:
        BrokerError: names the topic and the setting to change.
    """
    check_topics(partition_counts(clients, topics.all), topics)
    for topic, limit in _size_limits(clients, topics):
        if limit < size:
            raise BrokerError(
                f"takes messages of up to {limit:,} bytes (max.message.bytes), and up to {size:,} are sent: "
                "one that is larger could never be committed",
                where=f"topic {topic}",
                hint=f"Raise the topic's max.message.bytes, or set kafka.client: {{message.max.bytes: {limit}}}.",
            )


def message_bytes_max(config: LoopConfig) -> int:
    """Return the size limit of messages that ingest sends, in bytes."""
    limit = config.kafka.client.get("message.max.bytes", MESSAGE_BYTES_MAX) if config.kafka else MESSAGE_BYTES_MAX
    return int(limit)


def canonical_bytes_max(config: LoopConfig) -> int:
    """Return the size limit of key and value of a canonical message, in bytes."""
    return message_bytes_max(config) - OVERHEAD_BYTES


def _size_limits(clients: KafkaClients, topics: Topics) -> Iterator[tuple[str, int]]:
    """Yield `max.message.bytes` of each topic that ingest writes to, where the cluster reports it."""
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, name) for name in (topics.predictions, topics.labels, topics.rejects)
    ]
    admin = clients.admin()
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            yield resource.name, int(future.result()["max.message.bytes"].value)
        except (KafkaException, KeyError) as error:
            log.warning("topic %s: max.message.bytes cannot be read (%s)", resource.name, error)
