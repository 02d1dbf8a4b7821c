"""Ingest on a real broker: every source record once, whatever happens to workers, partitions and records.

Tests `streams.ingest.role` with `streams.ingest.assignment` and `streams.ingest.sending`.
"""

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import murmur2
from effort import some
from ingest_case import SCORES, TIME
from ingest_loop import IngestLoop, ingest_loop

import truthloop
from lake import Lake
from streams.kafka.transaction import TransactionUndoneError
from streams.messages.reject import RejectMessage
from truthloop.evidence.conservation import check_conservation

Record = dict[str, Any]


@pytest.fixture
def loop(tmp_path: Path, kafka: str) -> Iterator[IngestLoop]:
    """A loop with one source topic of three partitions, and a start position."""
    with ingest_loop(tmp_path, kafka, [SCORES]) as made:
        made.create("scores")
        made.begin()
        yield made


def scores(first: int, following: int, **parts: Any) -> list[Record]:
    """Return good records with the keys k<first> to k<following - 1>."""
    return [
        {"value": json.dumps({"id": f"k{number}", "t": 10**12 + number, "s": 0.5}), "key": str(number % 7), **parts}
        for number in range(first, following)
    ]


def expected(count: int) -> list[str]:
    """Return the keys of the first `count` records, sorted."""
    return sorted(f"k{number}" for number in range(count))


def test_every_step_of_a_commit_can_be_the_last(loop: IngestLoop) -> None:
    """The next process does what was not done, and nothing twice."""
    for count, step in enumerate(("begun", "sent", "offsets sent", "committed")):
        loop.produce("scores", scores(50 * count, 50 * count + 50))
        process = loop.run(TRUTHLOOP_CRASH_AT=f"ingest:{step}:1")
        assert process.wait(120) == 137, loop.log()
    loop.produce("scores", scores(200, 250))
    worker = loop.work()
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 250)
    worker.stop()
    assert loop.keys() == expected(250)
    assert worker.error is None


def test_kill_9_at_any_time(loop: IngestLoop) -> None:
    """Whatever the worker is doing, while more records come."""
    moments = random.Random(7)
    sent = 0
    for _ in range(5):
        process = loop.run()
        before = loop.height("predictions")
        wanted = before + moments.randrange(1, 3_000)
        loop.produce("scores", scores(sent, sent + 3_000))
        sent += 3_000
        loop.wait("some records", lambda want=wanted: loop.height("predictions") >= want)
        process.kill()
        process.wait()
    worker = loop.work()
    loop.wait("all records", lambda: len(loop.read("predictions")) >= sent)
    worker.stop()
    assert loop.keys() == expected(sent)


def test_workers_come_and_go(loop: IngestLoop) -> None:
    """Records read during a rebalance are read again by the partitions' next worker, and sent once."""
    first = loop.work("0")
    loop.produce("scores", scores(0, 500))
    loop.wait("the first records", lambda: len(loop.read("predictions")) >= 500)
    second = loop.work("1")
    loop.produce("scores", scores(500, 5_000))
    loop.wait("a share of the second worker", lambda: bool(second.role._assignment.positions))
    loop.produce("scores", scores(5_000, 6_000))
    loop.wait("records of both", lambda: len(loop.read("predictions")) >= 6_000)
    first.stop()
    loop.produce("scores", scores(6_000, 7_000))
    loop.wait("the rest by the second", lambda: len(loop.read("predictions")) >= 7_000)
    third = loop.work("0")
    loop.produce("scores", scores(7_000, 8_000))
    loop.wait(
        "a share of the third",
        lambda: bool(third.role._assignment.positions) and len(loop.read("predictions")) >= 8_000,
    )
    assert loop.keys() == expected(8_000)
    assert (first.error, second.error, third.error) == (None, None, None)


def test_two_workers_of_one_slot(loop: IngestLoop) -> None:
    """The later one replaces the earlier one, which ends with an error that says why."""
    first = loop.work("0")
    loop.wait("partitions", lambda: bool(first.role._assignment.positions))
    loop.work("0")
    loop.produce("scores", scores(0, 100))
    loop._workers.remove(first)
    loop.wait("the end of the first", lambda: first.has_ended)
    assert "--slot N" in str(first.error)
    loop.wait("all records by the second", lambda: len(loop.read("predictions")) >= 100)
    assert loop.keys() == expected(100)


def test_transactions_that_are_undone_are_repeated(loop: IngestLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With records read again from the committed offsets."""
    loop.produce("scores", scores(0, 300))
    worker = loop.work()
    transactions = worker.role._transactions
    commit, faults = transactions.commit, iter(["before", "after", "before"])

    def doubtful(offsets: Any, metadata: Any) -> None:
        fault = next(faults, None)
        if fault == "before":
            raise TransactionUndoneError("injected by the test")
        commit(offsets, metadata)
        if fault == "after":
            raise TransactionUndoneError("it was committed, and nobody can tell")

    monkeypatch.setattr(transactions, "commit", doubtful)
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 300)
    loop.produce("scores", scores(300, 400))
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 400 and next(faults, None) is None)
    assert loop.keys() == expected(400)


def test_topics_grow(loop: IngestLoop) -> None:
    """Added partitions are read from their first record, by running workers and by new ones."""
    worker = loop.work()
    loop.produce("scores", scores(0, 100))
    loop.wait("the first records", lambda: len(loop.read("predictions")) >= 100)
    loop.grow("scores", 5)
    loop.produce("scores", scores(100, 150, partition=4))
    loop.wait("records of the new partition", lambda: len(loop.read("predictions")) >= 150)
    worker.stop()
    loop.grow("scores", 6)
    loop.produce("scores", scores(150, 170, partition=5))
    loop.work()
    loop.wait("records of the newest partition", lambda: len(loop.read("predictions")) >= 170)
    assert loop.keys() == expected(170)


def test_messages_are_where_kafkas_own_clients_would_put_them(loop: IngestLoop) -> None:
    """Keyed by the join's key, not by the source's; rejects by the source's partition."""
    loop.produce("scores", scores(0, 200))
    loop.produce("scores", [{"value": b"broken", "partition": number % 3} for number in range(6)])
    loop.work()
    loop.wait("all records", lambda: len(loop.read("predictions")) >= 200 and len(loop.read("rejects")) >= 6)
    for message in loop.read("predictions"):
        key = message.key() or b""
        assert json.loads(message.value() or b"")["key"].encode() == key
        assert message.partition() == murmur2(key, 4)
    assert [message.partition() for message in loop.read("rejects")] == [0, 0, 1, 1, 2, 2]


BEATS: Record = {
    "topic": "labels",
    "as": "labels",
    "kind": "fraud",
    "map": {"key": "id", "time": TIME, "value": "v", "heartbeat": {"path": "beat", "in": [True]}},
}


def test_heartbeats_reach_every_partition(tmp_path: Path, kafka: str) -> None:
    """Each once, in one transaction with the other records of the batch."""
    with ingest_loop(tmp_path, kafka, [BEATS]) as loop:
        loop.create("labels", 2)
        loop.begin()
        loop.produce(
            "labels",
            [
                {"value": b'{"beat": true, "t": 1000000000005}'},
                {"value": b'{"id": "k", "t": 1000000000004, "v": 1}'},
            ],
        )
        loop.work()
        loop.wait("labels", lambda: len(loop.read("labels")) >= 5)
        beats = [message.partition() for message in loop.read("labels") if b'"heartbeat"' in (message.value() or b"")]
        assert beats == [0, 1, 2, 3]
        assert len(loop.read("labels")) == 5


COMPACTED: Record = {
    "topic": "labels",
    "as": "labels",
    "kind": "fraud",
    "tombstone": "retract",
    "map": {"key": "$key", "time": {"path": "$timestamp", "unit": "ms"}, "value": "v"},
}


def test_a_tombstone_of_a_compacted_topic_ends_as_a_retracted_outcome_in_the_lake(tmp_path: Path, kafka: str) -> None:
    """With the time that Kafka gave it; a second one, or one of a key without a label, makes no revision."""
    with ingest_loop(tmp_path, kafka, [SCORES, COMPACTED], clock="event") as loop:
        loop.create("scores")
        loop.create("labels", 2, cleanup_policy="compact")
        loop.start()
        loop.produce("scores", scores(0, 3))
        for role in ("ingest", "join", "lake"):
            loop.run(role)

        def lake(query: str) -> list[tuple[Any, ...]]:
            return truthloop.open(tmp_path / "lake").sql(query).fetchall()

        loop.wait("the predictions", lambda: lake("SELECT count(*) FROM all_predictions") == [(3,)])
        rows = [("k0", b'{"v": 1}'), ("k1", b'{"v": 1}'), ("k0", None), ("k0", None), ("k2", None)]
        records = [{"key": key, "value": value, "timestamp": 10**12 + 5 + at} for at, (key, value) in enumerate(rows)]
        loop.produce("labels", records)
        loop.wait("the labels", lambda: lake("SELECT count(*) FROM all_labels") == [(5,)])
        found = sorted((one["key"], one["time"] - 10**12, one["op"], one["value"]) for one in loop.values("labels"))
        deleted = [("k0", 7, "delete", None), ("k0", 8, "delete", None), ("k2", 9, "delete", None)]
        assert found == sorted([("k0", 5, "upsert", 1.0), ("k1", 6, "upsert", 1.0), *deleted])
        assert len({message.partition() for message in loop.read("labels") if message.key() == b"k0"}) == 1
        revisions = (
            "SELECT key, status, value, epoch_ms(known_at) - 1e12::BIGINT FROM all_outcomes ORDER BY key, revision"
        )
        assert lake(revisions) == [("k0", "joined", 1.0, 5), ("k0", "retracted", None, 7), ("k1", "joined", 1.0, 6)]
        assert lake("SELECT key, status FROM scored ORDER BY key") == [
            ("k0", "retracted"),
            ("k1", "joined"),
            ("k2", "pending"),
        ]
        conservation = check_conservation(Lake.open(tmp_path / "lake"), {"fraud": "d"})
        assert conservation.violations == []


MIXED: list[Record] = [
    SCORES | {"where": {"kind": "score"}},
    {"topic": "scores", "as": "predictions", "where": {"type": "score.v1"}}
    | {"map": {"key": "data.id", "time": "time", "outputs.fraud": "data.s"}},
    {
        "topic": "cdc",
        "as": "labels",
        "kind": "fraud",
        "map": {
            "key": {"path": "payload.after.id", "otherwise": "payload.before.id"},
            "value": {"path": "payload.after.v"},
            "time": {"path": "payload.ts_ms", "unit": "ms"},
            "retract": {"path": "payload.op", "in": ["d"]},
        },
    },
]


ENDS = ("predictions", "labels", "rejects")


def test_every_record_ends_in_exactly_one_topic(tmp_path: Path, kafka: str) -> None:
    """Several formats in one topic, changes of a database, tombstones, broken records, and records of a mebibyte."""
    draw = random.Random(3)
    records: list[Record] = []
    for number in range(400):
        plain = {"kind": "score", "id": f"p{number}", "t": 10**12 + number, "s": 0.5}
        event = {"specversion": "1.0", "id": "e", "source": "/s", "type": "score.v1", "time": "2001-09-09T01:46:49Z"}
        records += [{"value": json.dumps(plain)}, {"value": json.dumps(event | {"data": {"id": f"e{number}", "s": 1}})}]
    poison = [
        b"\x00\x00\x00\x00\x05avro",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"",
        b'{"kind": "score"}',
        b'{"kind": "score", "id": 1}',
    ]
    records += [{"value": draw.choice(poison)} for _ in range(40)]
    records += [{"value": b'{"kind": "other"}'}, {"value": None}] * 10
    head = b'{"kind": "score", "id": "large", "t": 1000000000001, "s": 1, "pad": "'
    records += [{"value": head + b"x" * (size - len(head) - 2) + b'"}'} for size in (1_048_576, 1_048_577, 2_000_000)]
    draw.shuffle(records)
    rows = [("c", None, {"id": "a", "v": 1}), ("u", None, {"id": "a", "v": 0}), ("d", {"id": "a"}, None)]
    changes: list[Record] = [
        {"value": json.dumps({"payload": {"op": op, "before": before, "after": after, "ts_ms": at}}), "key": "a"}
        for at, (op, before, after) in enumerate(rows, 10**12)
    ]
    with ingest_loop(tmp_path, kafka, MIXED) as loop:
        loop.create("scores", max_message_bytes="3000000")
        loop.create("cdc", 1)
        loop.begin()
        loop.produce("scores", records)
        loop.produce("cdc", [*changes, {"value": None, "key": "a"}])
        worker = loop.work()
        count = len(records) + len(changes) + 1
        loop.wait("the end", lambda: total(worker.health, "truthloop_records_total") >= count)
        loop.wait("the last transaction markers", lambda: [len(loop.read(topic)) for topic in ENDS] >= [801, 3, 42])
        keys = [f"{kind}{number}" for kind in "ep" for number in range(400)]
        assert loop.keys() == sorted([*keys, "large"])
        labels = [(one["key"], one["op"], one["value"]) for one in loop.values("labels")]
        assert labels == [("a", "upsert", 1.0), ("a", "upsert", 0.0), ("a", "retract", None)]
        rejects = [RejectMessage.decode(message.value() or b"") for message in loop.read("rejects")]
        assert len(rejects) == 42
        positions = {(one.source_partition, one.source_row) for one in rejects}
        assert len(positions) == 42
        assert {one.reason for one in rejects} == {
            *("avro_or_protobuf", "not_json", "not_an_object", "bad_key", "bad_time", "too_large")
        }
        originals = [one.original for one in rejects if one.reason != "too_large"]
        assert set(originals) <= set(poison)
        assert total(worker.health, "truthloop_filtered_total") == 21
        assert total(worker.health, "truthloop_rejects_total") == 42
        assert worker.health.unready() == ""


def total(health: Any, name: str) -> float:
    """Return the sum of a metric over its labels."""
    return sum(sample.value for metric in health.registry.collect() for sample in metric.samples if sample.name == name)


CANARIES = ["4111-1111-1111-1111", "jo.doe@example.com", "DE89370400440532013000"]


def test_personal_data_is_nowhere(tmp_path: Path, kafka: str) -> None:
    """Neither in a topic of the loop, plain or in base64, nor in a log or a state file."""
    fields = SCORES["map"] | {"features": "f.*", "features.card": "f.card_no", "features.mail": "mail"}
    source = SCORES | {"map": fields}
    features = {
        "card": {"type": "string", "pii": "hash"},
        "mail": {"type": "string", "pii": "drop"},
        "iban": {"type": "string", "pii": "hash"},
    }
    good = {
        "id": "k",
        "t": 1_000_000_000_001,
        "s": 0.5,
        "f": {"card_no": CANARIES[0], "iban": CANARIES[2]},
        "mail": CANARIES[1],
    }
    broken = [
        good | {"id": None},
        good | {"t": CANARIES[0]},
        {"f": {"card_no": [CANARIES]}, "id": "x", "t": 1_000_000_000_001},
    ]
    texts = [json.dumps(one).encode() for one in (good, *broken)] + [("{" + CANARIES[1]).encode(), b"\x00" + b"x" * 9]
    with ingest_loop(tmp_path, kafka, [source], features=features) as loop:
        loop.create("scores")
        loop.begin()
        process = loop.run()
        loop.produce("scores", [{"value": text, "headers": [("mail", CANARIES[1].encode())]} for text in texts])
        loop.wait("all records", lambda: len(loop.read("predictions")) >= 2 and len(loop.read("rejects")) >= 4)
        process.terminate()
        process.wait(60)
        found = b"".join(
            (message.value() or b"") + (message.key() or b"")
            for topic in ("predictions", "labels", "rejects", "outcomes", "ledger", "commands", "commits")
            for message in loop.read(topic, "read_uncommitted")
        )
        found += b"".join(path.read_bytes() for path in tmp_path.rglob("*.log"))
        found += b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
        assert b'"card":"' in found
        for canary in CANARIES:
            assert canary.encode() not in found
            assert base64.b64encode(canary.encode())[:12] not in found


HOOKED: Record = {"topic": "scores", "as": "predictions", "map": {"python": "ingest_hook:to_prediction"}}


@pytest.mark.parametrize("death", some("abort", "exit"))
def test_a_record_that_kills_the_process_is_rejected_unread(tmp_path: Path, kafka: str, death: str) -> None:
    """After three crashes the batch is mapped record by record; after one more, without the poison pill."""
    with ingest_loop(tmp_path, kafka, [HOOKED]) as loop:
        loop.create("scores", 1)
        loop.begin()
        numbers = [*range(30), "abort" if death == "abort" else "exit", *range(30, 60)]
        loop.produce(
            "scores",
            [
                {"value": json.dumps({"key": f"k{n}", "t": 1_000_000_000_001, "value": 1 if isinstance(n, int) else n})}
                for n in numbers
            ],
        )
        path = str(Path(__file__).parents[1] / "support")
        for life in range(4):
            code = loop.run(PYTHONPATH=path).wait(120)
            assert code in (-6, 9), (life, loop.log())
            assert loop.keys() == []
        loop.run(PYTHONPATH=path)
        loop.wait("all other records", lambda: len(loop.read("predictions")) >= 60)
        assert loop.keys() == expected(60)
        (reject,) = [RejectMessage.decode(message.value() or b"") for message in loop.read("rejects")]
        assert (reject.reason, reject.source_row) == ("crashed_the_process", 30)
        assert "offset 30: the record is rejected unread" in loop.log()
