"""The examples do what they say: their loops run on a real broker, and what is true in the end is in the lake.

Their generators know what they meant, and share no code with the product.

Tests `truthloop.cli.commands.close` and `truthloop.cli.commands.run`.
"""

import json
import zlib
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import Producer, murmur2
from example_loop import EXAMPLES, ROOT, ExampleLoop, ExpectedResults, generator, is_caught_up
from jsonschema import Draft202012Validator
from kafka_fixture import as_client, create_topic, read_all
from live_case import running
from typer.testing import CliRunner

from truthloop.__main__ import app
from truthloop.config.settings import load_settings

START_MS = 1_700_000_000_000


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("name", "count", "reasons"),
    [
        ("02-card-fraud", 2_400, {"first", "late", "correction", "retraction", "timeout"}),
        ("03-ads", 2_000, {"first", "late", "timeout"}),
    ],
)
def test_a_loop_says_in_the_end_what_its_generator_meant(
    kafka: str, tmp_path: Path, name: str, count: int, reasons: set[str]
) -> None:
    """Of every prediction and kind, status and value, in both directions; and every record is in exactly one place.

    Where both labels of a prediction are read before it, there is one revision and no correction.
    """
    truth_file = tmp_path / "truth.jsonl"
    with running(ExampleLoop(tmp_path, kafka, name)) as loop:
        loop.program("traffic.py", "--count", str(count), "--prefix", loop.prefix, "--truth", str(truth_file))
        truth = ExpectedResults(truth_file.read_text("utf-8"))
        loop.begin()
        for role in ("ingest", "join", "lake"):
            loop.run(role)
        loop.wait("ingest's end", lambda: not any(loop.status().ingest.values()))
        closed = loop.command("close", truth.close_at)
        assert closed.returncode == 0, closed.stderr
        loop.wait("the last deadline", lambda: is_caught_up(loop.status()))
        loop.until_same(lambda: truth.differences(loop))
        assert loop.violations() == []
        told = loop.lake().sql("SELECT DISTINCT reason FROM all_outcomes").fetchall()
        assert {reason for (reason,) in told} >= reasons, "the traffic does not show every case"


@pytest.mark.timeout(400)
def test_the_producers_records_become_outcomes(kafka: str, tmp_path: Path) -> None:
    """They fit the published schemas, lie where murmur2 places them, and are joined without any mapping."""
    count = 60
    with running(ExampleLoop(tmp_path, kafka, "01-producer")) as loop:
        loop.begin()
        for role in ("join", "lake"):
            loop.run(role)
        loop.program("producer.py", "--loop", loop.name, "--count", str(count))
        for topic in ("prediction", "label"):
            schema = Draft202012Validator(json.loads((ROOT / f"schemas/json/{topic}.schema.json").read_text("utf-8")))
            records = read_all(kafka, f"{loop.name}.{topic}s")
            assert len(records) > count // 2
            for record in records:
                schema.validate(json.loads(record.value() or b""))
                assert record.partition() == murmur2(record.key(), loop.partitions)

        def differences() -> list[str]:
            scored = loop.scored()
            wanted = {(mail, mail, "spam"): verdict(number) for number in range(count) if (mail := f"mail-{number}")}
            return [f"{key}: {scored.get(key)}" for key in wanted.keys() | scored if scored.get(key) != wanted.get(key)]

        loop.until_same(differences)
        loop.until_same(loop.violations)


def verdict(number: int) -> tuple[str, float | None]:
    """Return what the producer says of a mail in the end: see its `main`."""
    match number % 10:
        case 1:
            return "joined", 1.0
        case 2:
            return "retracted", None
        case 7 | 8 | 9:
            return "pending", None
    return "joined", float(number % 3 == 0)


@pytest.mark.parametrize("partitioner", [None, "murmur2_random"])
def test_librdkafka_and_kcat_with_it_place_keys_by_crc32_unless_told(kafka: str, partitioner: str | None) -> None:
    """What the producer's README says of kcat, by the library that kcat is a shell of."""
    topic = create_topic(kafka, 8)
    producer = Producer(as_client(kafka) | ({} if partitioner is None else {"partitioner": partitioner}))
    for number in range(100):
        producer.produce(topic, key=f"mail-{number}", value=b"{}")
    assert producer.flush(30) == 0
    placed = {record.key(): record.partition() for record in read_all(kafka, topic)}
    by_crc = {key: zlib.crc32(key) % 8 for key in placed}
    by_murmur2 = {key: murmur2(key, 8) for key in placed}
    assert by_crc != by_murmur2
    assert placed == (by_crc if partitioner is None else by_murmur2)
    assert "-X partitioner=murmur2_random" in (EXAMPLES / "01-producer/README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["01-producer", "02-card-fraud", "03-ads"])
def test_check_accepts_the_config(name: str) -> None:
    """And no source names a topic that the generator does not make."""
    config = EXAMPLES / name / "truthloop.yaml"
    result = CliRunner().invoke(app, ["check", "--json", "--config", str(config)])
    assert (result.exit_code, json.loads(result.stdout)["errors"]) == (0, [])
    named = {source.topic for source in load_settings(config, {}).config.ingest}
    assert named == set(generator(name).TOPICS if named else ())


@pytest.mark.parametrize("name", ["02-card-fraud", "03-ads"])
def test_a_seed_makes_the_same_traffic_again(name: str) -> None:
    """Records, order and truth; another seed makes other ones."""
    module = generator(name)

    def told(seed: int) -> tuple[Any, ...]:
        traffic = module.make(Random(seed), 400, START_MS)
        return traffic.in_order(), list(traffic.truth_lines())

    assert told(1) == told(1)
    assert told(1) != told(2)


@pytest.mark.parametrize("name", ["02-card-fraud", "03-ads"])
def test_records_come_in_the_order_of_time_and_somewhat_out_of_it(name: str) -> None:
    """In the order of their arrival, and the predictions' own times fall back by less than the loop's `disorder`."""
    records = generator(name).make(Random(3), 2_000, START_MS).in_order()
    arrivals = [record.at_ms for record in records]
    assert arrivals == sorted(arrivals)
    config = load_settings(EXAMPLES / name / "truthloop.yaml", {}).config
    topic = config.ingest[0].topic
    scores = [record for record in records if record.topic == topic and is_json(record)]
    path = config.ingest[0].map["time"].paths[0]
    times_ms = [datetime.fromisoformat(json.loads(record.value)[path]).timestamp() * 1000 for record in scores]
    behind_ms = [latest - time for latest, time in zip(accumulate(times_ms, max), times_ms, strict=True)]
    assert 0 < max(behind_ms) < config.disorder


def is_json(record: Any) -> bool:
    """Tell whether a record can be read at all."""
    try:
        json.loads(record.value)
    except ValueError:
        return False
    return True
