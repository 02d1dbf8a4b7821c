"""One topic's messages as canonical messages and rejects: everything that ingest decides, without any client.

Every source of the topic sees every message; one that no source takes is left out, and one that a source takes and
cannot map is a reject. Law: what has to be hidden is hidden before anything leaves this module. Must not talk to
Kafka or keep anything between batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from schemas.config.privacy import has_personal_features
from streams.columns.digest import record_digest
from streams.columns.raw import Reject
from streams.columns.schema import Role
from streams.columns.times import LAST_MS
from streams.kafka.messages import SourceMessages, metadata_paths
from streams.mapping.mapper import MappedChunk, MessageMapper
from streams.mapping.tools import MappingTools
from streams.messages.reject import ORIGINAL_BYTES_MAX, RejectMessage
from streams.messages.wire import encode
from streams.readers.format import foreign_binary, json_text_in
from streams.readers.json_lines import ParsedLines, no_cycle_search, parse_lines

__all__ = ["PAYLOAD_BYTES_MAX", "Canonical", "TopicMapper"]

PAYLOAD_BYTES_MAX: Final = 999_000
"""Key and value of a canonical message: what a message may have (1 MB), less its own and its batch's overhead."""

REJECT_BYTES: Final = 4_096
"""Of a reject beside the original."""

_EMPTY: Final = "an empty message"


@dataclass
class Canonical:
    """What became of some messages.

    Attributes:
        predictions: messages for their topic, as a producer takes them.
        labels: the same.
        heartbeats: labels that go to every partition.
        rejects: what could not be mapped.
        filtered: how many messages no source takes; those without a value are among them.
    """

    predictions: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[RejectMessage] = field(default_factory=list)
    filtered: int = 0

    def add(self, other: "Canonical") -> None:
        """Take in what became of messages behind these."""
        self.predictions += other.predictions
        self.labels += other.labels
        self.heartbeats += other.heartbeats
        self.rejects += other.rejects
        self.filtered += other.filtered


class TopicMapper:
    """Maps the messages of one topic.

    Args:
        topic: its name.
        config: the loop's.
        tools: what the mapping needs beside the config.
        payload_bytes_max: of key and value of a message that is made.
    """

    def __init__(
        self, topic: str, config: LoopConfig, tools: MappingTools, payload_bytes_max: int = PAYLOAD_BYTES_MAX
    ) -> None:
        self._topic = topic
        self._sources = [source for source in config.ingest if source.topic == topic]
        self._mappers = [MessageMapper(source.as_, source, config, tools) for source in self._sources]
        self._payload_bytes_max = payload_bytes_max
        # base64 makes a third more of an original; what else a reject says is short
        self._original_bytes_max = min(ORIGINAL_BYTES_MAX, payload_bytes_max * 3 // 4 - REJECT_BYTES)
        self._keeps_originals = not has_personal_features(config)
        paths = {path for source in self._sources for path in metadata_paths(source)}
        self._beside = sorted(paths)

    def map(self, messages: SourceMessages, seen_at_ms: int) -> Canonical:
        """Return what becomes of messages of the topic."""
        with no_cycle_search():
            return self._map(messages, seen_at_ms)

    def quarantine(self, messages: SourceMessages, seen_at_ms: int) -> Canonical:
        """Return messages as rejects, without looking into them."""
        detail = "it was in hand when the process died, and was put aside unread"
        reason = RejectReason.CRASHED_THE_PROCESS
        rejects = [
            Reject(place, reason, detail, record_digest(value or b"")) for place, value in enumerate(messages.values)
        ]
        return Canonical(rejects=self._rejects(messages, self._sources[0].as_, rejects, seen_at_ms))

    def _map(self, messages: SourceMessages, seen_at_ms: int) -> Canonical:
        values = messages.values
        texts = [b"{}" if value is None else value if value[:1] == b"{" else json_text_in(value) for value in values]
        parsed = _without_tombstones(parse_lines(texts, 0), values)
        unreadable = _unreadable(parsed, values)
        made = Canonical(rejects=self._rejects(messages, self._sources[0].as_, unreadable, seen_at_ms))
        used = {reject.row for reject in unreadable}
        beside = messages.beside(self._beside)
        for mapper, source in zip(self._mappers, self._sources, strict=True):
            own = ParsedLines(parsed.objects, parsed.positions, [], parsed.rows_read)
            if mapper.hook is not None and len(self._mappers) > 1:  # it may change what the others are given
                own = _without_tombstones(parse_lines(texts, 0), values)
                own.rejects = []
            chunk = mapper.map_parsed(own, texts, beside)
            used.update(self._add(made, chunk, messages, source.as_, seen_at_ms))
        made.filtered = len(values) - len(used)
        made.rejects.sort(key=lambda reject: (reject.source_partition, reject.source_row))
        return made

    def _add(
        self, made: Canonical, chunk: MappedChunk, messages: SourceMessages, role: Role, seen_at_ms: int
    ) -> set[int]:
        """Add what a source makes of the messages, and return the places of those that it takes."""
        records = _with_arrival(chunk.records, messages.timestamps)
        rows = records["row"].to_list()
        found = made.predictions if role == "predictions" else made.labels
        rejects = [Reject(row, RejectReason(why), detail, digest) for row, why, detail, digest in chunk.rejects.rows()]
        keys = [None if key is None else key.encode() for key in records["key"].to_list()]
        for row, key, value in zip(rows, keys, encode(role, records) if rows else (), strict=True):
            size = len(value) + len(key or b"")
            if size > self._payload_bytes_max:
                detail = f"its canonical message has {size:,} bytes, and {self._payload_bytes_max:,} are carried"
                rejects.append(Reject(row, RejectReason.TOO_LARGE, detail, 0))
            elif key is not None:
                found.append({"value": value, "key": key})
            else:
                made.heartbeats.append({"value": value})
        made.rejects += self._rejects(messages, role, rejects, seen_at_ms)
        return {*rows, *(reject.row for reject in rejects)}

    def _rejects(
        self, messages: SourceMessages, role: Role, rejects: Sequence[Reject], seen_at_ms: int
    ) -> list[RejectMessage]:
        """Return rejects as they are sent; of several that one record made, the first has its bytes."""
        told: set[int] = set()
        found = []
        for reject in rejects:
            value = messages.values[reject.row] or b""
            has_original = self._keeps_originals and reject.row not in told and len(value) <= self._original_bytes_max
            told.add(reject.row)
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
    """Leave out messages without a value, for which an empty object was parsed."""
    if None not in values:
        return parsed
    kept = [at for at, position in enumerate(parsed.positions) if values[position] is not None]
    objects, positions = [parsed.objects[at] for at in kept], [parsed.positions[at] for at in kept]
    return ParsedLines(objects, positions, parsed.rejects, parsed.rows_read)


def _unreadable(parsed: ParsedLines, values: Sequence[bytes | None]) -> list[Reject]:
    """Return the messages that are no object for any source; binary ones are told for what they are."""
    found = []
    for reject in parsed.rejects:
        value = values[reject.row] or b""
        binary = foreign_binary(value) if reject.reason == RejectReason.NOT_JSON else None
        reason, detail = binary or (reject.reason, reject.detail)
        found.append(Reject(reject.row, reason, detail.replace("the line", "the value"), reject.digest))
    if parsed.rows_read < len(values):
        # the lines of a file may be blank, a message may not: it would end nowhere
        blank = [place for place, value in enumerate(values) if value is not None and not value.strip()]
        found += [Reject(place, RejectReason.NOT_JSON, _EMPTY, 0) for place in blank]
    return found


def _with_arrival(records: pl.DataFrame, timestamps: Sequence[int]) -> pl.DataFrame:
    """Take the message's timestamp for the arrival where the record names none."""
    came = pl.Series([ms if 0 <= ms <= LAST_MS else None for ms in timestamps], dtype=pl.Int64)
    return records.with_columns(pl.coalesce("arrived_at_ms", came.gather(records["row"])).alias("arrived_at_ms"))
