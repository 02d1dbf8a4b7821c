"""Sources in `ingest`: metadata paths, second paths, functions, redacted features, messages without a value.

Covers `schemas.config.privacy`, `schemas.config.tombstone`.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import duckdb
import polars as pl
import pytest
from pydantic import ValidationError

from schemas.base.time_zone import known_zone
from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from truthloop.config.advice import advise
from truthloop.config.settings import InvalidConfigError, load_settings

TIME = {"path": "t", "unit": "ms"}
LABELS = {"as": "labels", "kind": "fraud", "tombstone": "retract"}

CONFIG = """\
version: 1
loop: cards
predictions:
  outputs: {fraud: {task: binary}}
  slices: [country]
  features: {card: {type: string, pii: hash}, amount: {type: float}}
labels: {fraud: {definition: d, horizon: 7d, retain: 9d}}
ingest:
  - topic: scores
    as: predictions
    map: {key: id, time: {path: t, unit: ms}, outputs.fraud: s, features.card: tx.card, features.amount: a}
"""


def faults(folder: Path, old: str, new: str) -> list[str]:
    """Return the problems of the config after one change."""
    assert old in CONFIG
    path = folder / "truthloop.yaml"
    path.write_text(CONFIG.replace(old, new, 1))
    with pytest.raises(InvalidConfigError) as caught:
        load_settings(path, {})
    return [problem.message for problem in caught.value.problems]


def test_the_config_of_these_tests_is_valid(tmp_path: Path) -> None:
    """Otherwise the refusals below would prove nothing."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG)
    assert load_settings(tmp_path / "truthloop.yaml", {}).config.predictions.features["card"].pii == "hash"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("key: id", "key: $kye", "'$kye' is not metadata of a record; did you mean '$key'?"),
        ("key: id", "key: $headers.", "'$headers.' is not metadata of a record; did you mean '$headers.NAME'?"),
        ("key: id", "key: $headers", "did you mean '$headers.NAME'?"),
        ("key: id", "key: $nothing.of.ours", "there are $key, $timestamp, $topic, $partition, $offset"),
        ("key: id", "key: {path: id, otherwise: $ofset}", "did you mean '$offset'?"),
        ("key: id", "key: [id, $ofset]", "did you mean '$offset'?"),
        ("    map:", "    where: {$tpoic: x}\n    map:", "where.$tpoic: '$tpoic' is not metadata of a record"),
        ("    map:", "    each: $key\n    map:", "each: '$key' is not a list"),
        ("key: id", "key: {constant: 1, otherwise: id}", "goes with a `path`; a constant is never missing"),
        ("key: id, time", "key: id, version: {path: v, type: int}, time", "is for keys, ids and classes"),
        ("key: id", "key: $key.id", "'$key.id' is a field of the key, which is read as text; write `key_format: json`"),
        (
            "topic: scores",
            "topic: scores\n    key_format: int64\n    where: {$key.a: x}",
            "where.$key.a: '$key.a' is a field of the key, which is read as int64",
        ),
        ("key: id", "key: $key.", "'$key.' is not metadata of a record; did you mean '$key'?"),
        ("topic: scores", "topic: scores\n    key_format: registry", "registry: needs `schema_registry`"),
        ("topic: scores", "topic: scores\n    key_format: avro", "must be 'text', 'int32'"),
        (
            "topic: scores",
            "topic: scores\n    value_schema: {file: a.avsc, message: M}",
            "value_schema.message: is for descriptors of Protobuf; an .avsc has one record",
        ),
        (
            "topic: scores",
            "topic: scores\n    value_schema: {file: a.binpb}",
            "value_schema.message: is missing",
        ),
        (
            "topic: scores",
            "files: scores\n    value_schema: {file: a.avsc}",
            "value_schema: is for topics; files are read by their names",
        ),
        (
            "ingest:\n",
            "ingest:\n  - {topic: scores, as: labels, value_schema: {file: a.avsc}}\n",
            "value_schema: is another one than that of the source before: scores has one schema",
        ),
        (
            "topic: scores",
            "files: scores\n    key_format: int32",
            "key_format: is for topics; records of files have no",
        ),
        (
            "outputs.fraud: s",
            "outputs.fraud: {path: s, values: {1: 1, 1.0: 0}}",
            "1.0 stands for a value that is listed",
        ),
        ("key: id", "key: {path: id, otherwise: []}", "a list of paths cannot be empty"),
        ("path: t, unit: ms", "path: t, zone: localtime", "'localtime' is not an IANA time zone"),
        ("loop: cards", "loop: cards\ntimezone: localtime", "'localtime' is not an IANA time zone"),
        ("features.amount: a", "features: {path: f.*, otherwise: g}", "otherwise: is for single fields"),
        ("key: id", "key: {path: id, otherwise: 'g.*'}", "only `features` can take every field below a path"),
        ("topic: scores", "topic: cards.predictions", "is one of the loop's own topics"),
        ("map: {key: id,", "map: {python: 'a:b', key: id,", "map.key: cannot be combined with `python`"),
        ("key: id", "pyhton: id", "unknown field; did you mean 'python'?"),
        ("type: string, pii: hash", "type: float, pii: hash", "pii: hash is for type: string, not for type: float"),
        ("pii: hash", "pii: drop, categories: [x]", "categories: is for values that are kept, and this has pii: drop"),
        ("pii: hash", "pii: hsah", "must be 'hash', 'drop' or 'keep', not 'hsah'; did you mean 'hash'?"),
        (
            "features.amount: a",
            "slices.country: tx.card",
            "'tx.card' holds the feature 'card', which is hidden (pii: hash)",
        ),
        ("features.amount: a", "slices.country: tx", "'tx' holds the feature 'card', which is hidden (pii: hash)"),
        ("features.amount: a", "slices.country: tx.card.bin", "'tx.card.bin' holds the feature 'card'"),
        ("features.amount: a", "slices.country: {path: c, otherwise: tx.card}", "'tx.card' holds the feature 'card'"),
        ("features.amount: a", "features.stray: tx.card", "'tx.card' holds the feature 'card'"),
        ("features.card: tx.card", "slices.country: f.card, features: f.*", "'f.card' holds the feature 'card'"),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    """With path, reason, and the nearest valid name."""
    messages = faults(tmp_path, old, new)
    assert any(problem in message for message in messages), messages


def test_polars_and_duckdb_know_every_zone_that_a_config_may_name() -> None:
    """Otherwise a replay or a view would fail over a config that `check` calls valid."""
    zones = [zone for zone in available_timezones() if _is_zone(zone)]
    assert len(zones) > 400
    instant = pl.Series([datetime(2024, 1, 1)])  # noqa: DTZ001 - the zone is put in below
    with duckdb.connect() as connection:
        for zone in zones:
            expected = instant.dt.replace_time_zone(zone)[0].astimezone(UTC)
            connection.execute("SELECT timezone(?, TIMESTAMP '2024-01-01') AT TIME ZONE 'UTC'", [zone])
            assert connection.fetchone() == (expected.replace(tzinfo=None),), zone


def _is_zone(name: str) -> bool:
    try:
        return known_zone(name) == name
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"map": {"python": "no_colon"}}, "must be 'module:function'"),
        ({"map": {"python": "os.system"}}, "must be 'module:function'"),
        ({"map": {"python": ["a:b", "c:d"]}}, "must be 'module:function'"),
        ({"map": {"python": {"path": "a:b", "scale": 2.0}}}, "has no options"),
        ({"map": {"python": "a:b"}, "each": "items"}, "may return a list"),
        ({"map": {"python": "a:b"}, "kind": "fraud"}, "canonical labels name their kind themselves"),
        ({"each": "items"}, "goes with a `map` of paths"),
        ({"files": "*", "map": {"key": "$key", "time": TIME}}, "history would lack what the topic has"),
        ({"topic": None, "files": "*", "map": {"key": "$key", "time": TIME}}, "files have none"),
        ({"topic": None}, "give `topic`, or `files`"),
        ({"map": {"key": "$key", "time": TIME}, "tombstone": "hook"}, "there is no function under `map.python`"),
        ({"map": {"key": "$key", "time": TIME}, "tombstone": "retract"}, "is for labels"),
        ({"map": {"python": "a:b"}, "as": "labels", "tombstone": "retract"}, "needs `kind` and `map.key`"),
        (LABELS | {"map": {"key": ["$key", "k"], "time": TIME, "value": "v"}}, "needs the message's own key"),
        (LABELS | {"map": {"key": "$key", "time": TIME, "value": "v", "kind": "k"}, "kind": None}, "needs `kind`"),
    ],
)
def test_options_without_effect_are_refused(parts: dict[str, Any], problem: str) -> None:
    """With a function, a canonical source, or files, which have no metadata."""
    with pytest.raises(ValidationError, match=re.escape(problem)):
        SourceMap.model_validate({"topic": "t", "as": "predictions"} | parts)


def test_columns_of_files_may_start_with_a_dollar() -> None:
    """Only known names of metadata are special, if there is no topic."""
    fields = {"key": "$id", "time": TIME, "weight": "$amount"}
    assert SourceMap.model_validate({"files": "*", "as": "predictions", "map": fields}).map["key"].path == "$id"


def test_a_source_without_a_map_is_canonical() -> None:
    """So is one with a function; one with a map of paths is not."""
    plain = SourceMap.model_validate({"topic": "t", "as": "labels"})
    hooked = SourceMap.model_validate({"topic": "t", "as": "labels", "map": {"python": "pkg.mod:func_1"}})
    mapped = SourceMap.model_validate({"topic": "t", "as": "predictions", "map": {"key": "k", "time": TIME}})
    assert [one.is_canonical for one in (plain, hooked, mapped)] == [True, True, False]
    assert [one.hook for one in (plain, hooked, mapped)] == [None, "pkg.mod:func_1", None]


def advice(**features: Any) -> list[str]:
    """Return the advice on a config with these features."""
    config = {
        "version": 1,
        "loop": "cards",
        "predictions": {"outputs": {"fraud": {"task": "binary"}}, "features": features},
        "labels": {"fraud": {"definition": "d", "horizon": "7d", "retain": "9d"}},
        "ingest": [
            {
                "topic": "t",
                "as": "predictions",
                "map": {"key": "card", "time": TIME, "outputs.fraud": "s", "features.card": "card"},
            }
        ],
    }
    return [str(advice) for advice in advise(LoopConfig.model_validate(config))]


def test_check_warns_where_personal_data_goes_past_the_redaction() -> None:
    """Unknown features are kept by default, and a key is kept unchanged."""
    hidden = advice(card={"type": "string", "pii": "hash"})
    assert any("unknown_features: keep: features that are not listed" in advice for advice in hidden)
    assert any("ingest[0].map.key: is redacted as a feature" in advice for advice in hidden)
    kept = advice(card={"type": "string", "pii": "keep"})
    assert not any("personal data" in advice or "redacted" in advice for advice in kept)


def test_keys_of_values_keep_their_type(tmp_path: Path) -> None:
    """Unquoted they are booleans and numbers, as in a list; quoted or under any other name they are text."""
    values = 'outputs.fraud: {path: s, values: {true: 1, 10.40: 0.5, 7: 0, "8": 0, Y: 1}}'
    (tmp_path / "truthloop.yaml").write_text(CONFIG.replace("outputs.fraud: s", values))
    found = load_settings(tmp_path / "truthloop.yaml", {}).config.ingest[0].map["outputs.fraud"].values
    assert list((found or {}).items()) == [(True, 1), (10.4, 0.5), (7, 0), ("8", 0), ("Y", 1)]
    assert [type(key) for key in found or {}] == [bool, float, int, str, str]


def test_check_warns_of_codes_that_lose_a_digit_as_numbers(tmp_path: Path) -> None:
    """JSON's number 10.40 is 10.4; text and number are told apart in the sentence."""
    config = CONFIG.replace(
        "outputs.fraud: s", 'outputs.fraud: {path: s, values: {"10.40": 1, "10.4": 0, "7": 1, 2.50: 0}}'
    )
    config = config.replace("    map:", '    where: {code: "1.0"}\n    map:')
    (tmp_path / "truthloop.yaml").write_text(config)
    found = [str(one) for one in advise(load_settings(tmp_path / "truthloop.yaml", {}).config) if "of JSON" in str(one)]
    assert [text.split(" equals")[0] for text in found] == [
        "ingest[0].where.code: '1.0'",
        "ingest[0].map.outputs.fraud.values: '10.40'",
    ]
    assert "it does not equal the text 10.4" in found[1]
