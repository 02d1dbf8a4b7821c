"""Outcome messages: the join writes them to `<loop>.outcomes`, and the lake reads them as columns.

A message has the fields of `schemas.events.messages.Outcome` and the number of the step that made it. Decoded, it is
the same row that a replay writes (`tests/unit/streams/messages/test_outcome.py`).
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Literal, get_args

import msgspec
import polars as pl

from joins import OutcomeRow
from lake.table import TIME
from schemas.errors import BrokerError
from streams.messages.records import Projection, value_columns

__all__ = ["NoOutcomeError", "OutcomeWire"]

_TIMES = ("predicted_at", "known_at", "label_time")
_OUTPUTS_FROM = 2
"""Index of the first output in a projection: version and weight come before the outputs, the slices after them."""

_ANSWER = object()
"""Type of label values and outputs: a number, or the name of a class."""

_FIELDS: dict[str, Any] = {
    "v": Literal[1],
    "sequence": int,
    "partition": int,
    # from here to `eligible` in the order of `joins.OutcomeRow`
    "key": str,
    "id": str,
    "kind": str,
    "definition": str,
    "status": str,
    "reason": str,
    "value": _ANSWER,
    "previous": _ANSWER,
    "previous_status": str,
    "predicted_at": int,
    "known_at": int,
    "revision": int,
    "prediction_offset": int,
    "label_offset": int | None,
    "label_time": int | None,
    "eligible": bool,
    # from the prediction's projection
    "version": str,
    "weight": float,
    "output": _ANSWER,
}
_ANSWERS = [name for name, kind in _FIELDS.items() if kind is _ANSWER]
_COLUMN: dict[Any, pl.DataType] = {float: pl.Float64(), int: pl.Int64(), str: pl.String(), bool: pl.Boolean()}


class NoOutcomeError(BrokerError):
    """A message in the topic of outcomes is no outcome.

    Attributes:
        index: index of the message among the given ones.
    """

    def __init__(self, index: int, fault: str) -> None:
        self.index = index
        super().__init__(f"is no outcome: {fault}", hint="Only the join may write to this topic: see what else does.")


class OutcomeWire:
    """Encodes and decodes the outcomes of one loop."""

    def __init__(self, projection: Projection) -> None:
        self._has_classes = "multiclass" in projection.kinds.values()
        answer = float | str | None if self._has_classes else float | None
        fields = {name: answer if kind is _ANSWER else kind for name, kind in _FIELDS.items()}
        self._output_at = {kind: at for at, kind in enumerate(projection.kinds, _OUTPUTS_FROM)}
        self._first_slice = _OUTPUTS_FROM + len(projection.kinds)
        # columns keep the prefix as fields, because a slice may have a name that a struct's field cannot have
        self._slices = {name: name.removeprefix("slice_") for name in projection.columns[self._first_slice :]}
        members = [(name, str | None, None) for name in self._slices]
        slices = msgspec.defstruct("Slices", members, gc=False, rename=self._slices)
        self._make_slices: Any = slices
        self._message: Any = msgspec.defstruct("OutcomeMessage", [*fields.items(), ("slices", slices)], gc=False)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(self._message).decode
        self._fields = list(fields)
        self._schema = {name: _column(kind) for name, kind in fields.items()}
        self._required = [name for name, kind in fields.items() if kind in _COLUMN]

    def encode(self, partition: int, sequence: int, revisions: Iterable[OutcomeRow]) -> list[bytes]:
        """Return one message for each revision of a partition's step."""
        encode, make, make_slices = self._encode, self._message, self._make_slices
        output_at, first = self._output_at, self._first_slice
        messages = []
        for row in revisions:
            projected = row.projection
            output, slices = projected[output_at[row.kind]], make_slices(*projected[first:])
            facts = make(1, sequence, partition, *row[:-1], projected[0], projected[1], output, slices)
            messages.append(encode(facts))
        return messages

    @staticmethod
    def keys(revisions: Iterable[OutcomeRow]) -> list[bytes]:
        """Return the Kafka key of each revision's message, which is the join key."""
        return [row.key.encode() for row in revisions]

    def frame(self, values: Sequence[bytes]) -> pl.DataFrame:
        """Return messages in the lake's columns, in their order.

        Raises:
            NoOutcomeError: one of them is no outcome.
        """
        frame = None if self._has_classes else self._read_at_once(values)
        if frame is None:
            frame = self._read_one_by_one(values)
        return frame.drop("v").with_columns(
            *(pl.col(name).cast(pl.Datetime("ms", "UTC")).cast(TIME) for name in _TIMES),
            pl.col("partition").cast(pl.Int32),
        )

    def _read_at_once(self, values: Sequence[bytes]) -> pl.DataFrame | None:
        """Read all messages at once, in half the time of one by one; None if one of them is no outcome.

        A number in place of a text would pass, but only the join writes to the topic.
        """
        schema: dict[str, Any] = dict(self._schema)
        if self._slices:
            schema["slices"] = pl.Struct(dict.fromkeys(self._slices.values(), pl.String()))
        try:
            frame = pl.read_ndjson(b"\n".join(values), schema=schema)
        except pl.exceptions.PolarsError:
            return None
        is_complete = not any(frame.select(self._required).null_count().row(0))
        if frame.height != len(values) or not is_complete or (frame["v"] != 1).any():
            return None
        if self._slices:
            groups = frame["slices"].struct.unnest()
            columns = [groups[name].alias(column) for column, name in self._slices.items()]
            frame = frame.drop("slices").with_columns(columns)
        none = pl.lit(None, dtype=pl.String)
        return frame.with_columns(none.alias(f"{name}_class") for name in _ANSWERS)

    def _read_one_by_one(self, values: Sequence[bytes]) -> pl.DataFrame:
        """Read messages one by one, to support class names and to report which message is no outcome."""
        decode = self._decode
        paths = attrgetter(*self._fields, *(f"slices.{name}" for name in self._slices))
        rows = []
        for at, value in enumerate(values):
            try:
                rows.append(paths(decode(value)))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise NoOutcomeError(at, str(error)) from None
        names = [*self._fields, *self._slices]
        data: dict[str, pl.Series] = {}
        for name, column in zip(names, zip(*rows, strict=True) if rows else ([] for _ in names), strict=True):
            if name in _ANSWERS:
                data |= value_columns(name, column)
            else:
                data[name] = pl.Series(column, dtype=self._schema.get(name, pl.String()))
        return pl.DataFrame(data)


def _column(kind: Any) -> pl.DataType:  # noqa: ANN401 - a type or a union of types
    """Return the column type of a field; of an answer, that of its number."""
    return next((column for one, column in _COLUMN.items() if kind is one or one in get_args(kind)), pl.Int64())
