"""Encodes canonical messages, and decodes quickly those that Truthloop encoded itself.

Ingest writes every field in its final type, with the digest, so such a message is decoded by its types alone. Canonical
messages of other producers are left to the mapping, like any source record. Records for the join and frames for the
lake are decoded here alike: a message gives a record if and only if it gives a row.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import polars as pl
import pyarrow as pa

from schemas.base.instant import MOMENT_MAX_MS
from schemas.config.loop import LoopConfig
from streams.columns.schema import Role, records_schema
from streams.messages.records import value_columns
from streams.readers.json_lines import no_cycle_search

__all__ = ["Digest", "LabelWire", "PredictionWire", "ToMap", "encode_records"]

ToMap = list[int]
"""Indexes of messages that are left to the mapping, because Truthloop did not write them in this form."""

_DECODE_ERRORS = (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Raised by decoding where a message is not of the form, or not even JSON."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Time = Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MAX_MS)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, msgspec.Meta(ge=0.0)]
Digest = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

_FEATURE_TYPES: dict[str, Any] = {"float": float, "int": int, "string": str, "bool": bool}
_LABEL_FIELDS = {
    "time_ms": "time",
    "arrived_at_ms": "arrived_at",
    "happened_at_ms": "happened_at",
    "label_source": "source",
}
_GROUPS = {"output_": "outputs", "slice_": "slices", "feature_": "features"}


class LabelMessage(msgspec.Struct, gc=False):
    """A label as Truthloop writes it."""

    v: Literal[1]
    key: Text | None
    kind: str
    definition: Short
    value: float | str | None
    op: Literal["upsert", "retract", "delete", "heartbeat"]
    time: Time
    arrived_at: Time | None
    happened_at: Time | None
    source: str | None
    origin: Literal["live", "backfill"]
    batch_id: str | None
    flags: list[str]


class PredictionWire:
    """Decodes predictions that Truthloop wrote under this config, or an earlier one of the same loop."""

    def __init__(self, config: LoopConfig) -> None:
        outputs = {
            kind: {"binary": Share, "multiclass": Short, "regression": float}[output.task] | None
            for kind, output in config.predictions.outputs.items()
        }
        slices = dict.fromkeys(config.predictions.slices, str | None)
        features = {name: _FEATURE_TYPES[one.type] | None for name, one in config.predictions.features.items()}
        joined = [
            ("v", Literal[1]),
            ("digest", Digest),
            ("key", Text),
            ("id", Text),
            ("time", Time),
            ("arrived_at", Time | None),
            ("version", Short),
            ("eligible", bool),
            ("weight", Weight),
            ("outputs", _group("Outputs", outputs)),
            ("slices", _group("Slices", slices)),
        ]
        kept = [("features", _group("Features", features)), ("extras", str | None), ("flags", list[str])]
        self._decode_joined = msgspec.json.Decoder(msgspec.defstruct("JoinedFields", joined, gc=False)).decode
        self._decode_all = msgspec.json.Decoder(msgspec.defstruct("AllFields", [*joined, *kept], gc=False)).decode
        paths = ["version", "weight"]
        paths += [f"outputs.{kind}" for kind in outputs] + [f"slices.{name}" for name in slices]
        self._projection = attrgetter(*paths)
        self._schema = records_schema("predictions", config)
        self._rest = {name: dtype for name, dtype in self._schema.items() if name != "row"}
        self._columns = attrgetter(*map(_path, self._rest))

    def records(self, offsets: Sequence[int], values: Sequence[bytes]) -> tuple[list[tuple[Any, ...]], ToMap]:
        """Return the messages as the join's records, and the indexes of those that are left to the mapping."""
        projection = self._projection
        decoded, to_map = _decode(self._decode_joined, values)
        records = [(offsets[at], m.key, m.id, m.time, m.digest, m.eligible, projection(m)) for at, m in decoded]
        return records, to_map

    def frame(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, ToMap]:
        """Return the messages in the canonical columns; `row` is the index of each in `values`."""
        columns, decode = self._columns, self._decode_all
        rows: list[tuple[Any, ...]] = []
        indexes: list[int] = []
        failed: list[int] = []
        with no_cycle_search():
            for at, value in enumerate(values):
                try:  # the columns are taken at once, while the decoded message is in the processor's cache
                    rows.append(columns(decode(value)))
                    indexes.append(at)
                except _DECODE_ERRORS:
                    failed.append(at)
        if not failed:
            return _frame(indexes, rows, self._rest), []
        # `records` needs fewer fields: a message that it decodes gets a row here too, without the invalid rest
        joined, to_map = _decode(self._decode_joined, [values[at] for at in failed])
        empty = msgspec.json.encode({"features": {}, "extras": None, "flags": ["features:invalid"]})[1:]
        for at, message in joined:
            rows.append(columns(decode(msgspec.json.encode(message)[:-1] + b"," + empty)))
            indexes.append(failed[at])
        return _frame(indexes, rows, self._rest).sort("row"), [failed[at] for at in to_map]


class LabelWire:
    """Decodes labels that Truthloop wrote for this loop."""

    def __init__(self, config: LoopConfig) -> None:
        self._tasks = {kind: output.task for kind, output in config.predictions.outputs.items()}
        self._has_classes = "multiclass" in self._tasks.values()
        self._is_event_clock = config.clock == "event"
        self._schema = records_schema("labels", config)
        self._rest = {
            name: dtype for name, dtype in self._schema.items() if name not in ("row", "value", "value_class")
        }
        self._columns = attrgetter(*[_LABEL_FIELDS.get(name, name) for name in self._rest])
        self._decode = msgspec.json.Decoder(LabelMessage).decode

    def records(
        self,
        offsets: Sequence[int],
        values: Sequence[bytes],
        ops: Any,  # noqa: ANN401 - the join's enum by name
    ) -> tuple[list[tuple[Any, ...]], ToMap]:
        """Return the messages as the join's records, and the indexes of those that are left to the mapping."""
        valid, to_map = self._decode_valid(values)
        event = self._is_event_clock
        records = []
        for at, m in valid:
            arrived = m.arrived_at
            known_at = m.time if event or arrived is None or arrived < m.time else arrived
            records.append((offsets[at], m.key or "", m.kind, m.definition, ops[m.op], m.value, m.time, known_at))
        return records, to_map

    def frame(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, ToMap]:
        """Return the messages in the canonical columns; `row` is the index of each in `values`."""
        with no_cycle_search():
            valid, to_map = self._decode_valid(values)
            rows = [self._columns(message) for _, message in valid]
        answers = value_columns("value", [message.value for _, message in valid], has_classes=self._has_classes)
        frame = _frame([at for at, _ in valid], rows, self._rest).with_columns(**answers)
        return frame.select(self._schema.names()), to_map

    def _decode_valid(self, values: Sequence[bytes]) -> tuple[list[tuple[int, LabelMessage]], ToMap]:
        decoded, to_map = _decode(self._decode, values)
        if invalid := {at for at, message in decoded if not self._is_valid(message)}:
            to_map = sorted([*to_map, *invalid])
            decoded = [(at, message) for at, message in decoded if at not in invalid]
        return decoded, to_map

    def _is_valid(self, message: LabelMessage) -> bool:
        task = self._tasks.get(message.kind)
        if task is None or (message.key is None) != (message.op == "heartbeat"):
            return False
        if message.op != "upsert":
            return message.value is None
        if task == "binary":
            return message.value in (0.0, 1.0)
        return isinstance(message.value, str) == (task == "multiclass") and message.value is not None


def encode_records(role: Role, records: pl.DataFrame) -> list[bytes]:
    """Return canonical records, in the columns of `records_schema`, as messages with every field."""
    if role == "predictions":
        return _lines(records.select(*_prediction_fields(records.columns)))
    is_class = records["value_class"].is_not_null()
    if not is_class.any():
        return _lines(records.select(*_label_fields("value")))
    classes = iter(_lines(records.filter(is_class).select(*_label_fields("value_class"))))
    others = iter(_lines(records.filter(~is_class).select(*_label_fields("value"))))
    return [next(classes if one else others) for one in is_class]


def _prediction_fields(columns: Sequence[str]) -> list[pl.Expr]:
    groups = []
    for prefix, group in _GROUPS.items():
        members = [pl.col(name).alias(name.removeprefix(prefix)) for name in columns if name.startswith(prefix)]
        groups.append((pl.struct(members) if members else pl.lit(None)).alias(group))
    return [
        *(pl.lit(1, dtype=pl.Int64).alias("v"), pl.col("digest", "key", "id"), pl.col("time_ms").alias("time")),
        *(pl.col("arrived_at_ms").alias("arrived_at"), pl.col("version", "eligible", "weight")),
        *groups,
        pl.col("extras", "flags"),
    ]


def _label_fields(value: str) -> list[pl.Expr]:
    return [
        *(pl.lit(1, dtype=pl.Int64).alias("v"), pl.col("key", "kind", "definition"), pl.col(value).alias("value")),
        *(pl.col("op"), pl.col("time_ms").alias("time"), pl.col("arrived_at_ms").alias("arrived_at")),
        *(pl.col("happened_at_ms").alias("happened_at"), pl.col("label_source").alias("source")),
        pl.col("origin", "batch_id", "flags"),
    ]


def _lines(frame: pl.DataFrame) -> list[bytes]:
    target = io.BytesIO()
    frame.write_ndjson(target)
    return target.getvalue().split(b"\n")[:-1]


def _decode(decode: Callable[[bytes], Any], values: Sequence[bytes]) -> tuple[list[tuple[int, Any]], ToMap]:
    """Return the decoded messages with their indexes, and the indexes of the others."""
    decoded: list[tuple[int, Any]] = []
    to_map: ToMap = []
    for at, value in enumerate(values):
        try:
            decoded.append((at, decode(value)))
        except _DECODE_ERRORS:
            to_map.append(at)
    return decoded, to_map


def _group(name: str, members: dict[str, Any]) -> Any:  # noqa: ANN401 - a type made at run time
    """Return the type of a nested object whose members are all optional."""
    if not members:
        return dict[str, Any] | None
    return msgspec.defstruct(name, [(member, kind, None) for member, kind in members.items()], gc=False)


def _path(column: str) -> str:
    """Return the attribute path of a canonical column in a decoded prediction."""
    for prefix, group in _GROUPS.items():
        if column.startswith(prefix):
            return f"{group}.{column.removeprefix(prefix)}"
    return column.removesuffix("_ms")


def _frame(indexes: list[int], rows: list[tuple[Any, ...]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return rows as a frame, with their indexes in `row`."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    series = [_series(name, column, dtype) for (name, dtype), column in zip(schema.items(), columns, strict=True)]
    return pl.DataFrame([pl.Series("row", indexes, dtype=pl.Int64), *series])


def _series(name: str, column: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    if not isinstance(dtype, pl.List):
        return pl.Series(name, column, dtype=dtype)
    if not any(column):
        return pl.Series(name, [[]], dtype=dtype).new_from_index(0, len(column))
    # Polars takes 10 to 25 us for each list; by way of Arrow it is 0.5 us
    ends = pa.array([0, *accumulate(map(len, column))], pa.int64())
    texts = pa.array(list(chain.from_iterable(column)), pa.large_string())
    return pl.Series(name, pa.LargeListArray.from_arrays(ends, texts))
