"""A real Apache Kafka for tests: one broker for a whole run, and what most tests do with it.

`conftest.py` makes the fixture `kafka` known to every test; the functions are imported from here. A test that
stops, kills or secures a broker starts a `LocalBroker` of its own. TRUTHLOOP_TEST_BOOTSTRAP_SERVERS names a broker
to use in place of the one that is started.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from filelock import FileLock

from truthloop.broker.local_broker import LocalBroker

__all__ = ["QUICK_START", "as_client", "create_topic", "kafka", "produce", "produce_transaction", "read_all"]

VARIABLE = "TRUTHLOOP_TEST_BOOTSTRAP_SERVERS"

QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""Java options for brokers of tests: nothing is compiled twice, which saves a second of two cores a start."""

POLLS = 120
"""Half a minute without any record or end of a partition: the test fails."""

Client = str | Mapping[str, str]
"""Bootstrap servers, or all properties of a client."""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a broker without TLS that all tests of this run share; name topics with `create_topic`."""
    if given := os.environ.get(VARIABLE):
        yield given
        return
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # what the workers of one run have in common
    with _shared_broker(root) as servers:
        yield servers


@contextmanager
def _shared_broker(root: Path) -> Iterator[str]:
    """The first process that comes starts the broker, and stops it when all others have left or died."""
    address, door = root / "kafka-address", FileLock(root / "kafka-door.lock")
    with (root / "kafka-guests.lock").open("w") as guests:
        broker = None
        with door:
            if address.exists():
                fcntl.flock(guests, fcntl.LOCK_SH)
            else:
                broker = LocalBroker(root / "kafka", java_options=QUICK_START)
                broker.start()
                address.write_text(broker.bootstrap_servers, "utf-8")
        if broker is None:
            yield address.read_text("utf-8")
            return
        try:
            yield broker.bootstrap_servers
        finally:
            with door:
                fcntl.flock(guests, fcntl.LOCK_EX)
                address.unlink()
                broker.stop()


def as_client(client: Client, **properties: str) -> dict[str, Any]:
    """Return properties for a client of librdkafka that says nothing on stderr; `_` in names stands for a dot."""
    base = {"bootstrap.servers": client} if isinstance(client, str) else dict(client)
    return base | {"log_level": 0} | {name.replace("_", "."): value for name, value in properties.items()}


def create_topic(client: Client, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
    """Make a topic with a name of its own and return the name."""
    name = f"t-{uuid.uuid4().hex}"
    admin = AdminClient(as_client(client))
    topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
    admin.create_topics([topic])[name].result(30)
    return name


def produce(client: Client, topic: str, *values: bytes) -> None:
    """Write records without a transaction and wait until the broker has them."""
    producer = Producer(as_client(client))
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def produce_transaction(client: Client, topic: str, *values: bytes, commit: bool = True) -> None:
    """Write records in a transaction of their own and commit or abort it."""
    producer = Producer(as_client(client, transactional_id=uuid.uuid4().hex))
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def read_all(client: Client, topic: str, isolation: str = "read_committed") -> list[Message]:
    """Return the records that a topic holds now, partition by partition."""
    properties = as_client(client, isolation_level=isolation, enable_partition_eof="true", group_id=uuid.uuid4().hex)
    consumer = Consumer(properties)
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        open_ends, records = set(partitions), list[Message]()
        idle = 0
        while open_ends:
            message = consumer.poll(0.25)
            idle = idle + 1 if message is None else 0
            assert idle < POLLS, f"nothing comes from {topic}, partitions {sorted(open_ends)}"
            if message is None:
                continue
            if (error := message.error()) is None:
                records.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                open_ends.discard(message.partition())
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition(), record.offset()))
