"""The committed JSON Schemas: current, valid, and in agreement with the models."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from message_examples import HEARTBEAT, LABEL, LEDGER_ENTRY, OUTCOME, PREDICTION, REJECTION, RETRACTION

from schemas.publish import FOLDER, json_schemas, main, render, write_json_schemas
from truthloop.cli.commands.new import Task, starting_config
from truthloop.config.yaml_source import read_yaml

NAMES = [
    *("config", "prediction", "label", "outcome", "rejection", "ledger_entry"),
    *("evaluation", "decision", "retrain_request", "retrain_callback", "backfill_diff"),
]


def fits(name: str, document: object) -> bool:
    """Tell whether a committed schema accepts a document."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema).is_valid(document)


def changed(document: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Return a document with changes; a change to `...` removes the field."""
    return {key: value for key, value in {**document, **changes}.items() if value is not ...}


def config(**changes: object) -> dict[str, Any]:
    """Return the starting config as plain values, with changes to its top level."""
    value = read_yaml(starting_config("my-model", "purchase", "binary")).value
    assert isinstance(value, dict)
    return changed(value, **changes)


def test_the_committed_files_are_current() -> None:
    """`python -m schemas.publish` would change nothing."""
    published = {name: render(schema) for name, schema in json_schemas().items()}
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == published


def test_publishing_rewrites_and_removes(tmp_path: Path) -> None:
    """Schemas that are no longer published are removed."""
    (tmp_path / "old.schema.json").write_text("{}")
    written = write_json_schemas(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_the_command_names_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per file."""
    monkeypatch.setattr("schemas.publish.FOLDER", tmp_path)
    main()
    assert len(capsys.readouterr().out.splitlines()) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_schema_is_described(name: str) -> None:
    """Draft 2020-12, a relative $id, a title, and a description of every object and property."""
    schema = json_schemas()[f"{name}.schema.json"]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"{name}.schema.json"
    assert schema["title"]
    objects = [schema, *(value for value in schema.get("$defs", {}).values() if "properties" in value)]
    for found in objects:
        assert found["description"]
        assert [key for key, value in found["properties"].items() if not value.get("description")] == []


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_starting_config_is_valid_for_editors(task: Task) -> None:
    """As our own reader parses it, and as an editor with YAML 1.1 does."""
    text = starting_config("my-model", "purchase", task)
    assert fits("config", read_yaml(text).value)
    assert fits("config", yaml.safe_load(text))


SOURCE = {"files": "a*", "as": "labels", "kind": "purchase"}


@pytest.mark.parametrize(
    ("field", "valid"),
    [
        ("tx.id", True),
        (["tx.id", "model"], True),
        ({"path": "tx.id"}, True),
        ({"path": ["a", "b"]}, True),
        ({"constant": 1}, True),
        ({"path": "a", "in": ["x", 1, True]}, True),
        ({"path": "a", "constant": 1}, False),
        ({"unit": "ms"}, False),
        ({"path": "a", "units": "ms"}, False),
        (5, False),
        (None, False),
    ],
)
def test_the_short_forms_of_a_mapping_are_valid_for_editors(field: object, *, valid: bool) -> None:
    """A bare path and a list of paths, besides a mapping."""
    assert fits("config", config(ingest=[{**SOURCE, "map": {"key": field}}])) is valid


@pytest.mark.parametrize(
    "changes",
    [
        {"kafka": {}},
        {"version": 2},
        {"loop": "My Loop"},
        {"labels": ...},
        {"labels": {}},
        {"labels": {"bad name": {"definition": "x", "horizon": "1d", "retain": "1d"}}},
        {"labels": {"purchase": {"definition": "x", "horizon": 7, "retain": "1d"}}},
        {"labels": {"purchase": {"definition": "x", "horizon": "7 days", "retain": "1d"}}},
        {"labels": {"purchase": {"definition": "x", "horizon": "P", "retain": "1d"}}},
        {"labels": {"purchase": {"definition": "x", "horizon": "1d", "retain": "1d", "on_timeout": "imply"}}},
        {"clock": "wall"},
        {"partitions": 0},
        {"metrics": {"purchase": ["auc"]}},
        {"ingest": [{**SOURCE, "as_": "labels", "map": {}}]},
    ],
)
def test_editors_refuse_what_the_program_refuses(changes: dict[str, object]) -> None:
    """As far as a schema can express it."""
    assert fits("config", config())
    assert not fits("config", config(**changes))


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("prediction", PREDICTION),
        ("label", LABEL),
        ("label", RETRACTION),
        ("label", HEARTBEAT),
        ("label", changed(LABEL, op=...)),
        ("outcome", OUTCOME),
        ("rejection", REJECTION),
        ("ledger_entry", LEDGER_ENTRY),
    ],
)
def test_good_messages_fit_their_schemas(name: str, document: dict[str, Any]) -> None:
    """The same examples that the models accept."""
    assert fits(name, document)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("prediction", changed(PREDICTION, v=True)),
        ("prediction", changed(PREDICTION, key="")),
        ("prediction", changed(PREDICTION, key="a\0")),
        ("prediction", changed(PREDICTION, time="2013-01-01T10:00:00")),
        ("prediction", changed(PREDICTION, outputs={"bad name": 1})),
        ("prediction", changed(PREDICTION, weight=-1)),
        ("label", changed(LABEL, value=...)),
        ("label", changed(LABEL, value=..., op=...)),
        ("label", changed(LABEL, value=None)),
        ("label", changed(LABEL, key=...)),
        ("label", changed(RETRACTION, value=1)),
        ("label", changed(RETRACTION, key=...)),
        ("label", changed(HEARTBEAT, key="a")),
        ("label", changed(HEARTBEAT, value=1)),
        ("outcome", changed(OUTCOME, status="waiting")),
        ("rejection", changed(REJECTION, reason="bored")),
        ("ledger_entry", changed(LEDGER_ENTRY, labels=[7])),
        ("ledger_entry", changed(LEDGER_ENTRY, point=...)),
        ("ledger_entry", changed(LEDGER_ENTRY, idle={"inputs": "fraud"})),
    ],
)
def test_bad_messages_do_not_fit(name: str, document: dict[str, Any]) -> None:
    """As far as a schema can express it."""
    assert not fits(name, document)
