"""docs/ingest.md is right: its examples are valid, its function works, and its reasons exist."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from ingest_case import PII_KEY, labels_of, loop_with, map_values, predictions_of, source_messages

from schemas.base.status import RejectReason
from schemas.config.mapping import SourceMap
from schemas.config.record_metadata import METADATA_PATHS
from streams.ingest.mapper import TopicMapper
from streams.mapping.tools import mapping_tools
from truthloop.config.yaml_source import read_yaml

PAGE = (Path(__file__).parents[4] / "docs" / "ingest.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's code of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def sources() -> list[dict[str, Any]]:
    """Return every source that the page shows."""
    return [one for block in blocks("yaml") if block.startswith("-") for one in read_yaml(block).value]  # type: ignore[union-attr]


def source(origin: str) -> dict[str, Any]:
    """Return the source of a topic, or of files, as one of a topic of the tests' loop."""
    (found,) = (one for one in sources() if origin in (one.get("topic"), one.get("files")))
    return found | {"topic": "t"}


def test_every_source_is_valid() -> None:
    """And needs nothing that the loop of these tests does not have."""
    assert len(sources()) == 6
    assert all(SourceMap.model_validate(source) for source in sources())


def test_the_section_of_a_registry_is_valid() -> None:
    """As part of a whole config."""
    (block,) = (one for one in blocks("yaml") if one.startswith("schema_registry:"))
    registry = loop_with(**read_yaml(block).value).schema_registry  # type: ignore[arg-type]
    assert registry is not None
    assert registry.user == "truthloop"


def test_paths_and_composites() -> None:
    """A record that the example is for, and one that it is not for."""
    record = {
        "eventType": "ScoreComputed",
        "model": {"name": "fraud", "version": "v1"},
        "ts": 1_000_000_000_005,
        "tx": {"id": "a"},
    }
    record |= {"scores": {"fraud": 50}, "f": {"amount": 1}}
    made = map_values(loop_with(source("risk.scoring.v3")), [record, record | {"eventType": "Other"}])
    (found,) = predictions_of(made)
    assert (found["id"], found["outputs"], found["extras"], made.filtered) == (
        "a|v1",
        {"fraud": 0.5},
        '{"amount":1}',
        1,
    )


def test_values_by_their_type() -> None:
    """Keys and answers as an export of a table spells them, and a code of either spelling."""
    record = {"transaction_id": "0101.0", "changed": "2024-03-01T12:00:00", "reason": "10.40", "deleted": "F"}
    found = map_values(
        loop_with(source("disputes-*.csv")),
        [
            record,
            record | {"deleted": "T", "transaction_id": "a"},
            record | {"deleted": "Y"},
            record | {"deleted": "-"},
        ],
    )
    assert [(one["key"], one["op"], one["value"]) for one in labels_of(found)] == [
        ("101", "upsert", 1.0),
        ("101", "retract", None),
    ]
    assert [reject.reason for reject in found.rejects] == ["bad_key", "bad_op"]


def test_headers_and_keys() -> None:
    """They are CloudEvents in binary mode."""
    headers = [("ce_type", b"com.example.click"), ("ce_time", b"2001-09-09T01:46:41Z")]
    made = map_values(loop_with(source("clicks")), [{}], keys=[b"k"], headers=[headers])
    assert [(one["key"], one["value"], one["time"]) for one in labels_of(made)] == [("k", 1.0, 1_000_000_001_000)]


def test_debezium() -> None:
    """Its message without a value, which follows a deletion, is left out."""
    before, after = {"transaction_id": 7}, {"transaction_id": 7, "reason": "10.4"}
    records = [
        {"payload": {"op": "c", "after": after, "ts_ms": 1_000_000_000_001}},
        {"payload": {"op": "d", "before": before, "ts_ms": 1_000_000_000_002}},
    ]
    made = map_values(loop_with(source("disputes.public.chargebacks")), [*records, None])
    found = [(one["key"], one["op"], one["value"], one["source"]) for one in labels_of(made)]
    assert found == [("7", "upsert", 1.0, "chargeback"), ("7", "retract", None, "chargeback")]


def test_a_tombstone_deletes() -> None:
    """Whose value is missing."""
    made = map_values(loop_with(source("reviews.by-id")), [{"verdict": 1}, None], keys=[b"a", b"a"])
    assert [(one["key"], one["op"]) for one in labels_of(made)] == [("a", "upsert"), ("a", "delete")]


def test_the_function_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed there."""
    (tmp_path / "our_mapping.py").write_text(blocks("python")[0])
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = loop_with(source("risk.audit"))
    record = {"kind": "score", "model": "fraud", "tx": "a", "at": 1_000_000_001, "model_version": "v", "score": 0.5}
    mapper = TopicMapper("t", config, mapping_tools(config, {}, tmp_path))
    made = mapper.map(source_messages([record, record | {"model": "other"}, record | {"kind": "x"}]), 5)
    assert [(one["key"], one["extras"]) for one in predictions_of(made)] == [("a", '{"partition":0}')]
    assert made.filtered == 2


def test_personal_data() -> None:
    """The contract is valid, and does what the page says."""
    (contract,) = [read_yaml(block).value for block in blocks("yaml") if block.startswith("predictions")]
    assert isinstance(contract, dict)
    value = {"v": 1, "key": "k", "time": 1_000_000_000_001, "version": "v"} | {
        "features": {"card": "1", "mail": "m", "zip": "z", "x": 1}
    }
    config = loop_with({"topic": "t", "as": "predictions"}, predictions=contract["predictions"])
    (found,) = predictions_of(map_values(config, [json.loads(json.dumps(value))], PII_KEY))
    assert re.fullmatch("[0-9a-f]{32}", found["features"]["card"])
    assert (found["features"]["mail"], found["features"]["zip"], found["extras"]) == (None, "z", None)


def test_the_names_on_the_page_exist() -> None:
    """Reasons of rejects, and paths of record metadata."""
    table = PAGE.split("| reason | |")[1]
    named = re.findall(
        r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 2)
    )
    assert {reason.value for reason in RejectReason} >= set(named)
    assert len(named) == 17
    assert all(f"`{path}`" in PAGE for path in METADATA_PATHS)
