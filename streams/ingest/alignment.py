"""Merges several partitions into one log, in the order of their records' timestamps.

A consumer that catches up gets megabytes of one partition before it gets anything of the next. Sent on in that order,
records would be months out of order and rejected as too old. So a record waits until every partition that has more to
read has reached its time. Once the partitions are read to their ends, nothing waits.
"""

from bisect import bisect_right
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Alignment", "Taken", "in_order"]

Partition = TypeVar("Partition", bound=Hashable)
Record = TypeVar("Record")

_NO_TIME = -1
"""Time of a record without one."""


@dataclass
class _Queue(Generic[Record]):
    """Waiting records of one partition; `times` never fall, so that records leave in the order of their offsets."""

    times: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    reached_ms: int | None = None


class Taken(NamedTuple, Generic[Partition, Record]):
    """Records of one partition, at least one, that need not wait any more.

    Attributes:
        times: of each record, the greatest up to it.
    """

    partition: Partition
    times: list[int]
    records: list[Record]


class Alignment(Generic[Partition, Record]):
    """Delays records that are ahead of other partitions."""

    def __init__(self) -> None:
        self._queues: dict[Partition, _Queue[Record]] = {}

    def add(self, partition: Partition, records: Sequence[Record], times_ms: Iterable[int]) -> None:
        """Add the next records of a partition, each with its time in ms; -1 where it has none."""
        queue = self._queues.setdefault(partition, _Queue())
        reached_ms = _NO_TIME if queue.reached_ms is None else queue.reached_ms
        times = list(islice(accumulate(times_ms, max, initial=reached_ms), 1, None))
        if times:
            queue.reached_ms = times[-1]
            queue.times += times
            queue.records += records

    def take(self, behind: Collection[Partition]) -> list[Taken[Partition, Record]]:
        """Remove and return the records that all partitions in `behind` have reached; `in_order` merges them.

        Args:
            behind: partitions that have more to read and must be waited for.
        """
        reached = [self._reached_ms(partition) for partition in behind]
        bound = None if not reached else min(_NO_TIME if time is None else time for time in reached)
        found: list[Taken[Partition, Record]] = []
        for partition, queue in self._queues.items():
            count = len(queue.times) if bound is None else bisect_right(queue.times, bound)
            if count:
                found.append(Taken(partition, queue.times[:count], queue.records[:count]))
                del queue.times[:count], queue.records[:count]
        return found

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


def in_order(parts: Sequence[Taken[Partition, Record]]) -> list[Record]:
    """Return the records of several partitions in the order of their times."""
    if len(parts) == 1:
        return parts[0].records
    pairs = [pair for part in parts for pair in zip(part.times, part.records, strict=True)]
    pairs.sort(key=itemgetter(0))
    return [record for _, record in pairs]
