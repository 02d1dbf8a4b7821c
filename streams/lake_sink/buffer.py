"""Messages of one topic partition that wait to be written to the lake, with the positions around them.

Must not know what the messages say.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

from streams.kafka.messages import Messages

__all__ = ["MessageBuffer", "Share", "Start"]


@dataclass(frozen=True)
class Share:
    """How much of one partition may wait in memory.

    Attributes:
        records: of one topic.
        size: of all, in bytes.
    """

    records: int
    size: int

    def half(self) -> "Share":
        """Return half of it."""
        return Share(self.records // 2, self.size // 2)


@dataclass(frozen=True)
class Start:
    """Where the lake stands with one topic partition, as it was found.

    Attributes:
        standing: the first position that the table does not have, by its own account.
        position: the first that it needs; greater where the ledger's table knows that nothing comes between.
        missing: positions from `position` on that the topic has no more, first and following.
        end: of the topic.
        is_new: whether the table has never had anything of it.
    """

    standing: int = 0
    position: int = 0
    missing: tuple[int, int] | None = None
    end: int = 0
    is_new: bool = True

    @property
    def read_from(self) -> int:
        """Where to read on."""
        return self.position if self.missing is None else self.missing[1]


@dataclass
class MessageBuffer:
    """Messages that wait.

    Attributes:
        start: where the lake stood.
        standing: the first position that the table does not have.
        position: all before it has been read.
        messages: what was read.
        size: of their values, in bytes.
        is_new: whether the table has never had anything of it.
    """

    start: Start
    standing: int = field(init=False)
    position: int = field(init=False)
    messages: Messages = field(init=False, default_factory=Messages)
    size: int = field(init=False, default=0)
    is_new: bool = field(init=False)
    _begin: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.standing = self.start.standing
        self.position = self.start.read_from
        self.is_new = self.start.is_new

    def add(self, messages: Messages) -> None:
        """Add messages that come behind those before."""
        if messages.offsets:
            self.position = max(self.position, messages.offsets[-1] + 1)
        if messages.offsets and messages.offsets[0] < self._begin:
            messages.cut(self._begin)
        self.messages.extend(messages)
        self.size += sum(map(len, messages.values))

    def begin_at(self, offset: int) -> None:
        """Throw away what comes before an offset, now and later."""
        self._begin = offset
        self.take(offset)

    def take(self, following: int) -> Messages:
        """Take away and return the messages before an offset."""
        taken = self.messages.cut(following)
        self.size -= sum(map(len, taken.values))
        return taken

    def count_from(self, offset: int) -> int:
        """Return how many messages have this offset or a greater one."""
        return len(self.messages) - bisect_left(self.messages.offsets, offset)

    def behind(self, count: int) -> int:
        """Return the position behind the first `count` messages: if they are all, all that was read."""
        if count == len(self.messages):
            return max(self.position, self.standing)
        return self.messages.offsets[count - 1] + 1 if count else self.standing
