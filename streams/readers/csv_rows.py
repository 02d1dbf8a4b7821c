"""Reads CSV files as raw columns of text, with one reject for every row that does not fit the header.

Python's own parser is used because it detects ragged rows and handles newlines inside quotes. An empty cell is a
missing value.
"""

import csv
from collections import Counter
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
from streams.columns.raw import POSITION, ROW, UNKNOWN, RawChunk, Reject
from streams.readers.column_path import missing_column
from streams.readers.text_lines import MAX_LINE_BYTES, read_lines

__all__ = ["check_csv", "read_csv", "read_csv_header"]

ROWS_PER_CHUNK: Final = 32_768
CELLS_PER_CHUNK: Final = 16_000_000
"""A chunk of a wide table has fewer rows: a cell takes about 60 bytes until it is in a column."""
_NOT_UTF8: Final = "\x00\x01line is not UTF-8\x00"
_TOO_LARGE: Final = "\x00\x01line is too large\x00"


def read_csv_header(path: Path) -> list[str]:
    """Return the names of the file's columns.

    Raises:
        InputError: no header, a duplicate name, or a header that is no CSV.
    """
    return _header(iter(csv.reader(_CsvLines(path), strict=True)), path)


def check_csv(path: Path, plan: Plan) -> None:
    """Check that the file has the columns that the plan needs.

    Raises:
        InputError: the header is invalid, or a mapped column is not in it.
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
    """Yield the file's rows as raw columns; `row` counts records, not lines.

    Raises:
        InputError: the header is invalid, a mapped column is not in it, or a quote is never closed.
    """
    check_csv(path, plan)
    lines = _CsvLines(path)
    reader = csv.reader(lines, strict=True)
    names = _header(reader, path)
    indexes = {name: index for index, name in enumerate(names)}
    row = 1
    while True:
        chunk, rows_read = _read_chunk(reader, lines, row, len(names), path)
        if not rows_read:
            return
        yield _to_raw(chunk, indexes, plan, keep_unknown=keep_unknown)
        row += rows_read


class _CsvLines:
    """The file's lines as text; a line that cannot be text is replaced by a placeholder that no cell can equal."""

    def __init__(self, path: Path) -> None:
        self.number = 0
        self.last = b""
        self.has_placeholders = False
        self._blocks = read_lines(path)

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            for line in block:
                self.number += 1
                self.last = line
                if len(line) > MAX_LINE_BYTES:
                    self.has_placeholders = True
                    yield f"{_TOO_LARGE}\n"
                    continue
                try:
                    text = line.decode()
                except UnicodeDecodeError:
                    self.has_placeholders = True
                    text = _NOT_UTF8
                yield f"{text}\n"


class _CsvChunk(msgspec.Struct):
    """Rows with the header's number of cells, their record numbers, and the rejects."""

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
    if duplicates := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(
            f"the header names {duplicates[0][:80]!r} twice", where=str(path), hint="Give each column its own name."
        )
    return names


def _read_chunk(
    reader: Iterator[list[str]], lines: _CsvLines, first: int, width: int, path: Path
) -> tuple[_CsvChunk, int]:
    """Return the next records, and how many were read; `first` is the number of the first one."""
    chunk = _CsvChunk([], [], [])
    row = first
    rows_max = max(1, min(ROWS_PER_CHUNK, CELLS_PER_CHUNK // width))
    while row - first < rows_max:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "field larger" in str(error) or "unexpected end" in str(error):
                raise InputError(
                    f"line {lines.number}: a quote opened in record {row} is never closed, or a cell is too large",
                    where=str(path),
                    hint="The rows after it cannot be separated. Close the quote; double a quote inside a cell.",
                ) from error
            detail = "quotes do not enclose a whole cell"
            digest = record_digest(lines.last)
            chunk.rejects.append(Reject(row, RejectReason.NOT_AN_OBJECT, detail, digest))
            row += 1
            continue
        if len(cells) == width and not lines.has_placeholders:
            chunk.cells.append(cells)
            chunk.numbers.append(row)
        elif cells:
            _add_checked(cells, row, width, chunk)
        row += 1
    return chunk, row - first


def _add_checked(cells: list[str], row: int, width: int, chunk: _CsvChunk) -> None:
    """Add a row, or reject it if it is ragged or contains a line that could not be read."""
    text = "".join(cells)
    if _TOO_LARGE in text:
        fault = RejectReason.TOO_LARGE, f"a line is longer than {MAX_LINE_BYTES:,} bytes"
    elif _NOT_UTF8 in text:
        fault = RejectReason.NOT_AN_OBJECT, "a line is not UTF-8"
    elif len(cells) != width:
        fault = RejectReason.NOT_AN_OBJECT, f"{len(cells)} cells under a header of {width}"
    else:
        chunk.cells.append(cells)
        chunk.numbers.append(row)
        return
    chunk.rejects.append(Reject(row, *fault, record_digest(msgspec.json.encode(cells))))


def _to_raw(chunk: _CsvChunk, indexes: dict[str, int], plan: Plan, *, keep_unknown: bool) -> RawChunk:
    count = len(chunk.cells)
    by_column = list(zip(*chunk.cells, strict=True)) if count else [()] * len(indexes)

    def column(name: str) -> pl.Series:
        text = pl.Series(by_column[indexes[name]], dtype=pl.String)
        return text.to_frame("v").select(pl.when(pl.col("v") != "").then("v")).to_series()

    columns = [pl.Series(ROW, chunk.numbers, dtype=pl.Int64), pl.Series(POSITION, range(count), dtype=pl.Int64)]
    columns += [column(slot.path).alias(slot.name) for slot in plan.slots if slot.path in indexes]
    if plan.features_path is not None and keep_unknown:
        prefix = f"{plan.features_path}." if plan.features_path else ""
        unknown = {name.removeprefix(prefix): name for name in indexes if name.startswith(prefix)}
        members = [
            json_member(name, text_as_json(column(header)))
            for name, header in sorted(unknown.items())
            if name not in plan.known_names
        ]
        columns.append(as_object(members, count).alias(UNKNOWN))

    def digests(positions: Sequence[int]) -> list[int]:
        return record_digests(msgspec.json.encode(chunk.cells[position]) for position in positions)

    return RawChunk(pl.DataFrame(columns), digests, chunk.rejects, count + len(chunk.rejects), 0)
