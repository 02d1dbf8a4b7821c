"""`truthloop dlq` on a real broker: what a mapping has rejected is taken again once it is mended, each record once.

Tests `streams.repair.redrive`, `streams.repair.reject_log` and `truthloop.cli.commands.dlq`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ingest_case import PII_KEY, SCORES, TIME
from ingest_loop import IngestLoop, ingest_loop

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.columns.digest import record_digest
from streams.kafka.topics import Topics
from streams.kafka.transaction import Transactions
from streams.messages.reject import RejectMessage
from streams.registry.topic_tools import topic_tools
from streams.repair.redrive import Redrive
from streams.repair.reject_log import RejectChoice
from truthloop.clock import now_ms

Record = dict[str, Any]

LABELS: Record = {
    "topic": "scores",
    "as": "labels",
    "kind": "fraud",
    "where": {"type": "label"},
    "map": {"key": "$key", "value": "truth", "time": {"path": "$timestamp", "unit": "ms"}},
}


@pytest.fixture
def loop(tmp_path: Path, kafka: str) -> Iterator[IngestLoop]:
    """A loop whose predictions lack the field that its map names, so that all of them are rejected."""
    with ingest_loop(tmp_path, kafka, [SCORES]) as made:
        made.create("scores")
        made.begin()
        yield made


def renamed(first: int, following: int) -> list[Record]:
    """Return records whose producer has renamed `id` to `txn`; every fifth one lacks that, too."""
    return [
        {"value": json.dumps({"t": 10**12 + at, "s": 0.5} | ({"txn": f"k{at}"} if at % 5 else {})), "partition": at % 3}
        for at in range(first, following)
    ]


def mend(loop: IngestLoop, **changes: Any) -> None:
    """Write the loop's config with changes of its first source."""
    value = json.loads(loop.path.read_text())
    value["ingest"][0] |= changes
    loop.path.write_text(json.dumps(value))


def dlq(loop: IngestLoop, *arguments: str, code: int = 0, **environ: str) -> Any:
    """Run `truthloop dlq`, and return the document that it prints; what it says where it fails."""
    command = [sys.executable, "-m", "truthloop", "dlq", *arguments, "--config", str(loop.path)]
    done = subprocess.run(
        [*command, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | PII_KEY | environ,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def rejected(loop: IngestLoop, count: int) -> None:
    """Run ingest until it has rejected so many records."""
    worker = loop.work()
    loop.wait("rejects", lambda: len(loop.read("rejects")) >= count)
    worker.stop()


BY_TXN: Record = {"map": {"key": "txn", "time": TIME, "outputs.fraud": "s"}}


def test_records_are_taken_again_once_the_mapping_reads_them(loop: IngestLoop) -> None:
    """With their own time and the arrival of the redrive, and a flag; those without a key are refused again."""
    loop.produce("scores", renamed(0, 50))
    rejected(loop, 50)
    assert dlq(loop, "redrive")["refused"] == [{"source": loop.topic("scores"), "reason": "bad_key", "records": 50}]
    mend(loop, **BY_TXN)
    assert dlq(loop, "redrive", "--dry-run")["repaired"] == 40
    assert loop.read("predictions") == []
    before = now_ms()
    done = dlq(loop, "redrive")
    assert done["repaired"] == 40
    assert done["refused"] == [{"source": loop.topic("scores"), "reason": "bad_key", "records": 10}]
    assert loop.keys() == sorted(f"k{at}" for at in range(50) if at % 5)
    sent = {one["key"]: one for one in loop.values("predictions")}
    assert sent["k7"]["time"] == 10**12 + 7
    (arrived,) = {one["arrived_at"] for one in sent.values()}
    assert before <= arrived <= now_ms()
    assert all(one["flags"] == ["record:repaired"] for one in sent.values())


def test_a_second_redrive_finds_nothing_more(loop: IngestLoop) -> None:
    """The marks tell what was taken again; `list` and `show` tell it, too."""
    loop.produce("scores", renamed(0, 10))
    rejected(loop, 10)
    mend(loop, **BY_TXN)
    assert dlq(loop, "redrive", "--reason", "not_json")["repaired"] == 0
    assert dlq(loop, "redrive", "--source", "other")["repaired"] == 0
    assert dlq(loop, "redrive", "--reason", "bad_key")["repaired"] == 8
    assert dlq(loop, "redrive")["repaired"] == 0
    assert len(loop.keys()) == 8
    row = {"source": loop.topic("scores"), "input": "predictions", "stage": "mapping", "reason": "bad_key"}
    assert dlq(loop, "list")["rejects"] == [row | {"rejects": 10, "repaired": 8}]
    shown = dlq(loop, "show", "--limit", "100")["rejects"]
    assert {one["repaired_at"] is None for one in shown if "txn" in json.loads(one["value"])} == {False}
    assert [one["repaired_at"] for one in shown if "txn" not in json.loads(one["value"])] == [None, None]
    assert "did you mean 'bad_key'" in dlq(loop, "list", "--reason", "bad_keys", code=2)


@pytest.mark.parametrize("step", ["begun", "sent", "committed"])
def test_a_redrive_that_dies_is_gone_on_with(loop: IngestLoop, step: str) -> None:
    """At every step: what it has committed is marked, and what it has not is not there."""
    loop.produce("scores", renamed(1, 5))
    rejected(loop, 4)
    mend(loop, **BY_TXN)
    dlq(loop, "redrive", code=137, TRUTHLOOP_CRASH_AT=f"repair:{step}:1")
    assert dlq(loop, "redrive")["repaired"] == (0 if step == "committed" else 4)
    assert loop.keys() == ["k1", "k2", "k3", "k4"]


class _Overtaken(Transactions):
    """Transactions of a redrive that another one overtakes, between what it has read and what it sends.

    Args:
        has_trouble: errors of the cluster have it make a new producer after that.
    """

    def __init__(self, loop: IngestLoop, *, has_trouble: bool) -> None:
        super().__init__(loop.clients, Redrive.transactional_id(Topics.of(loop.config)))
        self._loop = loop
        self._has_trouble = has_trouble

    def begin(self) -> None:
        assert dlq(self._loop, "redrive")["repaired"] == 4
        if self._has_trouble:
            self.abandon()
        super().begin()


OVERTAKEN = [(False, "another redrive of this loop has begun"), (True, "another redrive has taken some of its records")]


@pytest.mark.parametrize(("has_trouble", "message"), OVERTAKEN)
def test_of_two_redrives_one_takes_a_record(loop: IngestLoop, *, has_trouble: bool, message: str) -> None:
    """Both have found it; the one that is late sends nothing, and says so."""
    loop.produce("scores", renamed(1, 5))
    rejected(loop, 4)
    mend(loop, **BY_TXN)
    config = LoopConfig.model_validate_json(loop.path.read_text())
    tools = topic_tools(config, PII_KEY, loop.folder)
    late = Redrive(loop.clients, config, tools, now_ms(), _Overtaken(loop, has_trouble=has_trouble))
    with pytest.raises(BrokerError, match=message):
        late.run(RejectChoice())
    assert loop.keys() == ["k1", "k2", "k3", "k4"]


def test_bytes_of_a_reject_stand_for_a_record_that_is_gone(loop: IngestLoop) -> None:
    """Where the mapping needs no key, time or headers of the record; nothing else tells those."""
    loop.produce("scores", renamed(1, 3))
    rejected(loop, 2)
    loop.remove("scores")
    loop.create("scores")
    loop.produce("scores", renamed(6, 9))  # other records at the same offsets
    mend(loop, map={"key": "txn", "time": {"path": "$timestamp", "unit": "ms"}, "outputs.fraud": "s"})
    (left,) = dlq(loop, "redrive")["left"]
    assert (left["records"], "needs its key, time or headers" in left["why"]) == (2, True)
    mend(loop, **BY_TXN)
    assert dlq(loop, "redrive")["repaired"] == 2
    assert loop.keys() == ["k1", "k2"]


def test_a_loop_with_personal_features_keeps_no_bytes_and_reads_again(tmp_path: Path, kafka: str) -> None:
    """From the topic, by offset; where the record is gone, it is said that it cannot be done."""
    with ingest_loop(tmp_path, kafka, [SCORES], features={"mail": {"type": "string", "pii": "drop"}}) as loop:
        loop.create("scores")
        loop.begin()
        loop.produce("scores", renamed(1, 3))
        rejected(loop, 2)
        assert [one["value"] for one in dlq(loop, "show")["rejects"]] == [None, None]
        mend(loop, **BY_TXN)
        assert dlq(loop, "redrive", "--dry-run")["repaired"] == 2
        loop.remove("scores")
        (left,) = dlq(loop, "redrive")["left"]
        assert (left["records"], "no bytes were kept" in left["why"]) == (2, True)


def test_the_source_that_rejected_takes_again_and_no_other(tmp_path: Path, kafka: str) -> None:
    """Two sources read the topic; the record's prediction was taken, so its label alone is taken again."""
    value = json.dumps({"id": "k1", "t": 10**12, "s": 0.5, "type": "label", "fraud": 1})
    with ingest_loop(tmp_path, kafka, [SCORES, LABELS]) as loop:
        loop.create("scores")
        loop.begin()
        loop.produce("scores", [{"value": value, "key": "k1", "timestamp": 10**12 + 5}])
        rejected(loop, 1)
        assert loop.keys() == ["k1"]
        config = json.loads(loop.path.read_text())
        config["ingest"][1]["map"]["value"] = "fraud"
        loop.path.write_text(json.dumps(config))
        assert dlq(loop, "redrive")["repaired"] == 1
        assert loop.keys() == ["k1"]
        (label,) = loop.values("labels")
        assert (label["key"], label["value"], label["time"]) == ("k1", 1.0, 10**12 + 5)
        config["ingest"] = config["ingest"][:1]
        loop.path.write_text(json.dumps(config))
        assert dlq(loop, "redrive")["left"] == []


def test_what_no_source_selects_any_more_is_left(loop: IngestLoop) -> None:
    """It is no reject of the mended mapping, and nothing is sent of it; a topic that nobody reads is told from that."""
    values = [{"txn": f"k{at}", "t": 10**12, "s": 0.5, "type": "ab"[at % 2]} for at in range(6)]
    loop.produce("scores", [{"value": json.dumps(value), "partition": 0} for value in values])
    rejected(loop, 6)
    mend(loop, **BY_TXN, where={"type": "b"})
    done = dlq(loop, "redrive")
    assert (done["repaired"], done["refused"]) == (3, [])
    assert done["left"] == [{"source": loop.topic("scores"), "why": "no source selects it now", "records": 3}]
    assert loop.keys() == ["k1", "k3", "k5"]
    mend(loop, topic=loop.topic("others"))
    (left,) = dlq(loop, "redrive")["left"]
    assert (left["why"], left["records"]) == ("no source of the config reads the topic", 3)


def test_a_record_that_killed_the_process_is_tried_only_where_it_is_asked_for(loop: IngestLoop) -> None:
    """One that kills it again would hold up all others."""
    value = json.dumps({"txn": "k1", "t": 10**12, "s": 0.5}).encode()
    loop.produce("scores", [{"value": value, "partition": 0}])
    crashed = RejectMessage(
        v=1,
        input="predictions",
        stage="mapping",
        reason="crashed_the_process",
        seen_at=5,
        source=loop.topic("scores"),
        source_partition=0,
        source_row=0,
        digest=record_digest(value),
    )
    producer = loop.clients.producer()
    producer.produce(f"{loop.name}.rejects", crashed.encode(), partition=1)
    assert producer.flush(30) == 0
    mend(loop, **BY_TXN)
    done = dlq(loop, "redrive")
    assert (done["repaired"], done["left"][0]["records"]) == (0, 1)
    assert "--reason crashed_the_process" in done["left"][0]["why"]
    assert dlq(loop, "redrive", "--reason", "crashed_the_process")["repaired"] == 1
    assert loop.keys() == ["k1"]


def test_a_record_at_the_place_of_a_repaired_one_is_another(loop: IngestLoop) -> None:
    """The topic was recreated, and its new record was rejected, too."""
    loop.produce("scores", [{"value": json.dumps({"txn": "k1", "t": 10**12, "s": 0.5}), "partition": 0}])
    rejected(loop, 1)
    value = json.dumps({"txn": "k2", "t": 10**12, "s": 0.5}).encode()
    loop.remove("scores")
    loop.create("scores")
    loop.produce("scores", [{"value": value, "partition": 0}])
    (first,) = [RejectMessage.decode(message.value() or b"") for message in loop.read("rejects")]
    second = msgspec.structs.replace(first, digest=record_digest(value), original=None)
    mend(loop, **BY_TXN)
    assert dlq(loop, "redrive")["repaired"] == 1
    producer = loop.clients.producer()
    producer.produce(f"{loop.name}.rejects", second.encode(), partition=1)
    assert producer.flush(30) == 0
    assert dlq(loop, "redrive")["repaired"] == 1
    assert loop.keys() == ["k1", "k2"]
