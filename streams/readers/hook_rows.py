"""Files with columns as the objects that a function of the user's is given: one a row, every column by its name.

Must not map: what the function returns is judged where all records are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl

from streams.columns.plan import Plan, Slot
from streams.columns.raw import AT, ROW, RawChunk, Reject
from streams.columns.scalar import MARK
from streams.readers.csv_rows import read_csv, read_csv_header
from streams.readers.json_lines import ParsedLines
from streams.readers.json_records import JsonRecords
from streams.readers.parquet import parquet_schema, read_parquet

__all__ = ["read_objects"]


def read_objects(path: Path, form: Literal["parquet", "csv"], records: JsonRecords) -> Iterator[RawChunk]:
    """Yield what becomes of the file's rows as raw columns; `row` is the row's number in the file.

    Raises:
        InputError: the file cannot be read to its end.
    """
    names = read_csv_header(path) if form == "csv" else parquet_schema(path).names()
    slots = tuple(Slot(f"c{at}", name, is_identity=False, is_required=False) for at, name in enumerate(names))
    plan = Plan(role=records.plan.role, is_canonical=False, slots=slots, fields={})
    read = read_csv if form == "csv" else read_parquet
    for raw in read(path, plan, keep_unknown=False):
        yield _converted(raw, plan, records)


def _converted(raw: RawChunk, plan: Plan, records: JsonRecords) -> RawChunk:
    columns = {slot.path: _values(raw.frame[slot.name]) for slot in plan.slots}
    objects = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    parsed = ParsedLines(objects, list(range(len(objects))), [], raw.rows_read)
    places = raw.frame[AT].to_list()
    rows = raw.frame[ROW]
    beside = {ROW: rows.to_list()}
    made = records.convert(parsed, lambda position: raw.digests([places[position]])[0], 0, beside)
    frame = made.frame.with_columns(rows.gather(made.frame[AT]).alias(ROW))
    late = [Reject(rows[one.row], one.reason, one.detail, one.digest) for one in made.rejects]
    return RawChunk(frame, made.digests, [*raw.rejects, *late], raw.rows_read, made.filtered)


def _values(column: pl.Series) -> list[Any]:
    """Return a tidied column as what JSON would have: times as text, lists and objects as they are."""
    if column.dtype == pl.Datetime:
        return column.dt.to_string("iso:strict").to_list()
    values = column.to_list()
    if column.dtype != pl.String:
        return values
    return [_nested(value) if value is not None and value.startswith(MARK) else value for value in values]


def _nested(text: str) -> Any:  # noqa: ANN401 - whatever the column holds
    try:
        return msgspec.json.decode(text.removeprefix(MARK))
    except msgspec.DecodeError:  # bytes that are no text
        return None
