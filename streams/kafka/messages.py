"""Messages as columns: of a source topic with their record metadata, or of one topic partition.

Values stay undecoded bytes here.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from confluent_kafka import Message

from schemas.config.mapping import SourceMap
from schemas.config.record_metadata import (
    HEADER_PREFIX,
    HEADERS_PATH,
    KEY_PATH,
    KEY_PREFIX,
    METADATA_PATHS,
    KeyFormat,
    is_key_path,
)
from streams.columns.scalar import NON_SCALAR
from streams.readers.format import ValueFormat
from streams.readers.json_columns import JsonObjects
from streams.readers.json_records import RecordMetadata
from streams.readers.schema_id import MessageHeaders

__all__ = ["KeyedValue", "PartitionMessages", "SourceMessages", "metadata_paths"]

KeyedValue = tuple[bytes | None, bytes]
"""A message to send: its key, None where it has none, and its value."""


@dataclass
class SourceMessages:
    """Messages of one source topic, from any of its partitions.

    Attributes:
        values: None where a message has no value.
        timestamps: ms UTC; negative where a message has none.
        keys: None where a message has no key.
    """

    topic: str
    values: list[bytes | None] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[MessageHeaders] = field(default_factory=list)

    @classmethod
    def of(cls, topic: str, messages: Sequence[Message]) -> "SourceMessages":
        """Return messages of a topic as columns; the caller has taken out the client's error messages."""
        return cls(
            topic,
            list(map(Message.value, messages)),
            cast("list[int]", list(map(Message.partition, messages))),
            cast("list[int]", list(map(Message.offset, messages))),
            [stamp for _, stamp in map(Message.timestamp, messages)],
            list(map(Message.key, messages)),
            cast("list[MessageHeaders]", list(map(Message.headers, messages))),
        )

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, following: int) -> "SourceMessages":
        """Return the messages at the indexes [first, following)."""
        part = slice(first, following)
        return SourceMessages(self.topic, *(column[part] for column in _columns(self)))

    def at(self, indexes: Sequence[int]) -> "SourceMessages":
        """Return the messages at these indexes."""
        return SourceMessages(self.topic, *([column[index] for index in indexes] for column in _columns(self)))

    def extend(self, other: "SourceMessages") -> None:
        """Append messages of the same topic."""
        for column, more in zip(_columns(self), _columns(other), strict=True):
            column.extend(more)

    def metadata(
        self, paths: Iterable[str], key_format: KeyFormat = "text", schemas: ValueFormat | None = None
    ) -> RecordMetadata:
        """Return the record metadata as columns, by `$` path.

        Args:
            key_format: of a source: how keys are decoded.
            schemas: of a registry, for keys with the id of a schema.

        Raises:
            RegistryAway: the schema of a key cannot be read now.
        """
        paths = list(paths)
        keys = self._decoded_keys(key_format, schemas) if any(map(is_key_path, paths)) else JsonObjects([])
        return {path: self._column(path, keys) for path in paths}

    def _decoded_keys(self, key_format: KeyFormat, schemas: ValueFormat | None) -> JsonObjects:
        if key_format in _KEY_DECODERS:
            decode = _KEY_DECODERS[key_format]
            return JsonObjects([None if key is None else decode(key) for key in self.keys])
        form = schemas if schemas is not None and key_format == "registry" else ValueFormat()
        texts, _unusable = form.texts(self.keys, headers=self.headers, part="key")
        return JsonObjects(
            [None if key is None else _json_value(text) for key, text in zip(self.keys, texts, strict=True)]
        )

    def _column(self, path: str, keys: JsonObjects) -> Sequence[Any]:
        if path == KEY_PATH:
            column: Sequence[Any] = keys.objects
        elif path.startswith(KEY_PREFIX):
            column = keys.column(path.removeprefix(KEY_PREFIX))
        elif path == "$timestamp":
            column = [None if ms < 0 else ms for ms in self.timestamps]
        elif path == "$topic":
            column = [self.topic] * len(self)
        elif path in ("$partition", "$offset"):
            column = self.partitions if path == "$partition" else self.offsets
        elif path == HEADERS_PATH:
            column = [{name: _text(value) for name, value in headers or ()} for headers in self.headers]
        else:
            column = [_header(headers, path.removeprefix(HEADER_PREFIX)) for headers in self.headers]
        return column


def _columns(messages: SourceMessages) -> tuple[list[Any], ...]:
    """Return the columns, in the order of the fields."""
    m = messages
    return m.values, m.partitions, m.offsets, m.timestamps, m.keys, m.headers


@dataclass
class PartitionMessages:
    """Messages of one topic partition, in the order of their offsets."""

    offsets: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "PartitionMessages":
        """Return messages as columns; a missing value becomes an empty one, which is unreadable as a record."""
        values = list(map(Message.value, messages))
        return cls(
            cast("list[int]", list(map(Message.offset, messages))),
            [value or b"" for value in values] if None in values else cast("list[bytes]", values),
            [stamp for _, stamp in map(Message.timestamp, messages)],
        )

    @property
    def columns(self) -> tuple[list[int], list[bytes], list[int]]:
        """Offsets, values and timestamps."""
        return self.offsets, self.values, self.timestamps

    def cut(self, following: int) -> "PartitionMessages":
        """Remove and return the messages before an offset."""
        count = bisect_left(self.offsets, following)
        taken = PartitionMessages(self.offsets[:count], self.values[:count], self.timestamps[:count])
        del self.offsets[:count], self.values[:count], self.timestamps[:count]
        return taken

    def extend(self, other: "PartitionMessages") -> None:
        """Append messages with later offsets."""
        self.offsets += other.offsets
        self.values += other.values
        self.timestamps += other.timestamps

    def __len__(self) -> int:
        return len(self.offsets)


def metadata_paths(source: SourceMap) -> set[str]:
    """Return the `$` paths that a source reads; a hook gets all of them."""
    found = {path for path in source.paths if path.startswith("$")}
    if source.hook is not None:
        return found | {*METADATA_PATHS, HEADERS_PATH}
    return found | {"$timestamp"} if source.tombstone == "retract" else found


def _text(value: bytes | None) -> str | None:
    """Return bytes as text; bytes that are not UTF-8 become `NON_SCALAR`, which no conversion accepts."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NON_SCALAR


def _integer(size: int) -> Callable[[bytes], int | str]:
    """Return a decoder of big-endian integers, as Kafka's own serializers write them; other sizes are no keys."""
    return lambda key: int.from_bytes(key, "big", signed=True) if len(key) == size else NON_SCALAR


def _uuid(key: bytes) -> str:
    """Return a UUID as text: from 16 bytes, or from text, as Kafka's own serializer of UUIDs writes."""
    try:
        return str(UUID(bytes=key) if len(key) == _UUID_BYTES else UUID(key.decode()))
    except ValueError:
        return NON_SCALAR


def _json_value(text: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of a JSON text; of none, `NON_SCALAR`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NON_SCALAR


_UUID_BYTES: Final = 16
_KEY_DECODERS: Final[Mapping[KeyFormat, Callable[[bytes], int | str | None]]] = {
    "text": _text,
    "int32": _integer(4),
    "int64": _integer(8),
    "uuid": _uuid,
}
"""By `key_format` of a source; other forms are JSON, or become it. What cannot be decoded becomes `NON_SCALAR`."""


def _header(headers: MessageHeaders, name: str) -> str | None:
    found = [value for known, value in headers or () if known == name]
    return _text(found[-1]) if found else None
