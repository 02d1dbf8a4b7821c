"""Parses JSON texts to Python objects, with one reject for every text that is no valid JSON object.

Every text is decoded whole: a decoder that skips unmapped fields would accept invalid UTF-8 and duplicate names.
Numbers that are not finite (`NaN`, `Infinity`, `-Infinity`, as Python's own encoder writes them, and `1e999`) are
decoded to such floats: only the field that has one is invalid, not the record.
"""

import gc
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import add
from typing import Any, Final

import msgspec

from schemas.base.json_names import RepeatedNameError, names_once
from schemas.base.status import RejectReason
from streams.columns.digest import record_digest
from streams.columns.raw import Reject
from streams.readers.text_lines import MAX_LINE_BYTES

__all__ = ["MAX_DEPTH", "ParsedLines", "no_cycle_search", "parse_lines"]

MAX_DEPTH: Final = 64
"""Nested objects and lists. No scoring record comes near it; the parsers of later stages fail at some depth."""
LINES_AT_ONCE: Final = 128
"""Most lines that are decoded without a look at each."""
_NAME: Final = re.compile(rb'"\s*:')
_NOT_FINITE: Final = re.compile(rb"NaN|Infinity|[0-9][eE]\+?[0-9]{3}|[0-9]{300}")
"""What a text contains that has a number which is not finite; most texts with it have none."""

_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder().decode
_encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
_NO_OBJECT: Final = (RejectReason.NOT_AN_OBJECT, "the line is JSON, but no object")
_TOO_LARGE: Final = (RejectReason.TOO_LARGE, f"longer than {MAX_LINE_BYTES:,} bytes")


class _TooDeepError(Exception):
    """The value is nested deeper than `MAX_DEPTH`."""


class ParsedLines(msgspec.Struct):
    """Decoded lines; blank lines are neither objects nor rejects.

    Attributes:
        objects: one per valid line; None for a message without a value that a hook is given.
        positions: index of each object's line.
        rejects: one per invalid line.
        rows_read: number of lines that are not blank.
    """

    objects: list[Any]
    positions: list[int]
    rejects: list[Reject]
    rows_read: int


@contextmanager
def no_cycle_search() -> Iterator[None]:
    """Switch Python's garbage collector off: decoded objects have no cycles.

    It would run for every 700 new objects and cost as much as all the decoding. One block takes a few hundredths of a
    second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parse_lines(lines: Sequence[bytes], first_row: int) -> ParsedLines:
    """Decode each line to an object, or reject it with the reason.

    Args:
        lines: without newlines; a line above `MAX_LINE_BYTES` is rejected without parsing.
        first_row: record number of the first line.
    """
    parsed = ParsedLines([], [], [], 0)
    for start in range(0, len(lines), LINES_AT_ONCE):
        _parse(parsed, lines[start : start + LINES_AT_ONCE], start, first_row)
    return parsed


def _parse(parsed: ParsedLines, lines: Sequence[bytes], start: int, first_row: int) -> None:
    """Add lines, of which the first has the position `start`: at once, or in halves until a line is alone."""
    objects = _plain_objects(lines)
    if objects is not None:
        parsed.objects += objects
        parsed.positions += range(start, start + len(lines))
        parsed.rows_read += len(lines)
    elif len(lines) == 1:
        _parse_line(parsed, lines[0], start, first_row)
    else:
        half = len(lines) // 2
        _parse(parsed, lines[:half], start, first_row)
        _parse(parsed, lines[half:], start + half, first_row)


def _plain_objects(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Decode lines that are certainly valid objects, in half the time of one by one; None if one may be no such line.

    Without escapes, quotes occur only around names and texts, so encoding an object again gives fewer quotes if a name
    that was there twice was dropped, and never more.
    """
    if max(map(len, lines)) > MAX_LINE_BYTES:
        return None
    joined = b"\n".join(lines)
    if b"\\" in joined:
        return None
    depths = map(add, map(bytes.count, lines, repeat(b"{")), map(bytes.count, lines, repeat(b"[")))
    if max(depths) > MAX_DEPTH:
        return None
    try:
        objects = list(map(_decode, lines))
    except (ValueError, RecursionError):
        return None
    is_whole = set(map(type, objects)) == {dict} and _encode(objects).count(b'"') == joined.count(b'"')
    return objects if is_whole else None


def _parse_line(parsed: ParsedLines, line: bytes, position: int, first_row: int) -> None:
    """Add a line's object, or the reason why it has none."""
    try:
        value = _decoded(line) if len(line) <= MAX_LINE_BYTES else None
        if type(value) is dict:
            _check_whole(line, value)
            parsed.objects.append(value)
            parsed.positions.append(position)
            parsed.rows_read += 1
            return
        reason, detail = _NO_OBJECT if len(line) <= MAX_LINE_BYTES else _TOO_LARGE
    except (_TooDeepError, RecursionError):
        reason, detail = RejectReason.TOO_DEEP, f"nested deeper than {MAX_DEPTH}"
    except RepeatedNameError:
        reason, detail = RejectReason.DUPLICATE_JSON_KEY, "an object has the same name twice"
    except UnicodeDecodeError:
        reason, detail = RejectReason.NOT_JSON, "not UTF-8"
    except ValueError as error:  # the decoders' own errors are ValueErrors, as is an integer of too many digits
        if not line.strip():
            return
        reason, detail = RejectReason.NOT_JSON, _syntax_detail(error)
    parsed.rejects.append(Reject(first_row + position, reason, detail, record_digest(line)))
    parsed.rows_read += 1


def _decoded(line: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return _decode(line)
    except ValueError:
        if not _NOT_FINITE.search(line):
            raise
        try:
            value = json.loads(line.decode())
            _encode(value)  # refuses texts that are no Unicode, which Python's decoder lets through
        except ValueError:
            value = None
        if value is None:
            raise
        return value


def _syntax_detail(error: ValueError) -> str:
    """Return the byte position of a syntax error, without any of the line's text."""
    position = re.search(r"\(byte \d+\)", str(error))
    return f"not JSON {position.group()}" if position else "not JSON: broken text or a number out of range"


def _check_whole(line: bytes, value: dict[str, Any]) -> None:
    """Refuse a line that is nested too deep or has a name twice in one object, of which the decoder keeps the last."""
    # every name ends in a quote and a colon, so equal counts prove that none was dropped
    if _count_names(value, 1) != len(_NAME.findall(line)):
        json.loads(line, object_pairs_hook=names_once)


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
