"""JSON lines: which lines become objects, which are rejected and why, and how values become columns."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_case import loop, map_file, reasons

from streams.columns.digest import record_digest
from streams.columns.scalar import NON_SCALAR, to_number, to_text
from streams.readers.json_columns import JsonObjects, json_series
from streams.readers.json_lines import MAX_DEPTH, parse_lines
from streams.readers.text_lines import MAX_LINE_BYTES


def nested(depth: int, *, lists: bool = False) -> bytes:
    """Return an object with this depth of nested objects (or lists), itself included."""
    if lists:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def sized(length: int) -> bytes:
    """Return an object of exactly this many bytes."""
    return b'{"a":"' + b"x" * (length - 8) + b'"}'


CASES: list[tuple[str, bytes, str | None]] = [
    ("object", b'{"a":1}', None),
    ("empty object", b"{}", None),
    ("carriage return", b'{"a":1}\r', None),
    ("spaces around", b' {"a" : 1} ', None),
    ("array", b"[1]", "not_an_object"),
    ("number", b"1", "not_an_object"),
    ("null", b"null", "not_an_object"),
    ("text", b'"a"', "not_an_object"),
    ("cut off", b'{"a":1', "not_json"),
    ("two objects", b'{"a":1}{"b":2}', "not_json"),
    ("invalid UTF-8 in a value", b'{"a":"\xff"}', "not_json"),
    ("invalid UTF-8 in a name", b'{"\xff":1}', "not_json"),
    ("invalid UTF-8 outside", b'{"a":1}\xff', "not_json"),
    ("encoded surrogate", b'{"a":"\xed\xa0\x80"}', "not_json"),
    ("lone surrogate", b'{"a":"\\ud800"}', "not_json"),
    ("surrogate pair", b'{"a":"\\ud83d\\ude00"}', None),
    ("NaN", b'{"a":NaN}', None),
    ("Infinity", b'{"a":[Infinity, {"b":-Infinity}]}', None),
    ("number beyond a double", b'{"a":1e999}', None),
    ("number beyond a double in an unmapped field", b'{"deep":{"er":[1e999]}}', None),
    ("digits beyond a double", b'{"a":' + b"9" * 400 + b".5}", None),
    ("NaN as a text", b'{"a":"NaN"}', None),
    ("NaN and a cut", b'{"a":NaN', "not_json"),
    ("NaN in another spelling", b'{"a":nan}', "not_json"),
    ("minus NaN", b'{"a":-NaN}', "not_json"),
    ("NaN and a lone surrogate", b'{"a":NaN,"b":"\\ud800"}', "not_json"),
    ("NaN and invalid UTF-8", b'{"a":NaN,"b":"\xff"}', "not_json"),
    ("NaN behind a BOM of another encoding", '{"a":NaN}'.encode("utf-16"), "not_json"),
    ("NaN alone", b"NaN", "not_an_object"),
    ("NaN and the same name twice", b'{"a":NaN,"a":NaN}', "duplicate_json_key"),
    ("NaN below too many lists", b'{"a":' + b"[" * 64 + b"NaN" + b"]" * 64 + b"}", "too_deep"),
    ("largest double", b'{"a":1.7976931348623157e308}', None),
    ("integer beyond 64 bits", b'{"a":99999999999999999999}', None),
    ("integer of 5,000 digits", b'{"a":' + b"9" * 5_000 + b"}", "not_json"),
    ("control character", b'{"a":"\x01"}', "not_json"),
    ("single quotes", b"{'a':1}", "not_json"),
    ("trailing comma", b'{"a":1,}', "not_json"),
    ("same name twice", b'{"a":1,"a":1}', "duplicate_json_key"),
    ("same name twice, spaced", b'{"a":1,"a" :2}', "duplicate_json_key"),
    ("same name twice, escaped", b'{"a":1,"\\u0061":2}', "duplicate_json_key"),
    ("same name twice below", b'{"b":{"a":1,"a":2}}', "duplicate_json_key"),
    ("same name twice in a list", b'{"b":[{"a":1,"a":2}]}', "duplicate_json_key"),
    ("same name twice hidden by an escaped quote", b'{"a":1,"a":2,"b":"\\u0022:"}', "duplicate_json_key"),
    ("same name twice, dropped text has names in it", b'{"a":":x","a":1}', "duplicate_json_key"),
    ("same name twice, quotes balanced by escapes", b'{"a":1,"a":2,"b":"\\u0022\\u0022"}', "duplicate_json_key"),
    ("same name in two objects", b'{"a":{"x":1},"b":{"x":1}}', None),
    ("text that looks like names", b'{"a":"\\"b\\":\\"b\\":"}', None),
    ("text that begins with a colon", b'{"a":":","b":"::"}', None),
    ("64 deep", nested(MAX_DEPTH), None),
    ("65 deep", nested(MAX_DEPTH + 1), "too_deep"),
    ("64 deep in lists", nested(MAX_DEPTH, lists=True), None),
    ("65 deep in lists", nested(MAX_DEPTH + 1, lists=True), "too_deep"),
    ("64 deep next to a list", b'{"x":[],"a":' + nested(MAX_DEPTH - 1) + b"}", None),
    ("65 deep next to a list", b'{"x":[],"a":' + nested(MAX_DEPTH) + b"}", "too_deep"),
    ("64 deep in lists next to a list", b'{"x":[],"a":' + nested(MAX_DEPTH - 1, lists=True) + b"}", None),
    ("many braces, not deep", b'{"a":[' + b",".join([b"{}"] * 100) + b"]}", None),
    ("100,000 deep", nested(20_000), "too_deep"),
    ("never closed", b"[" * 100_000, "too_deep"),
    ("1 MiB", sized(MAX_LINE_BYTES), None),
    ("1 MiB and 1 byte", sized(MAX_LINE_BYTES + 1), "too_large"),
]


@pytest.mark.parametrize(("line", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_line_is_parsed_or_rejected(line: bytes, reason: str | None) -> None:
    """Every bad line is a reject with reason, row and digest; the detail contains no payload."""
    parsed = parse_lines([b'{"before":1}', line, b'{"after":1}'], first_row=10)
    if reason is None:
        assert not parsed.rejects
        assert parsed.positions == [0, 1, 2]
        return
    assert parsed.positions == [0, 2]
    [reject] = parsed.rejects
    assert (reject.row, reject.reason, reject.digest) == (11, reason, record_digest(line))
    assert len(reject.detail) < 80


@given(
    st.lists(
        st.sampled_from([line for _, line, _ in CASES if len(line) < 1_000] + [b"", b'{"plain":"text"}'] * 20),
        max_size=300,
    )
)
def test_lines_are_parsed_at_once_as_one_by_one(lines: list[bytes]) -> None:
    """What becomes of a line does not depend on the lines beside it."""
    parsed = parse_lines(lines, first_row=5)
    alone = [parse_lines([line], first_row=5 + position) for position, line in enumerate(lines)]
    assert repr(parsed.objects) == repr([value for one in alone for value in one.objects])
    assert parsed.positions == [position for position, one in enumerate(alone) if one.objects]
    assert parsed.rejects == [reject for one in alone for reject in one.rejects]
    assert parsed.rows_read == sum(one.rows_read for one in alone)


def test_blank_lines_keep_the_numbering(tmp_path: Path) -> None:
    """A blank line is no record, but counts as a line, as in an editor; a BOM is ignored."""
    path = tmp_path / "a.jsonl"
    good = b'{"key":"%s","time":1000000000001,"version":"v"}'
    path.write_bytes(b"\xef\xbb\xbf" + good % b"a" + b"\r\n\n  \r\n" + good % b"b" + b"\nnonsense\n" + good % b"c")
    chunk = map_file(path, "predictions", loop())
    assert chunk.records["row"].to_list() == [1, 4, 6]
    assert reasons(chunk) == [(5, "not_json")]
    assert chunk.rows_read == 4


def test_detail_contains_no_payload(tmp_path: Path) -> None:
    """The detail names the field and the fault, never the value."""
    private = "jane@example.com"
    lines = [
        f'{{"key":"{private}',
        f'{{"key":["{private}"],"time":1000000000001,"version":"v"}}',
        f'{{"key":"k","time":"{private}","version":"v"}}',
        f'{{"key":"k","time":1000000000001,"version":{{"{private}":1}}}}',
        f'{{"{private}":1,"{private}":2}}',
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    rejects = map_file(path, "predictions", loop()).rejects
    assert rejects["reason"].to_list() == ["not_json", "bad_key", "bad_time", "bad_version", "duplicate_json_key"]
    assert private not in str(rejects.rows())
    assert "jane" not in str(rejects.rows())


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": 1}, "a", 1),
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a.b": 1}, "a.b", 1),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a.b": {"c": 1}}, "a.b.c", 1),
        ({"a": {"b": {"c": 1}}}, "a.b.c", 1),
        ({"a": [{"b": 1}]}, "a.b", None),
        ({"a": "text"}, "a.b", None),
        ({"a": None}, "a.b", None),
        ({}, "a.b.c", None),
        ({"a": {"b.c": 1}}, "a.b.c", 1),
        ({"a.b": {"x": 1}, "a": {"b": {"c": 2}}}, "a.b.c", 2),
        ({"a.b": None, "a": {"b": 2}}, "a.b", 2),
    ],
)
def test_path_is_a_name_first_and_nested_fields_second(value: dict[str, Any], path: str, found: object) -> None:
    """A dotted name of a flat record wins over nested fields; a value that is no object has no fields."""
    assert JsonObjects([value, {}]).column(path) == [found, None]


@pytest.mark.parametrize(
    ("values", "texts", "numbers"),
    [
        (["12", 12, 12.0], ["12", "12", "12"], [12, 12, 12]),
        ([1, 0.5], ["1", "0.5"], [1, 0.5]),
        ([True, 1], ["true", "1"], [None, 1]),
        ([1e-7, "x"], ["1e-7", "x"], [1e-7, None]),
        ([2**53 + 1, 0.5], [str(2**53 + 1), "0.5"], [2.0**53, 0.5]),
        ([1e300, "x"], ["1e+300", "x"], [1e300, None]),
        ([10**20, 1], [str(10**20), "1"], [1e20, 1]),
        ([10**400, 0.5], [str(10**400), "0.5"], [None, 0.5]),
        ([None, None], [None, None], [None, None]),
        ([[1], "a"], [f"{NON_SCALAR}[1]", "a"], [None, None]),
        ([-0.0, 1.5], ["0", "1.5"], [0, 1.5]),
    ],
)
def test_mixed_values_are_equal_to_their_text(values: list[Any], texts: list[Any], numbers: list[Any]) -> None:
    """However types are mixed, equal values have equal texts and equal numbers."""
    series = json_series(values, is_identity=False)
    assert to_text(series).to_list() == texts
    assert to_number(series).to_list() == numbers


@pytest.mark.parametrize("value", ["a", "", "12", 1, -5, 2**60, 1.0, 1.5, 1e300, 1e-7, True, False, None])
@pytest.mark.parametrize("neighbour", [None, "text", 1, 1.5, True, [1]])
def test_neighbours_do_not_change_a_value(value: object, neighbour: object) -> None:
    """The result depends on the value alone, so chunk sizes change nothing."""
    alone = to_text(json_series([value], is_identity=False))[0]
    with_neighbour = to_text(json_series([value, neighbour], is_identity=False))[0]
    assert with_neighbour == alone


def test_values_are_tidy_columns() -> None:
    """Columns of one type keep it."""
    for values, dtype in (([1], pl.Int64), ([1.5], pl.Float64), ([True], pl.Boolean), (["a"], pl.String)):
        assert json_series([*values, None], is_identity=False).dtype == dtype
    assert json.dumps(json_series([1, None], is_identity=True).to_list()) == "[1, null]"
