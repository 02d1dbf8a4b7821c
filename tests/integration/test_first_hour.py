"""The first hour with existing topics, on a real broker: draft a config from them, check it against them.

Tests `truthloop.cli.check_live`, `truthloop.cli.new_from_topic` and `truthloop.cli.sampling`.
"""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_fixture import as_client, produce, produce_transaction
from topic_shapes import (
    HOUR_MS,
    Event,
    Record,
    Shape,
    avro_record,
    bare_debezium_label,
    canonical_label,
    canonical_prediction,
    changed,
    cloud_event_label,
    cloud_event_prediction,
    corrupted,
    create,
    debezium_label,
    flat_label,
    flat_prediction,
    iso,
    key_only_label,
    key_only_prediction,
    known,
    naive_prediction,
    nested_label,
    nested_prediction,
    world,
    write,
)
from typer.testing import CliRunner, Result

from schemas.config.connection import KafkaConfig
from streams.kafka import client as kafka_client
from streams.kafka.client import KafkaClients
from streams.kafka.sample import SampleLimits, TopicSample, describe_topics, sample_topic, with_small_fetches
from truthloop.cli.commands.check import check
from truthloop.cli.commands.new import new
from truthloop.clock import now_ms
from truthloop.config.settings import load_settings

COUNT = 700


def run(*arguments: str) -> Result:
    """Run a command of the product in this process."""
    app = typer.Typer()
    app.command()(new)
    app.command()(check)
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, list(arguments))


class Topics:
    """Topics of one test, with names of their own."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.now_ms = now_ms()
        self.events = world(self.now_ms, COUNT)
        self._suffix = f"{uuid.uuid4().int % 10**10}"

    def name(self, name: str) -> str:
        """Return a name that no other test has."""
        return f"{name}.{self._suffix}"

    def make(self, name: str, partitions: int, records: Iterable[Record], partitioner: str = "murmur2_random") -> str:
        """Make a topic and fill it."""
        topic = self.name(name)
        create(self.servers, topic, partitions)
        write(self.servers, topic, records, partitioner)
        return topic

    def pair(self, prediction: Shape, label: Shape, partitions: tuple[int, int] = (6, 8)) -> tuple[str, str]:
        """Make a topic of predictions and one of labels, of other partition counts and by other partitioners."""
        scored = self.make("risk.scoring", partitions[0], map(prediction, self.events))
        labels = (event for event in known(self.events, self.now_ms) if event.number % 10)
        return scored, self.make("fraud.outcomes", partitions[1], map(label, labels), "consistent_random")


@pytest.fixture
def topics(kafka: str) -> Topics:
    """Return a maker of topics on the shared broker."""
    return Topics(kafka)


def draft(path: Path, servers: str, *names: str) -> Result:
    """Run `truthloop new --from-topic`."""
    options = [text for name in names for text in ("--from-topic", name)]
    return run("new", str(path), *options, "--bootstrap-servers", servers)


def live(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run `truthloop check --live --json`, and return its exit code and document."""
    result = run("check", "--config", str(path), "--live", "--json", *options)
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def issues(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return severities and codes of all issues but the one that every single broker has."""
    found = document["live"]["findings"]
    return [(one["severity"], one["code"]) for one in found if one["code"] != "copies"]


SHAPES: dict[str, tuple[Shape, Shape, tuple[int, int]]] = {
    "flat JSON, epoch in ms": (flat_prediction, flat_label, (6, 8)),
    "nested JSON, percent, seconds, keyed by customer": (nested_prediction, nested_label, (24, 6)),
    "Debezium with payload": (nested_prediction, debezium_label, (8, 6)),
    "Debezium without payload": (flat_prediction, bare_debezium_label, (6, 1)),
    "CloudEvents": (cloud_event_prediction, cloud_event_label, (6, 6)),
    "the key in Kafka's key, µs": (key_only_prediction, key_only_label, (24, 8)),
    "ISO with an offset": (changed(flat_prediction, scored_at=lambda event: iso(event.made_ms, 9)), flat_label, (6, 8)),
    "local times without zone": (naive_prediction(-5), flat_label, (6, 8)),
    "canonical records in other topics": (canonical_prediction, canonical_label, (6, 8)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_drafted_config_maps_everything_and_has_no_issues(tmp_path: Path, topics: Topics, shape: str) -> None:
    """new, check, check --live: each accepts the result of the one before."""
    prediction, label, partitions = SHAPES[shape]
    scored, labelled = topics.pair(prediction, label, partitions)
    path = tmp_path / "truthloop.yaml"
    result = draft(path, topics.servers, labelled, scored)
    assert result.exit_code == 0, result.output
    assert "would be rejected" not in result.stderr
    assert "@example.com" not in result.output + path.read_text()
    config = load_settings(path, {}).config
    assert config.partitions == max(8, *partitions)
    result = run("check", "--config", str(path))
    assert (result.exit_code, "warning:" in result.stderr) == (0, False), result.output
    code, document = live(path)
    assert (code, issues(document)) == (0, [])
    assert document["ok"] is True
    sampled = {topic["topic"]: topic["sampled"] for topic in document["live"]["topics"]}
    assert sampled[scored] == COUNT
    (kind,) = document["live"]["kinds"].values()
    assert kind["keys"]["share"] == 1.0
    assert kind["delays_ms"]["pairs"] == sampled[labelled]
    assert 0 < kind["delays_ms"]["p50"] < HOUR_MS


def test_sampling_joins_no_group_and_commits_nothing(tmp_path: Path, topics: Topics) -> None:
    """The cluster has the same groups as before, except those of other tests' loops, whose names begin with `t-`."""
    before = _groups(topics.servers)
    path = tmp_path / "truthloop.yaml"
    assert draft(path, topics.servers, *topics.pair(flat_prediction, flat_label)).exit_code == 0
    assert live(path)[0] == 0
    assert not load_settings(path, {}).config.loop.startswith("t-")
    assert not {name for name in _groups(topics.servers) - before if not name.startswith("t-")}


def _groups(servers: str) -> set[str]:
    admin = AdminClient(as_client(servers))
    return {group.group_id for group in admin.list_consumer_groups(request_timeout=20).result().valid}


def test_broken_records_are_forecast_with_their_positions(tmp_path: Path, topics: Topics) -> None:
    """A config is drafted nevertheless; each example is at its partition and offset."""
    path = tmp_path / "truthloop.yaml"
    scored, labelled = topics.pair(corrupted(flat_prediction), flat_label)
    result = draft(path, topics.servers, scored, labelled)
    assert result.exit_code == 0, result.output
    assert "2.6 % of the sampled records would be rejected: bad_key" in result.stderr.replace("\n", "")
    code, document = live(path)
    assert (code, issues(document)) == (0, [("warning", "rejects")] * 2)
    rejected = {one["reason"]: one for one in document["live"]["topics"][0]["rejected"]}
    assert {reason: one["count"] for reason, one in rejected.items()} == {"not_json": 17, "bad_key": 18}
    sample = _sample(topics.servers, scored, 10_000)
    positions = list(zip(sample.messages.partitions, sample.messages.offsets, strict=True))
    for reason, beginning in (("not_json", b'{"oops"'), ("bad_key", b'{"note"')):
        example = rejected[reason]["example"]
        assert example["topic"] == scored
        value = sample.messages.values[positions.index((example["partition"], example["offset"]))]
        assert value is not None
        assert value.startswith(beginning)


def test_a_zone_that_is_off_by_five_hours_is_an_error(tmp_path: Path, topics: Topics) -> None:
    """Exit code 1, with a zone that fits."""
    path = tmp_path / "truthloop.yaml"
    assert draft(path, topics.servers, *topics.pair(naive_prediction(-5), flat_label)).exit_code == 0
    path.write_text(path.read_text().replace("Etc/GMT+5", "UTC"))
    code, document = live(path)
    assert (code, [one for one in issues(document) if one[0] == "error"]) == (1, [("error", "time_zone")])
    assert "Etc/GMT+5 fits these records" in document["live"]["findings"][0]["do"]


def test_a_canonical_topic_by_librdkafkas_default_partitioner_is_an_error(tmp_path: Path, topics: Topics) -> None:
    """A Python producer that sets nothing puts keys elsewhere; murmur2 on the other side does not help."""
    loop = f"card-{uuid.uuid4().int % 10**10}"
    for role, shape, partitioner in (
        ("predictions", canonical_prediction, "consistent_random"),
        ("labels", canonical_label, "murmur2_random"),
    ):
        create(topics.servers, f"{loop}.{role}", 6)
        write(topics.servers, f"{loop}.{role}", map(shape, topics.events), partitioner)
    path = tmp_path / "truthloop.yaml"
    assert draft(path, topics.servers, f"{loop}.predictions", f"{loop}.labels").exit_code == 0
    assert load_settings(path, {}).config.loop == loop
    result = run("check", "--config", str(path), "--live")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert f"error: topic {loop}.predictions, partitions: of 700 keys" in text
    assert "they fit CRC32, librdkafka's default (consistent_random)" in text
    assert "Set partitioner=murmur2_random" in text
    assert "error: topic" not in text.replace(f"error: topic {loop}.predictions, partitions", "")
    assert text.rstrip().endswith("Not ready: 1 error, 1 note.")


def test_an_avro_topic_is_named(tmp_path: Path, topics: Topics) -> None:
    """Nothing can be drafted from it."""
    path = tmp_path / "truthloop.yaml"
    scored, labelled = topics.pair(flat_prediction, avro_record)
    result = draft(path, topics.servers, scored, labelled)
    assert result.exit_code == 2
    assert f"topic {labelled}: none of" in result.stderr
    assert "probably Avro or Protobuf" in result.stderr.replace("\n", " ")
    assert not path.exists()


def test_an_empty_topic_and_a_missing_one(tmp_path: Path, topics: Topics) -> None:
    """`new` refuses both; in a config, an empty topic is a warning and a missing one an error."""
    path = tmp_path / "truthloop.yaml"
    scored, labelled = topics.pair(flat_prediction, flat_label)
    empty = topics.make("empty", 6, [])
    for name, message in ((empty, "it has no records"), (f"{scored}9", f"did you mean '{scored}'?")):
        result = draft(path, topics.servers, scored, name)
        assert result.exit_code == 2
        assert message in result.stderr.replace("\n", "").replace("  ", " ")
    assert draft(path, topics.servers, scored, labelled).exit_code == 0
    good = path.read_text()
    path.write_text(good.replace(labelled, empty))
    code, document = live(path)
    assert (code, issues(document)) == (0, [("warning", "empty_topic")])
    path.write_text(good.replace(labelled, f"{labelled}9"))
    code, document = live(path)
    assert (code, issues(document)) == (1, [("error", "missing_topic")])
    assert {topic["topic"] for topic in document["live"]["topics"]} == {scored}


def test_a_cluster_that_does_not_answer_is_exit_code_4(
    tmp_path: Path, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For both commands, and nothing is written."""
    path = tmp_path / "truthloop.yaml"
    assert draft(path, topics.servers, *topics.pair(flat_prediction, flat_label)).exit_code == 0
    monkeypatch.setattr(kafka_client, "REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setenv("TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9")
    assert run("check", "--config", str(path), "--live").exit_code == 4
    result = draft(tmp_path / "other.yaml", "127.0.0.1:9", "a")
    assert result.exit_code == 4
    assert "cannot be reached" in result.stderr
    assert not (tmp_path / "other.yaml").exists()


def test_a_file_that_is_there_is_left_alone(tmp_path: Path, topics: Topics) -> None:
    """It is refused before anything is read; --force overwrites."""
    path = tmp_path / "truthloop.yaml"
    path.write_text("mine")
    pair = topics.pair(flat_prediction, flat_label)
    result = draft(path, topics.servers, *pair)
    assert (result.exit_code, path.read_text()) == (2, "mine")
    assert "Reading" not in result.stderr
    options = ["--from-topic", pair[0], "--from-topic", pair[1], "--bootstrap-servers", topics.servers]
    result = run("new", str(path), "--force", "--json", *options)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [one["as"] for one in document["topics"]] == ["predictions", "labels"]
    assert "tx-" not in result.stdout
    assert load_settings(path, {}).config.ingest


ONE_TOPIC = ["--from-topic", "a", "--bootstrap-servers", "b:1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from-topic", "a"], "--from-topic needs --bootstrap-servers"),
        (["--as", "a=labels"], "--as needs --from-topic"),
        (["--from-topic", "a", "--bootstrap-servers", "b:1", "--client-property", "x"], "write NAME=VALUE"),
        (
            ["--from-topic", "a", "--bootstrap-servers", "b:1", "--client-property", "sasl.password=x"],
            "give it as TRUTHLOOP_KAFKA_SASL_PASSWORD",
        ),
        (
            ["--from-topic", "a", "--bootstrap-servers", "b:1", "--client-property", "group.id=x"],
            "is set by Truthloop",
        ),
        ([*ONE_TOPIC, "--registry-property", "user=me"], "--registry-property needs --schema-registry URL"),
        ([*ONE_TOPIC, "--schema-registry", "r:1", "--registry-property", "user"], "write NAME=VALUE"),
        ([*ONE_TOPIC, "--schema-registry", "r:1"], "url: must be http://HOST or https://HOST"),
        (
            [*ONE_TOPIC, "--schema-registry", "http://r:1", "--registry-property", "password=x"],
            "there is no password in schema_registry; there are url, user, password_env",
        ),
        (["--registry-property", "user=me"], "--registry-property needs --from-topic"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    """Exit code 2, before any cluster is asked."""
    monkeypatch.delenv("TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    result = run("new", str(tmp_path / "a.yaml"), *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_client_properties_are_used_and_written(tmp_path: Path, topics: Topics) -> None:
    """As numbers where they are numbers."""
    path = tmp_path / "truthloop.yaml"
    pair = topics.pair(flat_prediction, flat_label)
    options = [text for name in pair for text in ("--from-topic", name)]
    extra = ["--client-property", "socket.timeout.ms=9000", "--client-property", "security.protocol=plaintext"]
    result = run("new", str(path), *options, "--bootstrap-servers", topics.servers, *extra)
    assert result.exit_code == 0, result.output
    kafka = load_settings(path, {}).config.kafka
    assert kafka is not None
    assert kafka.client == {"socket.timeout.ms": 9000, "security.protocol": "plaintext"}


def _sample(servers: str, topic: str, records: int, **limits: Any) -> TopicSample:
    clients = KafkaClients(with_small_fetches(KafkaConfig(bootstrap_servers=servers)), {}, "test")
    facts = describe_topics(clients, [topic]).topics[topic]
    return sample_topic(clients, facts, SampleLimits(records, **limits))


def test_a_large_topic_is_sampled_at_its_end_and_all_over(topics: Topics) -> None:
    """Half of the sample are the newest records, every partition has its share, the rest is spread over the topic."""
    events = world(topics.now_ms, 12_000, span_ms=100 * HOUR_MS)
    name = topics.make("big", 8, map(key_only_prediction, events))
    sample = _sample(topics.servers, name, 800)
    messages = sample.messages
    assert 700 <= len(messages) <= 800
    assert (sample.offsets, sample.records, sample.is_whole) == (12_000, 12_000, False)
    for number, (low, high) in sample.ranges.items():
        mine = [at for at, partition in zip(messages.offsets, messages.partitions, strict=True) if partition == number]
        assert len(mine) == len(set(mine)) >= 80
        assert sum(at >= high - 50 for at in mine) >= 45
        assert all(low <= at < high for at in mine)
    newest = max(messages.timestamps)
    hours = {(newest - at) // (10 * HOUR_MS) for at in messages.timestamps}
    assert hours >= set(range(10))


def test_a_sample_of_large_records_stops_at_its_size(topics: Topics) -> None:
    """However many records were wanted."""
    shape = changed(key_only_prediction, ballast=lambda _: "x" * 20_000)
    name = topics.make("large", 2, map(shape, topics.events))
    sample = _sample(topics.servers, name, 200, size=1_000_000)
    assert sample.stopped == "size"
    assert sum(len(value or b"") for value in sample.messages.values) < 3_000_000
    assert 0 < len(sample.messages) < 200


def test_a_sample_that_has_no_time_says_so(topics: Topics) -> None:
    """The records read until then are kept."""
    name = topics.make("slow", 2, map(flat_prediction, topics.events))
    sample = _sample(topics.servers, name, 100, seconds=0.0)
    assert (sample.stopped, len(sample.messages)) == ("time", 0)


def test_records_that_were_removed_or_aborted_are_not_in_a_sample(topics: Topics) -> None:
    """The range begins after the removed records, and ends with the committed ones."""
    name = topics.name("transactions")
    create(topics.servers, name, 1)
    produce(topics.servers, name, *[b'{"n": 1}'] * 30)
    produce_transaction(topics.servers, name, b'{"n": 2}', commit=False)
    produce_transaction(topics.servers, name, b'{"n": 3}')
    admin = AdminClient(as_client(topics.servers))
    for future in admin.delete_records([TopicPartition(name, 0, 10)]).values():
        future.result(20)
    sample = _sample(topics.servers, name, 1_000)
    assert sample.ranges[0][0] == 10
    assert sample.messages.values == [b'{"n": 1}'] * 20 + [b'{"n": 3}']
    assert sample.is_whole
    assert sample.records == 21


def test_a_transaction_that_is_open_does_not_hold_the_sample_up(topics: Topics) -> None:
    """Records behind it are not committed and not waited for."""
    name = topics.name("open")
    create(topics.servers, name, 1)
    produce(topics.servers, name, b'{"n": 1}')
    producer = Producer(as_client(topics.servers, transactional_id=uuid.uuid4().hex))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, b'{"n": 2}')
    assert producer.flush(30) == 0
    try:
        sample = _sample(topics.servers, name, 1_000)
    finally:
        producer.abort_transaction(30)
    assert (sample.messages.values, sample.stopped) == ([b'{"n": 1}'], "")


def test_a_topic_that_was_just_created_is_read_once_its_partitions_have_leaders(topics: Topics) -> None:
    """Until then the broker answers that it does not lead them."""
    for number in range(6):
        name = topics.name(f"new-{number}")
        create(topics.servers, name, 40)
        sample = _sample(topics.servers, name, 100)
        assert (len(sample.ranges), set(sample.ranges.values()), sample.is_whole) == (40, {(0, 0)}, True)


def test_settings_and_replicas_are_read_from_the_cluster(topics: Topics) -> None:
    """Of topics that exist; none is created by asking."""
    name, missing = topics.name("settings"), topics.name("missing")
    create(topics.servers, name, 3, retention_ms="3600000", cleanup_policy="compact")
    clients = KafkaClients(KafkaConfig(bootstrap_servers=topics.servers), {}, "test")
    cluster = describe_topics(clients, [name, missing])
    facts = cluster.topics[name]
    assert (set(cluster.topics), facts.partitions, facts.replicas, cluster.brokers) == ({name}, 3, 1, 1)
    assert facts.settings["retention.ms"] == "3600000"
    assert facts.settings["cleanup.policy"] == "compact"
    assert missing not in describe_topics(clients, [missing]).names


def test_unsuitable_settings_of_sources_are_warned_of(tmp_path: Path, topics: Topics) -> None:
    """An hour of retention, and a compacted topic of rows."""
    scored, labelled = topics.pair(flat_prediction, flat_label)
    path = tmp_path / "truthloop.yaml"
    assert draft(path, topics.servers, scored, labelled).exit_code == 0
    for name, settings in (("short", {"retention_ms": "90000000"}), ("compact", {"cleanup_policy": "compact"})):
        create(topics.servers, topics.name(name), 2, **settings)
        recent = [replace(event, made_ms=topics.now_ms - 1000 * event.number) for event in topics.events]
        write(topics.servers, topics.name(name), map(_unique(flat_prediction), recent))
    text = path.read_text()
    for name, code in (("short", "retention"), ("compact", "compacted")):
        path.write_text(text.replace(scored, topics.name(name)))
        _, document = live(path)
        assert ("warning", code) in issues(document)


def _unique(shape: Shape) -> Callable[[Event], Record]:
    return lambda event: replace(shape(event), key=f"{event.number}".encode())
