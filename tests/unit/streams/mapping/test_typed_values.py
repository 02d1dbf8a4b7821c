"""Values keep their type from the file to the message: booleans in every spelling, decimals, UUIDs, short floats.

Covers `streams.mapping.values`, `streams.mapping.field_values`, `streams.mapping.labels`,
`streams.readers.fixed_bytes`, `streams.readers.hook_rows`.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest
from mapping_case import loop, map_file, map_records, reasons, source_map, write_records
from pyarrow import parquet

from schemas.base.status import RejectReason
from streams.mapping.mapper import MappedChunk, Mapper
from streams.mapping.record_file import open_record_file
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools

Record = dict[str, Any]
TIME = {"path": "t", "unit": "ms"}
LABELS: Record = {"as": "labels", "kind": "fraud"}


def mapped(path: Path, records: list[Record], parts: Record) -> MappedChunk:
    """Write records in the path's format and map them with a source of these parts."""
    return map_file(write_records(path, records), None, loop(), [source_map(**parts)])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "how", ["deleted", {"path": "deleted", "in": [True]}, {"path": "deleted", "values": {True: 1}}]
)
@pytest.mark.parametrize(("no", "yes"), [("False", "True"), ("f", "t"), ("N", "Y"), ("0", "1"), ("0.0", "1.0")])
def test_a_retraction_in_every_spelling(tmp_path: Path, suffix: str, how: object, no: str, yes: str) -> None:
    """A retraction that is spelled otherwise would be taken for a correction."""
    fields = {"key": "k", "time": TIME, "value": {"constant": 1}, "retract": how}
    records = [
        {"k": "a", "t": 10**12 + 1, "deleted": no},
        {"k": "a", "t": 10**12 + 2, "deleted": yes},
        {"k": "b", "t": 10**12 + 3},
    ]
    chunk = mapped(tmp_path / f"l.{suffix}", records, LABELS | {"map": fields})
    assert chunk.records["op"].to_list() == ["upsert", "retract", "upsert"]
    assert reasons(chunk) == []


@pytest.mark.parametrize("target", ["retract", "heartbeat"])
@pytest.mark.parametrize(
    "how",
    [
        "flag",
        {"path": "flag", "in": [True]},
        {"path": "flag", "in": [False]},
        {"path": "flag", "values": {True: 1, False: 0}},
    ],
)
def test_an_unread_answer_rejects_a_label(tmp_path: Path, target: str, how: object) -> None:
    """Nobody knows whether it is a label or a retraction, so it is neither."""
    source = LABELS | {"map": {"key": "k", "time": TIME, "value": {"constant": 1}, target: how}}
    chunk = mapped(
        tmp_path / "l.csv", [{"k": "a", "t": 10**12 + 1, "flag": "maybe"}, {"k": "b", "t": 10**12 + 1}], source
    )
    assert chunk.records["key"].to_list() == ["b"]
    assert chunk.rejects.select("row", "reason", "detail").rows() == [
        (1, "bad_op", f"{target}: reads neither as true nor as false")
    ]


def test_a_heartbeat_in_words_of_a_person(tmp_path: Path) -> None:
    """`Y` and `N`, as exports of mainframes write them."""
    source = LABELS | {"map": {"key": "k", "time": TIME, "value": {"constant": 1}, "heartbeat": "tick"}}
    chunk = mapped(
        tmp_path / "l.csv",
        [{"k": "a", "t": 10**12 + 1, "tick": "N"}, {"k": None, "t": 10**12 + 2, "tick": "Y"}],
        source,
    )
    assert chunk.records.select("op", "key").rows() == [("upsert", "a"), ("heartbeat", None)]


def test_values_that_are_booleans_are_a_question_and_others_are_a_list(tmp_path: Path) -> None:
    """What reads as no boolean is flagged; text that is not listed counts as missing."""
    fields = {
        "key": "k", "time": TIME,
        "eligible": {"path": "v", "values": {True: 1, False: 0}},
        "slices.country": {"path": "v", "values": {True: "yes", False: "no"}},
    }  # fmt: skip
    records = [{"k": "a", "t": 10**12 + 1, "v": value} for value in ("T", "N", "perhaps", None)]
    found = mapped(tmp_path / "p.csv", records, {"map": fields}).records
    assert found["eligible"].to_list() == [True, False, True, True]
    assert found["slice_country"].to_list() == ["yes", "no", None, None]
    flags = [[flag for flag in flags if "missing" not in flag] for flags in found["flags"].to_list()]
    assert flags == [[], [], ["eligible:invalid", "slice_country:invalid"], []]
    listed = fields | {"slices.country": {"path": "v", "values": {"T": "yes"}}}
    found = mapped(tmp_path / "p.csv", records, {"map": listed}).records
    assert [flag for flag in found["flags"][2] if "country" in flag] == []


def test_an_unread_answer_flags_a_prediction(tmp_path: Path) -> None:
    """A prediction is kept: without a readable answer it is eligible, as without any."""
    fields = {"key": "k", "time": TIME, "eligible": {"path": "ok", "in": [True]}}
    answers = ["True", "Y", "1", "no", "perhaps", None]
    chunk = mapped(
        tmp_path / "p.csv", [{"k": "a", "t": 10**12 + 1, "ok": answer} for answer in answers], {"map": fields}
    )
    assert chunk.records["eligible"].to_list() == [True, True, True, False, True, True]
    assert [("eligible:invalid" in flags) for flags in chunk.records["flags"]] == [False] * 4 + [True, False]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_where_with_a_boolean_takes_every_spelling_and_rejects_no_answer(tmp_path: Path, suffix: str) -> None:
    """A record without an answer must not vanish among those that are left out."""
    answers = ["False", "f", "0", "True", "perhaps", None]
    records = [{"k": str(at), "t": 10**12 + 1, "is_test": answer} for at, answer in enumerate(answers)]
    chunk = mapped(tmp_path / f"p.{suffix}", records, {"where": {"is_test": False}})
    assert chunk.records["key"].to_list() == ["0", "1", "2"]
    assert chunk.filtered == 2
    [(row, reason, detail)] = chunk.rejects.select("row", "reason", "detail").rows()
    assert (row, reason, detail) == (5, RejectReason.BAD_VALUE, "where is_test: reads neither as true nor as false")


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        ({"10.40": 1, "10.4": 0}, Decimal("10.40"), 1.0),
        ({10.4: 1}, Decimal("10.40"), 1.0),
        ({"10.40": 1}, "10.40", 1.0),
        ({"10.40": 1}, "10.4", None),
        ({10.4: 1}, "10.40", 1.0),
        ({True: 1, False: 0}, "T", 1.0),
        ({True: 1, False: 0}, "N", 0.0),
        ({True: 1, False: 0}, "maybe", None),
    ],
)
def test_values_are_matched_by_the_type_of_the_key(
    tmp_path: Path, values: Record, given: object, expected: float | None
) -> None:
    """A decimal code equals its number; text equals it only in the same spelling."""
    pl.DataFrame({"k": ["a"], "t": [10**12], "v": [given]}).write_parquet(tmp_path / "l.parquet")
    source = source_map(**LABELS, map={"key": "k", "time": TIME, "value": {"path": "v", "values": values}})
    chunk = map_file(tmp_path / "l.parquet", None, loop(), [source])
    assert chunk.records["value"].to_list() == ([] if expected is None else [expected])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_type_int_reads_spelled_keys_and_refuses_others(tmp_path: Path, suffix: str) -> None:
    """Exports of tables with gaps write 101.0; without `type: int` text stays as it is."""
    records = [{"k": key, "t": 10**12 + 1} for key in ("101.0", "102", "007", str(10**30), "a", "1.5")]
    kept = mapped(tmp_path / f"p.{suffix}", records, {})
    assert kept.records["key"].to_list() == [record["k"] for record in records]
    fields = {"key": {"path": "k", "type": "int"}, "id": {"path": ["k", "t"], "type": "int"}, "time": TIME}
    chunk = mapped(tmp_path / f"p.{suffix}", records, {"map": fields})
    assert chunk.records["key"].to_list() == ["101", "102", "7", str(10**30)]
    assert chunk.records["id"].to_list() == [f"{key}|1000000000001" for key in ("101", "102", "7", 10**30)]
    assert chunk.rejects.select("reason", "detail").unique().rows() == [("bad_key", "key: not a whole number")]


def test_type_int_for_classes(tmp_path: Path) -> None:
    """A class that is none is rejected as a label, and kept in extras as an output."""
    records = [{"k": "a", "t": 10**12 + 1, "y": "3.0"}, {"k": "b", "t": 10**12 + 1, "y": "x"}]
    value = {"path": "y", "type": "int"}
    labels = mapped(
        tmp_path / "l.csv", records, {"as": "labels", "kind": "area", "map": {"key": "k", "time": TIME, "value": value}}
    )
    assert labels.records["value_class"].to_list() == ["3"]
    assert labels.rejects["detail"].to_list() == ["value: not a whole number"]
    fields = {"key": "k", "time": TIME, "outputs.area": value}
    outputs = mapped(tmp_path / "p.csv", records, {"map": fields}).records
    assert outputs["output_area"].to_list() == ["3", None]
    assert json.loads(outputs["extras"][1]) == {"outputs.area": "x"}


ONE = UUID("0198c3e0-0000-4000-8000-000000000001")
FIXED: list[tuple[pa.DataType, bytes, str]] = [
    (pa.uuid(), ONE.bytes, str(ONE)),
    (pa.uuid(), b"0123456789abcdef", "30313233-3435-3637-3839-616263646566"),
    (pa.binary(2), b"DE", "DE"),
    (pa.binary(4), b"\x00\x00\x01\x02", "00000102"),
    (pa.binary(16), ONE.bytes, ONE.hex),
    (pa.binary(2), "é".encode(), "é"),
]


@pytest.mark.parametrize(("kind", "value", "text"), FIXED)
@pytest.mark.parametrize("is_nested", [False, True])
def test_bytes_of_a_fixed_size_are_text(
    tmp_path: Path, kind: pa.DataType, value: bytes, text: str, is_nested: bool
) -> None:
    """A UUID is its text as key, slice and unknown feature, at the top and below."""
    column = pa.array([value, None], kind)
    if is_nested:
        column = pa.StructArray.from_arrays([column, column], ["k", "other"])
    parquet.write_table(pa.table({"c": column, "t": [10**12, 10**12]}), tmp_path / "a.parquet")
    path, features = ("c.k", "c.*") if is_nested else ("c", "*")
    fields = {"key": path, "time": TIME, "slices.country": path, "features": features}
    chunk = map_file(tmp_path / "a.parquet", None, loop(), [source_map(map=fields)])
    assert chunk.records.select("key", "slice_country").rows() == [(text, text)]
    assert reasons(chunk) == [(2, "bad_key")]
    assert json.loads(chunk.records["extras"][0] or "{}") == ({"k": text, "other": text} if is_nested else {})


def test_bytes_of_a_fixed_size_in_lists(tmp_path: Path) -> None:
    """Elements of `each` are read alike."""
    element = pa.StructArray.from_arrays([pa.array([ONE.bytes], pa.uuid())], ["k"])
    items = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), element)
    parquet.write_table(pa.table({"items": items, "t": [10**12]}), tmp_path / "a.parquet")
    source = source_map(each="items", map={"key": "items.k", "time": TIME})
    assert map_file(tmp_path / "a.parquet", None, loop(), [source]).records["key"].to_list() == [str(ONE)]


def test_decimals_keep_their_digits(tmp_path: Path) -> None:
    """Ids beyond 2^53 stay exact, codes keep their scale, amounts and times are numbers."""
    big = Decimal(2**63 + 1)
    frame = pl.DataFrame(
        {
            "k": pl.Series([big], dtype=pl.Decimal(38, 0)),
            "t": pl.Series([Decimal(1_709_287_200_000)], dtype=pl.Decimal(20, 0)),
            "s": pl.Series([Decimal("0.90")], dtype=pl.Decimal(10, 2)),
            "code": pl.Series([Decimal("10.40")], dtype=pl.Decimal(10, 2)),
            "n": pl.Series([Decimal(2**62 + 1)], dtype=pl.Decimal(38, 0)),
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    fields = {
        "key": "k", "time": TIME, "version": "code", "outputs.fraud": "s", "outputs.area": "code",
        "slices.country": "code", "features.n": "n", "features.other": "code",
    }  # fmt: skip
    config = loop(features={"n": {"type": "int"}})
    [row] = map_file(tmp_path / "a.parquet", None, config, [source_map(map=fields)]).records.rows(named=True)
    assert (row["key"], row["time_ms"], row["version"]) == (str(2**63 + 1), 1_709_287_200_000, "10.40")
    assert (row["output_fraud"], row["output_area"], row["slice_country"]) == (0.9, "10.40", "10.40")
    assert (row["feature_n"], row["extras"]) == (2**62 + 1, '{"other":10.40}')


def test_short_floats_reach_the_threshold(tmp_path: Path) -> None:
    """A score of .9 in 32 bits is .9 in the message, as in a CSV file of the same scores."""
    frame = pl.DataFrame({"k": ["a"], "t": [10**12], "s": pl.Series([0.9], dtype=pl.Float32)})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    source = source_map(map={"key": "k", "time": TIME, "outputs.fraud": "s"})
    found = [map_file(tmp_path / name, None, loop(), [source]).records for name in ("a.parquet", "a.csv")]
    assert [frame["output_fraud"].to_list() for frame in found] == [[0.9], [0.9]]
    assert found[0]["digest"].equals(found[1]["digest"])


def test_a_hook_gets_decimals_as_numbers(tmp_path: Path) -> None:
    """Whole ones stay exact, others are floats as in JSON, so that a function can compute with both."""
    frame = pl.DataFrame(
        {"id": pl.Series([Decimal(2**63)], dtype=pl.Decimal(38, 0)), "x": pl.Series([Decimal("1.5")])},
    )
    frame.write_parquet(tmp_path / "a.parquet")
    source = source_map(map={"python": "m:f"})
    seen: list[Record] = []
    tools = MappingTools(Redaction(loop()), {"m:f": lambda record, _: seen.append(record)})
    assert [*Mapper(open_record_file(tmp_path / "a.parquet", None, [source], tools), loop()).chunks()]
    assert seen == [{"id": 2**63, "x": 1.5}]


def test_versions_and_definitions_are_never_rewritten(tmp_path: Path) -> None:
    """1.10 is another version than 1.1, and 1.0 another than 1."""
    records = [{"k": "a", "t": 10**12 + 1, "v": version} for version in ("1.10", "1.1", "1.0", "007")]
    fields = {"key": "k", "time": TIME, "version": "v", "slices.country": "v"}
    found = mapped(tmp_path / "p.csv", records, {"map": fields}).records
    assert found["version"].to_list() == found["slice_country"].to_list() == ["1.10", "1.1", "1.0", "007"]
    fields = {"key": "k", "time": TIME, "value": {"constant": 1}, "definition": "v"}
    labels = mapped(tmp_path / "l.csv", records, LABELS | {"map": fields}).records
    assert labels["definition"].to_list() == ["1.10", "1.1", "1.0", "007"]


@pytest.mark.parametrize("value", [True, 1.5, ["a"]])
def test_what_is_no_key_is_none_at_the_alternative_path_either(tmp_path: Path, value: object) -> None:
    """As text it would be one."""
    source = source_map(map={"key": {"path": "a", "otherwise": "b"}, "time": TIME})
    records = [{"t": 10**12, "b": value}, {"t": 10**12, "b": "k"}, {"t": 10**12, "a": "k2"}, {"t": 10**12, "b": 7.0}]
    assert map_records(tmp_path, records, source=source).records["key"].to_list() == ["k", "k2", "7"]
    assert reasons(map_records(tmp_path, records[:1], source=source)) == [(1, "bad_key")]


def test_an_alternative_path_keeps_the_types_of_both(tmp_path: Path) -> None:
    """A code is matched as a number where it is one and as text where it is text, whatever the other path has."""
    value = {"path": "a", "otherwise": "b", "values": {"10.40": 1}}
    source = source_map(**LABELS, map={"key": "k", "time": TIME, "value": value})
    records = [
        {"k": "1", "t": 10**12 + 1, "a": 10.4},
        {"k": "2", "t": 10**12 + 1, "b": "10.40"},
        {"k": "3", "t": 10**12 + 1, "b": "10.4"},
    ]
    chunk = map_records(tmp_path, records, source=source, role=None)  # type: ignore[arg-type] # as the source says
    assert chunk.records["key"].to_list() == ["1", "2"]
    assert reasons(chunk) == [(3, "bad_value")]
