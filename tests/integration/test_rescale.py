"""A loop that goes on as another one, with more partitions: with every record, and nothing read twice or left out.

Tests `truthloop.cli.commands.rescale` and `truthloop.cli.commands.status`.

Covers `streams.seed.rescale`, `streams.status`.
"""

import json
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from live_case import DAY_MS, Loop, Traffic, finish, lake_differences, running

from truthloop.clock import now_ms

SOURCE = """\
ingest:
  - topic: {topic}
    as: predictions
    map: {{key: id, time: {{path: at, unit: ms}}, version: v, outputs.fraud: p, outputs.click: p, slices.country: c,
      features.amount: a}}
"""


def stop(loop: Loop) -> None:
    """Stop its roles in good order."""
    loop.stop()
    loop.processes.clear()


def identities(loop: Loop) -> set[tuple[object, ...]]:
    """Return what tells the predictions and labels in a loop's topics apart."""
    predictions = {(row["key"], row.get("id") or row["key"], row["time"]) for row in good(loop, "predictions")}
    labels = {
        (row["key"], row["kind"], row["time"], row.get("value"), row.get("op") or "upsert")
        for row in good(loop, "labels")
    }
    return predictions | labels


def good(loop: Loop, topic: str) -> list[dict[str, object]]:
    """Return the records of a topic that can be read."""
    return [row for row in loop.rows(topic) if "broken" not in row]


@pytest.mark.timeout(400)
def test_a_loop_goes_on_with_more_partitions(kafka: str, tmp_path: Path) -> None:
    """The first half of the traffic comes from the other's lake, the second live; the oracle knows no difference."""
    traffic = Traffic(31, 900, now_ms() - 4 * DAY_MS)
    half = len(traffic.records) // 2
    records = traffic.records
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with (
        running(Loop(tmp_path / "old", kafka, partitions=2, session_ms=6_000)) as old,
        running(Loop(tmp_path / "new", kafka, partitions=5, session_ms=6_000)) as new,
    ):
        old.begin()
        old.run("join")
        traffic.records = records[:half]
        old.produce(traffic)
        old.wait("the first half", lambda: old.lag("join", ("predictions", "labels")) == 0)
        early = new.command("rescale", "--of", str(old.config))
        assert early.returncode in (1, 4), early.stderr
        assert "still running: join" in early.stderr
        stop(old)
        without_lake = new.command("rescale", "--of", str(old.config))
        assert without_lake.returncode == 1, without_lake.stderr
        assert "the lake is" in without_lake.stderr
        old.run("lake")
        old.wait("the lake", lambda: not lake_differences(old))
        old.wait("all steps", lambda: json.loads(old.command("status", "--json").stdout)["lake"]["behind"] == 0)
        stop(old)
        done = new.command("rescale", "--of", str(old.config))
        assert done.returncode == 0, done.stderr
        assert identities(new) == identities(old)
        new.run("join")
        new.run("lake")
        traffic.records = records[half:]
        new.produce(traffic)
        traffic.records = records
        assert finish(new, traffic) == []
        new.wait("the lake", lambda: not lake_differences(new))


def test_ingest_goes_on_where_the_other_has_stopped(kafka: str, tmp_path: Path) -> None:
    """Records before that are in the lake, and those after it are read once."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with (
        running(Loop(tmp_path / "old", kafka, partitions=1, session_ms=6_000)) as old,
        running(Loop(tmp_path / "new", kafka, partitions=3, session_ms=6_000)) as new,
    ):
        topic = f"{old.name}-scores"
        for loop in (old, new):
            loop.config.write_text(loop.config.read_text() + SOURCE.format(topic=topic))
        admin = AdminClient({"bootstrap.servers": kafka})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        send(old, topic, 0, 50)
        old.begin()
        for role in ("ingest", "join", "lake"):
            old.run(role)
        old.wait("the records", lambda: len(good(old, "predictions")) == 50)
        old.wait("all steps", lambda: old.lag("join", ("predictions",)) == 0)
        old.wait("the lake", lambda: json.loads(old.command("status", "--json").stdout)["lake"]["behind"] == 0)
        stop(old)
        done = new.command("rescale", "--of", str(old.config))
        assert done.returncode == 0, done.stderr
        assert f"Ingest of topic {topic} continues" in done.stderr
        send(old, topic, 50, 80)
        new.run("ingest")
        new.wait("the rest", lambda: len(good(new, "predictions")) >= 80)
        assert sorted(str(row["key"]) for row in good(new, "predictions")) == sorted(f"s{n}" for n in range(80))
        wanted = [ConsumerGroupTopicPartitions(f"{old.name}-ingest", [TopicPartition(topic, 0)])]
        before = admin.list_consumer_group_offsets(wanted)[f"{old.name}-ingest"].result(30).topic_partitions
        assert before[0].offset == 50


def test_what_the_order_of_arrival_has_settled_stays(kafka: str, tmp_path: Path) -> None:
    """The first prediction of an id stands, and of two labels of one time the later record, whatever their times."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with (
        running(Loop(tmp_path / "old", kafka, partitions=1, session_ms=6_000)) as old,
        running(Loop(tmp_path / "new", kafka, partitions=2, session_ms=6_000)) as new,
    ):
        for loop in (old, new):
            loop.config.write_text(loop.config.read_text().replace("clock: event", "clock: arrival"))
        start_ms = now_ms() - 600_000
        prediction: dict[str, object] = {"v": 1, "key": "a", "id": "a1", "version": "v1"}
        label: dict[str, object] = {"v": 1, "key": "a", "kind": "fraud", "time": start_ms + 60_000}
        old.begin()
        producer = Producer(old.client)
        for name, value in (
            ("predictions", prediction | {"time": start_ms + 5_000, "outputs": {"fraud": 0.1}}),
            ("predictions", prediction | {"time": start_ms + 1_000, "outputs": {"fraud": 0.9}}),
            ("labels", label | {"value": 1, "arrived_at": start_ms + 90_000}),
            ("labels", label | {"value": 0, "arrived_at": start_ms + 61_000}),
        ):
            producer.produce(f"{old.name}.{name}", value=json.dumps(value), key="a")
        assert producer.flush(30) == 0
        right = [(0.0, 0.1, start_ms + 5_000)]
        for role in ("join", "lake"):
            old.run(role)
        old.wait("its outcome", lambda: scored(old) == right)
        old.wait("the lake", lambda: json.loads(old.command("status", "--json").stdout)["lake"]["behind"] == 0)
        stop(old)
        done = new.command("rescale", "--of", str(old.config))
        assert done.returncode == 0, done.stderr
        for role in ("join", "lake"):
            new.run(role)
        new.wait("the lake", lambda: len(scored(new)) == 1 and scored(new)[0][0] is not None)
        new.wait("all steps", lambda: json.loads(new.command("status", "--json").stdout)["lake"]["behind"] == 0)
        assert scored(new) == right


def scored(loop: Loop) -> list[tuple[float | None, float, int]]:
    """Return value, output and time of each prediction's outcome of the kind fraud."""
    return loop.lake().sql("SELECT value, output, epoch_ms(predicted_at) FROM scored WHERE kind = 'fraud'").fetchall()


def test_the_same_name_is_refused(kafka: str, tmp_path: Path) -> None:
    """Its topics have the other number of partitions."""
    with running(Loop(tmp_path, kafka)) as loop:
        done = loop.command("rescale", "--of", str(loop.config))
        assert done.returncode == 2
        assert "has the name or the lake of the stopped loop" in done.stderr


def send(loop: Loop, topic: str, first: int, following: int) -> None:
    """Send predictions as a company's topic has them."""
    producer = Producer(loop.client)
    for number in range(first, following):
        value = {"id": f"s{number}", "at": now_ms() - DAY_MS + number, "v": "v1", "p": 0.5, "c": "DE", "a": 1.5}
        producer.produce(topic, value=json.dumps(value), partition=0)
    assert producer.flush(30) == 0
