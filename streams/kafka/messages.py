"""Messages of one source topic as columns: their values, and what stands beside them.

Must not look into values.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import Message

from schemas.config.mapping import SourceMap
from schemas.config.record_metadata import HEADER_PREFIX, METADATA_PATHS
from streams.columns.scalar import MARK
from streams.readers.hook import HEADERS
from streams.readers.json_records import RecordMetadata

__all__ = ["Headers", "Messages", "SourceMessages", "metadata_paths"]

Headers = list[tuple[str, bytes | None]] | None


@dataclass
class SourceMessages:
    """Messages of one topic as columns.

    Attributes:
        topic: its name.
        values: null where a message has none.
        partitions: of each message.
        offsets: in its partition.
        timestamps: ms, negative where there is none.
        keys: null where a message has none.
        headers: null where a message has none.
    """

    topic: str
    values: list[bytes | None] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)

    @classmethod
    def of(cls, topic: str, messages: Sequence[Message]) -> "SourceMessages":
        """Return messages of a topic as columns; none of them is an error."""
        return cls(
            topic,
            [message.value() for message in messages],
            [cast("int", message.partition()) for message in messages],
            [cast("int", message.offset()) for message in messages],
            [message.timestamp()[1] for message in messages],
            [message.key() for message in messages],
            [cast("Headers", message.headers()) for message in messages],
        )

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, following: int) -> "SourceMessages":
        """Return the messages of a range of places."""
        wanted = slice(first, following)
        return SourceMessages(
            self.topic,
            self.values[wanted],
            self.partitions[wanted],
            self.offsets[wanted],
            self.timestamps[wanted],
            self.keys[wanted],
            self.headers[wanted],
        )

    def beside(self, paths: Iterable[str]) -> RecordMetadata:
        """Return columns of what stands beside the values, by the paths that ask for it."""
        return {path: self._column(path) for path in paths}

    def _column(self, path: str) -> Sequence[Any]:
        if path == "$key":
            found: Sequence[Any] = [_text(key) for key in self.keys]
        elif path == "$timestamp":
            found = [None if ms < 0 else ms for ms in self.timestamps]
        elif path == "$topic":
            found = [self.topic] * len(self)
        elif path in ("$partition", "$offset"):
            found = self.partitions if path == "$partition" else self.offsets
        elif path == HEADERS:
            found = [{name: _text(value) for name, value in headers or ()} for headers in self.headers]
        else:
            found = [_header(headers, path.removeprefix(HEADER_PREFIX)) for headers in self.headers]
        return found


def metadata_paths(source: SourceMap) -> set[str]:
    """Return the `$` paths that a source reads; a function is told everything."""
    if source.hook is not None:
        return {*METADATA_PATHS, HEADERS} | {path for path in source.where if path.startswith("$")}
    paths = [*source.where, *(path for how in source.map.values() for path in how.paths)]
    return {path for path in paths if path.startswith("$")}


def _text(value: bytes | None) -> str | None:
    """Return bytes as text; what is no UTF-8 is marked, so that nothing takes it for a value."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return MARK


def _header(headers: Headers, name: str) -> str | None:
    found = [value for known, value in headers or () if known == name]
    return _text(found[-1]) if found else None


@dataclass
class Messages:
    """Messages of one topic partition, as columns."""

    offsets: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)

    def add(self, message: Message) -> None:
        """Add one; a null value counts as an empty one, which nothing reads as a record."""
        self.offsets.append(message.offset() or 0)
        self.values.append(message.value() or b"")
        self.timestamps.append(message.timestamp()[1])

    @property
    def columns(self) -> tuple[list[int], list[bytes], list[int]]:
        """Offsets, values and timestamps."""
        return self.offsets, self.values, self.timestamps

    def cut(self, following: int) -> "Messages":
        """Take away and return the messages before an offset."""
        count = bisect_left(self.offsets, following)
        taken = Messages(self.offsets[:count], self.values[:count], self.timestamps[:count])
        del self.offsets[:count], self.values[:count], self.timestamps[:count]
        return taken

    def extend(self, other: "Messages") -> None:
        """Add messages that come behind these."""
        self.offsets += other.offsets
        self.values += other.values
        self.timestamps += other.timestamps

    def __len__(self) -> int:
        return len(self.offsets)
