"""Whether every partition of the source topics has a worker, and how a group is made to share them out anew.

A worker that comes back under its name within its session gets the partitions that it had, without any rebalance:
what a topic has got meanwhile would be read by nobody, and nobody would say so. A changed subscription makes the
group share everything out again. Must not read records.
"""

import logging
from collections.abc import Sequence
from typing import Final

from confluent_kafka import ConsumerGroupState, KafkaException

from schemas.errors import BrokerError
from streams.kafka_client import REACH_TIMEOUT_S, KafkaClients
from streams.topics import Topics, partition_counts

__all__ = ["Unclaimed"]

log = logging.getLogger("truthloop.ingest")

EVERY_MS: Final = 30_000
"""As often as clients look for new partitions by themselves."""


class Unclaimed:
    """Looks after the partitions that nobody reads.

    Args:
        clients: of the cluster.
        topics: the loop's.
        sources: the topics that ingest reads.
    """

    def __init__(self, clients: KafkaClients, topics: Topics, sources: Sequence[str]) -> None:
        self._clients = clients
        self._group = topics.group("ingest")
        self._sources = list(sources)
        self._other = topics.rejects
        self._is_changed = False
        self._looked_at_ms: int | None = None

    @property
    def subscription(self) -> list[str]:
        """What to subscribe to: the sources, and at times a topic that makes the subscription another one."""
        return [*self._sources, self._other] if self._is_changed else self._sources

    def look_again(self) -> None:
        """The partitions were shared out: see soon whether all were."""
        self._looked_at_ms = None

    def must_rebalance(self, now_ms: int) -> bool:
        """Tell, from time to time, whether partitions are left over; the subscription is another one then."""
        if self._looked_at_ms is not None and abs(now_ms - self._looked_at_ms) < EVERY_MS:
            return False
        found = self._find()
        if found is None:
            return False
        self._looked_at_ms = now_ms
        if not found:
            return False
        log.warning("nobody reads %s: the partitions are shared out anew", ", ".join(f"{t}[{p}]" for t, p in found))
        self._is_changed = not self._is_changed
        return True

    def _find(self) -> list[tuple[str, int]] | None:
        """Return partitions that no worker has; None while they are being shared out."""
        admin = self._clients.admin()
        try:
            future = admin.describe_consumer_groups([self._group], request_timeout=REACH_TIMEOUT_S)[self._group]
            group = future.result(timeout=REACH_TIMEOUT_S)
            counts = partition_counts(self._clients, self._sources)
        except (KafkaException, BrokerError) as error:
            log.warning("group %s: whether all partitions are read cannot be told (%s)", self._group, error)
            return []
        if group.state != ConsumerGroupState.STABLE:
            return None
        claimed = {
            (place.topic, place.partition) for member in group.members for place in member.assignment.topic_partitions
        }
        return sorted({(topic, at) for topic, count in counts.items() for at in range(count)} - claimed)
