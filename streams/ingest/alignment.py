"""Several partitions read as if they were one log, in the order of their records' timestamps.

Catching up, a consumer gets megabytes of one partition before it gets anything of the next. Sent on in that order,
records would come months out of order, and be refused as too old. So a record waits until every partition that has
more to give has come as far. At the ends of the partitions nothing waits. Must not read a clock, or know Kafka.
"""

from bisect import bisect_right
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Alignment"]

Partition = TypeVar("Partition", bound=Hashable)
Record = TypeVar("Record")


@dataclass
class _Held(Generic[Record]):
    """Records of one partition that wait: `times` never fall, so that they leave in the order of their offsets."""

    times: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    reached_ms: int | None = None


class Alignment(Generic[Partition, Record]):
    """Holds what is ahead of the others."""

    def __init__(self) -> None:
        self._held: dict[Partition, _Held[Record]] = {}

    def add(self, partition: Partition, record: Record, time_ms: int) -> None:
        """Take a record, in the order of its partition."""
        held = self._held.setdefault(partition, _Held())
        held.reached_ms = time_ms if held.reached_ms is None else max(held.reached_ms, time_ms)
        held.times.append(held.reached_ms)
        held.records.append(record)

    def take(self, behind: Collection[Partition]) -> list[Record]:
        """Return the records whose turn it is, in order of time.

        Args:
            behind: partitions that have more to give and must be waited for.
        """
        reached = [self._reached_ms(partition) for partition in behind]
        bound = None if not reached else min(-1 if time is None else time for time in reached)
        found: list[tuple[int, Record]] = []
        for held in self._held.values():
            count = len(held.times) if bound is None else bisect_right(held.times, bound)
            found += zip(held.times[:count], held.records[:count], strict=True)
            del held.times[:count], held.records[:count]
        found.sort(key=_time)
        return [record for _, record in found]

    def first(self, partition: Partition) -> Record | None:
        """Return the record of a partition that has waited longest; None if none waits."""
        held = self._held.get(partition)
        return held.records[0] if held is not None and held.records else None

    def count(self, partition: Partition) -> int:
        """Return how many records of a partition wait."""
        held = self._held.get(partition)
        return 0 if held is None else len(held.records)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()

    def keep_only(self, partitions: Collection[Partition]) -> None:
        """Forget all other partitions."""
        for partition in [partition for partition in self._held if partition not in partitions]:
            del self._held[partition]

    def _reached_ms(self, partition: Partition) -> int | None:
        held = self._held.get(partition)
        return None if held is None else held.reached_ms


def _time(pair: tuple[int, object]) -> int:
    return pair[0]
