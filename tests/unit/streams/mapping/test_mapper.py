"""The mapping's rules, one case per line: what is rejected, what is flagged, and what the frames contain.

Covers `streams.mapping.predictions`, `streams.mapping.labels`, `streams.mapping.values`, `streams.columns.plan`,
`streams.columns.json_text`, `streams.columns.raw`, `streams.readers.json_records`, `streams.readers.parquet`.
"""

import json
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mapping_case import loop, map_file, map_records, reasons, source_map, write_records

from schemas.config.loop import LoopConfig
from streams.columns.digest import contract_hash
from streams.columns.schema import REJECTS_SCHEMA, records_schema
from streams.mapping.mapper import MessageMapper

Record = dict[str, Any]
PINNED_DIGEST = -1_183_107_298_652_041_275
PINNED_CONTENT = 0xC22E24AC4FC5
TIME = {"path": "t", "unit": "ms"}


def prediction(**parts: Any) -> Record:
    """Return a good canonical prediction with these parts replaced."""
    good = {
        "v": 1,
        "key": "k",
        "time": 1_000_000_000_005,
        "version": "v",
        "outputs": {"fraud": 0.5, "amount": 2.0, "area": "x"},
    }
    return good | parts


def label(**parts: Any) -> Record:
    """Return a good canonical label with these parts replaced."""
    return {"v": 1, "key": "k", "kind": "fraud", "value": 1, "time": 1_000_000_000_005} | parts


def label_map(**parts: Any) -> Any:
    """Return a map of labels of kind fraud with these parts replaced."""
    fields = {"key": "k", "time": TIME, "value": "v"}
    return source_map(**({"as": "labels", "kind": "fraud", "map": fields} | parts))


def only(frame: pl.DataFrame) -> Record:
    """Return the single row of a frame."""
    return frame.row(0, named=True) if frame.height == 1 else pytest.fail(f"{frame.height} rows")


IDENTITIES: list[tuple[object, str | None]] = [
    ("k", "k"),
    (" k ", " k "),
    ("12", "12"),
    (12, "12"),
    (12.0, "12"),
    (12.5, None),
    (2**63, str(2**63)),
    (2.0**53 - 1, str(2**53 - 1)),
    (2.0**53, None),
    (1e300, None),
    ("é" * 512, "é" * 512),
    ("é" * 512 + "x", None),
    ("x" * 1_024, "x" * 1_024),
    ("x" * 1_025, None),
    ("", None),
    ("a\x00b", None),
    (True, None),
    (["k"], None),
    ({"k": 1}, None),
    ([], None),
]


@pytest.mark.parametrize(("value", "expected"), IDENTITIES)
@pytest.mark.parametrize("neighbour", ["text", 7, 0.5, True, None])
def test_identity_is_text_or_a_whole_number(
    tmp_path: Path, value: object, expected: str | None, neighbour: object
) -> None:
    """Keys and ids keep every character; other values are rejected, whatever types the column mixes."""
    records = [prediction(key=value, id="i"), prediction(key="k2", id=value), prediction(key=neighbour, id=neighbour)]
    chunk = map_records(tmp_path, records)
    found = dict(chunk.records.select("row", "key").rows()), dict(chunk.records.select("row", "id").rows())
    assert found[0].get(1) == expected
    assert found[1].get(2) == expected
    bad = [reason for reason in reasons(chunk) if reason[0] < 3]
    assert bad == ([] if expected is not None else [(1, "bad_key"), (2, "bad_id")])


def test_missing_identities(tmp_path: Path) -> None:
    """A key is required; a canonical id defaults to it, a mapped id is required, too."""
    chunk = map_records(tmp_path, [prediction(key=None), prediction(), prediction(id=None), prediction(id="i")])
    assert chunk.records["id"].to_list() == ["k", "k", "i"]
    assert reasons(chunk) == [(1, "bad_key")]
    source = source_map(map={"key": "k", "id": "i", "time": TIME})
    chunk = map_records(
        tmp_path,
        [{"k": "a", "i": None, "t": 1_000_000_000_001}, {"k": "a", "i": "b", "t": 1_000_000_000_001}],
        source=source,
    )
    assert reasons(chunk) == [(1, "bad_id")]


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("a", "b", "a|b"),
        ("a|b", "c", "a\\|b|c"),
        ("a", "b|c", "a|b\\|c"),
        ("a\\", "b", "a\\\\|b"),
        (1, 2.0, "1|2"),
        ("a", None, None),
        ("a", "", None),
        ("a", True, None),
        ("x" * 600, "y" * 423, "x" * 600 + "|" + "y" * 423),
        ("x" * 600, "y" * 424, None),
    ],
)
def test_composite_keys_never_collide(tmp_path: Path, first: object, second: object, joined: str | None) -> None:
    """Parts are escaped before they are joined, and a missing part makes the key invalid."""
    source = source_map(map={"key": ["a", "b.c"], "time": TIME})
    chunk = map_records(tmp_path, [{"a": first, "b": {"c": second}, "t": 1_000_000_000_001}], source=source)
    assert chunk.records["key"].to_list() == ([joined] if joined else [])
    assert reasons(chunk) == ([] if joined else [(1, "bad_key")])


@pytest.mark.parametrize(
    ("value", "expected"),
    [("v1", "v1"), (3, "3"), ("x" * 200, "x" * 200), ("x" * 201, None), ("", None), (None, None), ([1], None)],
)
def test_version(tmp_path: Path, value: object, expected: str | None) -> None:
    """A version has 1 to 200 bytes; a record without one is rejected if the file has versions."""
    chunk = map_records(tmp_path, [prediction(version=value)])
    assert chunk.records["version"].to_list() == ([expected] if expected else [])
    assert reasons(chunk) == ([] if expected else [(1, "bad_version")])


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_file_without_versions_is_unversioned(tmp_path: Path, suffix: str) -> None:
    """If neither the map nor the file's columns name a version, there is one unnamed version."""
    path = write_records(tmp_path / f"a.{suffix}", [{"key": "k", "time": 1_000_000_000_001}])
    assert map_file(path, "predictions", loop()).records["version"].to_list() == ["unversioned"]
    source = source_map(map={"key": "key", "time": {"path": "time", "unit": "ms"}})
    assert map_file(path, None, loop(), [source]).records["version"].to_list() == ["unversioned"]


@pytest.mark.parametrize("role", ["predictions", "labels"])
def test_only_version_1_of_the_message_format_is_read(tmp_path: Path, role: str) -> None:
    """A message without `v` is of version 1; null is another one, as everything else is."""
    good = prediction() if role == "predictions" else label()
    versions = [1, 1.0, 2, 0, "1", None, True, [], {}, float("nan")]
    chunk = map_records(tmp_path, [good | {"v": version} for version in versions], role)
    assert chunk.records["row"].to_list() == [1, 2]
    assert reasons(chunk) == [(row, "unsupported_version") for row in range(3, len(versions) + 1)]
    del good["v"]
    assert only(map_records(tmp_path, [good], role).records)["key"] == "k"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_may_have_a_version_of_the_message_format(tmp_path: Path, suffix: str) -> None:
    """An empty cell is no version, as elsewhere in tables."""
    records = [prediction(v=version) for version in (1, None, 2)]
    chunk = map_file(write_records(tmp_path / f"a.{suffix}", records), "predictions", loop())
    assert (chunk.records["row"].to_list(), reasons(chunk)) == ([1, 2], [(3, "unsupported_version")])


def test_mapped_records_have_no_version_of_the_message_format(tmp_path: Path) -> None:
    """Their field `v` is theirs."""
    source = source_map(map={"key": "k", "time": TIME})
    assert map_records(tmp_path, [{"k": "a", "t": 10**12, "v": 2}], source=source).rejects.is_empty()


def test_times_of_a_prediction(tmp_path: Path) -> None:
    """A record with an invalid time is rejected; an invalid arrival becomes null with a flag."""
    times = [None, "no", "2024-01-01T00:00:00", "2001-09-09T01:46:45Z", 1_000_000_000_005, "1000000000005", 5]
    chunk = map_records(tmp_path, [prediction(time=time, arrived_at="no") for time in times])
    assert reasons(chunk) == [(1, "bad_time"), (2, "bad_time"), (3, "naive_time"), (6, "bad_time"), (7, "bad_time")]
    assert chunk.rejects["detail"][-1] == "time: in 1970, looks like seconds, and the unit is ms"
    assert chunk.records["time_ms"].to_list() == [1_000_000_005_000, 1_000_000_000_005]
    assert chunk.records["arrived_at_ms"].to_list() == [None, None]
    assert chunk.records["flags"].to_list() == [["arrived_at:invalid"]] * 2
    zoned = source_map(map={"key": "k", "time": {"path": "t", "zone": "Europe/Berlin"}})
    local = [{"k": "a", "t": time} for time in ("2024-10-27T02:30:00", "2024-03-31T02:30:00", 5)]
    chunk = map_records(tmp_path, local, source=zoned, outputs={"fraud": {"task": "binary"}})
    assert chunk.records["flags"].to_list() == [["ambiguous_time", "output_fraud:missing"]]
    assert reasons(chunk) == [(2, "nonexistent_time"), (3, "bad_time")]


OUTPUTS: list[tuple[str, object, object, str | None]] = [
    ("fraud", 0, 0.0, None),
    ("fraud", 1, 1.0, None),
    ("fraud", "0.25", 0.25, None),
    ("fraud", 1.0000001, None, "invalid"),
    ("fraud", -0.0000001, None, "invalid"),
    ("fraud", "NaN", None, "invalid"),
    ("fraud", "inf", None, "invalid"),
    ("fraud", True, None, "invalid"),
    ("fraud", [0.5], None, "invalid"),
    ("fraud", None, None, "missing"),
    ("amount", -5, -5.0, None),
    ("amount", "1e3", 1_000.0, None),
    ("amount", "x", None, "invalid"),
    ("area", "x", "x", None),
    ("area", 3, "3", None),
    ("area", "y" * 201, None, "invalid"),
    ("area", "", None, "invalid"),
    ("area", {"x": 1}, None, "invalid"),
    ("area", None, None, "missing"),
]


@pytest.mark.parametrize(("kind", "value", "expected", "flag"), OUTPUTS)
def test_bad_outputs_are_kept_in_extras_and_flagged(
    tmp_path: Path, kind: str, value: object, expected: object, flag: str | None
) -> None:
    """An invalid output becomes null with a flag, its text goes to extras, and the record stays."""
    good = prediction()["outputs"]
    row = only(map_records(tmp_path, [prediction(outputs=good | {kind: value})]).records)
    assert row[f"output_{kind}"] == expected
    assert row["flags"] == ([f"output_{kind}:{flag}"] if flag else [])
    kept = json.loads(row["extras"]) if row["extras"] else {}
    assert list(kept) == ([f"outputs.{kind}"] if flag == "invalid" else [])
    if isinstance(value, str) and flag:
        assert kept == {f"outputs.{kind}": value}


def test_scale_is_applied_before_the_limits(tmp_path: Path) -> None:
    """Percentages become shares; a product outside the limits is as invalid as a value outside them."""
    fields = {"key": "k", "time": TIME, "outputs.fraud": {"path": "s", "scale": 0.01}}
    source = source_map(map=fields)
    chunk = map_records(
        tmp_path, [{"k": "a", "t": 1_000_000_000_001, "s": s} for s in (50, 100, 101, "25")], source=source
    )
    assert chunk.records["output_fraud"].to_list() == [0.5, 1.0, None, 0.25]


FEATURES: list[tuple[str, object, object, list[str]]] = [
    ("f", 1, 1.0, []),
    ("f", "1.5", 1.5, []),
    ("f", -0.1, -0.1, ["out_of_range"]),
    ("f", 0, 0.0, []),
    ("f", 10, 10.0, []),
    ("f", 10.1, 10.1, ["out_of_range"]),
    ("f", "nan", None, ["invalid"]),
    ("f", True, None, ["invalid"]),
    ("f", None, None, ["missing"]),
    ("i", 3, 3, []),
    ("i", 3.0, 3, []),
    ("i", "3", 3, []),
    ("i", 3.5, None, ["invalid"]),
    ("i", 2**62 + 1, 2**62 + 1, []),
    ("i", 2**63, None, ["invalid"]),
    ("s", "a", "a", []),
    ("s", "z", "z", ["unseen"]),
    ("s", 1, "1", ["unseen"]),
    ("s", ["a"], None, ["invalid"]),
    ("b", True, True, []),
    ("b", 0, False, []),
    ("b", "TRUE", True, []),
    ("b", "Yes", True, []),
    ("b", "1.0", True, []),
    ("b", "n", False, []),
    ("b", "oui", None, ["invalid"]),
    ("b", 2, None, ["invalid"]),
]


@pytest.mark.parametrize(("name", "value", "expected", "flags"), FEATURES)
def test_features_keep_their_type_and_flag_odd_values(
    tmp_path: Path, name: str, value: object, expected: object, flags: list[str]
) -> None:
    """Values outside limits are kept and flagged; values of another type go to extras under their name."""
    contract = {
        "f": {"type": "float", "min": 0, "max": 10},
        "i": {"type": "int"},
        "s": {"type": "string", "categories": ["a"]},
        "b": {"type": "bool"},
    }
    contract = {name: contract[name]}
    row = only(map_records(tmp_path, [prediction(features={name: value})], features=contract).records)
    assert row[f"feature_{name}"] == expected
    assert row["flags"] == [f"feature_{name}:{flag}" for flag in flags]
    assert list(json.loads(row["extras"] or "{}")) == ([name] if flags == ["invalid"] else [])


def test_nan_in_parquet_is_an_invalid_feature(tmp_path: Path) -> None:
    """NaN is never stored in the lake."""
    frame = pl.DataFrame({"key": ["a", "b"], "time": [10**12, 10**12], "features.f": [float("nan"), None]})
    frame = frame.with_columns(pl.col("features.f").alias("slices.country"), pl.col("features.f").alias("features.odd"))
    frame.write_parquet(tmp_path / "a.parquet")
    chunk = map_file(tmp_path / "a.parquet", "predictions", loop(features={"f": {"type": "float"}}))
    assert chunk.records["feature_f"].to_list() == [None, None]
    assert chunk.records["slice_country"].to_list() == [None, None]
    assert chunk.records["extras"].to_list() == ['{"f":"NaN","odd":null}', None]
    found = [{flag for flag in flags if "output" not in flag} for flags in chunk.records["flags"].to_list()]
    assert found == [{"slice_country:invalid", "feature_f:invalid", "extras:invalid"}, {"feature_f:missing"}]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_where_unknown_features_are_dropped_no_text_is_kept_of_invalid_ones(tmp_path: Path, suffix: str) -> None:
    """It may be anything, as an unknown feature may; the digest still tells two of them apart."""
    features = {"f": {"type": "float"}}
    records = [prediction(features={"f": text, "odd": 1}, outputs={"fraud": text}) for text in ("secret", "other")]
    path = write_records(tmp_path / f"a.{suffix}", records)
    found = {
        how: map_file(path, "predictions", loop(features=features, unknown_features=how)).records
        for how in ("keep", "drop")
    }
    assert found["drop"]["extras"].to_list() == [None, None]
    assert "secret" in found["keep"]["extras"][0]
    assert all({"feature_f:invalid", "output_fraud:invalid"} <= set(flags) for flags in found["drop"]["flags"])
    assert found["drop"]["digest"].n_unique() == 2


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_costs_its_field_alone(tmp_path: Path, number: float) -> None:
    """As Python's encoder writes it. The flag, or the null in extras, names the field; a message maps like a line."""
    features = {"f": {"type": "float"}, "i": {"type": "int"}, "s": {"type": "string"}, "b": {"type": "bool"}}
    given = dict.fromkeys(features, number) | {"odd": number, "list": [number], "fine": 1.5}
    record = prediction(
        features=given,
        weight=number,
        slices={"country": number},
        outputs={"fraud": number, "amount": 2, "area": number},
    )
    chunk = map_records(tmp_path, [record, prediction(features={"f": 0.5})], features=features)
    row = chunk.records.row(0, named=True)
    assert [row[f"feature_{name}"] for name in features] == [None] * 4
    assert (row["output_fraud"], row["output_amount"], row["output_area"]) == (None, 2.0, None)
    assert (row["slice_country"], row["weight"]) == (None, 1.0)
    kept = json.loads(row["extras"])
    assert (kept["odd"], kept["list"], kept["fine"]) == (None, [None], 1.5)
    assert kept["f"] == str(number).replace("nan", "NaN")
    invalid = {f"feature_{name}:invalid" for name in features} | {"output_fraud:invalid", "output_area:invalid"}
    assert set(row["flags"]) == {*invalid, "weight:invalid", "slice_country:invalid", "extras:invalid"}
    assert chunk.records["feature_f"][1] == 0.5
    assert "extras:invalid" not in chunk.records["flags"][1]
    message = MessageMapper("predictions", None, loop(features=features)).map([json.dumps(record).encode()])
    assert message.records.drop("row").equals(chunk.records[:1].drop("row"), null_equal=True)


@pytest.mark.parametrize("field", ["key", "id", "time", "version"])
def test_a_prediction_that_nan_makes_unjoinable_is_a_reject_that_names_the_field(tmp_path: Path, field: str) -> None:
    """Without it there is nothing to join."""
    chunk = map_records(tmp_path, [prediction(**{field: float("nan")})])
    assert reasons(chunk) == [(1, f"bad_{field}")]
    assert chunk.rejects["detail"][0].startswith(f"{field}: ")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_mapped_features_outside_the_contract_keep_their_json(tmp_path: Path, suffix: str) -> None:
    """Lists as lists; a number that is not finite is null with a flag, in every format."""
    source = source_map(map={"key": "k", "time": TIME, "features.odd": "odd", "features.list": "list"})
    records = [
        {"k": "a", "t": 10**12, "odd": float("nan"), "list": [1]},
        {"k": "b", "t": 10**12, "odd": 0.5, "list": []},
    ]
    path = write_records(tmp_path / f"a.{suffix}", records)
    records_found = map_file(path, None, loop(outputs={"fraud": {"task": "binary"}}), [source]).records
    assert [json.loads(text)["list"] for text in records_found["extras"]] == [[1], []]
    assert [json.loads(text)["odd"] for text in records_found["extras"]] == [None, 0.5]
    assert ["extras:invalid" in flags for flags in records_found["flags"]] == [True, False]


@pytest.mark.parametrize(
    ("value", "expected", "flag"),
    [
        ("DE", "DE", None),
        (None, None, None),
        (3, "3", None),
        (True, "true", None),
        ("", "", None),
        ("x" * 200, "x" * 200, None),
        ("x" * 201, "x" * 200, "cut"),
        ("x" * 199 + "é", "x" * 199, "cut"),
        (["DE"], None, "invalid"),
    ],
)
def test_slices_are_short_texts(tmp_path: Path, value: object, expected: str | None, flag: str | None) -> None:
    """Scalars become text, long ones are cut between characters, and lists are invalid."""
    row = only(map_records(tmp_path, [prediction(slices={"country": value})]).records)
    assert row["slice_country"] == expected
    assert row["flags"] == ([f"slice_country:{flag}"] if flag else [])


@pytest.mark.parametrize(
    ("field", "value", "expected", "is_flagged"),
    [
        ("weight", 0, 0.0, False),
        ("weight", "2.5", 2.5, False),
        ("weight", -0.1, 1.0, True),
        ("weight", "inf", 1.0, True),
        ("weight", None, 1.0, False),
        ("eligible", False, False, False),
        ("eligible", "false", False, False),
        ("eligible", 0, False, False),
        ("eligible", None, True, False),
        ("eligible", "perhaps", True, True),
    ],
)
def test_weight_and_eligible_have_defaults(
    tmp_path: Path, field: str, value: object, expected: object, is_flagged: bool
) -> None:
    """A missing or invalid value becomes the default; an invalid one is flagged."""
    row = only(map_records(tmp_path, [prediction(**{field: value})]).records)
    assert row[field] == expected
    assert row["flags"] == ([f"{field}:invalid"] if is_flagged else [])


def test_eligible_by_predicate(tmp_path: Path) -> None:
    """`in` is true for the listed values; a missing value means eligible."""
    source = source_map(map={"key": "k", "time": TIME, "eligible": {"path": "d.action", "in": ["APPROVE", 1, True]}})
    actions = ["APPROVE", "approve", 1, 1.0, True, False, None]
    records = [{"k": "a", "t": 1_000_000_000_001, "d": {"action": action}} for action in actions]
    found = map_records(tmp_path, records, source=source).records["eligible"].to_list()
    assert found == [True, False, True, True, True, False, True]


def test_unknown_features_are_kept_or_dropped(tmp_path: Path) -> None:
    """Unknown features keep their JSON types; `drop` leaves them out; the digest ignores them."""
    contract: Record = {"features": {"known": {"type": "float"}}}
    features = {"known": 1, "new": [1, {"a": None}], "b": 'ü"', "n": 2.5, "none": None}
    plain = only(map_records(tmp_path, [prediction(features={"known": 1.0})], **contract).records)
    kept = only(map_records(tmp_path, [prediction(features=features)], **contract).records)
    assert json.loads(kept["extras"]) == {"b": 'ü"', "n": 2.5, "new": [1, {"a": None}]}
    assert kept["digest"] == plain["digest"]
    dropped = map_records(tmp_path, [prediction(features=features)], unknown_features="drop", **contract)
    assert only(dropped.records)["extras"] is None


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("path", ["f.*", "*"])
def test_wildcard_takes_every_field_below(tmp_path: Path, suffix: str, path: str) -> None:
    """Known features get their columns, explicit maps win, and the rest goes to extras."""
    values = {"known": 1, "renamed": 2, "odd": 3.5, "word": "w"}
    records = [{"k": "a", "t": 1_000_000_000_001} | (values if path == "*" else {"f": values})]
    renamed = "renamed" if path == "*" else "f.renamed"
    fields = {"key": "k", "time": TIME, "features": path, "features.other": renamed, "features.stray": renamed}
    file = write_records(tmp_path / f"a.{suffix}", records)
    config = loop(features={"known": {"type": "float"}, "other": {"type": "int"}})
    row = only(map_file(file, None, config, [source_map(map=fields)]).records)
    assert (row["feature_known"], row["feature_other"]) == (1.0, 2)
    extras = json.loads(row["extras"])
    assert {name: extras[name] for name in ("odd", "word", "stray")} == {"odd": 3.5, "word": "w", "stray": 2}
    assert set(extras) <= {"odd", "word", "stray", "renamed"}


VALUES: list[tuple[str, object, object]] = [
    ("fraud", 0, 0.0), ("fraud", 1, 1.0), ("fraud", 1.0, 1.0), ("fraud", True, 1.0), ("fraud", False, 0.0),
    ("fraud", "1", 1.0), ("fraud", "0.0", 0.0), ("fraud", "true", 1.0), ("fraud", "False", 0.0),
    ("fraud", 2, None), ("fraud", 0.5, None), ("fraud", -1, None), ("fraud", "perhaps", None), ("fraud", "", None),
    ("fraud", "Y", 1.0), ("fraud", "t", 1.0), ("fraud", "no", 0.0),
    ("fraud", None, None), ("fraud", [1], None), ("fraud", {"a": 1}, None),
    ("amount", 12, 12.0), ("amount", "-1.5e3", -1_500.0), ("amount", "inf", None), ("amount", True, None),
    ("area", "x", "x"), ("area", 3, "3"), ("area", 3.0, "3"), ("area", True, "true"), ("area", "x" * 200, "x" * 200),
    ("area", "x" * 201, None), ("area", "", None), ("area", ["x"], None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES)
def test_label_value_by_task(tmp_path: Path, kind: str, value: object, expected: object) -> None:
    """Binary accepts 0 and 1 in every form, regression finite numbers, multiclass short texts; nothing is guessed."""
    chunk = map_records(tmp_path, [label(kind=kind, value=value)], "labels")
    if expected is None:
        assert reasons(chunk) == [(1, "bad_value")]
    else:
        row = only(chunk.records)
        assert (row["value_class"] if kind == "area" else row["value"]) == expected
        assert (row["value"] if kind == "area" else row["value_class"]) is None


def test_values_of_several_kinds_in_one_file(tmp_path: Path) -> None:
    """Each label is read by the task of its own kind."""
    records = [label(), label(kind="amount", value="7.5"), label(kind="area", value="1"), label(kind="area", value=1.5)]
    chunk = map_records(tmp_path, records, "labels")
    assert chunk.records.select("value", "value_class").rows() == [(1.0, None), (7.5, None), (None, "1"), (None, "1.5")]
    assert chunk.rejects.is_empty()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"kind": "click"}, "unknown_kind"),
        ({"kind": None}, "unknown_kind"),
        ({"kind": ["fraud"]}, "unknown_kind"),
        ({"op": "remove"}, "bad_op"),
        ({"op": 1}, "bad_op"),
        ({"key": None}, "bad_key"),
        ({"op": "retract", "value": 1}, "bad_value"),
        ({"op": "retract", "value": None, "key": None}, "bad_key"),
        ({"op": "heartbeat", "value": None}, "bad_key"),
        ({"op": "heartbeat", "key": None}, "bad_value"),
        ({"definition": "d" * 201}, "bad_value"),
        ({"definition": ""}, "bad_value"),
        ({"time": True}, "bad_time"),
        ({"definition": "d" * 200}, None),
        ({"op": None}, None),
        ({"op": "retract", "value": None}, None),
        ({"op": "heartbeat", "key": None, "value": None}, None),
        ({"happened_at": "no"}, None),
        ({"origin": "backfill"}, None),
    ],
)
def test_canonical_labels(tmp_path: Path, parts: Record, reason: str | None) -> None:
    """A label that cannot be joined or has an invalid value is rejected; any other one passes."""
    chunk = map_records(tmp_path, [label(**parts)], "labels")
    assert reasons(chunk) == ([(1, reason)] if reason else [])
    assert chunk.records.height == (reason is None)


def test_defaults_and_flags_of_labels(tmp_path: Path) -> None:
    """A label without a definition gets the config's; another definition is flagged, and so are odd origins."""
    records = [
        label(), label(definition="d-1"), label(definition="d-2"), label(origin="?", source="s", batch_id="b"),
        label(happened_at="no"),
    ]  # fmt: skip
    frame = map_records(tmp_path, records, "labels").records
    assert frame["definition"].to_list() == ["d-1", "d-1", "d-2", "d-1", "d-1"]
    assert frame["flags"].to_list() == [[], [], ["other_definition"], ["origin:invalid"], ["happened_at:invalid"]]
    assert frame.row(3, named=True)["origin"] == "live"
    assert (frame["label_source"][3], frame["batch_id"][3]) == ("s", "b")


def test_kind_may_be_left_out_where_there_is_one(tmp_path: Path) -> None:
    """If the loop has a single kind, every canonical label is of this kind."""
    record = label()
    del record["kind"]
    path = write_records(tmp_path / "a.jsonl", [record])
    frame = map_file(path, "labels", loop(outputs={"fraud": {"task": "binary"}})).records
    assert frame["kind"].to_list() == ["fraud"]


def test_mapped_labels_with_values_retractions_and_heartbeats(tmp_path: Path) -> None:
    """Values are mapped first; predicates make retractions (value ignored) and heartbeats (key ignored)."""
    fields = {
        "key": "k", "time": TIME, "value": {"path": "code", "values": {"10.4": 1, "ok": 0}},
        "retract": {"path": "stage", "in": ["REVERSED"]}, "heartbeat": {"path": "stage", "in": ["TICK"]},
    }  # fmt: skip
    source = label_map(map=fields, source="chargeback")
    records = [
        {"k": "a", "t": 1_000_000_000_001, "code": "10.4", "stage": "NEW"},
        {"k": "a", "t": 1_000_000_000_001, "code": 10.4},
        {"k": "a", "t": 1_000_000_000_001, "code": "ok", "stage": None},
        {"k": "a", "t": 1_000_000_000_001, "code": "11.1", "stage": "NEW"},
        {"k": "a", "t": 1_000_000_000_001, "code": [], "stage": "REVERSED"},
        {"k": True, "t": 1_000_000_000_001, "code": "10.4", "stage": "TICK"},
        {"k": "a", "t": 1_000_000_000_001},
    ]
    chunk = map_records(tmp_path, records, source=source, role=None)  # type: ignore[arg-type] # as the source says
    frame = chunk.records
    assert frame["op"].to_list() == ["upsert", "upsert", "upsert", "retract", "heartbeat"]
    assert frame["value"].to_list() == [1.0, 1.0, 0.0, None, None]
    assert frame["key"].to_list() == ["a", "a", "a", "a", None]
    assert frame["label_source"].to_list() == ["chargeback"] * 5
    assert reasons(chunk) == [(4, "bad_value"), (7, "bad_value")]


def test_where_counts_filtered_records(tmp_path: Path) -> None:
    """A record that does not match is no reject."""
    source = source_map(where={"type": "score", "model.n": [1, True]})
    kinds = [("score", 1), ("score", 1.0), ("score", "1"), ("score", True), ("score", 2), ("other", 1), ("score", None)]
    records = [{"k": "a", "t": 1_000_000_000_001, "type": kind, "model": {"n": n}} for kind, n in kinds]
    chunk = map_records(tmp_path, records, source=source, role=None)  # type: ignore[arg-type] # as the source says
    assert chunk.records["row"].to_list() == [1, 2, 3, 4]
    assert (chunk.filtered, chunk.rows_read, chunk.rejects.height) == (3, 7, 0)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_each_makes_one_record_per_element(tmp_path: Path, suffix: str) -> None:
    """Elements share the record's number and its own fields; an empty or missing list gives no record."""
    records: list[Record] = [
        {"t": 1_000_000_000_001, "items": [{"id": "a", "s": 0.5}, {"id": "b", "s": 0.25}]},
        {"t": 1_000_000_000_002, "items": []},
        {"t": 1_000_000_000_003, "items": None},
        {"t": 1_000_000_000_004, "items": [{"id": "c", "s": 1.0}, {"id": None, "s": 1.0}]},
    ]
    source = source_map(each="items", map={"key": "items.id", "time": TIME, "outputs.fraud": "items.s"})
    chunk = map_file(write_records(tmp_path / f"a.{suffix}", records), None, loop(), [source])
    assert chunk.records.select("row", "key", "time_ms", "output_fraud").rows() == [
        (1, "a", 10**12 + 1, 0.5), (1, "b", 10**12 + 1, 0.25), (4, "c", 10**12 + 4, 1.0),
    ]  # fmt: skip
    assert reasons(chunk) == [(4, "bad_key")]
    assert (chunk.rows_read, chunk.filtered) == (4, 2)


def test_each_of_something_else_is_rejected(tmp_path: Path) -> None:
    """An object or a text where a list is expected is rejected."""
    source = source_map(each="items", map={"key": "items", "time": TIME})
    records = [
        {"t": 1_000_000_000_001, "items": {"a": 1}},
        {"t": 1_000_000_000_001, "items": "a"},
        {"t": 1_000_000_000_001, "items": ["a", "b"]},
    ]
    chunk = map_records(tmp_path, records, source=source, role=None)  # type: ignore[arg-type] # as the source says
    assert reasons(chunk) == [(1, "not_an_object"), (2, "not_an_object")]
    assert chunk.records["key"].to_list() == ["a", "b"]


def test_constants_fill_every_record(tmp_path: Path) -> None:
    """A constant can replace the path of every field."""
    fields = {"key": "k", "time": TIME, "version": {"constant": 7}, "weight": {"constant": 2}}
    source = source_map(map=fields | {"outputs.area": {"constant": "x"}, "eligible": {"constant": False}})
    row = only(map_records(tmp_path, [{"k": "a", "t": 1_000_000_000_001}], source=source).records)
    assert (row["version"], row["weight"], row["output_area"], row["eligible"]) == ("7", 2.0, "x", False)


def three_forms(folder: Path, records: list[Record], role: str, config: LoopConfig) -> list[Any]:
    """Map the same records from Parquet, CSV and JSON lines."""
    return [
        map_file(write_records(folder / f"{role}.{suffix}", records), role, config)
        for suffix in ("parquet", "csv", "jsonl")
    ]


def test_all_forms_give_the_same_predictions(tmp_path: Path) -> None:
    """The same records as Parquet, CSV and JSON lines give the same frames with the same digests."""
    contract = {"f": {"type": "float"}, "i": {"type": "int"}, "s": {"type": "string"}, "b": {"type": "bool"}}
    config = loop(features=contract)
    records = [
        prediction(
            key=f"k{number}", id=f"i{number}", time=10**12 + number * 1_000, arrived_at="2024-01-01T00:00:00Z",
            outputs={"fraud": number / 50, "amount": number * 1.1, "area": f"a{number % 3}"}, weight=number / 7,
            slices={"country": None if number % 5 == 0 else "DE"}, eligible=number % 2 == 0,
            features={"f": number / 3, "i": number, "s": 'q"ü,|', "b": number % 2 == 1, "extra": number / 4, "w": "x"},
        )
        for number in range(60)
    ]  # fmt: skip
    parquet, csv, jsonl = three_forms(tmp_path, records, "predictions", config)
    assert parquet.records.equals(jsonl.records, null_equal=True)
    assert parquet.records.drop("extras").equals(csv.records.drop("extras"), null_equal=True)
    extras = [[json.loads(text) for text in chunk.records["extras"]] for chunk in (parquet, csv, jsonl)]
    assert extras[0] == extras[1] == extras[2]
    assert parquet.records["digest"].n_unique() == 60
    assert parquet.records.schema == records_schema("predictions", config)
    assert parquet.rejects.schema == REJECTS_SCHEMA


def test_all_forms_give_the_same_labels_and_rejects(tmp_path: Path) -> None:
    """Good and bad labels are the same in every form, reasons and rows included."""
    values: list[Any] = [0, 1, 2, None, 1, 0]
    ops = [None, "upsert", "upsert", "retract", "what", "upsert"]
    records: list[Record] = [
        {"key": f"k{row}" if row else None, "kind": "fraud", "value": value, "op": op, "time": 10**12 + row}
        for row, (value, op) in enumerate(zip(values, ops, strict=True))
    ]
    chunks = three_forms(tmp_path, records, "labels", loop())
    for chunk in chunks:
        assert chunk.records.equals(chunks[0].records, null_equal=True)
        assert reasons(chunk) == [(1, "bad_key"), (3, "bad_value"), (5, "bad_op")]
        assert chunk.records.schema == records_schema("labels", loop())
        assert chunk.records.height + chunk.rejects.height == chunk.rows_read


def test_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    """Any contract field changes it; identity, arrival, the form of numbers and the order of fields do not."""
    config: Record = {"features": {"f": {"type": "float"}, "s": {"type": "string"}}}
    base = prediction(features={"f": 1, "s": "a"}, slices={"country": "DE"})

    def digest(**parts: Any) -> int:
        return int(only(map_records(tmp_path, [base | parts], **config).records)["digest"])

    same = digest()
    assert digest(key="other", id="i", arrived_at=9) == same
    assert digest(features={"s": "a", "f": 1.0}) == same
    assert digest(features={"s": "a", "f": "1"}, eligible=True, weight=1) == same
    changed = [
        digest(time=1_000_000_000_006), digest(version="w"), digest(eligible=False), digest(weight=2),
        digest(slices={"country": "D"}), digest(slices={}), digest(features={"f": 2, "s": "a"}),
        digest(features={"f": 1, "s": "b"}),
        digest(features={"f": 1}), digest(features={"f": "x", "s": "a"}), digest(features={"f": "y", "s": "a"}),
        digest(outputs={"fraud": 0.5}),
    ]  # fmt: skip
    assert len({same, *changed}) == len(changed) + 1


def test_digest_is_pinned(tmp_path: Path) -> None:
    """Digests are stored in lakes for years and never change, but for the 16 bits of the contract and its reading."""
    config = loop(features={"f": {"type": "float"}})
    record = prediction(features={"f": -0.0, "odd": 1}, slices={"country": "é"})
    digest = only(map_records(tmp_path, [record], features={"f": {"type": "float"}}).records)["digest"]
    assert (digest % 2**64) >> 48 == int(contract_hash(config)[:4], 16)
    assert digest == PINNED_DIGEST
    assert digest % 2**48 == PINNED_CONTENT


def test_contract_hash_depends_on_the_contract_alone() -> None:
    """The order of slices and everything outside the typed contract do not change it."""
    config = loop(slices=["a", "b"])
    assert contract_hash(config) == contract_hash(loop(slices=["b", "a"]))
    assert contract_hash(config) == contract_hash(config.model_copy(update={"loop": "other"}))
    assert contract_hash(config) != contract_hash(loop(slices=["a"]))
    assert contract_hash(config) != contract_hash(loop(slices=["a", "b"], unknown_features="drop"))


def test_reject_digests_identify_records(tmp_path: Path) -> None:
    """Equal bad records have equal digests wherever they are in the file; different ones differ."""
    for suffix in ("parquet", "csv", "jsonl"):
        records: list[Record] = [
            {"key": "", "time": 1_000_000_000_001},
            {"key": "", "time": 1_000_000_000_002},
            {"key": "", "time": 1_000_000_000_001},
        ]
        path = write_records(tmp_path / f"a.{suffix}", records)
        first, second, third = map_file(path, "predictions", loop()).rejects["digest"]
        assert first == third != second


def test_parquet_columns_of_every_type_are_read(tmp_path: Path) -> None:
    """Categories, bytes, decimals, small and unsigned numbers are values; dates and lists are no keys."""
    cases: list[tuple[pl.Series, str | None]] = [
        (pl.Series(["k"], dtype=pl.Categorical), "k"),
        (pl.Series([b"k"]), "k"),
        (pl.Series([b"\xff"]), None),
        (pl.Series([7], dtype=pl.UInt8), "7"),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), str(2**64 - 1)),
        (pl.Series([7.0], dtype=pl.Float32), "7"),
        (pl.Series(["7"]).cast(pl.Decimal(10, 2)), "7.00"),
        (pl.Series([str(2**63 + 1)]).cast(pl.Decimal(38, 0)), str(2**63 + 1)),
        (pl.Series([1]).cast(pl.Date), None),
        (pl.Series([["k"]]), None),
        (pl.Series([{"k": 1}]), None),
        (pl.Series([None]), None),
    ]
    for series, expected in cases:
        pl.DataFrame([series.alias("key"), pl.Series("time", [10**12])]).write_parquet(tmp_path / "a.parquet")
        chunk = map_file(tmp_path / "a.parquet", "predictions", loop())
        assert chunk.records["key"].to_list() == ([expected] if expected else []), series.dtype


def test_unknown_parquet_columns_of_every_type_are_kept(tmp_path: Path) -> None:
    """Extras are valid JSON whatever types a file's columns have, bytes and times included."""
    odd = {
        "bytes": pl.Series([b"\xff"]), "list": pl.Series([[b"a"]]), "struct": pl.Series([{"d": Decimal("1.5")}]),
        "time": pl.Series([time(1, 2)]), "span": pl.Series([timedelta(1)]), "nan": pl.Series([float("nan")]),
        "nested": pl.Series([[float("inf")]]), "category": pl.Series(["c"], dtype=pl.Categorical),
        "day": pl.Series([date(2024, 1, 2)]), "big": pl.Series([1]).cast(pl.Int128), "none": pl.Series([None]),
    }  # fmt: skip
    columns = [series.alias(f"features.{name}") for name, series in odd.items()]
    frame = pl.DataFrame([pl.Series("key", ["k"]), pl.Series("time", [10**12]), *columns])
    frame.write_parquet(tmp_path / "a.parquet")
    row = only(map_file(tmp_path / "a.parquet", "predictions", loop()).records)
    assert {"bytes", "list", "struct", "time", "span", "category", "day", "big"} <= set(json.loads(row["extras"]))
