"""Maps one topic's messages to canonical messages and rejects.

Every source of the topic sees every message. One that no source selects is filtered; one that a source selects and
cannot map is a reject. Personal features are redacted before anything leaves this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from schemas.config.privacy import has_personal_features
from streams.columns.digest import record_digest
from streams.columns.raw import Reject
from streams.columns.schema import Role
from streams.columns.times import arrival_ms
from streams.kafka.messages import KeyedValue, SourceMessages, metadata_paths
from streams.mapping.mapper import MappedChunk, MessageMapper, deletions_in
from streams.mapping.tools import MappingTools
from streams.messages.reject import ORIGINAL_BYTES_MAX, RejectMessage
from streams.messages.wire import encode_records
from streams.readers.format import Unusable, ValueFormat
from streams.readers.json_lines import ParsedLines, no_cycle_search, parse_lines

__all__ = ["PAYLOAD_BYTES_MAX", "MappedMessages", "TopicMapper"]

PAYLOAD_BYTES_MAX: Final = 999_000
"""Key and value of a canonical message: the usual limit of a message (1 MB) minus overhead of message and batch."""

REPAIRED_FLAG: Final = "record:repaired"
"""Of a record that was rejected before."""

REJECT_BYTES: Final = 4_096
"""Size of a reject without its original."""

_EMPTY: Final = "an empty message"


@dataclass
class MappedMessages:
    """Result of mapping some messages.

    Attributes:
        predictions: canonical messages for the topic of predictions: key and value.
        labels: the same for the topic of labels.
        heartbeats: labels without a key, to be sent to every partition.
        rejects: messages that could not be mapped.
        filtered: number of messages that no source selects; of those without a value, the ones that every source skips.
    """

    predictions: list[KeyedValue] = field(default_factory=list)
    labels: list[KeyedValue] = field(default_factory=list)
    heartbeats: list[KeyedValue] = field(default_factory=list)
    rejects: list[RejectMessage] = field(default_factory=list)
    filtered: int = 0

    def add(self, other: "MappedMessages") -> None:
        """Append the result of later messages."""
        self.predictions += other.predictions
        self.labels += other.labels
        self.heartbeats += other.heartbeats
        self.rejects += other.rejects
        self.filtered += other.filtered


class TopicMapper:
    """Maps the messages of one topic.

    Args:
        tools: hooks, redaction and formats of the mapping.
        payload_bytes_max: limit of key and value of a canonical message.
        repaired_at_ms: when rejected messages are taken again: they arrive then, and have a flag. None: they are new.
    """

    def __init__(
        self,
        topic: str,
        config: LoopConfig,
        tools: MappingTools,
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
        repaired_at_ms: int | None = None,
    ) -> None:
        self._topic = topic
        self._repaired_at_ms = repaired_at_ms
        self._sources = [source for source in config.ingest if source.topic == topic]
        self._mappers = [MessageMapper(source.as_, source, config, tools) for source in self._sources]
        self._format = tools.format_of(topic)
        self._key_schemas = tools.format
        self._payload_bytes_max = payload_bytes_max
        # base64 makes an original a third longer; the rest of a reject is short
        self._original_bytes_max = min(ORIGINAL_BYTES_MAX, payload_bytes_max * 3 // 4 - REJECT_BYTES)
        self._keeps_originals = not has_personal_features(config.predictions)
        self._metadata_paths = sorted({path for source in self._sources for path in metadata_paths(source)})

    def map(self, messages: SourceMessages, seen_at_ms: int) -> MappedMessages:
        """Map messages of the topic; `seen_at_ms` goes into their rejects.

        Raises:
            RegistryAway: a schema cannot be read now.
        """
        with no_cycle_search():
            return self._map(messages, seen_at_ms)

    def reject_unread(self, messages: SourceMessages, seen_at_ms: int) -> MappedMessages:
        """Return messages as rejects without parsing them: each has killed the process."""
        detail = "the process died while mapping it; rejected unread"
        reason = RejectReason.CRASHED_THE_PROCESS
        rejects = [
            Reject(index, reason, detail, record_digest(value or b"")) for index, value in enumerate(messages.values)
        ]
        return MappedMessages(rejects=self._rejects(messages, self._sources[0].as_, rejects, seen_at_ms))

    def _map(self, messages: SourceMessages, seen_at_ms: int) -> MappedMessages:
        values = messages.values
        texts, unusable = self._format.texts(values, b"{}", messages.headers)
        parsed = _without_tombstones(parse_lines(texts, 0), values)
        unreadable = _unreadable(parsed, texts, values, unusable, self._format)
        mapped = MappedMessages(rejects=self._rejects(messages, self._sources[0].as_, unreadable, seen_at_ms))
        used = {reject.row for reject in unreadable}
        formats = {source.key_format for source in self._sources}
        metadata = {form: messages.metadata(self._metadata_paths, form, self._key_schemas) for form in formats}
        deletions = deletions_in(values)
        for mapper, source in zip(self._mappers, self._sources, strict=True):
            own = ParsedLines(parsed.objects, parsed.positions, [], parsed.rows_read)
            if mapper.hook is not None and len(self._mappers) > 1:  # a hook may change the objects
                own = _without_tombstones(parse_lines(texts, 0), values)
                own.rejects = []
            chunk = mapper.map_parsed(own, texts, metadata[source.key_format], deletions)
            used.update(self._add(mapped, chunk, messages, source.as_, seen_at_ms))
        mapped.filtered = len(values) - len(used)
        mapped.rejects.sort(key=lambda reject: (reject.source_partition, reject.source_row))
        return mapped

    def _add(
        self, mapped: MappedMessages, chunk: MappedChunk, messages: SourceMessages, role: Role, seen_at_ms: int
    ) -> set[int]:
        """Add what one source maps, and return the indexes of the messages that it selects."""
        records = _with_arrival(chunk.records, messages.timestamps)
        if self._repaired_at_ms is not None:
            records = _repaired(records, self._repaired_at_ms)
        rows = records["row"].to_list()
        found = mapped.predictions if role == "predictions" else mapped.labels
        rejects = [Reject(row, RejectReason(why), detail, digest) for row, why, detail, digest in chunk.rejects.rows()]
        keys = [None if key is None else key.encode() for key in records["key"].to_list()]
        for row, key, value in zip(rows, keys, encode_records(role, records) if rows else (), strict=True):
            size = len(value) + len(key or b"")
            if size > self._payload_bytes_max:
                detail = f"its canonical message has {size:,} bytes, and {self._payload_bytes_max:,} are carried"
                rejects.append(Reject(row, RejectReason.TOO_LARGE, detail, 0))
            elif key is not None:
                found.append((key, value))
            else:
                mapped.heartbeats.append((None, value))
        mapped.rejects += self._rejects(messages, role, rejects, seen_at_ms)
        return {*rows, *(reject.row for reject in rejects)}

    def _rejects(
        self, messages: SourceMessages, role: Role, rejects: Sequence[Reject], seen_at_ms: int
    ) -> list[RejectMessage]:
        """Return rejects as they are sent; of several rejects of one record, the first carries its bytes."""
        seen: set[int] = set()
        found = []
        for reject in rejects:
            given = messages.values[reject.row]
            value = given or b""
            is_first = given is not None and reject.row not in seen
            has_original = self._keeps_originals and is_first and len(value) <= self._original_bytes_max
            seen.add(reject.row)
            found.append(
                RejectMessage(
                    v=1,
                    input=role,
                    stage="mapping",
                    reason=reject.reason.value,
                    seen_at=seen_at_ms,
                    source=self._topic,
                    source_partition=messages.partitions[reject.row],
                    source_row=messages.offsets[reject.row],
                    detail=reject.detail,
                    digest=record_digest(value),
                    original=value if has_original else None,
                )
            )
        return found


def _without_tombstones(parsed: ParsedLines, values: Sequence[bytes | None]) -> ParsedLines:
    """Drop messages without a value, for which an empty object was parsed."""
    if None not in values:
        return parsed
    kept = [at for at, position in enumerate(parsed.positions) if values[position] is not None]
    objects, positions = [parsed.objects[at] for at in kept], [parsed.positions[at] for at in kept]
    return ParsedLines(objects, positions, parsed.rejects, parsed.rows_read)


def _unreadable(
    parsed: ParsedLines,
    texts: Sequence[bytes],
    values: Sequence[bytes | None],
    unusable: Mapping[int, Unusable],
    form: ValueFormat,
) -> list[Reject]:
    """Return rejects of messages that no source can read; binary formats are named."""
    found = [Reject(row, reason, detail, 0) for row, (reason, detail) in unusable.items()]
    for reject in parsed.rejects:
        value = values[reject.row] or b""
        binary = form.foreign(value) if reject.reason == RejectReason.NOT_JSON else None
        reason, detail = binary or (reject.reason, reject.detail)
        found.append(Reject(reject.row, reason, detail.replace("the line", "the value"), reject.digest))
    if parsed.rows_read < len(values):
        # the parser skips blank lines, as of a file; a blank message must be accounted for, so it is a reject
        blank = [index for index, text in enumerate(texts) if not text.strip() and index not in unusable]
        found += [Reject(index, RejectReason.NOT_JSON, _EMPTY, 0) for index in blank]
    return found


def _with_arrival(records: pl.DataFrame, timestamps: Sequence[int]) -> pl.DataFrame:
    """Use the message's timestamp as the arrival of records that name none."""
    stamps = arrival_ms(timestamps)
    return records.with_columns(pl.coalesce("arrived_at_ms", stamps.gather(records["row"])).alias("arrived_at_ms"))


def _repaired(records: pl.DataFrame, repaired_at_ms: int) -> pl.DataFrame:
    """Return records that arrive when they are taken again, whatever they say, with the flag of a repair."""
    arrived = pl.lit(repaired_at_ms, dtype=records.schema["arrived_at_ms"]).alias("arrived_at_ms")
    return records.with_columns(arrived, pl.col("flags").list.concat(pl.lit([REPAIRED_FLAG])))
