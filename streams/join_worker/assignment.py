"""The partitions that a join worker has: given and taken by the group, made ready, tried again, let go.

Only partitions that are ready are fetched; the others wait outside the consumer while their state is made, so
nothing of them is read and lost. Every change of the set places the consumer anew at the positions of the states.
Must not step or commit.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import TruthloopError
from streams.join_worker.recovery import Committed, TaskRestorer
from streams.join_worker.task import PartitionTask
from streams.kafka.client import KafkaClients, broker_error
from streams.kafka.topics import Topics
from streams.runtime.health import Health

__all__ = ["Assignment"]

log = logging.getLogger("truthloop.join")

COMMITTED_TIMEOUT_S = 60.0
"""A predecessor's open transaction holds its offsets back until it ends, 30 s at most."""

RETRY_AFTER_MS = 30_000
"""A partition that could not be taken over is tried again: what it lacks may have come."""

TAKEOVERS_AT_ONCE = 2


class Assignment:
    """One worker's partitions.

    Args:
        clients: of the cluster.
        topics: the loop's.
        takeover: makes partitions ready.
        health: told which wait for a person.
        now_ms: the wall clock.

    Attributes:
        live: partitions that are ready, by number.
        has_changed: the group gave or took partitions since this was last set to false.
        held: by partition, the topic that is not read for now.
    """

    def __init__(
        self, clients: KafkaClients, topics: Topics, takeover: TaskRestorer, health: Health, now_ms: Callable[[], int]
    ) -> None:
        self._clients = clients
        self._topics = topics
        self._takeover = takeover
        self._health = health
        self._now_ms = now_ms
        self._pool = ThreadPoolExecutor(TAKEOVERS_AT_ONCE, thread_name_prefix="takeover")
        self._mine: set[int] = set()
        self._coming: dict[int, Future[PartitionTask]] = {}
        self._retry_at_ms: dict[int, int] = {}
        self._is_between = False  # partitions were taken, and what is given instead is not known yet
        self.live: dict[int, PartitionTask] = {}
        self.has_changed = False
        self.held: dict[int, str] = {}

    def assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Take what the group gives: what stands where the group stands goes on, the rest is made ready."""
        self.has_changed = True
        self._is_between = False
        self._mine = {place.partition for place in places}
        log.info("partitions %s", sorted(self._mine))
        for number in [number for number in self.live if number not in self._mine]:
            self.let_go(number, flush=True)
        self._take(self._committed(consumer, self._mine))
        self._place(consumer)

    def revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Stop reading, and keep the states: mostly the same partitions come back at once."""
        self.has_changed = True
        self._is_between = True
        self._mine = set()
        log.info("revoked: partitions %s", sorted({place.partition for place in places}))
        consumer.unassign()

    def refresh(self, consumer: Consumer) -> list[int]:
        """Start on partitions that have become ready, try those again that could not be had; return the started."""
        now_ms = self._now_ms()
        started = []
        for number, future in list(self._coming.items()):
            if future.done():
                del self._coming[number]
                if self._arrived(number, future, now_ms):
                    started.append(number)
        due = [number for number, at_ms in self._retry_at_ms.items() if at_ms <= now_ms]
        for number in due:
            del self._retry_at_ms[number]
        if wanted := [number for number in due if number in self._mine]:
            self._take(self._committed(consumer, wanted))
        if (self.has_changed or started) and not self._is_between:
            self._place(consumer)
            self.has_changed = False
        waiting = len(self._coming)
        self._health.ready(f"{waiting} partitions are being taken over" if waiting else "")
        return started

    def take_again(self, consumer: Consumer, numbers: Iterable[int]) -> None:
        """Throw away what is in memory of these partitions and come back from what is committed."""
        mine = [number for number in numbers if number in self._mine]
        for number in mine:
            self.let_go(number, flush=False)
        self._place(consumer)
        self._take(self._committed(consumer, mine))

    def let_go(self, number: int, *, flush: bool) -> None:
        """Close a partition; what it holds must be committed if it is to be flushed."""
        live = self.live.pop(number)
        if flush:
            live.flush()
        live.close()

    def close(self) -> None:
        """Let everything go."""
        for future in self._coming.values():
            future.cancel()
        self._pool.shutdown(wait=True)
        for future in self._coming.values():
            if not future.cancelled() and future.exception() is None:
                future.result().close()
        for number in list(self.live):
            self.let_go(number, flush=True)

    @property
    def is_waiting(self) -> bool:
        """Whether some partition is not read although it is ours."""
        return bool(self._coming or self._retry_at_ms)

    def _arrived(self, number: int, future: "Future[PartitionTask]", now_ms: int) -> bool:
        """Take a partition whose takeover has ended; False if it did not become live."""
        error = future.exception()
        if error is None:
            live = future.result()
            if number not in self._mine:
                live.close()
                return False
            self.live[number] = live
            self._health.release_partition(number)
            log.info("partition %d goes on at step %d", number, live.sequence)
            return True
        if not isinstance(error, TruthloopError):
            raise error
        log.error("partition %d is stopped: %s", number, error)
        self._health.stop_partition(number, str(error))
        self._retry_at_ms[number] = now_ms + RETRY_AFTER_MS
        return False

    def _take(self, committed: dict[int, Committed | None]) -> None:
        """Bring each partition to where the group stands."""
        for number, known in committed.items():
            live = self.live.get(number)
            if live is not None:
                if known is not None and _stands_at(live, known):
                    continue
                self.let_go(number, flush=False)
            earlier = self._coming.get(number)
            self._coming[number] = self._pool.submit(self._take_one, number, known, earlier)

    def _take_one(self, number: int, known: Committed | None, earlier: "Future[PartitionTask] | None") -> PartitionTask:
        if earlier is not None and not earlier.cancel() and earlier.exception() is None:
            earlier.result().close()
        return self._takeover.take(number, known)

    def _committed(self, consumer: Consumer, numbers: Iterable[int]) -> dict[int, Committed | None]:
        """Ask the group; it waits for a predecessor's transaction to end."""
        wanted = [TopicPartition(topic, number) for number in numbers for topic in self._topics.inputs]
        try:
            places = consumer.committed(wanted, timeout=COMMITTED_TIMEOUT_S) if wanted else []
        except KafkaException as error:
            raise broker_error("what was committed cannot be read", error, self._clients) from None
        return {
            number: Committed.of(self._topics, [place for place in places if place.partition == number])
            for number in numbers
        }

    def hold(self, consumer: Consumer, number: int, topic: str | None) -> None:
        """Let one topic of a partition wait, and read on with what waited until now."""
        before = self.held.get(number)
        if topic == before:
            return
        if before is not None:
            consumer.resume([TopicPartition(self.held.pop(number), number)])
        if topic is not None:
            consumer.pause([TopicPartition(topic, number)])
            self.held[number] = topic

    def _place(self, consumer: Consumer) -> None:
        """Read exactly the live partitions, each from where its state stands."""
        self.held = {}
        places = []
        for number, live in self.live.items():
            if number in self._mine:
                positions = zip(self._topics.inputs, live.positions, strict=True)
                places += [TopicPartition(topic, number, position) for topic, position in positions]
        consumer.assign(places)


def _stands_at(live: PartitionTask, known: Committed) -> bool:
    return (live.sequence, live.checkpoint.fingerprint) == (known.sequence, known.fingerprint)
