"""JSON records as raw columns: which of them are taken, what a function makes of them, and the values at each path.

This module must not parse texts and must not know any canonical field.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import polars as pl

from schemas.base.status import RejectReason
from schemas.config.record_metadata import is_metadata_path
from streams.columns.digest import record_digest
from streams.columns.plan import Plan
from streams.columns.raw import AT, ROW, UNKNOWN, RawChunk, Reject
from streams.columns.scalar import to_text
from streams.readers.hook import Hook, apply_hook
from streams.readers.json_columns import JsonObjects, json_series
from streams.readers.json_lines import ParsedLines, no_cycle_search, parse_lines
from streams.readers.text_lines import read_lines

__all__ = ["NO_METADATA", "JsonRecords", "RecordMetadata", "unwrapped"]

RecordMetadata = Mapping[str, Sequence[Any]]
"""What is known of each record beside its value, by the path that asks for it (`$key`)."""

NO_METADATA: Final[RecordMetadata] = MappingProxyType({})


@dataclass(frozen=True)
class JsonRecords:
    """How the records of one source become raw columns.

    Attributes:
        plan: which paths are wanted.
        keep_unknown: whether features outside the contract are wanted.
        conditions: texts that are taken, by path in the record as it came.
        hook: function that makes other records of those that are taken.
    """

    plan: Plan
    keep_unknown: bool
    conditions: Mapping[str, tuple[str, ...]]
    hook: Hook | None = None

    def read_file(self, path: Path) -> Iterator[RawChunk]:
        """Yield a file's records as raw columns; `row` is the line's number.

        Raises:
            InputError: the file cannot be read to its end.
        """
        first = 1
        for lines in read_lines(path):
            with no_cycle_search():
                raw = self.read(parse_lines(lines, first), lines, first)
            yield raw
            first += len(lines)

    def read(
        self, parsed: ParsedLines, lines: Sequence[bytes], first: int, beside: RecordMetadata = NO_METADATA
    ) -> RawChunk:
        """Return parsed texts as raw columns.

        Args:
            parsed: from `parse_lines`.
            lines: the same texts.
            first: record number of the first.
            beside: what is known of each text beside its content.
        """
        return self.convert(parsed, lambda position: record_digest(lines[position]), first, beside)

    def convert(
        self, parsed: ParsedLines, digest: Callable[[int], int], first: int, beside: RecordMetadata = NO_METADATA
    ) -> RawChunk:
        """Do what `read` does, given the records' digests by their positions."""
        parsed, filtered = _select(parsed, self.conditions, beside)
        if self.hook is not None:
            parsed, dropped = apply_hook(self.hook, parsed, beside, digest, first)
            filtered += dropped
        if self.plan.is_canonical:
            parsed.objects = unwrapped(parsed.objects)
        return _Columns(parsed, self.plan, beside).chunk(digest, first, filtered, keep_unknown=self.keep_unknown)


def _select(
    parsed: ParsedLines, conditions: Mapping[str, tuple[str, ...]], beside: RecordMetadata
) -> tuple[ParsedLines, int]:
    """Return a copy with the records that fulfil all conditions, and how many do not; compared as text."""
    objects, positions = parsed.objects, parsed.positions
    for path, wanted in conditions.items():
        column = _beside(path, positions, beside) if is_metadata_path(path) else JsonObjects(objects).column(path)
        is_taken = to_text(json_series(column, is_identity=False)).is_in(list(wanted)).fill_null(value=False).to_list()
        objects = [value for value, taken in zip(objects, is_taken, strict=True) if taken]
        positions = [position for position, taken in zip(positions, is_taken, strict=True) if taken]
    return ParsedLines(objects, positions, list(parsed.rejects), parsed.rows_read), len(parsed.objects) - len(objects)


def _beside(path: str, positions: Sequence[int], beside: RecordMetadata) -> list[Any]:
    column = beside.get(path)
    return [None] * len(positions) if column is None else [column[position] for position in positions]


class _Columns:
    """The columns of some records, or of the elements of a list in each of them."""

    def __init__(self, parsed: ParsedLines, plan: Plan, beside: RecordMetadata) -> None:
        self._parsed = parsed
        self._plan = plan
        self._beside = beside
        self._whole = JsonObjects(parsed.objects)
        self._owners: list[int] | None = None
        self._elements: JsonObjects | None = None
        self._unlisted: list[int] = []
        self._empty = 0
        self._positions = parsed.positions
        if plan.each is not None:
            self._owners, self._elements, self._unlisted, self._empty = _fan_out(self._whole, plan.each)
            self._positions = [parsed.positions[owner] for owner in self._owners]

    def chunk(self, digest: Callable[[int], int], first: int, filtered: int, *, keep_unknown: bool) -> RawChunk:
        plan, rejects = self._plan, self._parsed.rejects
        for index in self._unlisted:
            position = self._parsed.positions[index]
            detail = f"{plan.each}: not a list"
            rejects.append(Reject(first + position, RejectReason.NOT_AN_OBJECT, detail, digest(position)))
        at = pl.Series(AT, self._positions, dtype=pl.Int64)
        columns = [(at + first).alias(ROW), at]
        columns += [
            json_series(self._at(slot.path), is_identity=slot.is_identity).alias(slot.name) for slot in plan.slots
        ]
        if plan.group is not None and keep_unknown:
            columns.append(_unknown(self._at(plan.group), plan.known))

        def digests(wanted: Sequence[int]) -> list[int]:
            return [digest(position) for position in wanted]

        return RawChunk(pl.DataFrame(columns), digests, rejects, self._parsed.rows_read, filtered + self._empty)

    def _at(self, path: str) -> list[Any]:
        """Return the values at a path, one a record or element."""
        each, owners, whole = self._plan.each, self._owners, self._whole
        if is_metadata_path(path):
            return _beside(path, self._positions, self._beside)
        if not path:
            return list(whole.objects) if owners is None else [whole.objects[owner] for owner in owners]
        if each is None or owners is None or self._elements is None:
            return whole.column(path)
        if path == each:
            return list(self._elements.objects)
        if path.startswith(f"{each}."):
            return self._elements.column(path[len(each) + 1 :])
        column = whole.column(path)
        return [column[owner] for owner in owners]


def _fan_out(whole: JsonObjects, each: str) -> tuple[list[int], JsonObjects, list[int], int]:
    """Return owner of each element, the elements, owners whose value is no list, and how many have none."""
    owners: list[int] = []
    elements: list[Any] = []
    unlisted: list[int] = []
    empty = 0
    for owner, value in enumerate(whole.column(each)):
        if not value and (value is None or type(value) is list):
            empty += 1
        elif type(value) is list:
            owners += [owner] * len(value)
            elements += value
        else:
            unlisted.append(owner)
    return owners, JsonObjects(elements), unlisted, empty


def _unknown(groups: list[Any], known: frozenset[str]) -> pl.Series:
    """Return what the groups hold beside the known features, as one JSON object a record."""
    encode = msgspec.json.Encoder(order="sorted").encode
    found: list[str | None] = []
    for group in groups:
        rest = None
        if type(group) is dict and not known.issuperset(group):
            rest = {name: value for name, value in group.items() if name not in known and value is not None}
        found.append(encode(rest).decode() if rest else None)
    return pl.Series(UNKNOWN, found, dtype=pl.String)


def unwrapped(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each object, or the data of one that is an event's envelope."""
    return [_data(one) if "specversion" in one else one for one in objects]


def _data(one: dict[str, Any]) -> dict[str, Any]:
    data = one.get("data")
    return data if type(data) is dict and type(one["specversion"]) is str else one
