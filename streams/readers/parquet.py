"""Reads the columns of a Parquet file that the plan needs, in batches, as raw columns.

UUIDs become their text, and other bytes of a fixed size text where they are printable UTF-8, else hexadecimal digits.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import polars as pl
from polars.exceptions import PolarsError
from pyarrow import ArrowException, ArrowNotImplementedError, parquet

from schemas.base.status import RejectReason
from schemas.errors import InputError
from streams.columns.digest import record_digests
from streams.columns.json_text import as_object, json_member
from streams.columns.plan import Plan
from streams.columns.raw import INVALID, POSITION, ROW, UNKNOWN, RawChunk, Reject
from streams.columns.scalar import json_text, tidy
from streams.readers.column_path import field_at, find_path, leaf_names, missing_column
from streams.readers.fixed_bytes import ELEMENT, fixed_bytes
from streams.readers.row_size import large_rows, text_bytes
from streams.readers.text_lines import MAX_LINE_BYTES

__all__ = ["check_parquet", "parquet_schema", "read_parquet"]

ROWS_PER_BATCH: Final = 131_072
BYTES_PER_BATCH: Final = 64 * 1024 * 1024
"""A batch of large rows has fewer of them. What is read at once is a row group, as its writer made it."""
_BEGINNING: Final = 1_000
"""Characters of a text that the digest of a row that is too large is made of."""


def parquet_schema(path: Path) -> pl.Schema:
    """Return names and types of the file's columns.

    Raises:
        InputError: not a whole Parquet file.
    """
    with _readable(path):
        return pl.scan_parquet(path, glob=False).collect_schema()


def check_parquet(path: Path, plan: Plan) -> None:
    """Check that the file has the columns that the plan needs.

    Raises:
        InputError: not a whole Parquet file, or a mapped column is not in it.
    """
    _Layout(path, plan)


class _Layout:
    """The column path of each slot, of the list of elements and of the unknown features in one file."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.schema = parquet_schema(path)
        self.slots: dict[str, tuple[str, ...]] = {}
        self.in_element: dict[str, tuple[str, ...]] = {}
        self.each = None if plan.each is None else _list_at(plan.each, self.schema, path)
        element = self._element_schema()
        for slot in plan.slots:
            names = self._in_element(slot.path, plan, element)
            if names is not None:
                self.in_element[slot.name] = names
                continue
            names = find_path(slot.path, self.schema)
            if names is not None:
                self.slots[slot.name] = names
            elif slot.is_required:
                known = leaf_names(self.schema) + [f"{plan.each}.{name}" for name in leaf_names(element)]
                raise missing_column(slot.path, known, path)
        with _readable(path):
            self._fixed_bytes = fixed_bytes(path)
        self.unknown = _unknown_paths(plan, self.schema)
        self.unknown_in_element = _unknown_in_element(plan, element)

    def _element_schema(self) -> dict[str, pl.DataType]:
        if self.each is None:
            return {}
        dtype = _dtype_at(self.each, self.schema)
        inner = dtype.inner if isinstance(dtype, pl.List) else None
        fields = inner.fields if isinstance(inner, pl.Struct) else []
        return dict(pl.Schema([(field.name, field.dtype) for field in fields]))

    def _in_element(self, path: str, plan: Plan, element: Mapping[str, pl.DataType]) -> tuple[str, ...] | None:
        if path == plan.each:
            return ()
        below = path.removeprefix(f"{plan.each}.")
        return find_path(below, element) if self.each is not None and below != path else None

    def with_text(self, names: Sequence[str], values: pl.Series, *, is_in_element: bool = False) -> pl.Series:
        """Return the values at a path, with bytes of a fixed size as text."""
        where = (*(self.each or ()), ELEMENT, *names) if is_in_element else tuple(names)
        decode = self._fixed_bytes.get(where)
        if decode is None:
            return values
        return pl.Series([None if value is None else decode(value) for value in values.to_list()], dtype=pl.String)

    def roots(self) -> list[str]:
        """Return the top-level columns that have to be read, in file order."""
        paths = [*self.slots.values(), *self.unknown.values(), *([self.each] if self.each else [])]
        wanted = {names[0] for names in paths}
        return [name for name in self.schema if name in wanted]


def read_parquet(path: Path, plan: Plan, *, keep_unknown: bool) -> Iterator[RawChunk]:
    """Yield the file's rows as raw columns.

    Raises:
        InputError: not a whole Parquet file, or a mapped column is not in it.
    """
    layout = _Layout(path, plan)
    roots = set(layout.roots())
    indexes = [index for index, name in enumerate(layout.schema) if name in roots]
    first = 1
    for part in _batches(path, indexes):
        yield _to_raw(part, first, layout, plan, keep_unknown=keep_unknown)
        first += part.height


def _batches(path: Path, indexes: list[int]) -> Iterator[pl.DataFrame]:
    with _readable(path):
        query = pl.scan_parquet(path, glob=False).select(pl.nth(indexes))
        for batch in query.collect_batches(chunk_size=_rows_per_batch(path), maintain_order=True):
            # a text that repeats is in the file once
            size = max(1, int(text_bytes(batch).sum()))
            yield from batch.iter_slices(max(1, min(ROWS_PER_BATCH, batch.height * BYTES_PER_BATCH // size)))


def _rows_per_batch(path: Path) -> int:
    """Return how many rows are about as large as a batch may be, by the average of the file."""
    try:
        metadata = parquet.read_metadata(path)
    except ArrowNotImplementedError:
        return ROWS_PER_BATCH  # a type of Polars' own, as in `fixed_bytes`
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(1, min(ROWS_PER_BATCH, int(metadata.num_rows) * BYTES_PER_BATCH // max(int(size), 1)))


def _to_raw(part: pl.DataFrame, first: int, layout: _Layout, plan: Plan, *, keep_unknown: bool) -> RawChunk:
    positions = pl.int_range(part.height, dtype=pl.Int64, eager=True).alias(POSITION)
    source, elements, filtered, rejects = part, pl.Series(dtype=pl.Null), 0, list[Reject]()
    is_large = large_rows(part)
    if is_large is not None:
        rejects = _too_large(part, is_large, first)
        positions, source = positions.filter(~is_large), part.filter(~is_large)
    if layout.each is not None:
        lists = pl.DataFrame([positions, field_at(source.get_column(layout.each[0]), layout.each[1:]).alias(ELEMENT)])
        lists = lists.filter(pl.col(ELEMENT).list.len() > 0)
        filtered = source.height - lists.height
        lists = lists.explode(ELEMENT)
        positions, elements = lists.get_column(POSITION), lists.get_column(ELEMENT)
        source = part[positions]

    def value(names: Sequence[str]) -> pl.Series:
        return layout.with_text(names, field_at(source.get_column(names[0]), names[1:]))

    def element_value(names: Sequence[str]) -> pl.Series:
        return layout.with_text(names, field_at(elements, names), is_in_element=True)

    columns = [(positions + first).alias(ROW), positions]
    columns += [tidy(value(names)).alias(slot) for slot, names in layout.slots.items()]
    columns += [tidy(element_value(names)).alias(slot) for slot, names in layout.in_element.items()]
    if plan.features_path is not None and keep_unknown:
        found = {name: value(names) for name, names in layout.unknown.items()}
        found |= {name: element_value(names) for name, names in layout.unknown_in_element.items()}
        members = [json_member(name, json_text(found[name])) for name in sorted(found)]
        columns.append(as_object(members, len(positions)).alias(UNKNOWN))
        columns.append(_any_not_finite(list(found.values()), len(positions)).alias(INVALID))

    def digests(wanted: Sequence[int]) -> list[int]:
        rows = part[list(wanted)]
        plain = rows.rename({name: f"c{index}" for index, name in enumerate(rows.columns)})
        return record_digests(text.encode() for text in json_text(plain.to_struct()).to_list())

    return RawChunk(pl.DataFrame(columns), digests, rejects, part.height, filtered)


def _too_large(part: pl.DataFrame, is_large: pl.Series, first: int) -> list[Reject]:
    """Return rejects of large rows; their digests are those of their number and of the beginnings of their texts."""
    rows = (is_large.arg_true() + first).to_list()
    texts = part.filter(is_large).select(pl.col(pl.String).str.head(_BEGINNING)).rows() or [()] * len(rows)
    digests = record_digests(msgspec.json.encode((row, *text)) for row, text in zip(rows, texts, strict=True))
    detail = f"longer than {MAX_LINE_BYTES:,} bytes"
    return [Reject(row, RejectReason.TOO_LARGE, detail, one) for row, one in zip(rows, digests, strict=True)]


def _any_not_finite(features: Sequence[pl.Series], length: int) -> pl.Series:
    found = pl.repeat(value=False, n=length, eager=True)
    for feature in features:
        if feature.dtype.is_float():
            found |= ~feature.is_finite().fill_null(value=True)
    return found


def _list_at(each: str, schema: pl.Schema, path: Path) -> tuple[str, ...]:
    names = find_path(each, schema)
    if names is None:
        raise missing_column(each, leaf_names(schema), path)
    if not isinstance(_dtype_at(names, schema), pl.List):
        raise InputError(f"each: column {each!r} is no list", where=str(path), hint="Remove `each`, or name a list.")
    return names


def _dtype_at(names: Sequence[str], schema: Mapping[str, pl.DataType]) -> pl.DataType:
    dtype = schema[names[0]]
    for name in names[1:]:
        fields = dtype.fields if isinstance(dtype, pl.Struct) else []
        dtype = pl.Schema([(field.name, field.dtype) for field in fields])[name]
    return dtype


def _unknown_paths(plan: Plan, schema: Mapping[str, pl.DataType]) -> dict[str, tuple[str, ...]]:
    if plan.features_path is None:
        return {}
    if not plan.features_path:
        return {name: (name,) for name in schema if name not in plan.known_names}
    prefix = f"{plan.features_path}."
    found: dict[str, tuple[str, ...]] = {
        name.removeprefix(prefix): (name,) for name in schema if name.startswith(prefix)
    }
    names = find_path(plan.features_path, schema)
    if names is not None:
        dtype = _dtype_at(names, schema)
        fields = dtype.fields if isinstance(dtype, pl.Struct) else []
        found = {field.name: (*names, field.name) for field in fields} | found
    return {name: path for name, path in found.items() if name not in plan.known_names}


def _unknown_in_element(plan: Plan, element: Mapping[str, pl.DataType]) -> dict[str, tuple[str, ...]]:
    if not plan.features_path or plan.each is None:
        return {}
    if plan.features_path == plan.each:
        return {name: (name,) for name in element if name not in plan.known_names}
    names = find_path(plan.features_path.removeprefix(f"{plan.each}."), element)
    dtype = _dtype_at(names, element) if names else None
    fields = dtype.fields if isinstance(dtype, pl.Struct) else []
    return {field.name: (*(names or ()), field.name) for field in fields if field.name not in plan.known_names}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (PolarsError, ArrowException, OSError, pl.exceptions.PanicException) as error:
        raise InputError(
            f"not a whole Parquet file ({type(error).__name__})",
            where=str(path),
            hint="The write or copy may have been interrupted; write or copy the file again.",
        ) from error
