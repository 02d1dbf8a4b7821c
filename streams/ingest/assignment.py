"""The partitions of source topics that a worker of ingest has: where each stands, and which wait for a person.

Where they stand is what the group has committed, never more: whatever was read beyond that is read again after any
doubt. Must not read or map records.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition

from schemas.errors import BrokerError
from streams.ingest.offsets import SourcePositions, StartPosition
from streams.ingest.poison_pill import PoisonPillGuard
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients
from streams.kafka.topics import Topics, partition_counts
from streams.runtime.health import Health

__all__ = ["SourceAssignment", "SourcePartition", "UnassignedPartitions"]

log = logging.getLogger("truthloop.ingest")

SourcePartition = tuple[str, int]
"""Topic and number."""


class SourceAssignment:
    """One worker's partitions.

    Args:
        positions: of the loop.
        attempts: told which partitions are still ours.
        health: told which partitions wait for a person.

    Attributes:
        at: next offset of every partition that is read.
        has_changed: the group gave or took partitions since they were last placed.
    """

    def __init__(self, positions: SourcePositions, attempts: PoisonPillGuard, health: Health) -> None:
        self._positions = positions
        self._attempts = attempts
        self._health = health
        self._stopped: dict[SourcePartition, str] = {}
        self.at: dict[SourcePartition, int] = {}
        self.has_changed = False

    def assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Take what the group gives, as far as it is a source's."""
        self.has_changed = True
        self._positions.refresh_ids()
        mine = [place for place in places if place.topic in self._positions.topics]
        self._stand(self._positions.standings(consumer, mine))
        self._attempts.keep_only((place.topic, place.partition) for place in mine)
        log.info("%d partitions, %d of them stopped", len(mine), len(self._stopped))
        consumer.assign(self._places())

    def revoked(self, consumer: Consumer, _places: list[TopicPartition]) -> None:
        """Let go of everything; mostly the same partitions come back at once."""
        self.has_changed = True
        self.at = {}
        consumer.unassign()

    def place(self, consumer: Consumer) -> None:
        """Read on from where the partitions stand; what was read beyond that is dropped."""
        if self.at:
            consumer.assign(self._places())
        self.has_changed = False

    def rest(self, consumer: Consumer) -> None:
        """Read nothing until the partitions are placed again."""
        consumer.assign([])

    def go_back(self, consumer: Consumer) -> None:
        """Ask the group where the partitions stand, and place them there.

        Raises:
            BrokerError: the cluster does not answer.
        """
        mine = [TopicPartition(topic, partition) for topic, partition in self.at]
        self._stand(self._positions.standings(consumer, mine))
        self.place(consumer)

    def as_committed(self, positions: Mapping[SourcePartition, int]) -> list[TopicPartition]:
        """Return positions as they are committed."""
        return [self._positions.place(*partition, offset) for partition, offset in positions.items()]

    def moved(self, positions: Mapping[SourcePartition, int]) -> None:
        """Note positions that were committed."""
        self.at.update(positions)

    def stop(self, consumer: Consumer, partition: SourcePartition) -> None:
        """Read a partition no more, because its records are not there; the others go on."""
        if (offset := self.at.pop(partition, None)) is None:
            return
        self._tell(partition, self._positions.fault(consumer, StartPosition(*partition, offset)))

    def lag(self, consumer: Consumer) -> int:
        """Return how many offsets are still to be read, as far as the consumer has heard."""
        lag = 0
        for place in consumer.position(self._places()) if self.at else ():
            _, high = consumer.get_watermark_offsets(place, cached=True)
            lag += max(0, high - place.offset) if place.offset >= 0 else 0
        return lag

    def _stand(self, standings: Iterable[StartPosition]) -> None:
        found = list(standings)
        self.at = {(one.topic, one.partition): one.offset for one in found if not one.fault}
        for number in {partition for _, partition in self._stopped}:
            self._health.release_partition(number)
        self._stopped = {}
        for one in found:
            if one.fault:
                self._tell((one.topic, one.partition), one.fault)

    def _tell(self, partition: SourcePartition, fault: str) -> None:
        """Say that a partition waits for a person; several topics have partitions of one number."""
        log.error("topic %s, partition %d is stopped: %s", *partition, fault)
        self._stopped[partition] = fault
        number = partition[1]
        reasons = [f"topic {topic}: {why}" for (topic, other), why in self._stopped.items() if other == number]
        self._health.stop_partition(number, "; ".join(reasons))

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(topic, partition, offset) for (topic, partition), offset in self.at.items()]


log = logging.getLogger("truthloop.ingest")

EVERY_MS: Final = 30_000
"""As often as clients look for new partitions by themselves."""


class UnassignedPartitions:
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
