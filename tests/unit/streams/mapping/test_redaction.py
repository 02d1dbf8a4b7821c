"""Redaction of personal data, in every way in which a record can contain it."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ingest_case import PII_KEY, TIME, loop_with, map_values, predictions_of

from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError
from streams.mapping.mapper import MappedChunk, Mapper, MessageMapper
from streams.mapping.record_file import open_record_file
from streams.mapping.redaction import pii_key
from streams.mapping.tools import mapping_tools

Record = dict[str, Any]

CARD = "4111-1111-1111-1111"
MAIL = "jo@example.com"
FEATURES = {
    "card": {"type": "string", "pii": "hash"},
    "mail": {"type": "string", "pii": "drop"},
    "age": {"type": "int", "pii": "drop"},
    "amount": {"type": "float"},
}
MAPPED: Record = {"topic": "t", "as": "predictions"}
FIELDS: Record = {"key": "id", "time": TIME, "outputs.fraud": {"constant": 0.5}, "features": "f.*"}
MAPPED |= {"map": FIELDS | {"features.card": "f.card_number"}}


def hashed(text: str) -> str:
    """Return the hash that has to be kept of a text, computed with the standard library."""
    return hmac.new(PII_KEY["TRUTHLOOP_PII_KEY"].encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def record(**features: Any) -> Record:
    """Return a record of the mapped source."""
    return {"id": "k", "t": 1_000_000_000_001, "f": {"amount": 1.0} | features}


def test_hash_drop_and_keep() -> None:
    """The text of a value is hashed, so 12 and "12" stay equal; a dropped feature leaves nothing."""
    config = loop_with(MAPPED, features=FEATURES)
    values: list[object] = [
        record(card_number=CARD, mail=MAIL, age=33),
        record(card_number=12),
        record(card_number="12"),
    ]
    first, second, third = predictions_of(map_values(config, [*values]))
    assert first["features"] == {"card": hashed(CARD), "mail": None, "age": None, "amount": 1.0}
    assert first["flags"] == []
    assert first["extras"] is None
    assert second["features"]["card"] == third["features"]["card"] == hashed("12")
    assert second["digest"] == third["digest"]


@pytest.mark.parametrize("value", [{"number": CARD}, [CARD], {"number": {"x": [CARD]}}])
def test_a_redacted_value_that_is_no_scalar_is_not_kept_in_extras(value: object) -> None:
    """Invalid values of other features go to extras; those of a redacted feature do not."""
    (found,) = predictions_of(map_values(loop_with(MAPPED, features=FEATURES), [record(card_number=value)]))
    assert found["features"]["card"] is None
    assert found["flags"] == ["feature_card:invalid"]
    assert CARD not in json.dumps(found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("f.card_number", {"card_number": CARD}),
        ("f.pay.card", {"pay": {"card": CARD}}),
        ("f.pay.card", {"pay.card": CARD}),
        ({"path": "g.card", "otherwise": "f.old"}, {"old": CARD}),
    ],
)
def test_a_redacted_feature_is_not_kept_as_an_unknown_one(path: object, value: Record) -> None:
    """If all fields below a path are features, the redacted field there is not one of them."""
    fields = {"key": "id", "time": TIME, "features": "f.*", "features.card": path}
    (found,) = predictions_of(map_values(loop_with(MAPPED | {"map": fields}, features=FEATURES), [record(**value)]))
    assert found["features"]["card"] == hashed(CARD)
    assert CARD not in json.dumps(found)


def test_a_record_whose_fields_are_all_features_keeps_nothing_redacted() -> None:
    """`features: "*"` makes every field of the record a feature."""
    fields = {"key": "id", "time": TIME, "features": "*", "features.card": "pay.card"}
    value = {"id": "k", "t": 1_000_000_000_001, "pay": {"card": CARD}, "pay.card": None, "other": 1}
    (found,) = predictions_of(map_values(loop_with(MAPPED | {"map": fields}, features=FEATURES), [value]))
    assert (found["features"]["card"], found["extras"]) == (hashed(CARD), '{"other":1}')


def test_canonical_sources_are_redacted() -> None:
    """A topic of canonical records that is not the loop's own."""
    message = {"v": 1, "key": "k", "time": 1_000_000_000_001, "version": "v", "features": {"card": CARD, "mail": MAIL}}
    (found,) = predictions_of(map_values(loop_with({"topic": "t", "as": "predictions"}, features=FEATURES), [message]))
    assert (found["features"]["card"], found["features"]["mail"]) == (hashed(CARD), None)


def test_rejects_of_a_loop_with_personal_data_have_no_bytes() -> None:
    """Not even if the feature is kept: only digest and reason remain."""
    for pii, kept in (("hash", False), ("drop", False), ("keep", False), (None, True)):
        config = loop_with(MAPPED, features={"card": {"type": "string"} | ({"pii": pii} if pii else {})})
        made = map_values(config, [{"f": {"card_number": CARD}}, b"\x00" + CARD.encode()])
        assert [reject.original is not None for reject in made.rejects] == [kept, kept]
        assert all(reject.digest is not None for reject in made.rejects)
        assert any(CARD.encode() in reject.encode() for reject in made.rejects) is False


def from_file(folder: Path, config: LoopConfig, name: str) -> MappedChunk:
    """Map a whole file that fits into one chunk."""
    tools = mapping_tools(config, PII_KEY, folder)
    (chunk,) = Mapper(open_record_file(folder / name, None, config.ingest, tools), config).chunks()
    return chunk


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_files_are_redacted_alike(tmp_path: Path, suffix: str) -> None:
    """A file gives the same hash as a topic, and nothing else is kept."""
    source = MAPPED | {"topic": None, "files": "*"}
    config = loop_with(source, features=FEATURES)
    rows = [record(card_number=CARD, mail=MAIL, age=33, note="n")]
    if suffix == "jsonl":
        (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
    elif suffix == "parquet":
        pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    else:
        (tmp_path / "a.csv").write_text(
            f"id,t,f.amount,f.card_number,f.mail,f.age,f.note\nk,1000000000001,1.0,{CARD},{MAIL},33,n\n"
        )
    row = from_file(tmp_path, config, f"a.{suffix}").records.row(0, named=True)
    assert (row["feature_card"], row["feature_mail"], row["feature_age"]) == (hashed(CARD), None, None)
    assert row["extras"] == '{"note":"n"}'
    (live,) = predictions_of(map_values(loop_with(MAPPED, features=FEATURES), [rows[0]]))
    assert live["digest"] == row["digest"]


def test_canonical_messages_of_other_producers_keep_nothing_redacted() -> None:
    """The reader of canonical topics has no key; their producer has to hash."""
    message = {
        "v": 1,
        "key": "k",
        "time": 1_000_000_000_001,
        "version": "v",
        "features": {"card": CARD, "mail": MAIL, "amount": 2},
    }
    config = loop_with(features=FEATURES)
    row = MessageMapper("predictions", None, config).map([json.dumps(message).encode()]).records.row(0, named=True)
    assert (row["feature_card"], row["feature_mail"], row["feature_amount"]) == (None, None, 2.0)
    assert "feature_card:hidden" in row["flags"]
    assert CARD not in str(row)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "is not set; it is the key that hashes card (pii: hash)"),
        ({"TRUTHLOOP_PII_KEY": "x" * 15}, "has 15 bytes, and a secret has at least 16"),
        ({"TRUTHLOOP_PII_KEY_FILE": "/no/such/file"}, "the file it names cannot be read"),
    ],
)
def test_no_start_without_a_key(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    """A missing or weak key is reported before anything is read; the error never shows the key."""
    with pytest.raises(ConfigError) as caught:
        mapping_tools(loop_with(MAPPED, features=FEATURES), environ, tmp_path)
    assert message in str(caught.value)
    assert "TRUTHLOOP_PII_KEY" in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_the_key_can_be_in_a_file(tmp_path: Path) -> None:
    """Mounted secrets are files with a newline at the end; a loop that hashes nothing needs no key."""
    (tmp_path / "key").write_text("0123456789abcdef\n")
    environ = {"TRUTHLOOP_PII_KEY_FILE": str(tmp_path / "key"), "TRUTHLOOP_PII_KEY": "another"}
    assert pii_key(loop_with(MAPPED, features=FEATURES), environ) == b"0123456789abcdef"
    assert pii_key(loop_with(MAPPED, features={"mail": {"type": "string", "pii": "drop"}}), {}) is None


def test_files_of_a_loop_that_hashes_need_the_tools(tmp_path: Path) -> None:
    """A replay without them writes neither nulls nor plain values."""
    (tmp_path / "a.jsonl").write_text("{}")
    config = loop_with(MAPPED | {"topic": None, "files": "*"}, features=FEATURES)
    with pytest.raises(ConfigError, match="cannot be mapped without"):
        Mapper(open_record_file(tmp_path / "a.jsonl", None, config.ingest), config)
    with pytest.raises(ConfigError, match="cannot be mapped without"):
        Mapper(open_record_file(tmp_path / "a.jsonl", "predictions", []), config)
