"""Where ingest starts, and what it does when its next records are missing: no record is skipped silently.

Tests `streams.ingest.offsets` and `streams.ingest.preflight`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from ingest_case import TIME
from ingest_loop import IngestLoop, ingest_loop
from kafka_fixture import as_client

from schemas.errors import BrokerError, ConfigError
from streams.ingest.role import commit_start
from streams.kafka.client import MESSAGE_BYTES_MAX
from streams.kafka.topics import Topics, create_topics

Record = dict[str, Any]

FIELDS = {"key": "id", "time": TIME, "outputs.fraud": "s"}
SOURCES: list[Record] = [{"topic": name, "as": "predictions", "map": FIELDS} for name in ("a", "b")]


@pytest.fixture
def loop(tmp_path: Path, kafka: str) -> Iterator[IngestLoop]:
    """A loop with two source topics of two partitions, without a start position."""
    with ingest_loop(tmp_path, kafka, SOURCES) as made:
        made.create("a", 2)
        made.create("b", 2)
        yield made


@pytest.fixture
def admin(loop: IngestLoop) -> AdminClient:
    """A client for changes of topics."""
    return AdminClient(as_client(loop.servers))


def records(name: str, first: int, following: int, **parts: Any) -> list[Record]:
    """Return good records with the keys <name><first> to <name><following - 1>."""
    return [
        {"value": json.dumps({"id": f"{name}{number}", "t": 10**12 + number, "s": 0.5}), **parts}
        for number in range(first, following)
    ]


def positions(loop: IngestLoop) -> dict[tuple[str, int], int]:
    """Return the group's committed offsets; -1001 where there is none."""
    reader = loop.clients.member(Topics.of(loop.config).group("ingest"))
    places = [TopicPartition(loop.topic(name), number) for name in "ab" for number in range(2)]
    try:
        found = reader.committed(places, timeout=30)
    finally:
        reader.close()
    return {(place.topic.removeprefix(f"{loop.name}-"), place.partition): place.offset for place in found}


def test_start_with_all_records(loop: IngestLoop) -> None:
    """Every partition gets a position, once; a second start changes nothing."""
    loop.produce("a", records("a", 0, 5, partition=1))
    done = loop.begin("earliest")
    assert done == [
        f"Topic {loop.topic('a')}: 2 of 2 partitions start with all records that are there.",
        f"Topic {loop.topic('b')}: 2 of 2 partitions start with all records that are there.",
    ]
    again = commit_start(loop.clients, loop.config, "latest")
    assert again[0] == f"Topic {loop.topic('a')}: all 2 partitions have a position already."
    assert positions(loop) == {("a", 0): 0, ("a", 1): 0, ("b", 0): 0, ("b", 1): 0}
    loop.work()
    loop.wait("the records", lambda: len(loop.read("predictions")) >= 5)


def test_start_with_new_records(loop: IngestLoop) -> None:
    """Records that are there are skipped, as asked."""
    loop.produce("a", records("a", 0, 5, partition=1))
    assert loop.begin("latest")[0].endswith("2 of 2 partitions start with new records only.")
    assert positions(loop)["a", 1] == 5
    loop.produce("a", records("a", 5, 9, partition=1))
    loop.work()
    loop.wait("the new records", lambda: len(loop.read("predictions")) >= 4)
    assert loop.keys() == ["a5", "a6", "a7", "a8"]


def test_a_partition_that_was_added_later_starts_with_its_first_record(loop: IngestLoop) -> None:
    """Also where the topic started with new records: none of the partition's was read."""
    loop.begin("latest")
    loop.grow("a", 3)
    loop.produce("a", records("a", 0, 3, partition=2))
    done = commit_start(loop.clients, loop.config, "latest")
    assert done[0] == f"Topic {loop.topic('a')}: 1 of 3 partitions start with all records that are there."
    loop.work()
    loop.wait("its records", lambda: len(loop.read("predictions")) >= 3)


def test_nothing_is_read_without_a_start_position(loop: IngestLoop) -> None:
    """The error names the topic and the command."""
    create_topics(loop.clients, Topics.of(loop.config))
    worker = loop.work()
    loop._workers.clear()
    loop.wait("the end", lambda: worker.has_ended)
    assert isinstance(worker.error, BrokerError)
    assert f"topic {loop.topic('a')}" in str(worker.error)
    assert "truthloop start --from earliest" in str(worker.error)


def test_offsets_cannot_be_committed_while_workers_run(loop: IngestLoop, admin: AdminClient) -> None:
    """The broker refuses: the workers would not notice."""
    loop.begin()
    worker = loop.work()
    loop.wait("partitions", lambda: bool(worker.role._assignment.positions))
    group = Topics.of(loop.config).group("ingest")
    loop.wait(
        "a stable group", lambda: "STABLE" in str(admin.describe_consumer_groups([group])[group].result(30).state)
    )
    reader = loop.clients.member(group)
    with pytest.raises(Exception, match=r"member|generation|group"):
        reader.commit(offsets=[TopicPartition(loop.topic("a"), 0, 1)], asynchronous=False)
    reader.close()


def test_missing_topics_and_invalid_values_are_refused(loop: IngestLoop, tmp_path: Path, kafka: str) -> None:
    """By name, before anything is written."""
    with pytest.raises(ConfigError, match="neither earliest nor latest"):
        loop.begin("earlyest")
    with ingest_loop(tmp_path, kafka, SOURCES) as other:
        other.create("a")
        with pytest.raises(BrokerError, match=f"source topic {other.topic('b')} cannot be read") as caught:
            other.begin()
        assert "It is missing" in caught.value.hint
        worker = other.work()
        other._workers.clear()
        other.wait("the end", lambda: worker.has_ended)
        assert f"topic {other.topic('b')}: does not exist" in str(worker.error)


def stopped(loop: IngestLoop, others: int) -> str:
    """Run a worker until it has sent all it can, and return why it is not ready."""
    worker = loop.work()
    loop.wait("the others", lambda: len(loop.read("predictions")) >= others and "stopped" in worker.health.unready())
    reason = worker.health.unready()
    worker.stop()
    assert worker.health.stalled() == ""
    return reason


def test_records_that_retention_has_removed_stop_their_partition_only(loop: IngestLoop, admin: AdminClient) -> None:
    """The reason has the needed offset, those that are there, and what to do; positions do not change."""
    loop.begin()
    loop.produce("a", records("a", 0, 20, partition=0))
    place = TopicPartition(loop.topic("a"), 0, 12)
    admin.delete_records([place])[place].result(30)
    loop.produce("a", records("x", 0, 3, partition=1))
    loop.produce("b", records("b", 0, 4, partition=0))
    reason = stopped(loop, 7)
    missing = "offset 0 is needed, and the partition has [12, 20): retention has removed"
    assert f"topic {loop.topic('a')}: {missing}" in reason
    assert f"--topic {loop.topic('a')} --reset-offsets --to-earliest" in reason
    assert loop.keys() == ["b0", "b1", "b2", "b3", "x0", "x1", "x2"]
    assert positions(loop)["a", 0] == 0


def test_a_new_partition_whose_first_records_are_gone_is_stopped(loop: IngestLoop, admin: AdminClient) -> None:
    """They were never read, so the partition does not start with the first record that retention has left."""
    loop.begin()
    loop.grow("a", 3)
    loop.produce("a", records("a", 0, 9, partition=2))
    place = TopicPartition(loop.topic("a"), 2, 4)
    admin.delete_records([place])[place].result(30)
    loop.produce("b", records("b", 0, 2, partition=0))
    assert f"topic {loop.topic('a')}: offset 0 is needed, and the partition has [4, 9):" in stopped(loop, 2)
    assert loop.keys() == ["b0", "b1"]


def test_two_topics_that_miss_records_are_both_named(loop: IngestLoop, admin: AdminClient) -> None:
    """Their partitions have the same number."""
    loop.begin()
    for name in "ab":
        loop.produce(name, records(name, 0, 2, partition=1))
        place = TopicPartition(loop.topic(name), 1, 1)
        admin.delete_records([place])[place].result(30)
    worker = loop.work()
    loop.wait("both", lambda: all(loop.topic(name) in worker.health.unready() for name in "ab"))
    assert loop.keys() == []


def test_a_recreated_topic_has_to_be_started_again(loop: IngestLoop, admin: AdminClient) -> None:
    """The broker deletes committed offsets together with a topic."""
    loop.begin()
    loop.produce("a", records("a", 0, 10, partition=0))
    worker = loop.work()
    loop.wait("the first", lambda: len(loop.read("predictions")) >= 10 and positions(loop)["a", 0] >= 10)
    worker.stop()
    topic = loop.topic("a")
    admin.delete_topics([topic])[topic].result(30)
    loop.wait("its end", lambda: topic not in admin.list_topics(timeout=30).topics)
    loop.create("a", 2)
    loop.produce("a", records("n", 0, 30, partition=0))
    late = loop.work()
    loop._workers.clear()
    loop.wait("the end", lambda: late.has_ended)
    assert f"topic {topic}" in str(late.error)
    assert "truthloop start" in str(late.error)
    loop.begin()
    loop.work()
    loop.wait("the new ones", lambda: len(loop.read("predictions")) >= 40)


@pytest.mark.parametrize("size", [3, 30])
def test_a_position_in_another_topic_of_the_name_is_not_used(loop: IngestLoop, size: int) -> None:
    """Also where the topic has grown past it: the records before it would be skipped."""
    loop.begin()
    place = TopicPartition(loop.topic("a"), 0, 10, metadata=json.dumps({"topic_id": "AAAAAAAAAAAAAAAAAAAAAA"}))
    reader = loop.clients.member(Topics.of(loop.config).group("ingest"))
    reader.commit(offsets=[place], asynchronous=False)
    reader.close()
    loop.produce("a", records("n", 0, size, partition=0))
    loop.produce("b", records("b", 0, 2, partition=0))
    reason = stopped(loop, 2)
    assert f"topic {loop.topic('a')}: it was recreated since offset 10 was committed" in reason
    assert "--reset-offsets --to-earliest" in reason
    assert loop.keys() == ["b0", "b1"]


def test_a_loop_goes_on_at_offsets_that_a_person_has_reset(loop: IngestLoop, admin: AdminClient) -> None:
    """As the reason recommends: offsets that another tool has committed count."""
    loop.begin()
    loop.produce("a", records("a", 0, 20, partition=0))
    place = TopicPartition(loop.topic("a"), 0, 12)
    admin.delete_records([place])[place].result(30)
    reader = loop.clients.member(Topics.of(loop.config).group("ingest"))
    reader.commit(offsets=[place], asynchronous=False)
    reader.close()
    worker = loop.work()
    loop.wait("the records", lambda: len(loop.read("predictions")) >= 8)
    assert loop.keys() == sorted(f"a{number}" for number in range(12, 20))
    assert worker.health.unready() == ""


def test_a_topic_with_a_smaller_size_limit_is_refused(tmp_path: Path, kafka: str) -> None:
    """A message that the broker refuses would be sent again for ever."""
    with ingest_loop(tmp_path, kafka, SOURCES) as loop:
        loop.create("a")
        loop.create("b")
        name = f"{loop.name}.predictions"
        loop.create_own("predictions", max_message_bytes="100000")
        loop.begin()
        worker = loop.work()
        loop._workers.clear()
        loop.wait("the end", lambda: worker.has_ended)
        assert f"topic {name}: takes messages of up to 100,000 bytes" in str(worker.error)
        assert f"up to {MESSAGE_BYTES_MAX:,} are sent" in str(worker.error)
        assert "message.max.bytes: 100000" in str(worker.error)
    small = {"bootstrap_servers": kafka, "client": {"message.max.bytes": 100_000}}
    with ingest_loop(tmp_path, kafka, SOURCES, kafka=small) as loop:
        loop.create("a")
        loop.create("b")
        loop.create_own("predictions", max_message_bytes="100000")
        loop.begin()
        loop.produce("a", [*records("a", 0, 2_000), {"value": b"x" * 90_000}])
        loop.work()
        loop.wait("the records", lambda: len(loop.read("predictions")) >= 2_000 and len(loop.read("rejects")) >= 1)
