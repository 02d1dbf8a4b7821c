"""What has to be so in the cluster before ingest reads anything: topics that exist, and that take what is sent.

Must not read or write records.
"""

import logging
from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.kafka.client import MESSAGE_BYTES_MAX, REACH_TIMEOUT_S, KafkaClients
from streams.kafka.topics import Topics, check_topics, partition_counts

__all__ = ["check_destinations", "check_sources", "message_bytes"]

log = logging.getLogger("truthloop.ingest")


def check_sources(clients: KafkaClients, sources: Sequence[str]) -> None:
    """Refuse source topics that do not exist.

    Raises:
        BrokerError: names the first.
    """
    there = partition_counts(clients, sources)
    for topic in sources:
        if topic not in there:
            raise BrokerError("does not exist", where=f"topic {topic}", hint="It is named in `ingest`.")


def check_destinations(clients: KafkaClients, topics: Topics, size: int) -> None:
    """Refuse topics of the loop that are missing, or that do not take messages of this size.

    Raises:
        BrokerError: names the topic and the way out.
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


def message_bytes(config: LoopConfig) -> int:
    """Return how large a message may be that is sent."""
    wish = config.kafka.client.get("message.max.bytes", MESSAGE_BYTES_MAX) if config.kafka else MESSAGE_BYTES_MAX
    return int(wish)


def _size_limits(clients: KafkaClients, topics: Topics) -> Iterator[tuple[str, int]]:
    """Give how large messages the topics take that ingest writes to, where the cluster tells it."""
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, name) for name in (topics.predictions, topics.labels, topics.rejects)
    ]
    admin = clients.admin()
    for resource, future in admin.describe_configs(resources).items():
        try:
            yield resource.name, int(future.result(timeout=REACH_TIMEOUT_S)["max.message.bytes"].value)
        except (KafkaException, KeyError) as error:
            log.warning("topic %s: its limit of a message's size cannot be read (%s)", resource.name, error)
