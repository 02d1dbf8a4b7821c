"""Reads CSV and Parquet files for a hook: each row becomes a dict of its columns, as a JSON record would be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl

from streams.columns.plan import Plan, Slot
from streams.columns.raw import POSITION, ROW, RawChunk, Reject
from streams.columns.scalar import NON_SCALAR
from streams.readers.csv_rows import read_csv, read_csv_header
from streams.readers.json_lines import ParsedLines
from streams.readers.json_records import JsonRecords
from streams.readers.parquet import parquet_schema, read_parquet

__all__ = ["read_objects"]


def read_objects(path: Path, form: Literal["parquet", "csv"], records: JsonRecords) -> Iterator[RawChunk]:
    """Yield the messages that the hook makes of the file's rows, as raw columns; `row` is the number in the file.

    Raises:
        InputError: the file cannot be read to its end.
    """
    names = read_csv_header(path) if form == "csv" else parquet_schema(path).names()
    slots = tuple(Slot(f"c{index}", name, is_identity=False, is_required=False) for index, name in enumerate(names))
    plan = Plan(role=records.plan.role, is_canonical=False, slots=slots, fields={})
    read = read_csv if form == "csv" else read_parquet
    for raw in read(path, plan, keep_unknown=False):
        yield _hooked(raw, plan, records)


def _hooked(raw: RawChunk, plan: Plan, records: JsonRecords) -> RawChunk:
    columns = {slot.path: _values(raw.frame[slot.name]) for slot in plan.slots}
    objects = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    parsed = ParsedLines(objects, list(range(len(objects))), [], raw.rows_read)
    positions, rows = raw.frame[POSITION].to_list(), raw.frame[ROW]
    metadata = {ROW: rows.to_list()}
    hooked = records.convert(parsed, lambda index: raw.digests([positions[index]])[0], 0, metadata)
    frame = hooked.frame.with_columns(rows.gather(hooked.frame[POSITION]).alias(ROW))
    rejects = [Reject(rows[reject.row], reject.reason, reject.detail, reject.digest) for reject in hooked.rejects]
    return RawChunk(frame, hooked.digests, [*raw.rejects, *rejects], raw.rows_read, hooked.filtered)


def _values(column: pl.Series) -> list[Any]:
    """Return a tidied column as decoded JSON values: times as text, decimals as numbers, lists and objects as such."""
    if column.dtype == pl.Datetime:
        return column.dt.to_string("iso:strict").to_list()
    if column.dtype.is_decimal():
        column = column.cast(pl.String)
        return [None if text is None else float(text) if "." in text else int(text) for text in column.to_list()]
    values = column.to_list()
    if column.dtype != pl.String:
        return values
    return [_nested(value) if value is not None and value.startswith(NON_SCALAR) else value for value in values]


def _nested(text: str) -> Any:  # noqa: ANN401 - whatever the column holds
    try:
        return msgspec.json.decode(text.removeprefix(NON_SCALAR))
    except msgspec.DecodeError:  # bytes that are not UTF-8
        return None
