"""Merges several partitions into one log, in the order of their records' timestamps.

A consumer that catches up gets megabytes of one partition before it gets anything of the next. Sent on in that order,
records would be months out of order and rejected as too old. So a record waits until every partition that has more to
read has reached its time. Once the partitions are read to their ends, nothing waits.
"""

from bisect import bisect_right
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Alignment"]

Partition = TypeVar("Partition", bound=Hashable)
Record = TypeVar("Record")


@dataclass
class _Queue(Generic[Record]):
    """Waiting records of one partition; `times` never fall, so that records leave in the order of their offsets."""

    times: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    reached_ms: int | None = None


class Alignment(Generic[Partition, Record]):
    """Delays records that are ahead of other partitions."""

    def __init__(self) -> None:
        self._queues: dict[Partition, _Queue[Record]] = {}

    def add(self, partition: Partition, record: Record, time_ms: int) -> None:
        """Add the next record of a partition."""
        queue = self._queues.setdefault(partition, _Queue())
        queue.reached_ms = time_ms if queue.reached_ms is None else max(queue.reached_ms, time_ms)
        queue.times.append(queue.reached_ms)
        queue.records.append(record)

    def take(self, behind: Collection[Partition]) -> list[Record]:
        """Remove and return, in order of time, the records that all partitions in `behind` have reached.

        Args:
            behind: partitions that have more to read and must be waited for.
        """
        reached = [self._reached_ms(partition) for partition in behind]
        bound = None if not reached else min(-1 if time is None else time for time in reached)
        found: list[tuple[int, Record]] = []
        for queue in self._queues.values():
            count = len(queue.times) if bound is None else bisect_right(queue.times, bound)
            found += zip(queue.times[:count], queue.records[:count], strict=True)
            del queue.times[:count], queue.records[:count]
        found.sort(key=_time)
        return [record for _, record in found]

    def first(self, partition: Partition) -> Record | None:
        """Return the oldest waiting record of a partition; None if none waits."""
        queue = self._queues.get(partition)
        return queue.records[0] if queue is not None and queue.records else None

    def count(self, partition: Partition) -> int:
        """Return how many records of a partition wait."""
        queue = self._queues.get(partition)
        return 0 if queue is None else len(queue.records)

    @property
    def is_empty(self) -> bool:
        """Whether no record waits."""
        return not any(queue.records for queue in self._queues.values())

    def clear(self) -> None:
        """Drop all waiting records."""
        self._queues.clear()

    def keep_only(self, partitions: Collection[Partition]) -> None:
        """Drop the waiting records of all other partitions."""
        for partition in [partition for partition in self._queues if partition not in partitions]:
            del self._queues[partition]

    def _reached_ms(self, partition: Partition) -> int | None:
        queue = self._queues.get(partition)
        return None if queue is None else queue.reached_ms


def _time(pair: tuple[int, object]) -> int:
    return pair[0]
