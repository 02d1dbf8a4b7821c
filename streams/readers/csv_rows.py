"""CSV files as raw columns of text, with one reject for every row that does not fit the header.

Python's own parser reads them: it tells a ragged row from a good one, and a quoted newline from the end of
a row. All columns are text here; what they mean is decided where all formats meet. An empty cell is missing.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from schemas.base.status import RejectReason
from schemas.errors import InputError
from streams.columns.digest import record_digest, record_digests
from streams.columns.json_text import as_object, json_member, text_as_json
from streams.columns.plan import Plan
from streams.columns.raw import AT, ROW, UNKNOWN, RawChunk, Reject
from streams.readers.column_path import missing_column
from streams.readers.text_lines import MAX_LINE_BYTES, read_lines

__all__ = ["check_csv", "read_csv", "read_csv_header"]

ROWS_PER_CHUNK: Final = 32_768
_NOT_UTF8: Final = "\x00\x01line is not UTF-8\x00"
_TOO_LARGE: Final = "\x00\x01line is too large\x00"


class _Lines:
    """The file's lines as text; a line that cannot be text is replaced by a mark that no field can be."""

    def __init__(self, path: Path) -> None:
        self.number = 0
        self.last = b""
        self.has_marks = False
        self._blocks = read_lines(path)

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            for line in block:
                self.number += 1
                self.last = line
                if len(line) > MAX_LINE_BYTES:
                    self.has_marks = True
                    yield f"{_TOO_LARGE}\n"
                    continue
                try:
                    text = line.decode()
                except UnicodeDecodeError:
                    self.has_marks = True
                    text = _NOT_UTF8
                yield f"{text}\n"


def read_csv_header(path: Path) -> list[str]:
    """Return the names of the file's columns.

    Raises:
        InputError: no header, a name that stands there twice, or a header that is no CSV.
    """
    return _header(iter(csv.reader(_Lines(path), strict=True)), path)


def check_csv(path: Path, plan: Plan) -> None:
    """Check that the file has what the plan needs.

    Raises:
        InputError: the header is not usable, or a mapped column is not in it.
    """
    names = read_csv_header(path)
    for delimiter, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and delimiter in names[0]:
            raise InputError(
                f"its cells seem to be separated by {name}, not by commas",
                where=str(path),
                hint="Write it with commas, or as Parquet: duckdb -c \"COPY (FROM 'in.csv') TO 'out.parquet'\"",
            )
    if plan.each is not None:
        raise InputError("a CSV file has no lists to take records from", where=str(path), hint="Remove `each`.")
    for slot in plan.slots:
        if slot.is_required and slot.path not in names:
            raise missing_column(slot.path, names, path)


def read_csv(path: Path, plan: Plan, *, keep_unknown: bool) -> Iterator[RawChunk]:
    """Yield the file's rows as raw columns; `row` is the record's number, whatever newlines are in its cells.

    Raises:
        InputError: the header is not usable, a mapped column is not in it, or a quote is never closed.
    """
    check_csv(path, plan)
    lines = _Lines(path)
    reader = csv.reader(lines, strict=True)
    names = _header(reader, path)
    places = {name: index for index, name in enumerate(names)}
    row = 1
    while True:
        chunk, rows_seen = _read_chunk(reader, lines, row, len(names), path)
        if not rows_seen:
            return
        yield _to_raw(chunk, places, plan, keep_unknown=keep_unknown)
        row += rows_seen


class _Rows(msgspec.Struct):
    """Rows of one chunk that have the header's number of cells, their record numbers, and the rejects."""

    cells: list[list[str]]
    numbers: list[int]
    rejects: list[Reject]


def _header(reader: Iterator[list[str]], path: Path) -> list[str]:
    try:
        names = next(reader, [])
    except csv.Error:
        names = []
    if not names or any(name.startswith("\x00\x01") for name in names):
        raise InputError("the first line is no CSV header", where=str(path), hint="Name the columns in the first line.")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(
            f"the header names {doubled[0][:80]!r} twice",
            where=str(path),
            hint="Give every column a name of its own.",
        )
    return names


def _read_chunk(reader: Iterator[list[str]], lines: _Lines, first: int, width: int, path: Path) -> tuple[_Rows, int]:
    rows = _Rows([], [], [])
    row = first
    while row - first < ROWS_PER_CHUNK:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "field larger" in str(error) or "unexpected end" in str(error):
                raise InputError(
                    f"line {lines.number}: a quote opened in record {row} is never closed, or a cell is too large",
                    where=str(path),
                    hint="What follows cannot be told apart. Close the quote; double a quote inside a cell.",
                ) from error
            detail = "quotes do not enclose a whole cell"
            digest = record_digest(lines.last)
            rows.rejects.append(Reject(row, RejectReason.NOT_AN_OBJECT, detail, digest))
            row += 1
            continue
        if len(cells) == width and not lines.has_marks:
            rows.cells.append(cells)
            rows.numbers.append(row)
        elif cells:
            _judge(cells, row, width, rows)
        row += 1
    return rows, row - first


def _judge(cells: list[str], row: int, width: int, rows: _Rows) -> None:
    """Take or reject a row that may not fit: ragged, or with a line in it that could not be read."""
    text = "".join(cells)
    if _TOO_LARGE in text:
        fault = RejectReason.TOO_LARGE, f"a line is longer than {MAX_LINE_BYTES:,} bytes"
    elif _NOT_UTF8 in text:
        fault = RejectReason.NOT_AN_OBJECT, "a line is not UTF-8"
    elif len(cells) != width:
        fault = RejectReason.NOT_AN_OBJECT, f"{len(cells)} cells under a header of {width}"
    else:
        rows.cells.append(cells)
        rows.numbers.append(row)
        return
    rows.rejects.append(Reject(row, *fault, record_digest(msgspec.json.encode(cells))))


def _to_raw(rows: _Rows, places: dict[str, int], plan: Plan, *, keep_unknown: bool) -> RawChunk:
    count = len(rows.cells)
    by_column = list(zip(*rows.cells, strict=True)) if count else [()] * len(places)

    def column(name: str) -> pl.Series:
        text = pl.Series(by_column[places[name]], dtype=pl.String)
        return text.to_frame("v").select(pl.when(pl.col("v") != "").then("v")).to_series()

    columns = [
        pl.Series(ROW, rows.numbers, dtype=pl.Int64),
        pl.Series(AT, range(count), dtype=pl.Int64),
    ]
    columns += [column(slot.path).alias(slot.name) for slot in plan.slots if slot.path in places]
    if plan.group is not None and keep_unknown:
        prefix = f"{plan.group}." if plan.group else ""
        unknown = {name.removeprefix(prefix): name for name in places if name.startswith(prefix)}
        members = [
            json_member(name, text_as_json(column(place)))
            for name, place in sorted(unknown.items())
            if name not in plan.known
        ]
        columns.append(as_object(members, count).alias(UNKNOWN))

    def digests(positions: Sequence[int]) -> list[int]:
        return record_digests(msgspec.json.encode(rows.cells[position]) for position in positions)

    return RawChunk(pl.DataFrame(columns), digests, rows.rejects, count + len(rows.rejects), 0)
