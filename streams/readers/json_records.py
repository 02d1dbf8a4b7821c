"""Turns parsed JSON records into raw columns: conditions filter them, a hook may map them, lists are fanned out.

Files and Kafka messages use the same code. A CloudEvent in structured mode is replaced by its data where records are
expected in the canonical form.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import polars as pl

from schemas.base.status import RejectReason
from schemas.config.record_metadata import is_metadata_path
from streams.columns.digest import record_digest
from streams.columns.plan import MESSAGE_VERSION, Plan, Slot
from streams.columns.raw import INVALID, POSITION, ROW, UNKNOWN, RawChunk, Reject
from streams.columns.scalar_match import ScalarMatch, condition_met, unread_condition
from streams.readers.hook import Hook, apply_hook
from streams.readers.json_columns import JsonObjects, json_series, typed_series
from streams.readers.json_lines import ParsedLines, no_cycle_search, parse_lines
from streams.readers.json_text import has_not_finite
from streams.readers.text_lines import read_lines

__all__ = ["NO_METADATA", "JsonRecords", "RecordMetadata"]

RecordMetadata = Mapping[str, Sequence[Any]]
"""Metadata of Kafka records (key, headers, timestamp, position): one column per `$` path, indexed by position."""

NO_METADATA: Final[RecordMetadata] = MappingProxyType({})


@dataclass(frozen=True)
class JsonRecords:
    """Converts the JSON records of one source to raw columns.

    Attributes:
        plan: names the paths to extract.
        keep_unknown: also extract features outside the contract.
        conditions: by path in the original record, the values of records that are kept.
        hook: maps the records that are kept to other records.
    """

    plan: Plan
    keep_unknown: bool
    conditions: Mapping[str, ScalarMatch]
    hook: Hook | None = None

    def read_file(self, path: Path) -> Iterator[RawChunk]:
        """Yield a file's records as raw columns; `row` is the line number.

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
        self, parsed: ParsedLines, lines: Sequence[bytes], first: int, metadata: RecordMetadata = NO_METADATA
    ) -> RawChunk:
        """Return parsed texts as raw columns.

        Args:
            parsed: from `parse_lines`.
            lines: the same texts, for the digests of rejects.
            first: record number of the first text.
            metadata: of each text, if it is a Kafka message.
        """
        return self.convert(parsed, lambda position: record_digest(lines[position]), first, metadata)

    def convert(
        self, parsed: ParsedLines, digest: Callable[[int], int], first: int, metadata: RecordMetadata = NO_METADATA
    ) -> RawChunk:
        """Do the same as `read`; `digest` returns the digest of the record at a position."""
        parsed, filtered = _select(parsed, self.conditions, metadata, digest, first)
        if self.hook is not None:
            parsed, dropped = apply_hook(self.hook, parsed, metadata, digest, first)
            filtered += dropped
        if self.plan.is_canonical:
            parsed.objects = [_event_data(value) if "specversion" in value else value for value in parsed.objects]
        columns = _RecordColumns(parsed, self.plan, metadata)
        return columns.chunk(digest, first, filtered, keep_unknown=self.keep_unknown)


def _select(
    parsed: ParsedLines,
    conditions: Mapping[str, ScalarMatch],
    metadata: RecordMetadata,
    digest: Callable[[int], int],
    first: int,
) -> tuple[ParsedLines, int]:
    """Return a copy with the records that fulfil all conditions, and how many do not.

    A record for which a condition on booleans cannot be answered is rejected.
    """
    objects, positions, rejects, filtered = parsed.objects, parsed.positions, list(parsed.rejects), 0
    for path, wanted in conditions.items():
        is_metadata = is_metadata_path(path)
        column = _metadata_column(path, positions, metadata) if is_metadata else JsonObjects(objects).column(path)
        is_kept, is_unread = condition_met(wanted, typed_series(column))
        for index in is_unread.arg_true().to_list():
            detail, position = unread_condition(path), positions[index]
            rejects.append(Reject(first + position, RejectReason.BAD_VALUE, detail, digest(position)))
        filtered += len(objects) - int(is_kept.sum()) - int(is_unread.sum())
        kept = is_kept.arg_true().to_list()
        objects, positions = [objects[index] for index in kept], [positions[index] for index in kept]
    return ParsedLines(objects, positions, rejects, parsed.rows_read), filtered


def _event_data(value: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a CloudEvent, or the record itself if it is none."""
    data = value.get("data")
    return data if type(data) is dict and type(value["specversion"]) is str else value


def _metadata_column(path: str, positions: Sequence[int], metadata: RecordMetadata) -> list[Any]:
    column = metadata.get(path)
    return [None] * len(positions) if column is None else [column[position] for position in positions]


class _RecordColumns:
    """The columns of some records, or of the elements of a list in each of them."""

    def __init__(self, parsed: ParsedLines, plan: Plan, metadata: RecordMetadata) -> None:
        self._parsed = parsed
        self._plan = plan
        self._metadata = metadata
        self._whole = JsonObjects(parsed.objects)
        self._parents: list[int] | None = None
        self._elements: JsonObjects | None = None
        self._unlisted: list[int] = []
        self._empty = 0
        self._positions = parsed.positions
        if plan.each is not None:
            self._parents, self._elements, self._unlisted, self._empty = _fan_out(self._whole, plan.each)
            self._positions = [parsed.positions[parent] for parent in self._parents]

    def chunk(self, digest: Callable[[int], int], first: int, filtered: int, *, keep_unknown: bool) -> RawChunk:
        plan, rejects = self._plan, self._parsed.rejects
        for index in self._unlisted:
            position = self._parsed.positions[index]
            detail = f"{plan.each}: not a list"
            rejects.append(Reject(first + position, RejectReason.NOT_AN_OBJECT, detail, digest(position)))
        positions = pl.Series(POSITION, self._positions, dtype=pl.Int64)
        columns = [(positions + first).alias(ROW), positions]
        columns += [self._column(slot).alias(slot.name) for slot in plan.slots]
        if plan.features_path is not None and keep_unknown:
            columns += _unknown_features(self._values(plan.features_path), plan.known_names)

        def digests(wanted: Sequence[int]) -> list[int]:
            return [digest(position) for position in wanted]

        return RawChunk(pl.DataFrame(columns), digests, rejects, self._parsed.rows_read, filtered + self._empty)

    def _column(self, slot: Slot) -> pl.Series:
        if self._plan.is_canonical and slot.path == MESSAGE_VERSION:
            return _message_versions(self._whole.objects)
        values = self._values(slot.path)
        if slot.is_matched:
            return typed_series(values)
        return json_series(values, is_identity=slot.is_identity, is_moment=slot.is_moment)

    def _values(self, path: str) -> list[Any]:
        """Return the values at a path, one per record or list element."""
        each, parents, whole = self._plan.each, self._parents, self._whole
        if is_metadata_path(path):
            return _metadata_column(path, self._positions, self._metadata)
        if not path:
            return list(whole.objects) if parents is None else [whole.objects[parent] for parent in parents]
        if each is None or parents is None or self._elements is None:
            return whole.column(path)
        if path == each:
            return list(self._elements.objects)
        if path.startswith(f"{each}."):
            return self._elements.column(path[len(each) + 1 :])
        column = whole.column(path)
        return [column[parent] for parent in parents]


def _message_versions(objects: Sequence[dict[str, Any]]) -> pl.Series:
    """Return 1 for messages of version 1, or without a version, and 0 for all others, null included."""
    versions = (value.get(MESSAGE_VERSION, 1) for value in objects)
    return pl.Series([int(type(version) in (int, float) and version == 1) for version in versions], dtype=pl.Int64)


def _fan_out(whole: JsonObjects, each: str) -> tuple[list[int], JsonObjects, list[int], int]:
    """Return each element's record, the elements, the records without a list, and how many lists are empty."""
    parents: list[int] = []
    elements: list[Any] = []
    unlisted: list[int] = []
    empty = 0
    for parent, value in enumerate(whole.column(each)):
        if not value and (value is None or type(value) is list):
            empty += 1
        elif type(value) is list:
            parents += [parent] * len(value)
            elements += value
        else:
            unlisted.append(parent)
    return parents, JsonObjects(elements), unlisted, empty


def _unknown_features(objects: list[Any], known_names: frozenset[str]) -> list[pl.Series]:
    """Return the members of each object that are no known features, as one JSON object per record, and their faults."""
    names: set[str] = set().union(*(value for value in objects if type(value) is dict))
    if names <= known_names:
        none, sound = pl.Series(UNKNOWN, [None], dtype=pl.String), pl.Series(INVALID, [False])
        return [none.new_from_index(0, len(objects)), sound.new_from_index(0, len(objects))]
    encode = msgspec.json.Encoder(order="sorted").encode
    found: list[str | None] = []
    faults: list[bool] = []
    for value in objects:
        text = None
        if type(value) is dict and not known_names.issuperset(value):
            unknown = {name: item for name, item in value.items() if name not in known_names and item is not None}
            text = encode(unknown).decode() if unknown else None
        found.append(text)
        # the encoder writes null for a number that is not finite
        faults.append(text is not None and "null" in text and has_not_finite(unknown))
    return [pl.Series(UNKNOWN, found, dtype=pl.String), pl.Series(INVALID, faults, dtype=pl.Boolean)]
