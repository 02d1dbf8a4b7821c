"""Personal data: what becomes of hidden features, in every way in which a record can hold them."""

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
    """Return what has to be kept of a text, by Python's own means."""
    return hmac.new(PII_KEY["TRUTHLOOP_PII_KEY"].encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def record(**features: Any) -> Record:
    """Return a record of the mapped source."""
    return {"id": "k", "t": 1, "f": {"amount": 1.0} | features}


def test_hash_drop_and_keep() -> None:
    """A hash is of the value's text, so that 12 and "12" stay the same; what is dropped leaves nothing."""
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
def test_what_is_no_single_value_is_not_kept_beside(value: object) -> None:
    """What does not fit a feature goes to extras; of a hidden one nothing does."""
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
def test_a_hidden_feature_is_no_unknown_one(path: object, value: Record) -> None:
    """Where all fields below a path are features, its own name there is not kept beside."""
    fields = {"key": "id", "time": TIME, "features": "f.*", "features.card": path}
    (found,) = predictions_of(map_values(loop_with(MAPPED | {"map": fields}, features=FEATURES), [record(**value)]))
    assert found["features"]["card"] == hashed(CARD)
    assert CARD not in json.dumps(found)


def test_a_record_whose_fields_are_all_features_keeps_nothing_hidden() -> None:
    """`features: "*"` takes the record itself."""
    fields = {"key": "id", "time": TIME, "features": "*", "features.card": "pay.card"}
    value = {"id": "k", "t": 1, "pay": {"card": CARD}, "pay.card": None, "other": 1}
    (found,) = predictions_of(map_values(loop_with(MAPPED | {"map": fields}, features=FEATURES), [value]))
    assert (found["features"]["card"], found["extras"]) == (hashed(CARD), '{"other":1}')


def test_canonical_sources_are_redacted() -> None:
    """A topic of canonical records that is not the loop's own."""
    message = {"v": 1, "key": "k", "time": 1, "version": "v", "features": {"card": CARD, "mail": MAIL}}
    (found,) = predictions_of(map_values(loop_with({"topic": "t", "as": "predictions"}, features=FEATURES), [message]))
    assert (found["features"]["card"], found["features"]["mail"]) == (hashed(CARD), None)


def test_rejects_of_a_loop_with_personal_data_have_no_bytes() -> None:
    """Not even where it is kept: only digest and reason remain."""
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
    """With the hash that the topic gives, and nothing beside."""
    source = MAPPED | {"topic": None, "files": "*"}
    config = loop_with(source, features=FEATURES)
    rows = [record(card_number=CARD, mail=MAIL, age=33, note="n")]
    if suffix == "jsonl":
        (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
    elif suffix == "parquet":
        pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    else:
        (tmp_path / "a.csv").write_text(
            f"id,t,f.amount,f.card_number,f.mail,f.age,f.note\nk,1,1.0,{CARD},{MAIL},33,n\n"
        )
    row = from_file(tmp_path, config, f"a.{suffix}").records.row(0, named=True)
    assert (row["feature_card"], row["feature_mail"], row["feature_age"]) == (hashed(CARD), None, None)
    assert row["extras"] == '{"note":"n"}'
    (live,) = predictions_of(map_values(loop_with(MAPPED, features=FEATURES), [rows[0]]))
    assert live["digest"] == row["digest"]


def test_messages_that_others_wrote_into_the_loops_own_topics_keep_nothing_hidden() -> None:
    """There is no key where they are read; who writes there has to hash before."""
    message = {"v": 1, "key": "k", "time": 1, "version": "v", "features": {"card": CARD, "mail": MAIL, "amount": 2}}
    config = loop_with(features=FEATURES)
    row = MessageMapper("predictions", None, config).map([json.dumps(message).encode()]).records.row(0, named=True)
    assert (row["feature_card"], row["feature_mail"], row["feature_amount"]) == (None, None, 2.0)
    assert "feature_card:hidden" in row["flags"]
    assert CARD not in str(row)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "is not set; it is the key that hashes card (pii: hash)"),
        ({"TRUTHLOOP_PII_KEY": "x" * 15}, "has 15 bytes, and a secret has at least 16"),
        ({"TRUTHLOOP_PII_KEY_FILE": "/no/such/file"}, "the file it names cannot be read"),
    ],
)
def test_no_start_without_a_key(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    """Nothing is read before it is there; the error never shows it."""
    with pytest.raises(ConfigError) as caught:
        mapping_tools(loop_with(MAPPED, features=FEATURES), environ, tmp_path)
    assert said in str(caught.value)
    assert "TRUTHLOOP_PII_KEY" in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_the_key_can_be_in_a_file(tmp_path: Path) -> None:
    """As mounted secrets are, with a newline at the end; a loop that hashes nothing needs none."""
    (tmp_path / "key").write_text("0123456789abcdef\n")
    environ = {"TRUTHLOOP_PII_KEY_FILE": str(tmp_path / "key"), "TRUTHLOOP_PII_KEY": "another"}
    assert pii_key(loop_with(MAPPED, features=FEATURES), environ) == b"0123456789abcdef"
    assert pii_key(loop_with(MAPPED, features={"mail": {"type": "string", "pii": "drop"}}), {}) is None


def test_files_of_a_loop_that_hashes_need_the_tools(tmp_path: Path) -> None:
    """A replay that forgot them must not write nulls, nor plain values."""
    (tmp_path / "a.jsonl").write_text("{}")
    config = loop_with(MAPPED | {"topic": None, "files": "*"}, features=FEATURES)
    with pytest.raises(ConfigError, match="cannot be mapped without"):
        Mapper(open_record_file(tmp_path / "a.jsonl", None, config.ingest), config)
    with pytest.raises(ConfigError, match="cannot be mapped without"):
        Mapper(open_record_file(tmp_path / "a.jsonl", "predictions", []), config)
