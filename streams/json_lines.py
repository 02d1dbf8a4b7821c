"""JSON lines as raw columns, with one reject for every line that is no usable JSON object.

Every line is decoded whole: a decoder that skips the fields nobody asked for lets invalid UTF-8, numbers
like 1e999 and doubled names pass. This module must not know any canonical field.
"""

import gc
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from schemas.status import RejectReason
from streams.digest import record_digest, record_digests
from streams.field_plan import Plan
from streams.json_column import JsonObjects, json_series
from streams.raw import AT, ROW, UNKNOWN, RawChunk, Reject
from streams.text_lines import MAX_LINE_BYTES, read_lines

__all__ = ["MAX_DEPTH", "ParsedLines", "parse_lines", "read_json_lines"]

MAX_DEPTH: Final = 64
"""Objects and lists inside each other. Nobody's scoring record comes near; parsers further down break."""
_NAME: Final = re.compile(rb'"\s*:')

_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder().decode
_encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
_NO_OBJECT: Final = (RejectReason.NOT_AN_OBJECT, "the line is JSON, but no object")
_TOO_LARGE: Final = (RejectReason.TOO_LARGE, f"longer than {MAX_LINE_BYTES:,} bytes")


class _TooDeepError(Exception):
    """The value is nested deeper than `MAX_DEPTH`."""


class _DoubledNameError(Exception):
    """An object has the same name twice."""


class ParsedLines(msgspec.Struct):
    """Decoded lines.

    Attributes:
        objects: one a good line.
        positions: index of each object's line among the lines given.
        rejects: one a bad line. Blank lines are in neither.
        rows_read: lines that are not blank.
    """

    objects: list[dict[str, Any]]
    positions: list[int]
    rejects: list[Reject]
    rows_read: int


def read_json_lines(path: Path, plan: Plan, *, keep_unknown: bool) -> Iterator[RawChunk]:
    """Yield the file's records as raw columns; `row` is the line's number.

    Raises:
        InputError: the file cannot be read to its end.
    """
    first = 1
    for lines in read_lines(path):
        with _no_cycle_search():
            parsed = parse_lines(lines, first)
            raw = _to_raw(parsed, lines, first, plan, keep_unknown=keep_unknown)
            del parsed
        yield raw
        first += len(lines)


@contextmanager
def _no_cycle_search() -> Iterator[None]:
    """Keep Python from looking for cycles among decoded objects, which have none.

    The search would run for every 700 new objects and costs as much as all the decoding. One block lasts
    a few hundredths of a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parse_lines(lines: Sequence[bytes], first_row: int) -> ParsedLines:
    """Decode each line to an object, or say why it is none.

    Args:
        lines: without their newline; one above `MAX_LINE_BYTES` is rejected unread.
        first_row: record number of the first line.
    """
    objects: list[dict[str, Any]] = []
    positions: list[int] = []
    rejects: list[Reject] = []
    blank = 0
    for position, line in enumerate(lines):
        try:
            value = _decode(line) if len(line) <= MAX_LINE_BYTES else None
            if type(value) is dict:
                _check_whole(line, value)
                objects.append(value)
                positions.append(position)
                continue
            reason, detail = _NO_OBJECT if len(line) <= MAX_LINE_BYTES else _TOO_LARGE
        except (_TooDeepError, RecursionError):
            reason, detail = RejectReason.TOO_DEEP, f"nested deeper than {MAX_DEPTH}"
        except _DoubledNameError:
            reason, detail = RejectReason.DUPLICATE_JSON_KEY, "an object has the same name twice"
        except UnicodeDecodeError:
            reason, detail = RejectReason.NOT_JSON, "not UTF-8"
        except ValueError as error:  # msgspec's own errors are ValueErrors, as is an integer of too many digits
            if not line.strip():
                blank += 1
                continue
            reason, detail = RejectReason.NOT_JSON, _where_broken(error)
        rejects.append(Reject(first_row + position, reason, detail, record_digest(line)))
    return ParsedLines(objects, positions, rejects, len(lines) - blank)


def _where_broken(error: ValueError) -> str:
    """Say where a line stops being JSON, without any of its text."""
    place = re.search(r"\(byte \d+\)", str(error))
    return f"not JSON {place.group()}" if place else "not JSON: broken text or a number out of range"


def _check_whole(line: bytes, value: dict[str, Any]) -> None:
    """Refuse a line that is nested too deep or has a name twice in one object.

    The decoder keeps the last of two equal names. Without escapes, quotes stand around names and texts
    only, so a name that was dropped is missing from the quotes of what is encoded again.
    """
    is_simple = b"\\" not in line and line.count(b"{") + line.count(b"[") <= MAX_DEPTH
    if is_simple and line.count(b'"') == _encode(value).count(b'"'):
        return
    # every name ends in a quote and a colon, so equal counts prove that none was dropped
    if _count_names(value, 1) != len(_NAME.findall(line)):
        json.loads(line, object_pairs_hook=_refuse_doubled)


def _count_names(value: dict[str, Any], depth: int) -> int:
    if depth > MAX_DEPTH:
        raise _TooDeepError
    count = len(value)
    for item in value.values():
        if type(item) is dict:
            count += _count_names(item, depth + 1)
        elif type(item) is list:
            count += _count_names_in_list(item, depth + 1)
    return count


def _count_names_in_list(values: list[Any], depth: int) -> int:
    if depth > MAX_DEPTH:
        raise _TooDeepError
    count = 0
    for item in values:
        if type(item) is dict:
            count += _count_names(item, depth + 1)
        elif type(item) is list:
            count += _count_names_in_list(item, depth + 1)
    return count


def _refuse_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DoubledNameError
    return value


def _to_raw(parsed: ParsedLines, lines: list[bytes], first: int, plan: Plan, *, keep_unknown: bool) -> RawChunk:
    whole = JsonObjects(parsed.objects)
    owners: list[int] | None = None
    elements: JsonObjects | None = None
    rejects, filtered = parsed.rejects, 0
    if plan.each is not None:
        owners, elements, unlisted, filtered = _fan_out(whole, plan.each)
        for index in unlisted:
            position = parsed.positions[index]
            detail = f"{plan.each}: not a list"
            digest = record_digest(lines[position])
            rejects.append(Reject(first + position, RejectReason.NOT_AN_OBJECT, detail, digest))

    def values_at(path: str) -> list[Any]:
        if not path:
            return list(whole.objects) if owners is None else [whole.objects[owner] for owner in owners]
        if plan.each is None or owners is None or elements is None:
            return whole.column(path)
        if path == plan.each:
            return list(elements.objects)
        if path.startswith(f"{plan.each}."):
            return elements.column(path[len(plan.each) + 1 :])
        column = whole.column(path)
        return [column[owner] for owner in owners]

    positions = parsed.positions if owners is None else [parsed.positions[owner] for owner in owners]
    at = pl.Series(AT, positions, dtype=pl.Int64)
    columns = [(at + first).alias(ROW), at]
    columns += [json_series(values_at(slot.path), is_identity=slot.is_identity).alias(slot.name) for slot in plan.slots]
    if plan.group is not None and keep_unknown:
        columns.append(_unknown(values_at(plan.group), plan.known))

    def digests(wanted: Sequence[int]) -> list[int]:
        return record_digests(lines[position] for position in wanted)

    return RawChunk(pl.DataFrame(columns), digests, rejects, parsed.rows_read, filtered)


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
