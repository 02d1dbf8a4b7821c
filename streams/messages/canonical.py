"""The canonical topics, read in one way by everybody: as records for the join, as frames for the lake.

What Truthloop wrote is read by its types, all else by the mapping; what neither can read is unreadable, and the
join rejects it. Law: a message gives a record if and only if it gives a row, and both say the same. Must not know
of brokers.
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

import polars as pl

from joins import LabelRecord, Op, PredictionRecord
from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from streams.columns.digest import record_digest
from streams.columns.schema import Role, known_at_ms, records_schema
from streams.mapping.mapper import MappedChunk, MessageMapper
from streams.messages.records import Projection, label_records, prediction_records
from streams.messages.wire import LabelWire, PredictionWire

__all__ = ["CanonicalReader", "Read", "Unreadable"]

Record = TypeVar("Record", PredictionRecord, LabelRecord)

_OPS = {op.value: op for op in Op}


class Unreadable(NamedTuple):
    """A message that is no record.

    Attributes:
        offset: where it stands.
        reason: why.
        detail: what is wrong with it, without its payload.
        digest: xxh3-64 of its bytes, signed.
    """

    offset: int
    reason: str
    detail: str
    digest: int


class Read(NamedTuple, Generic[Record]):
    """Messages as the join takes them, both in the order of their offsets."""

    records: list[Record]
    unreadable: list[Unreadable]


class CanonicalReader:
    """Reads canonical messages of one loop.

    The methods take the offsets, values and timestamps (ms, negative where there is none) of messages of one
    topic; offsets of one partition, growing. A frame may be made of several partitions at once: it has the
    canonical columns, `offset`, `order_ms`, and in `row` the place of each message among those given.

    Args:
        config: the loop's.
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
    ) -> Read[PredictionRecord]:
        """Return predictions as the join reads them."""
        texts = _texts(values)
        found, places = self._predictions.records(offsets, texts)
        records = cast("list[PredictionRecord]", found)
        if not places:
            return Read(records, [])
        mapped, unreadable = self._map("predictions", places, offsets, texts, timestamps)
        more = prediction_records(self._placed("predictions", mapped, offsets), self._projection)
        return Read(_merged(records, more), unreadable)

    def label_records(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> Read[LabelRecord]:
        """Return labels as the join reads them."""
        texts = _texts(values)
        found, places = self._labels.records(offsets, texts, _OPS)
        records = cast("list[LabelRecord]", found)
        if not places:
            return Read(records, [])
        mapped, unreadable = self._map("labels", places, offsets, texts, timestamps)
        return Read(_merged(records, label_records(self._placed("labels", mapped, offsets))), unreadable)

    def prediction_frame(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> pl.DataFrame:
        """Return predictions in columns; what is unreadable has no row."""
        texts = _texts(values)
        frame, places = self._predictions.frame(texts)
        if places:
            mapped, _ = self._map("predictions", places, offsets, texts, timestamps)
            frame = pl.concat([frame, mapped]).sort("row")
        return self._placed("predictions", frame, offsets)

    def label_frame(
        self, offsets: Sequence[int], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> pl.DataFrame:
        """Return labels in columns, heartbeats included; what is unreadable has no row."""
        texts = _texts(values)
        frame, places = self._labels.frame(texts)
        if places:
            mapped, _ = self._map("labels", places, offsets, texts, timestamps)
            frame = pl.concat([frame, mapped]).sort("row")
        return self._placed("labels", frame, offsets)

    def _map(
        self, role: Role, places: list[int], offsets: Sequence[int], texts: Sequence[bytes], timestamps: Sequence[int]
    ) -> tuple[pl.DataFrame, list[Unreadable]]:
        """Map the messages at these places; `row` of what comes back is the place."""
        wanted = [texts[place] for place in places]
        chunk: MappedChunk = self._mappers[role].map(wanted)
        at = pl.Series(places, dtype=pl.Int64)
        came = pl.Series([timestamps[place] for place in places], dtype=pl.Int64)
        rows = chunk.records["row"]
        arrived = came.gather(rows)
        frame = chunk.records.with_columns(
            at.gather(rows).alias("row"),
            pl.coalesce("arrived_at_ms", arrived.set(arrived < 0, None)).alias("arrived_at_ms"),
        )
        unreadable = {
            row: Unreadable(offsets[places[row]], reason, detail, digest)
            for row, reason, detail, digest in chunk.rejects.iter_rows()
        }
        # the lines of a file may be blank, a message may not: it would end nowhere
        for row in set(range(len(wanted))).difference(unreadable, rows):
            unreadable[row] = Unreadable(
                offsets[places[row]], RejectReason.NOT_JSON.value, "an empty message", record_digest(wanted[row])
            )
        return frame.cast(self._schemas[role]), [unreadable[row] for row in sorted(unreadable)]

    def _placed(self, role: Role, frame: pl.DataFrame, offsets: Sequence[int]) -> pl.DataFrame:
        at = pl.Series("offset", offsets, dtype=pl.Int64)
        order = pl.col("time_ms") if role == "predictions" else self._known_at_ms
        return frame.with_columns(at.gather(frame["row"]), order.alias("order_ms"))


def _texts(values: Sequence[bytes | None]) -> Sequence[bytes]:
    """Return values with nothing in place of those that a message does not have."""
    if None in values:
        return [b"" if value is None else value for value in values]
    return cast("Sequence[bytes]", values)


def _merged(records: list[Any], more: list[Any]) -> list[Any]:
    """Return both in the order of their offsets."""
    return sorted([*records, *more], key=lambda record: record[0]) if more else records
