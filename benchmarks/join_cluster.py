"""The topics of the join's benchmark: made, filled at a stroke, watched until an engine has committed, read again.

A load is written in one transaction: an engine that waits for it sees nothing of it until it is committed, and then all
at once. So starting an engine costs nothing of the time that is measured. Must not know engines.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from join_traffic import PARTITIONS, Chunk

__all__ = ["Cluster", "Load", "open_transaction"]

INPUTS = ("predictions", "labels")
TIMEOUT_S = 60
READ_AT_ONCE = 20_000
WAKE_PAUSES_S = (0.2, 1.0, 3.0, 10.0)


@dataclass
class Load:
    """A load that is written and not yet committed."""

    producer: Producer
    ends: dict[tuple[str, int], int]

    def commit(self) -> float:
        """Let everybody see it; return the moment, by the monotonic clock."""
        at_s = time.monotonic()
        self.producer.commit_transaction(TIMEOUT_S)
        return at_s


def open_transaction(servers: str, name: str, records: Iterable[tuple[str, str, int, bytes]]) -> Producer:
    """Write records in a transaction that is left open: nobody sees any before its commit, and then all at once.

    Args:
        servers: of the broker.
        name: of the transaction.
        records: topic, key, time in ms and value of each.
    """
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "compression.type": "lz4",
            "linger.ms": 20,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
            "transaction.timeout.ms": 900_000,
            "transactional.id": name,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    for topic, key, time_ms, value in records:
        while True:
            try:
                producer.produce(topic, value, key, timestamp=time_ms)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0
    return producer


class Cluster:
    """A broker and the folder of its records.

    Args:
        servers: its address.
        folder: of the broker.
    """

    def __init__(self, servers: str, folder: Path) -> None:
        self.servers = servers
        self._folder = folder
        self._admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})

    def wake(self) -> None:
        """Let the broker make its own topics; an admin client that asks for a group before that waits for ever."""
        self.create("wake")
        reader = self._reader("wake", isolation="read_uncommitted")
        try:
            for pause_s in WAKE_PAUSES_S:
                with suppress(KafkaException):
                    reader.committed([TopicPartition("wake", 0)], timeout=TIMEOUT_S)
                    return
                time.sleep(pause_s)
        finally:
            reader.close()

    def create(self, *names: str) -> None:
        """Make topics."""
        config = {"retention.ms": "-1"}  # event times are the records' own
        wanted = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1, config=config) for name in names]
        for future in self._admin.create_topics(wanted).values():
            future.result(TIMEOUT_S)

    def delete(self, loop: str) -> None:
        """Remove all topics of a loop, those of the engine's own included."""
        names = [name for name in self._admin.list_topics(timeout=TIMEOUT_S).topics if name.startswith(f"{loop}")]
        for future in self._admin.delete_topics(names).values():
            future.result(TIMEOUT_S)

    def written_mb(self, loop: str) -> float:
        """Return the size of what the broker keeps of a loop besides its inputs: outcomes, changelogs, ledger."""
        inputs = tuple(f"{loop}.{name}-" for name in INPUTS)
        folders = [path for path in (self._folder / "data").glob(f"{loop}*") if not path.name.startswith(inputs)]
        return sum(file.stat().st_size for folder in folders for file in folder.glob("*.log")) / 1e6

    def fill(self, loop: str, chunks: Iterable[Chunk]) -> Load:
        """Write a load in a transaction that is left open."""
        records = (
            (f"{loop}.{chunk.role}", key, time_ms, value)
            for chunk in chunks
            for key, value, time_ms in zip(chunk.keys, chunk.values, chunk.times, strict=True)
        )
        return Load(open_transaction(self.servers, f"{loop}-fill", records), self.ends(loop))

    def ends(self, loop: str) -> dict[tuple[str, int], int]:
        """Return the offsets behind the last records of the inputs, committed or not."""
        reader = self._reader("ends", isolation="read_uncommitted")
        try:
            return {
                (f"{loop}.{name}", number): reader.get_watermark_offsets(
                    TopicPartition(f"{loop}.{name}", number), timeout=TIMEOUT_S
                )[1]
                for name in INPUTS
                for number in range(PARTITIONS)
            }
        finally:
            reader.close()

    def is_caught_up(self, loop: str) -> bool:
        """Tell whether a loop's group has its members, and they have all partitions of the inputs."""
        try:
            asked = self._admin.describe_consumer_groups([f"{loop}-join"], request_timeout=5)
            group = asked[f"{loop}-join"].result(10)
        except (KafkaException, TimeoutError):
            return False
        assigned = {
            (place.topic, place.partition) for member in group.members for place in member.assignment.topic_partitions
        }
        wanted = {(f"{loop}.{name}", number) for name in INPUTS for number in range(PARTITIONS)}
        return group.state == ConsumerGroupState.STABLE and wanted <= assigned

    def lags(self, loop: str, ends: dict[tuple[str, int], int]) -> Iterator[int]:
        """Yield again and again how many offsets the loop's group has still to commit."""
        reader = self._reader(f"{loop}-join", isolation="read_uncommitted")  # which waits for no transaction
        places = [TopicPartition(topic, number) for topic, number in ends]
        try:
            while True:
                committed = reader.committed(places, timeout=TIMEOUT_S)
                yield sum(max(0, ends[one.topic, one.partition] - max(0, one.offset)) for one in committed)
        finally:
            reader.close()

    def outcomes(self, loop: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of all outcomes that are committed."""
        reader = self._reader("outcomes", isolation="read_committed")
        reader.assign([TopicPartition(f"{loop}.outcomes", number, 0) for number in range(PARTITIONS)])
        open_ends = set(range(PARTITIONS))
        deadline_s = time.monotonic() + TIMEOUT_S
        try:
            while open_ends:
                messages = reader.consume(READ_AT_ONCE, timeout=0.2)
                assert messages or time.monotonic() < deadline_s, f"{loop}.outcomes cannot be read to its end"
                for message in messages:
                    if (error := message.error()) is None:
                        yield message.key(), message.value()
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error.str()  # noqa: SLF001 - its public name
                        open_ends.discard(message.partition())
                if messages:
                    deadline_s = time.monotonic() + TIMEOUT_S
        finally:
            reader.close()

    def _reader(self, group: str, isolation: str) -> Consumer:
        return Consumer(
            {
                "auto.offset.reset": "earliest",
                "bootstrap.servers": self.servers,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "group.id": group,
                "isolation.level": isolation,
                "log_level": 0,
            }
        )
