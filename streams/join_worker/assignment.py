"""The partitions of one join worker: assigned and revoked by the group, restored, retried and closed.

The consumer fetches only partitions whose state is restored. Every change of that set assigns the consumer again, at
the positions of the states. The group's callbacks ask nothing of the cluster, which may be away again by then.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import ClusterAway, TruthloopError
from streams.join_worker.committed import CommittedPosition
from streams.join_worker.recovery import TaskRestorer
from streams.join_worker.task import PartitionTask
from streams.kafka.client import KafkaClients, broker_error
from streams.kafka.topics import Topics
from streams.runtime.health import Health

__all__ = ["Assignment"]

log = logging.getLogger("truthloop.join")

COMMITTED_TIMEOUT_S = 10.0
"""An open transaction of the partition's previous worker holds its offsets back until it ends, 30 s at most: they are
asked for again meanwhile."""

RETRY_AFTER_MS = 30_000
"""A partition that could not be restored is retried: what was missing may be there by then."""

AWAY_RETRY_AFTER_MS = 5_000
"""The same where only an answer was missing."""

RESTORES_AT_ONCE = 2


class Assignment:
    """The partitions that the group has assigned to this worker.

    Attributes:
        tasks: restored partitions, by number, at the group's committed position.
        has_changed: partitions were assigned, revoked or dropped since the last `refresh`.
        paused: by partition, the topic that backpressure has paused.
    """

    def __init__(
        self,
        clients: KafkaClients,
        topics: Topics,
        restorer: TaskRestorer,
        health: Health,
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._clients = clients
        self._topics = topics
        self._restorer = restorer
        self._health = health
        self._monotonic_ms = monotonic_ms
        self._pool = ThreadPoolExecutor(RESTORES_AT_ONCE, thread_name_prefix="restore")
        self._mine: set[int] = set()
        self._unplaced: set[int] = set()  # their committed positions are still to be read
        self._held: dict[int, PartitionTask] = {}  # states from before a rebalance, which may be at them
        self._restoring: dict[int, Future[PartitionTask]] = {}
        self._retry_at_ms: dict[int, int] = {}
        self._is_rebalancing = False  # partitions were revoked, and none are assigned yet
        self.tasks: dict[int, PartitionTask] = {}
        self.has_changed = False
        self.paused: dict[int, str] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether some assigned partition is not read yet."""
        return bool(self._unplaced or self._restoring or self._retry_at_ms)

    @property
    def must_place(self) -> bool:
        """Whether the committed position of some assigned partition is to be read, by `place`."""
        return bool(self._unplaced)

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop partitions that are another worker's now; `place` finds out where the others stand."""
        self.has_changed = True
        self._is_rebalancing = False
        self._mine = {one.partition for one in partitions}
        log.info("partitions %s", sorted(self._mine))
        self._hold()
        for number in [number for number in self._held if number not in self._mine]:
            _close(self._held.pop(number), flush=True)
        self._unplaced = set(self._mine)
        consumer.assign([])

    def place(self, consumer: Consumer) -> None:
        """Read committed positions: keep the tasks that are at them, and restore all other assigned partitions.

        Raises:
            ClusterAway: the cluster does not answer, or an open transaction holds the positions back.
            BrokerError: it denies access.
            StateError: something else has committed for this group.
        """
        committed = self._committed(consumer, self._unplaced)
        self._unplaced = set()
        self._restore(committed)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Stop reading, and keep the states: mostly the same partitions are assigned again at once."""
        self.has_changed = True
        self._is_rebalancing = True
        for number in self._mine:  # they are another worker's, or begin anew
            self._health.release_partition(number)
        self._mine, self._unplaced = set(), set()
        self._hold()
        log.info("revoked: partitions %s", sorted({one.partition for one in partitions}))
        consumer.unassign()

    def refresh(self, consumer: Consumer) -> list[int]:
        """Start reading partitions that are restored by now, and return them; those that failed are to be placed."""
        now_ms = self._monotonic_ms()
        started = []
        for number, future in list(self._restoring.items()):
            if future.done():
                del self._restoring[number]
                if self._start(number, future, now_ms):
                    started.append(number)
        due = [number for number, at_ms in self._retry_at_ms.items() if at_ms <= now_ms]
        for number in due:
            del self._retry_at_ms[number]
        self._unplaced |= self._mine.intersection(due)
        if (self.has_changed or started) and not self._is_rebalancing:
            self._assign(consumer)
            self.has_changed = False
        return started

    @property
    def restoring(self) -> int:
        """Number of partitions whose state is being made."""
        return len(self._restoring)

    def drop(self, numbers: Iterable[int]) -> None:
        """Drop the state of these partitions in memory; `place` restores them at the committed position."""
        for number in numbers:
            if (task := self.tasks.pop(number, None)) is not None:
                _close(task, flush=False)
                self._unplaced.add(number)
                self.has_changed = True

    def pause(self, consumer: Consumer, number: int, topic: str | None) -> None:
        """Pause one topic of a partition, and resume the one that was paused until now."""
        before = self.paused.get(number)
        if topic == before:
            return
        if before is not None:
            consumer.resume([TopicPartition(self.paused.pop(number), number)])
        if topic is not None:
            consumer.pause([TopicPartition(topic, number)])
            self.paused[number] = topic

    def close(self) -> None:
        """Flush and close all tasks, those that are being restored included."""
        for future in self._restoring.values():
            future.cancel()
        self._pool.shutdown(wait=True)
        for future in self._restoring.values():
            if not future.cancelled() and future.exception() is None:
                future.result().close()
        self._hold()
        for task in self._held.values():
            _close(task, flush=True)
        self._held = {}

    def _start(self, number: int, future: "Future[PartitionTask]", now_ms: int) -> bool:
        """Take over a partition whose restore has ended; False if it failed or the partition was revoked."""
        error = future.exception()
        if error is None:
            task = future.result()
            if number not in self._mine:
                task.close()
                return False
            self.tasks[number] = task
            self._health.release_partition(number)
            log.info("partition %d continues at step %d", number, task.sequence)
            return True
        if number not in self._mine:
            log.warning("partition %d is another worker's by now; its state could not be restored: %s", number, error)
            return False
        if not isinstance(error, TruthloopError):
            raise error
        is_away = isinstance(error, ClusterAway)
        if not (is_away and self._health.awaits_cluster):  # then that is logged already
            log.error("partition %d is stopped: %s", number, error)
        self._health.stop_partition(number, str(error))
        self._retry_at_ms[number] = now_ms + (AWAY_RETRY_AFTER_MS if is_away else RETRY_AFTER_MS)
        return False

    def _restore(self, committed: dict[int, CommittedPosition | None]) -> None:
        """Restore partitions, except those that are at their committed position."""
        for number, position in committed.items():
            task = self._held.pop(number, None)
            if task is not None:
                if position is not None and _is_at(task, position):
                    self.tasks[number] = task
                    self.has_changed = True
                    continue
                _close(task, flush=False)
            earlier = self._restoring.get(number)
            self._restoring[number] = self._pool.submit(self._restore_one, number, position, earlier)

    def _restore_one(
        self, number: int, position: CommittedPosition | None, earlier: "Future[PartitionTask] | None"
    ) -> PartitionTask:
        if earlier is not None and not earlier.cancel():
            if (error := earlier.exception()) is None:
                earlier.result().close()
            else:
                log.warning("partition %d: the restore before this one has failed: %s", number, error)
        return self._restorer.restore(number, position)

    def _committed(self, consumer: Consumer, numbers: Iterable[int]) -> dict[int, CommittedPosition | None]:
        """Read the group's committed positions; this waits for open transactions to end."""
        wanted = [TopicPartition(topic, number) for number in numbers for topic in self._topics.inputs]
        try:
            offsets = consumer.committed(wanted, timeout=COMMITTED_TIMEOUT_S) if wanted else []
        except KafkaException as error:
            raise broker_error("committed offsets cannot be read", error, self._clients) from None
        return {
            number: CommittedPosition.of(self._topics, [one for one in offsets if one.partition == number])
            for number in numbers
        }

    def _assign(self, consumer: Consumer) -> None:
        """Assign to the consumer exactly the partitions with a task, at the positions of their states."""
        self.paused = {}
        partitions = []
        for number, task in self.tasks.items():
            if number in self._mine:
                positions = zip(self._topics.inputs, task.positions, strict=True)
                partitions += [TopicPartition(topic, number, position) for topic, position in positions]
        consumer.assign(partitions)

    def _hold(self) -> None:
        """Take no more steps until `place` has found out where the tasks stand."""
        self._held |= self.tasks
        self.tasks = {}


def _close(task: PartitionTask, *, flush: bool) -> None:
    """Close a task; its state may be flushed only if it is committed."""
    try:
        if flush:
            task.flush()
    finally:
        task.close()


def _is_at(task: PartitionTask, position: CommittedPosition) -> bool:
    return (task.sequence, task.checkpoint.fingerprint) == (position.sequence, position.fingerprint)
