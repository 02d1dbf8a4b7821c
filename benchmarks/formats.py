"""How fast ingest maps records in JSON, Avro and Protobuf: the same records, in turn, in one process, without Kafka.

Prints microseconds a record, and the ratio to JSON, as medians of the rounds.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from schemas.config.loop import LoopConfig
from streams.ingest.mapper import TopicMapper
from streams.kafka.messages import SourceMessages
from streams.registry.protobuf_compiler import compiled
from streams.registry.topic_tools import topic_tools

FEATURES = [f"f{number}" for number in range(12)]
BEGIN = datetime(2026, 12, 3, tzinfo=UTC)
AVRO = {
    "type": "record",
    "name": "Score",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "score", "type": "double"},
        {"name": "version", "type": "string"},
        *({"name": name, "type": ["null", "double"]} for name in FEATURES),
    ],
}
PROTOBUF = f"""syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Score {{ string id = 1; google.protobuf.Timestamp at = 2; double score = 3; string version = 4;
{" ".join(f"double {name} = {at + 5};" for at, name in enumerate(FEATURES))} }}"""


def records(count: int) -> list[dict[str, Any]]:
    """Return scores as their producer has them."""
    return [
        {
            "id": f"tx-{number:08d}",
            "at": BEGIN + timedelta(milliseconds=number),
            "score": number % 997 / 997,
            "version": "v7",
            **{name: number % (at + 7) / 3 for at, name in enumerate(FEATURES)},
        }
        for number in range(count)
    ]


def as_json(record: dict[str, Any]) -> bytes:
    """Return a record as its producer would write it."""
    return json.dumps(record | {"at": record["at"].isoformat()}).encode()


def avro_writer() -> Callable[[dict[str, Any]], bytes]:
    """Return a writer of Avro."""
    schema = fastavro.parse_schema(AVRO)

    def write(record: dict[str, Any]) -> bytes:
        target = io.BytesIO()
        fastavro.schemaless_writer(target, schema, record)
        return target.getvalue()

    return write


def protobuf_writer(files: bytes) -> Callable[[dict[str, Any]], bytes]:
    """Return a writer of Protobuf."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
        pool.Add(file)
    score = message_factory.GetMessageClass(pool.FindMessageTypeByName("Score"))
    return lambda record: bytes(
        json_format.ParseDict(record | {"at": record["at"].isoformat()}, score()).SerializeToString()
    )


def mapper(folder: Path, schema: dict[str, str] | None) -> TopicMapper:
    """Return the mapper of the topic, whose values have a schema or are JSON."""
    fields = {"key": "id", "time": "at", "outputs.fraud": "score", "version": "version"}
    source: dict[str, Any] = {"topic": "t", "as": "predictions", "value_schema": schema}
    source["map"] = fields | {f"features.{name}": name for name in FEATURES}
    config = LoopConfig.model_validate(
        {
            "version": 1,
            "loop": "cards",
            "predictions": {
                "outputs": {"fraud": {"task": "binary"}},
                "features": {name: {"type": "float"} for name in FEATURES},
            },
            "labels": {"fraud": {"definition": "d", "horizon": "7d", "retain": "9d"}},
            "ingest": [source],
        }
    )
    return TopicMapper("t", config, topic_tools(config, {}, folder))


def microseconds(topic: TopicMapper, values: list[bytes | None]) -> float:
    """Return the time of mapping a record."""
    count = len(values)
    messages = SourceMessages(
        "t", values, [0] * count, list(range(count)), [10**12] * count, [None] * count, [None] * count
    )
    begun_s = time.process_time()
    mapped = 0
    for first in range(0, count, 2_000):
        mapped += len(topic.map(messages.part(first, first + 2_000), 0).predictions)
    assert mapped == count
    return (time.process_time() - begun_s) / count * 1e6


def main() -> None:
    """Run the rounds, and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=40_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    given = records(chosen.records)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "score.avsc").write_text(json.dumps(AVRO))
        files = compiled(PROTOBUF, ())
        (folder / "score.binpb").write_bytes(files)
        forms = {
            "JSON": (mapper(folder, None), list(map(as_json, given))),
            "Avro": (mapper(folder, {"file": "score.avsc"}), list(map(avro_writer(), given))),
            "Protobuf": (
                mapper(folder, {"file": "score.binpb", "message": "Score"}),
                list(map(protobuf_writer(files), given)),
            ),
        }
        taken: dict[str, list[float]] = {form: [] for form in forms}
        for number in range(chosen.rounds + 1):
            order = list(forms.items()) if number % 2 else list(forms.items())[::-1]
            for form, (topic, values) in order:
                measured = microseconds(topic, [*values])
                if number:  # the first round warms up
                    taken[form].append(measured)
    base = statistics.median(taken["JSON"])
    for form, times in taken.items():
        size = sum(map(len, forms[form][1])) / chosen.records
        middle = statistics.median(times)
        print(f"{form:9} {middle:6.1f} us CPU a record  {base / middle:5.2f} of JSON's speed  {size:4.0f} bytes each")


if __name__ == "__main__":
    main()
