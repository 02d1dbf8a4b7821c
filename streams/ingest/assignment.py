"""The source partitions of one ingest worker: their offsets, those that are stopped, and those that no worker has.

A partition is read on from what the group has committed. Whatever was read beyond that is read again after a failure.
The group's callbacks ask nothing of the cluster, which may be away again by then.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition

from schemas.errors import BrokerError
from streams.ingest.offsets import SourcePositions, StartPosition
from streams.ingest.poison_pill import PoisonPillGuard
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients
from streams.kafka.topics import Topics, partition_counts
from streams.runtime.health import Health

__all__ = ["SourceAssignment", "SourcePartition", "UnassignedPartitions"]

log = logging.getLogger("truthloop.ingest")

CHECK_INTERVAL_MS: Final = 30_000
"""Between two searches for partitions that no worker has; clients refresh their metadata about as often."""

SourcePartition = tuple[str, int]
"""Topic and number."""


class SourceAssignment:
    """The partitions that the group has assigned to this worker.

    Attributes:
        positions: next offset of every partition that is read.
        has_changed: the group has assigned or revoked partitions since the last `reload`.
    """

    def __init__(self, offsets: SourcePositions, guard: PoisonPillGuard, health: Health) -> None:
        self._offsets = offsets
        self._guard = guard
        self._health = health
        self._stopped: dict[SourcePartition, str] = {}
        self._mine: list[TopicPartition] = []
        self.positions: dict[SourcePartition, int] = {}
        self.has_changed = False

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Note the assigned partitions of source topics; `reload` finds out where they stand."""
        self.has_changed = True
        self._mine = [one for one in partitions if one.topic in self._offsets.topics]
        consumer.assign([])

    def on_revoke(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        """Drop all partitions; mostly the same ones are assigned again at once."""
        self.has_changed = True
        self._mine = []
        self.positions = {}
        consumer.unassign()

    def suspend(self, consumer: Consumer) -> None:
        """Read nothing until the next `reload`."""
        if self._mine:
            consumer.assign([])

    def reload(self, consumer: Consumer) -> None:
        """Let the consumer read on from the group's committed offsets.

        Raises:
            ClusterAway: the cluster does not answer, or an open transaction holds the offsets back.
            BrokerError: a topic is missing, or has no start position.
        """
        if self._mine:
            self._offsets.refresh_ids()
        self._set_positions(self._offsets.start_positions(consumer, self._mine))
        self._guard.keep_only((one.topic, one.partition) for one in self._mine)
        if self._mine:
            log.info("%d partitions, %d of them stopped", len(self._mine), len(self._stopped))
            consumer.assign(self._at_positions())
        self.has_changed = False

    def to_commit(self, positions: Mapping[SourcePartition, int]) -> list[TopicPartition]:
        """Return positions in the form in which they are committed."""
        return [self._offsets.to_commit(*partition, offset) for partition, offset in positions.items()]

    def advance(self, positions: Mapping[SourcePartition, int]) -> None:
        """Move to positions that were just committed."""
        self.positions.update(positions)

    def stop(self, consumer: Consumer, partition: SourcePartition) -> None:
        """Stop reading a partition whose next records are not there; the others go on."""
        if (offset := self.positions.pop(partition, None)) is None:
            return
        self._report_stopped(partition, self._offsets.explain_missing(consumer, StartPosition(*partition, offset)))

    def lag(self, consumer: Consumer) -> int:
        """Return how many offsets are still to be read, as far as the consumer knows."""
        lag = 0
        for one in consumer.position(self._at_positions()) if self.positions else ():
            _, high = consumer.get_watermark_offsets(one, cached=True)
            lag += max(0, high - one.offset) if one.offset >= 0 else 0
        return lag

    def _set_positions(self, starts: Iterable[StartPosition]) -> None:
        found = list(starts)
        self.positions = {(one.topic, one.partition): one.offset for one in found if not one.fault}
        for number in {partition for _, partition in self._stopped}:
            self._health.release_partition(number)
        self._stopped = {}
        for one in found:
            if one.fault:
                self._report_stopped((one.topic, one.partition), one.fault)

    def _report_stopped(self, partition: SourcePartition, fault: str) -> None:
        """Show a partition as stopped, by its number: the faults of several topics' partitions are joined."""
        log.error("topic %s, partition %d is stopped: %s", *partition, fault)
        self._stopped[partition] = fault
        number = partition[1]
        reasons = [f"topic {topic}: {why}" for (topic, other), why in self._stopped.items() if other == number]
        self._health.stop_partition(number, "; ".join(reasons))

    def _at_positions(self) -> list[TopicPartition]:
        return [TopicPartition(topic, partition, offset) for (topic, partition), offset in self.positions.items()]


class UnassignedPartitions:
    """Finds partitions that no worker has, such as those that were added to a topic, and has the group rebalanced.

    The group rebalances when a subscription changes, so another topic of the loop is added to it or removed from it.
    """

    def __init__(self, clients: KafkaClients, topics: Topics, sources: Sequence[str]) -> None:
        self._clients = clients
        self._group = topics.group("ingest")
        self._sources = list(sources)
        self._other = topics.rejects
        self._is_changed = False
        self._checked_at_ms: int | None = None

    @property
    def subscription(self) -> list[str]:
        """Topics to subscribe to."""
        return [*self._sources, self._other] if self._is_changed else self._sources

    def check_soon(self) -> None:
        """Check again without waiting for the interval: the partitions were just assigned."""
        self._checked_at_ms = None

    def must_rebalance(self, now_ms: int) -> bool:
        """Tell, once in a while, whether partitions are left over; `subscription` has changed then."""
        if self._checked_at_ms is not None and abs(now_ms - self._checked_at_ms) < CHECK_INTERVAL_MS:
            return False
        found = self._find()
        if found is None:
            return False
        self._checked_at_ms = now_ms
        if not found:
            return False
        log.warning("no worker reads %s: the group is rebalanced", ", ".join(f"{t}[{p}]" for t, p in found))
        self._is_changed = not self._is_changed
        return True

    def _find(self) -> list[tuple[str, int]] | None:
        """Return partitions that no worker has; None during a rebalance."""
        admin = self._clients.admin()
        try:
            future = admin.describe_consumer_groups([self._group], request_timeout=REQUEST_TIMEOUT_S)[self._group]
            group = future.result()
            counts = partition_counts(self._clients, self._sources)
        except (KafkaException, BrokerError) as error:
            log.warning("group %s: whether all its partitions are read is unknown (%s)", self._group, error)
            return []
        if group.state != ConsumerGroupState.STABLE:
            return None
        assigned = {
            (one.topic, one.partition) for member in group.members for one in member.assignment.topic_partitions
        }
        return sorted({(topic, at) for topic, count in counts.items() for at in range(count)} - assigned)
