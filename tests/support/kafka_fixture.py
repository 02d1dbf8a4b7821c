"""A real Apache Kafka for tests: one broker for a whole run, and functions that most tests use.

`conftest.py` imports the fixture `kafka` for every test. A test that stops, kills or secures a broker starts its own
`LocalBroker`. TRUTHLOOP_TEST_BOOTSTRAP_SERVERS names a broker to use instead of starting one.
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
"""Java options for brokers of tests: one compiler tier, which saves two cores a second per start."""

POLLS = 120
"""Half a minute without a record or an end of partition: then the test fails."""

Client = str | Mapping[str, str]
"""Bootstrap servers, or all properties of a client."""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a broker without TLS that all tests of this run share; see `create_topic`."""
    if given := os.environ.get(VARIABLE):
        yield given
        return
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # shared by the workers of one run
    with _shared_broker(root) as servers:
        yield servers


@contextmanager
def _shared_broker(root: Path) -> Iterator[str]:
    """Start the broker in the first process that asks for it, and stop it after all others have ended."""
    address, start_lock = root / "kafka-address", FileLock(root / "kafka-start.lock")
    with (root / "kafka-users.lock").open("w") as users:
        broker = None
        with start_lock:
            if address.exists():
                fcntl.flock(users, fcntl.LOCK_SH)
            else:
                broker = LocalBroker(root / "kafka", java_options=QUICK_START)
                broker.start()
                # a new broker has no producer ids at first, and clients warn that they wait for one
                Producer(as_client(broker.bootstrap_servers, transactional_id="first")).init_transactions(30)
                address.write_text(broker.bootstrap_servers, "utf-8")
        if broker is None:
            yield address.read_text("utf-8")
            return
        try:
            yield broker.bootstrap_servers
        finally:
            with start_lock:
                fcntl.flock(users, fcntl.LOCK_EX)
                address.unlink()
                broker.stop()


def as_client(client: Client, **properties: str) -> dict[str, Any]:
    """Return properties for a silent client of librdkafka; `_` in names means a dot."""
    base = {"bootstrap.servers": client} if isinstance(client, str) else dict(client)
    return base | {"log_level": 0} | {name.replace("_", "."): value for name, value in properties.items()}


def create_topic(client: Client, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
    """Create a topic with a new name and return the name."""
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
    """Write records in one transaction and commit or abort it."""
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
    """Return the records of a topic up to its current end, by partition and offset."""
    group = f"t-{uuid.uuid4().hex}"
    properties = as_client(client, isolation_level=isolation, enable_partition_eof="true", group_id=group)
    consumer = Consumer(properties)
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        unfinished, records = set(partitions), list[Message]()
        idle = 0
        while unfinished:
            message = consumer.poll(0.25)
            idle = idle + 1 if message is None else 0
            assert idle < POLLS, f"nothing comes from {topic}, partitions {sorted(unfinished)}"
            if message is None:
                continue
            if (error := message.error()) is None:
                records.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                unfinished.discard(message.partition())
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition(), record.offset()))
