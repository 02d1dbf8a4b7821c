"""Messages of one topic partition that wait to be written to the lake, with the offsets around them."""

from bisect import bisect_left
from dataclasses import dataclass, field

from streams.kafka.messages import PartitionMessages

__all__ = ["LakePosition", "MemoryShare", "MessageBuffer"]


@dataclass(frozen=True)
class MemoryShare:
    """How much of one partition may wait in memory.

    Attributes:
        records: limit of each topic.
        size: limit of all topics together, in bytes.
    """

    records: int
    size: int

    def half(self) -> "MemoryShare":
        """Return half of the share."""
        return MemoryShare(self.records // 2, self.size // 2)


@dataclass(frozen=True)
class LakePosition:
    """Position of a lake table in one topic partition, when reading starts.

    Attributes:
        written: the table has all records before this offset.
        needed: offset of the first record that the table needs. It is greater than `written` where the lake's ledger
            shows that there are no records between.
        missing: offsets from `needed` on that the topic has no longer: first, and the one after the last.
        end: offset after the topic's last record.
        is_new: the table has never had a record of this topic partition.
    """

    written: int = 0
    needed: int = 0
    missing: tuple[int, int] | None = None
    end: int = 0
    is_new: bool = True

    @property
    def read_from(self) -> int:
        """First offset to read."""
        return self.needed if self.missing is None else self.missing[1]


@dataclass
class MessageBuffer:
    """Waiting messages of one topic partition.

    Attributes:
        start: position when reading started.
        written: the table has all records before this offset.
        position: everything before this offset has been read.
        messages: waiting messages.
        size: bytes of their values.
        is_new: the table has never had a record of this topic partition.
    """

    start: LakePosition
    written: int = field(init=False)
    position: int = field(init=False)
    messages: PartitionMessages = field(init=False, default_factory=PartitionMessages)
    size: int = field(init=False, default=0)
    is_new: bool = field(init=False)
    _first: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.written = self.start.written
        self.position = self.start.read_from
        self.is_new = self.start.is_new

    def add(self, messages: PartitionMessages) -> None:
        """Append messages with later offsets."""
        if messages.offsets:
            self.position = max(self.position, messages.offsets[-1] + 1)
        if messages.offsets and messages.offsets[0] < self._first:
            messages.cut(self._first)
        self.messages.extend(messages)
        self.size += sum(map(len, messages.values))

    def skip_before(self, offset: int) -> None:
        """Drop the messages before an offset, also those that are added later."""
        self._first = offset
        self.take_before(offset)

    def take_before(self, offset: int) -> PartitionMessages:
        """Remove and return the messages before an offset."""
        taken = self.messages.cut(offset)
        self.size -= sum(map(len, taken.values))
        return taken

    def count_from(self, offset: int) -> int:
        """Return the number of messages at or after an offset."""
        return len(self.messages) - bisect_left(self.messages.offsets, offset)

    def position_after(self, count: int) -> int:
        """Return the offset after the first `count` messages; if these are all, after everything that was read."""
        if count == len(self.messages):
            return max(self.position, self.written)
        return self.messages.offsets[count - 1] + 1 if count else self.written
