"""Reads messages of the canonical topics, as records for the join and as frames for the lake.

Messages that Truthloop wrote are decoded by their types, all others by the mapping; a message that neither can read is
unreadable, and the join rejects it. A message gives a record if and only if it gives a row, with the same content
(`tests/unit/streams/messages/test_canonical.py`). Pure: no broker.
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

import polars as pl

from joins import LabelRecord, Op, PredictionRecord
from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from streams.columns.digest import record_digest
from streams.columns.schema import Role, known_at_ms, records_schema
from streams.columns.times import arrival_ms
from streams.mapping.mapper import MappedChunk, MessageMapper
from streams.messages.records import Projection, label_records, prediction_records
from streams.messages.wire import LabelWire, PredictionWire

__all__ = ["CanonicalReader", "ReadRecords", "Unreadable"]

Record = TypeVar("Record", PredictionRecord, LabelRecord)

_OPS = {op.value: op for op in Op}


class Unreadable(NamedTuple):
    """A message that is no record.

    Attributes:
        offset: offset in its partition.
        reason: reason code of the reject.
        detail: what is wrong with it, without its payload.
        digest: signed xxh3-64 of its bytes.
    """

    offset: int
    reason: str
    detail: str
    digest: int


class ReadRecords(NamedTuple, Generic[Record]):
    """Messages as the join's records, and those that are unreadable; both ordered by offset."""

    records: list[Record]
    unreadable: list[Unreadable]


class CanonicalReader:
    """Reads canonical messages of one loop.

    The methods take the offsets, values and timestamps (ms, negative where a message has none) of messages of one
    topic. Records are read of one partition at a time, in the order of their offsets; a frame may mix partitions. A
    frame has the canonical columns, `offset`, `order_ms`, and in `row` the index of each message in the arguments.
    """

    def __init__(self, config: LoopConfig) -> None:
        self._projection = Projection.of(config)
        self._known_at_ms = known_at_ms(config)
        self._predictions = PredictionWire(config)
        self._labels = LabelWire(config)
        self._mappers = {role: MessageMapper(role, None, config) for role in ("predictions", "labels")}
        self._schemas = {role: records_schema(role, config) for role in ("predictions", "labels")}

    def prediction_records(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> ReadRecords[PredictionRecord]:
        """Return predictions as the join's records."""
        texts = _texts(values)
        decoded, to_map = self._predictions.records(offsets, texts)
        records = cast("list[PredictionRecord]", decoded)
        if not to_map:
            return ReadRecords(records, [])
        mapped, unreadable = self._map("predictions", to_map, offsets, texts, timestamps)
        more = prediction_records(self._with_offsets("predictions", mapped, offsets), self._projection)
        return ReadRecords(_merged(records, more), unreadable)

    def label_records(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> ReadRecords[LabelRecord]:
        """Return labels as the join's records."""
        texts = _texts(values)
        decoded, to_map = self._labels.records(offsets, texts, _OPS)
        records = cast("list[LabelRecord]", decoded)
        if not to_map:
            return ReadRecords(records, [])
        mapped, unreadable = self._map("labels", to_map, offsets, texts, timestamps)
        more = label_records(self._with_offsets("labels", mapped, offsets))
        return ReadRecords(_merged(records, more), unreadable)

    def prediction_frame(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> pl.DataFrame:
        """Return predictions in columns; an unreadable message has no row."""
        texts = _texts(values)
        frame, to_map = self._predictions.frame(texts)
        if to_map:
            mapped, _ = self._map("predictions", to_map, offsets, texts, timestamps)
            frame = pl.concat([frame, mapped]).sort("row")
        return self._with_offsets("predictions", frame, offsets)

    def label_frame(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> pl.DataFrame:
        """Return labels in columns, heartbeats included; an unreadable message has no row."""
        texts = _texts(values)
        frame, to_map = self._labels.frame(texts)
        if to_map:
            mapped, _ = self._map("labels", to_map, offsets, texts, timestamps)
            frame = pl.concat([frame, mapped]).sort("row")
        return self._with_offsets("labels", frame, offsets)

    def _map(
        self, role: Role, indexes: list[int], offsets: Sequence[int], texts: Sequence[bytes], timestamps: Sequence[int]
    ) -> tuple[pl.DataFrame, list[Unreadable]]:
        """Map the messages at these indexes; `row` of the frame is the index."""
        messages = [texts[at] for at in indexes]
        chunk: MappedChunk = self._mappers[role].map(messages)
        rows = chunk.records["row"]
        arrived = arrival_ms([timestamps[at] for at in indexes]).gather(rows)
        frame = chunk.records.with_columns(
            pl.Series(indexes, dtype=pl.Int64).gather(rows).alias("row"),
            pl.coalesce("arrived_at_ms", arrived).alias("arrived_at_ms"),
        )
        unreadable = {
            row: Unreadable(offsets[indexes[row]], reason, detail, digest)
            for row, reason, detail, digest in chunk.rejects.iter_rows()
        }
        # the mapping skips blank lines of a file, but every message must end as a record or a reject
        for row in set(range(len(messages))).difference(unreadable, rows):
            unreadable[row] = Unreadable(
                offsets[indexes[row]], RejectReason.NOT_JSON.value, "an empty message", record_digest(messages[row])
            )
        return frame.cast(self._schemas[role]), [unreadable[row] for row in sorted(unreadable)]

    def _with_offsets(self, role: Role, frame: pl.DataFrame, offsets: Sequence[int]) -> pl.DataFrame:
        """Add the columns `offset` and `order_ms`, the time by which the join orders records."""
        column = pl.Series("offset", offsets, dtype=pl.Int64)
        order = pl.col("time_ms") if role == "predictions" else self._known_at_ms
        return frame.with_columns(column.gather(frame["row"]), order.alias("order_ms"))


def _texts(values: Sequence[bytes | None]) -> Sequence[bytes]:
    """Return values with empty bytes for missing ones."""
    if None in values:
        return [b"" if value is None else value for value in values]
    return cast("Sequence[bytes]", values)


def _merged(records: list[Any], more: list[Any]) -> list[Any]:
    """Return both lists as one, ordered by offset."""
    return sorted([*records, *more], key=lambda record: record[0]) if more else records
