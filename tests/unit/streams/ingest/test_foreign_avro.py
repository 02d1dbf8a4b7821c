"""Shapes of other tools in Avro: Debezium's changes of rows, and CloudEvents in binary mode."""

import io
import json
from typing import Any

import fastavro
from ingest_case import loop_with, source_messages

from streams.ingest.mapper import MappedMessages, TopicMapper
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools
from streams.readers.avro import AvroDecoder
from streams.readers.format import ValueFormat

ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "fraud", "type": {"type": "int", "connect.type": "int16"}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
ENVELOPE: dict[str, Any] = {
    "type": "record",
    "name": "Envelope",
    "namespace": "shop.public.chargebacks",
    "fields": [
        {"name": "before", "type": ["null", ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "fields": [{"name": "ts_ms", "type": "long"}, {"name": "snapshot", "type": ["string", "null"]}],
            },
        },
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
}
EVENT: dict[str, Any] = {"type": "record", "name": "Dispute", "fields": [{"name": "lost", "type": "boolean"}]}
AT_MS = 1_790_000_000_000


def wired(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """Return a value in Confluent's wire format, by another writer than the code under test."""
    target = io.BytesIO(b"\0\0\0\0\x01")
    target.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(target, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
    return target.getvalue()


def mapped(source: dict[str, Any], schema: dict[str, Any], values: list[Any], **more: Any) -> MappedMessages:
    """Return what becomes of values of a schema."""
    config = loop_with(source | {"topic": "t", "as": "labels", "kind": "fraud"})
    decoder = AvroDecoder(json.dumps(schema))
    tools = MappingTools(Redaction(config), format=ValueFormat(lambda _schema: decoder))
    return TopicMapper("t", config, tools).map(source_messages(values, **more), 0)


def labels(found: MappedMessages) -> list[tuple[bytes | None, str, object, int]]:
    """Return key, operation, value and time of each label."""
    read = [(key, json.loads(value)) for key, value in found.labels]
    return [(key, one["op"], one["value"], one["time"]) for key, one in read]


def test_changes_of_rows() -> None:
    """Created, updated, deleted with the key of the row before, and the tombstone that follows."""
    source = {
        "map": {
            "key": {"path": "after.id", "otherwise": "before.id"},
            "value": "after.fraud",
            "time": {"path": "source.ts_ms", "unit": "ms"},
            "retract": {"path": "op", "in": ["d"]},
        },
    }
    row = {"id": 2**40, "fraud": 1, "note": None}
    changes = [
        {"before": None, "after": row, "op": "c"},
        {"before": row, "after": row | {"fraud": 0}, "op": "u"},
        {"before": row, "after": None, "op": "d"},
    ]
    values: list[Any] = [
        wired(ENVELOPE, one | {"source": {"ts_ms": AT_MS + at, "snapshot": "false"}, "ts_ms": AT_MS + 9})
        for at, one in enumerate(changes)
    ]
    found = mapped(source, ENVELOPE, [*values, None])
    key = str(2**40).encode()
    assert labels(found) == [
        (key, "upsert", 1, AT_MS),
        (key, "upsert", 0, AT_MS + 1),
        (key, "retract", None, AT_MS + 2),
    ]
    assert found.rejects == []
    assert found.filtered == 1


def test_cloud_events_in_binary_mode() -> None:
    """Attributes are headers, the data is Avro."""
    source = {
        "where": {"$headers.ce_type": "shop.dispute"},
        "map": {"key": "$headers.ce_subject", "value": "lost", "time": "$headers.ce_time"},
    }
    headers = [
        [("ce_type", name.encode()), ("ce_subject", f"tx-{at}".encode()), ("ce_time", b"2026-09-21T14:13:20Z")]
        for at, name in enumerate(["shop.dispute", "shop.other", "shop.dispute"])
    ]
    values = [wired(EVENT, {"lost": bool(at)}) for at in range(3)]
    found = mapped(source, EVENT, values, headers=headers)
    assert labels(found) == [(b"tx-0", "upsert", 0, AT_MS), (b"tx-2", "upsert", 1, AT_MS)]
    assert found.filtered == 1
