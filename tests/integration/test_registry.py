"""Avro and Protobuf on a real broker with schemas of a real registry: read as they say, whatever the registry does.

Tests `streams.registry` in ingest, and `truthloop check --live`.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from ingest_loop import IngestLoop, ingest_loop
from schema_registry import SchemaRegistry, wire

from streams.registry.client import ReferencedSchema
from streams.registry.protobuf_compiler import compiled

MODEL = {
    "type": "record",
    "name": "acme.Model",
    "fields": [{"name": "name", "type": "string"}, {"name": "version", "type": ["null", "int"], "default": None}],
}
SCORE = {
    "type": "record",
    "name": "acme.Score",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "score", "type": ["null", "double"]},
        {
            "name": "amount",
            "doc": "Before tax.",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {"name": "model", "type": "acme.Model"},
        {"name": "channel", "type": {"type": "enum", "name": "Channel", "symbols": ["WEB", "SHOP", "KIOSK"]}},
    ],
}
OUTCOME = {
    "type": "record",
    "name": "acme.Outcome",
    "fields": [
        {"name": "tx", "type": "string"},
        {"name": "known", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "fraud", "type": "boolean"},
    ],
}
NEWER = SCORE | {"fields": [*SCORE["fields"], {"name": "country", "type": ["null", "string"], "default": None}]}
REFERENCE = [{"name": "acme.Model", "subject": "acme.Model", "version": 1}]
MAP = {"key": "id", "time": "at", "outputs.fraud": "score", "version": "model.version"}
MAP |= {"features.amount": "amount", "features.channel": "channel", "features.country": "country"}
SOURCE: dict[str, Any] = {"topic": "scores", "as": "predictions", "map": MAP}
FEATURES = {"amount": {"type": "float"}, "channel": {"type": "string"}, "country": {"type": "string"}}
BEGIN = datetime(2026, 12, 2, 10, tzinfo=UTC)


COMMON = """syntax = "proto3";
package acme;
enum Channel { NONE = 0; WEB = 1; SHOP = 2; }
message Model { string name = 1; int32 version = 2; }
"""
PROTOBUF = """syntax = "proto3";
package acme;
import "acme/common.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Unused { string x = 1; }
message Score {
  string id = 1; google.protobuf.Timestamp at = 2; google.protobuf.DoubleValue score = 3; double amount = 4;
  Model model = 5; Channel channel = 6; %s
}
"""
SECOND_TYPE = b"\x02\x02"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SchemaRegistry]:
    """A registry that has just started."""
    made = SchemaRegistry(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def loop(tmp_path: Path, kafka: str, registry: SchemaRegistry) -> Iterator[IngestLoop]:
    """A loop whose predictions are Avro."""
    parts: dict[str, Any] = {"schema_registry": {"url": registry.url}, "features": FEATURES}
    with ingest_loop(tmp_path, kafka, [SOURCE], **parts) as made:
        made.create("scores")
        made.begin()
        yield made


def score(number: int, **more: Any) -> dict[str, Any]:
    """Return a record as its producer has it."""
    return {
        "id": f"k{number}",
        "at": BEGIN + timedelta(milliseconds=number),
        "score": None if number % 5 == 0 else number / 1000,
        "amount": Decimal(number) / 4,
        "model": {"name": "fraud", "version": number % 3},
        "channel": "WEB" if number % 2 else "SHOP",
        **more,
    }


def canonical(number: int, country: str | None = None) -> dict[str, Any]:
    """Return what is to become of it, computed without any reader of ours."""
    return {
        "key": f"k{number}",
        "time": int(BEGIN.timestamp() * 1000) + number,
        "version": str(number % 3),
        "outputs": {"fraud": None if number % 5 == 0 else number / 1000},
        "features": {"amount": number / 4, "channel": "WEB" if number % 2 else "SHOP", "country": country},
    }


def payload(schema: object, value: dict[str, Any]) -> bytes:
    """Return a record as Avro."""
    named: dict[str, Any] = {}
    fastavro.parse_schema(json.loads(json.dumps(MODEL)), named_schemas=named)
    parsed, target = fastavro.parse_schema(json.loads(json.dumps(schema)), named_schemas=named), io.BytesIO()
    fastavro.schemaless_writer(target, parsed, value)
    return target.getvalue()


def register(registry: SchemaRegistry) -> tuple[int, int]:
    """Register both versions of the scores' schema, and return their ids."""
    registry.register("acme.Model", MODEL)
    first = registry.register("scores-value", SCORE, references=REFERENCE)
    return first, registry.register("scores-value", NEWER, references=REFERENCE)


def found(loop: IngestLoop) -> dict[str, dict[str, Any]]:
    """Return the canonical predictions by key."""
    values = loop.values("predictions")
    assert len({one["key"] for one in values}) == len(values)
    return {
        one["key"]: {name: one[name] for name in ("key", "time", "version", "outputs", "features")} for one in values
    }


def test_schemas_that_evolve_while_ingest_runs(loop: IngestLoop, registry: SchemaRegistry) -> None:
    """Every record by its own schema; what is no record of it becomes a reject, and blocks nothing."""
    older, newer = register(registry)
    worker = loop.work()
    loop.produce("scores", [{"value": wire(older, payload(SCORE, score(number)))} for number in range(200)])
    loop.wait("the first records", lambda: len(loop.read("predictions")) >= 200)
    torn = wire(older, payload(SCORE, score(1))[:-3])
    loop.produce("scores", [{"value": torn}, {"value": wire(older, b"")}, {"value": json.dumps({"id": "no time"})}])
    values = [payload(NEWER, score(number, country="DE")) for number in range(200, 400)]
    loop.produce("scores", [{"value": wire(newer, value)} for value in values])
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 400 and len(loop.read("rejects")) >= 3)
    worker.stop()
    expected = [canonical(number) for number in range(200)] + [canonical(number, "DE") for number in range(200, 400)]
    assert found(loop) == {one["key"]: one for one in expected}
    assert sorted(one["reason"] for one in loop.values("rejects")) == ["bad_time", "undecodable", "undecodable"]


def test_a_registry_that_is_away_holds_ingest_and_loses_nothing(loop: IngestLoop, registry: SchemaRegistry) -> None:
    """Records of a schema that is known already are read meanwhile; a process that is killed begins where it was."""
    older, _ = register(registry)
    registry.stop()
    process = loop.run()
    loop.produce("scores", [{"value": wire(older, payload(SCORE, score(number)))} for number in range(50)])
    loop.wait("the wait", lambda: "does not answer" in loop.log())
    process.kill()
    process.wait()
    worker = loop.work()
    loop.wait("readiness that says why", lambda: "schema registry" in worker.health.unready())
    assert loop.read("predictions") == []
    registry.start()
    assert register(registry)[0] == older
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 50)
    registry.stop()
    loop.produce("scores", [{"value": wire(older, payload(SCORE, score(number)))} for number in range(50, 60)])
    loop.wait("records of a known schema", lambda: len(loop.read("predictions")) >= 60)
    worker.stop()
    assert found(loop) == {f"k{number}": canonical(number) for number in range(60)}
    assert loop.read("rejects") == []


def test_ids_as_apicurio_and_headers_have_them(loop: IngestLoop, registry: SchemaRegistry) -> None:
    """Eight bytes in front of a value, a header with a global id, and one with a content id, which is the id."""
    registry.register("twin", SCORE | {"name": "acme.Twin", "fields": SCORE["fields"][:2]})
    older, _ = register(registry)
    global_id = registry.global_id("scores-value", 1)
    eight, number = global_id.to_bytes(8, "big"), older.to_bytes(8, "big")
    values = [payload(SCORE, score(at)) for at in range(90)]
    records: list[dict[str, Any]] = [{"value": b"\0" + eight + value} for value in values[:30]]
    records += [{"value": value, "headers": [("apicurio.value.globalId", eight)]} for value in values[30:60]]
    records += [
        {"value": value, "headers": [("x", None), ("apicurio.value.contentId", number)]} for value in values[60:]
    ]
    records += [{"value": values[0], "headers": [("apicurio.value.globalId", (10**6).to_bytes(8, "big"))]}]
    worker = loop.work()
    loop.produce("scores", records[:90])
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 90)
    loop.produce("scores", records[90:])
    loop.wait("readiness that says why", lambda: "with the global id 1000000" in worker.health.unready())
    worker.stop()
    assert found(loop) == {f"k{at}": canonical(at) for at in range(90)}
    assert loop.read("rejects") == []


def test_protobuf_whose_schemas_evolve(tmp_path: Path, kafka: str, registry: SchemaRegistry) -> None:
    """A field that its producer leaves out, since it is 0 or false, is 0; a newer schema's records among older ones."""
    registry.register("common", COMMON, "PROTOBUF")
    reference = [{"name": "acme/common.proto", "subject": "common", "version": 1}]
    texts = [PROTOBUF % more for more in ("", "optional string country = 7;")]
    schemas = [registry.register("scores-value", text, "PROTOBUF", reference) for text in texts]
    older, newer = [written_protobuf(text) for text in texts]
    parts: dict[str, Any] = {"schema_registry": {"url": registry.url}, "features": FEATURES}
    with ingest_loop(tmp_path, kafka, [SOURCE], **parts) as loop:
        loop.create("scores")
        loop.begin()
        worker = loop.work()
        values = [wire(schemas[0], SECOND_TYPE + older(protobuf_score(number))) for number in range(200)]
        values += [wire(schemas[1], SECOND_TYPE + newer(protobuf_score(number, "DE"))) for number in range(200, 400)]
        torn = [wire(schemas[0], b""), wire(schemas[0], b"\x02\x08x"), values[1][:-1]]
        loop.produce("scores", [{"value": value} for value in [*values[:300], *torn, *values[300:]]])
        loop.wait("all records", lambda: len(loop.read("predictions")) >= 400 and len(loop.read("rejects")) >= 3)
        worker.stop()
        expected = [canonical(number) for number in range(200)]
        expected += [canonical(number, "DE") for number in range(200, 400)]
        assert found(loop) == {one["key"]: one for one in expected}
        assert [one["reason"] for one in loop.values("rejects")] == ["undecodable"] * 3


def test_a_config_is_drafted_from_schemas(loop: IngestLoop, registry: SchemaRegistry, tmp_path: Path) -> None:
    """Types, enums and documentation are those of the schemas, and the draft reads the records without an edit."""
    older, _ = register(registry)
    loop.produce("scores", [{"value": wire(older, payload(SCORE, score(number)))} for number in range(300)])
    number = registry.register("outcomes-value", OUTCOME)
    loop.create("outcomes")
    outcomes = [
        {"tx": f"k{number}", "known": BEGIN + timedelta(hours=1, milliseconds=number), "fraud": number % 3 == 0}
        for number in range(300)
    ]
    loop.produce("outcomes", [{"value": wire(number, payload(OUTCOME, one))} for one in outcomes])
    topics = [loop.topic("scores"), loop.topic("outcomes")]
    drafted = tmp_path / "drafted.yaml"
    command = [sys.executable, "-m", "truthloop", "new", str(drafted), "--bootstrap-servers", loop.servers]
    command += [part for topic in topics for part in ("--from-topic", topic)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 2, refused.stderr
    assert "give --schema-registry" in refused.stderr
    command += ["--schema-registry", registry.url, "--registry-property", "password_env=ITS_PASSWORD"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    text = drafted.read_text()
    assert f"schema_registry:\n  url: {registry.url}\n  password_env: ITS_PASSWORD\n" in text.replace('"', "")
    assert "amount: {type: float}" in text
    assert "channel: {type: string, categories: [KIOSK, SHOP, WEB]}" in text
    assert '"Before tax."' in text
    check = [sys.executable, "-m", "truthloop", "check", "--live", "--json", "-c", str(drafted)]
    found = subprocess.run(check, capture_output=True, text=True, timeout=120, check=False)
    live = json.loads(found.stdout)["live"]
    assert [one for one in live["findings"] if one["severity"] == "error"] == []


def test_avro_keys(tmp_path: Path, kafka: str, registry: SchemaRegistry) -> None:
    """The key names the record, and a tombstone retracts the label of its key; torn keys are rejects."""
    schema = {"type": "record", "name": "acme.Key", "fields": [{"name": "id", "type": "long"}]}
    number = registry.register("labels-key", schema)
    time = {"path": "$timestamp", "unit": "ms"}
    source: dict[str, Any] = {"topic": "labels", "as": "labels", "kind": "fraud", "key_format": "registry"}
    source |= {"tombstone": "retract", "map": {"key": "$key.id", "time": time, "value": "v"}}
    with ingest_loop(tmp_path, kafka, [source], schema_registry={"url": registry.url}) as loop:
        loop.create("labels")
        loop.begin()
        worker = loop.work()
        keys = [wire(number, payload(schema, {"id": 2**40 + one})) for one in range(50)]
        records = [{"key": key, "value": json.dumps({"v": at % 2})} for at, key in enumerate(keys)]
        torn = [{"key": key, "value": json.dumps({"v": 1})} for key in (wire(number, b""), b"text")]
        loop.produce("labels", [*records, *torn, {"key": keys[7], "value": None}])
        loop.wait("all records", lambda: len(loop.read("labels")) >= 51 and len(loop.read("rejects")) >= 2)
        worker.stop()
        labels = loop.values("labels")
        told = sorted((one["key"], one["value"]) for one in labels if one["op"] == "upsert")
        assert told == [(str(2**40 + at), at % 2) for at in range(50)]
        assert [one["key"] for one in labels if one["op"] == "delete"] == [str(2**40 + 7)]
        assert [one["reason"] for one in loop.values("rejects")] == ["bad_key"] * 2


def protobuf_score(number: int, country: str | None = None) -> dict[str, Any]:
    """Return the record of `canonical` as Protobuf's JSON form has it."""
    at = (BEGIN + timedelta(milliseconds=number)).isoformat(timespec="milliseconds")
    return {
        "id": f"k{number}",
        "at": at.replace("+00:00", "Z"),
        "score": None if number % 5 == 0 else number / 1000,
        "amount": number / 4,
        "model": {"name": "fraud", "version": number % 3},
        "channel": "WEB" if number % 2 else "SHOP",
        **({} if country is None else {"country": country}),
    }


def written_protobuf(text: str) -> Callable[[dict[str, Any]], bytes]:
    """Return a writer of the scores of a schema, by Protobuf's own library."""
    files, pool = compiled(text, [ReferencedSchema("acme/common.proto", COMMON)]), descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
        pool.Add(file)
    score_type = message_factory.GetMessageClass(pool.FindMessageTypeByName("acme.Score"))
    return lambda document: bytes(json_format.ParseDict(document, score_type()).SerializeToString())


def test_check_looks_at_avro(loop: IngestLoop, registry: SchemaRegistry) -> None:
    """It reads as ingest does; a schema that nobody knows is a reject at once, and a registry that is away is said."""
    older, _ = register(registry)
    values = [wire(older, payload(SCORE, score(number))) for number in range(100)]
    loop.produce("scores", [{"value": value} for value in [*values, wire(999_999, b"\0")]])
    command = [sys.executable, "-m", "truthloop", "check", "--live", "--json", "-c", str(loop.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    text = json.dumps(json.loads(done.stdout)["live"])
    assert "unknown_schema" in text, text
    assert "avro_or_protobuf" not in text
    live = json.loads(done.stdout)["live"]
    named = [{"subject": "scores-value", "version": 1}]
    assert live["topics"][0]["schemas"] == [{"id": older, "records": 100, "names": named}]
    assert [one for one in live["findings"] if one["code"] == "schema_change"] == []
    without = [field for field in SCORE["fields"] if field["name"] != "score"]
    registry.register("scores-value", NEWER | {"fields": without}, references=REFERENCE)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    (change,) = [one for one in json.loads(done.stdout)["live"]["findings"] if one["code"] == "schema_change"]
    assert change["what"] == "version 3 of scores-value, the newest, lacks score"
    registry.stop()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done.stdout
    assert f"schema registry {registry.url}: does not answer" in done.stderr
