"""JSON texts as Python objects, with one reject for every text that is no usable JSON object.

Every text is decoded whole: a decoder that skips the fields nobody asked for lets invalid UTF-8, numbers
like 1e999 and doubled names pass. This module must not know any canonical field.
"""

import gc
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from schemas.base.status import RejectReason
from streams.columns.digest import record_digest
from streams.columns.raw import Reject
from streams.readers.text_lines import MAX_LINE_BYTES

__all__ = ["MAX_DEPTH", "ParsedLines", "no_cycle_search", "parse_lines"]

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


@contextmanager
def no_cycle_search() -> Iterator[None]:
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
