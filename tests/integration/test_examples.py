"""The examples do what they say: their loops run on a real broker, and what is true in the end is in the lake.

Their generators know what they meant, and share no code with the product.
"""

import importlib.util
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer, murmur2
from jsonschema import Draft202012Validator
from kafka_fixture import as_client, create_topic, read_all
from live_case import DEADLINE_S, Loop, running
from typer.testing import CliRunner

from lake import Lake
from streams.standing import Standing, standing
from truthloop.__main__ import app
from truthloop.conservation import check_conservation
from truthloop.roles import clients_of
from truthloop.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
START_MS = 1_700_000_000_000

SETTLED_BY_ORDER = {("labels", "duplicate"), ("labels", "stale")}
"""Which of two topics is read first decides between these, and nothing else."""


class ExampleLoop(Loop):
    """The loop of an example with its own config: the environment says where it lives, and names its topics."""

    def __init__(self, folder: Path, servers: str, name: str) -> None:
        self.example = EXAMPLES / name
        config = yaml.safe_load((self.example / "truthloop.yaml").read_text("utf-8"))
        super().__init__(folder, servers, partitions=config["partitions"])
        self.config = self.example / "truthloop.yaml"
        self.prefix = f"{self.name}-"
        places = {"LOOP": self.name, "KAFKA__BOOTSTRAP_SERVERS": servers}
        places |= {"LAKE__URI": str(folder / "lake"), "STATE__DIR": str(folder / "state")}
        for number, source in enumerate(config.get("ingest", ())):
            places[f"INGEST__{number}__TOPIC"] = self.prefix + source["topic"]
        self.environ = {f"TRUTHLOOP_{name}": value for name, value in places.items()}

    @property
    def settings(self) -> Settings:
        """The loop's config as its processes have it."""
        return load_settings(self.config, self.environ)

    def program(self, name: str, *words: str) -> str:
        """Run a program of the example to its end and return what it says."""
        command = [sys.executable, str(self.example / name), "--bootstrap-servers", self.servers, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def stand(self) -> Standing:
        """Return how far the roles have come."""
        settings = self.settings
        return standing(clients_of(settings, "test"), settings.config, settings.lake)

    def until_same(self, differences: Callable[[], list[str]]) -> None:
        """Wait until there are no differences; those that stay are shown."""
        found: list[str] = []

        def is_same() -> bool:
            found[:] = differences()
            return not found

        try:
            self.wait("what was meant", is_same)
        except AssertionError as error:
            raise AssertionError("\n".join([*found, str(error)])) from None

    def scored(self) -> dict[tuple[str, str, str], tuple[str, float | None]]:
        """Return the status and value of every prediction and kind."""
        rows = self.lake().sql("SELECT key, id, kind, status, value FROM scored").fetchall()
        found = {(key, id_, kind): (status, value) for key, id_, kind, status, value in rows}
        assert len(found) == len(rows)
        return found

    def violations(self) -> list[str]:
        """Return what is wrong with both identities, by the ledger and by counting rows."""
        settings = self.settings
        definitions = {kind: label.definition for kind, label in settings.config.labels.items()}
        return check_conservation(Lake.open(settings.lake), definitions).violations


class Truth:
    """What a generator meant."""

    def __init__(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        outcomes = [line["outcome"] for line in lines if "outcome" in line]
        rejects = [line["reject"] for line in lines if "reject" in line]
        self.close_at: str = lines[0]["close_at"]
        self.outcomes = {(o["key"], o["id"], o["kind"]): (o["status"], o["value"]) for o in outcomes}
        self.rejects = {(r["input"], r["reason"]): r["count"] for r in rejects}

    def differences(self, loop: ExampleLoop) -> list[str]:
        """Return what the lake lacks, has too much, or says otherwise."""
        found = loop.scored()
        wrong = [
            f"{place}: {self.outcomes.get(place)} was meant, and the lake says {found.get(place)}"
            for place in sorted(self.outcomes.keys() | found.keys())
            if self.outcomes.get(place) != found.get(place)
        ]
        rows = loop.lake().sql("SELECT input, reason, count(*) FROM rejects GROUP BY ALL").fetchall()
        rejects = {(name, reason): count for name, reason, count in rows if (name, reason) not in SETTLED_BY_ORDER}
        if rejects != self.rejects:
            wrong.append(f"rejects: {self.rejects} were meant, and the lake says {rejects}")
        return wrong[:10] + [f"... {len(wrong)} in all"] * (len(wrong) > 10)


def is_settled(stand: Standing) -> bool:
    """Tell whether everything is read, joined, past its deadline and written."""
    counters = [entry.point.counters for entry in stand.entries.values()]
    pending = sum(outcomes.pending for one in counters for outcomes in one.outcomes.values())
    return not (any(stand.ingest.values()) or any(stand.join.values()) or stand.lake_behind or pending)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("name", "count", "reasons"),
    [
        ("02-card-fraud", 2_400, {"first", "late", "correction", "retraction", "timeout"}),
        ("03-ads", 2_000, {"first", "late", "correction", "timeout"}),
    ],
)
def test_a_loop_says_in_the_end_what_its_generator_meant(
    kafka: str, tmp_path: Path, name: str, count: int, reasons: set[str]
) -> None:
    """Of every prediction and kind, status and value, in both directions; and every record is in exactly one place."""
    truth_file = tmp_path / "truth.jsonl"
    with running(ExampleLoop(tmp_path, kafka, name)) as loop:
        loop.program("traffic.py", "--count", str(count), "--prefix", loop.prefix, "--truth", str(truth_file))
        truth = Truth(truth_file)
        loop.begin()
        for role in ("ingest", "join", "lake"):
            loop.run(role)
        loop.wait("ingest's end", lambda: not any(loop.stand().ingest.values()))
        closed = loop.command("close", truth.close_at)
        assert closed.returncode == 0, closed.stderr
        loop.wait("the last deadline", lambda: is_settled(loop.stand()))
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
    values = [
        json.loads(record.value) for record in records if record.topic == config.ingest[0].topic and is_json(record)
    ]
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


def generator(name: str) -> ModuleType:
    """Return an example's generator as a module."""
    spec = importlib.util.spec_from_file_location(f"traffic_{name[:2]}", EXAMPLES / name / "traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for their own module
    spec.loader.exec_module(module)
    return module
