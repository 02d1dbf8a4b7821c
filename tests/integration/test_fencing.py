"""A worker that is fenced: it ends where another one has its slot, and begins again where that can have been itself.

Covers `streams.kafka.fencing` and `streams.kafka.transaction`.
"""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from ingest_case import SCORES
from ingest_loop import IngestLoop
from kafka_fixture import QUICK_START
from live_case import DAY_MS, Loop, Traffic, finish, lake_differences, running

from streams.kafka.fencing import FencedError
from streams.kafka.transaction import Transactions
from truthloop.broker.local_broker import LocalBroker
from truthloop.clock import now_ms

INPUTS = ("predictions", "labels")
SESSION_MS = 60_000
"""Longer than the broker is away: a worker whose session ends meanwhile would join anew, and fence who has its slot."""

BEGINS_AGAIN = "this worker begins again"
ENDS = "give every worker its own, --slot N"


def take_slot(loop: Loop, role: str, until_logged: str) -> None:
    """Join a role's group under the name of its worker, and leave once that worker's log says something."""
    group = f"{loop.name}-{role}"
    properties = {"group.id": group, "group.instance.id": f"{group}-0", "partition.assignment.strategy": "range"}
    other = Consumer(loop.client | properties | {"session.timeout.ms": SESSION_MS, "enable.auto.commit": False})
    topics = INPUTS if role == "lake" else (*INPUTS, "commands")
    other.subscribe([f"{loop.name}.{topic}" for topic in topics])

    def is_logged() -> bool:
        other.consume(1, timeout=0.2)
        return until_logged in loop.log(role)

    try:
        loop.wait(f"`{until_logged}` in the log of {role}", is_logged, every_s=0)
    finally:
        other.close()


@pytest.mark.timeout(400)
def test_a_worker_that_is_fenced_after_a_lost_connection_begins_again(tmp_path: Path) -> None:
    """A request that it sent before the loss can come after its new membership; who it was, the broker does not say.

    Fenced again, it ends.
    """
    traffic = Traffic(23, 1_000, now_ms() - 4 * DAY_MS)
    with (
        LocalBroker(tmp_path / "kafka", java_options=QUICK_START) as broker,
        running(Loop(tmp_path, broker.bootstrap_servers, session_ms=SESSION_MS)) as loop,
    ):
        loop.begin()
        roles = {role: loop.run(role) for role in ("join", "lake")}
        loop.produce(traffic)
        loop.wait("the first steps", lambda: loop.lag("join", INPUTS) == 0)
        broker.kill()
        broker.start()
        for role in roles:
            take_slot(loop, role, BEGINS_AGAIN)
        assert finish(loop, traffic) == []
        loop.wait("the lake", lambda: not lake_differences(loop))
        assert [role.poll() for role in roles.values()] == [None, None]
        take_slot(loop, "lake", ENDS)
        assert roles["lake"].wait(60) == 4
        assert roles["join"].poll() is None


@pytest.mark.timeout(400)
@pytest.mark.parametrize("role", ["join", "lake"])
def test_a_worker_that_is_fenced_by_another_one_ends(kafka: str, tmp_path: Path, role: str) -> None:
    """Its connections are well, so another worker has its slot; the message says what to do."""
    with running(Loop(tmp_path, kafka)) as loop:
        loop.begin()
        process = loop.run(role)
        loop.wait("its partitions", lambda: "partitions [0, 1, 2, 3]" in loop.log(role))
        take_slot(loop, role, ENDS)
        assert process.wait(60) == 4
        assert BEGINS_AGAIN not in loop.log(role)


def test_a_commit_under_a_membership_that_another_worker_has_replaced_ends_the_worker(
    kafka: str, tmp_path: Path
) -> None:
    """At once, before its own client knows: if it tried again, its new producer would shut the other worker out."""
    loop = IngestLoop(tmp_path, kafka, [SCORES])
    loop.create("scores", 1)
    topic, group = loop.topic("scores"), f"{loop.name}-ingest"

    def member() -> Consumer:
        """Join the group under the one name that both have, and return with the partition."""
        consumer = loop.clients.member(group, instance="slot-0")
        consumer.subscribe([topic])

        def is_assigned() -> bool:
            consumer.consume(1, timeout=0.1)
            return bool(consumer.assignment())

        loop.wait("its partition", is_assigned)
        return consumer

    earlier = member()
    metadata = earlier.consumer_group_metadata()
    later = member()
    transactions = Transactions(loop.clients, f"{group}-0")
    try:
        transactions.begin()
        with pytest.raises(FencedError, match="--slot N"):
            transactions.commit([TopicPartition(topic, 0, 1)], metadata)
        transactions.abandon()
        transactions.begin()
        transactions.commit([TopicPartition(topic, 0, 1)], later.consumer_group_metadata())
        assert later.committed([TopicPartition(topic, 0)], timeout=30)[0].offset == 1
    finally:
        transactions.abandon()
        later.close()
        earlier.close()


def test_a_worker_that_is_fenced_while_it_sends_ends(kafka: str, tmp_path: Path) -> None:
    """As it does at its commit: a new producer would shut out the one that has its slot."""
    loop = IngestLoop(tmp_path, kafka, [SCORES])
    loop.create("scores", 1)
    earlier, later = (Transactions(loop.clients, f"{loop.name}-0") for _ in range(2))

    def has_sent_all() -> bool:
        earlier.send(loop.topic("scores"), [(None, b"{}")], 0)
        return False

    try:
        earlier.begin()
        later.begin()
        with pytest.raises(FencedError, match="--slot N"):
            loop.wait("the end of the earlier one", has_sent_all)
        later.send(loop.topic("scores"), [(None, b"{}")], 0)
        later.commit_messages()
    finally:
        earlier.abandon()
        later.abandon()
