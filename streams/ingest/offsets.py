"""Committed offsets of ingest's consumer group: where each source partition is read on, and where a new one starts.

The id of a topic is committed with each offset, so that a recreated topic is not taken for the one that was read.
No offset is ever guessed where that could skip records.
"""

import logging
from collections.abc import Sequence
from threading import Event
from time import monotonic
from typing import Final, Literal, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError, ConfigError
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.range import offset_bounds
from streams.kafka.topics import Topics, partition_counts

__all__ = ["SourcePositions", "StartPosition", "commit_start", "copy_positions", "source_topics"]

log = logging.getLogger("truthloop.ingest")

COMMITTED_TIMEOUT_S: Final = 60.0
"""An open transaction of the partition's previous worker holds its offsets back until it ends, 30 s at most."""

WORKER_TIMEOUT_S: Final = 10.0
"""The same for a worker, which asks again."""

ATTEMPTS_MAX: Final = 40
RETRY_AFTER_S: Final = 0.5
"""A coordinator that has just been elected loads its state first: seconds, with large groups."""

_TRANSIENT: Final = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)

_HAS_MEMBERS: Final = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS}
)
"""Answers of a group that still has members to a commit from outside."""


class _Metadata(msgspec.Struct):
    """Metadata that is committed with an offset."""

    topic_id: str | None = None


_decode_metadata = msgspec.json.Decoder(_Metadata).decode


class StartPosition(NamedTuple):
    """Where one partition is to be read from.

    Attributes:
        offset: of the next record.
        fault: why it cannot be read, and what to do; empty where it can.
    """

    topic: str
    partition: int
    offset: int
    fault: str = ""


def source_topics(config: LoopConfig) -> list[str]:
    """Return the topics that ingest reads, each once."""
    return list(dict.fromkeys(source.topic for source in config.ingest if source.topic is not None))


class SourcePositions:
    """Reads the committed offsets of one loop's ingest, and checks them against the topics.

    Attributes:
        topics: the source topics.
    """

    def __init__(self, clients: KafkaClients, config: LoopConfig) -> None:
        self._clients = clients
        self._group = Topics.of(config).group("ingest")
        self.topics = source_topics(config)
        self._ids: dict[str, str] = {}

    def refresh_ids(self) -> None:
        """Load the topics' ids; where a cluster has none, recreated topics go unnoticed.

        Raises:
            BrokerError: a topic does not exist.
        """
        admin = self._clients.admin()
        found = {}
        asked = admin.describe_topics(TopicCollection(self.topics), request_timeout=REQUEST_TIMEOUT_S)
        for topic, future in asked.items():
            try:
                topic_id = str(future.result().topic_id)
            except KafkaException as error:
                raise broker_error(f"source topic {topic} cannot be read", error, self._clients) from None
            if topic_id:
                found[topic] = topic_id
        self._ids = found

    def to_commit(self, topic: str, partition: int, offset: int) -> TopicPartition:
        """Return an offset as it is committed: with the topic's id."""
        metadata = msgspec.json.encode(_Metadata(self._ids.get(topic))).decode()
        return TopicPartition(topic, partition, offset, metadata=metadata)

    def start_positions(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> list[StartPosition]:
        """Return where these partitions are to be read from, by the group's committed offsets.

        A partition without an offset in a topic where others have one was added later, and is read from its
        beginning.

        Raises:
            BrokerError: no partition of a topic has a committed offset: `commit_start` was not run.
        """
        known = self.committed(consumer, partitions, WORKER_TIMEOUT_S)
        lost = {one.topic for one in known if one.offset < 0}
        for topic in sorted(lost - {one.topic for one in known if one.offset >= 0}):
            self._check_started(consumer, topic)
        return [self._start_position(one) for one in known]

    def committed(
        self, consumer: Consumer, partitions: Sequence[TopicPartition], timeout_s: float = COMMITTED_TIMEOUT_S
    ) -> list[TopicPartition]:
        """Return the group's committed offsets; this waits for open transactions to end.

        Raises:
            BrokerError: the cluster does not answer.
        """
        if not partitions:
            return []
        bare = [TopicPartition(one.topic, one.partition) for one in partitions]
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return consumer.committed(bare, timeout=timeout_s)
            except KafkaException as error:
                if attempt == ATTEMPTS_MAX or error.args[0].code() not in _TRANSIENT:
                    raise broker_error("committed offsets cannot be read", error, self._clients) from None
                Event().wait(RETRY_AFTER_S)
        raise AssertionError

    def _start_position(self, known: TopicPartition) -> StartPosition:
        topic, partition = known.topic, known.partition
        if known.offset < 0:
            log.info("topic %s, partition %d is new: it is read from its first record", topic, partition)
            # not from the first record that retention has left: those before it were never read
            return StartPosition(topic, partition, 0)
        was, now = _topic_id(known.metadata), self._ids.get(topic)
        if was is not None and now is not None and was != now:
            fault = f"it was recreated since offset {known.offset} was committed. {self._reset_hint(topic)}"
            return StartPosition(topic, partition, known.offset, fault)
        return StartPosition(topic, partition, known.offset)

    def _check_started(self, consumer: Consumer, topic: str) -> None:
        count = partition_counts(self._clients, [topic]).get(topic, 0)
        every = self.committed(consumer, [TopicPartition(topic, number) for number in range(count)], WORKER_TIMEOUT_S)
        if all(one.offset < 0 for one in every):
            raise BrokerError(
                "has no start position: the group has committed no offset for any of its partitions",
                where=f"topic {topic}, group {self._group}",
                hint="`truthloop start --from earliest` starts with all records that are there, `--from latest` with "
                "new ones only. Committed offsets also expire once no worker has run for a week.",
            )

    def explain_missing(self, consumer: Consumer, start: StartPosition) -> str:
        """Return why the records at a position are not there, and what to do."""
        low, high = offset_bounds(self._clients, consumer, start.topic, start.partition)
        why = "retention has removed records before they were read" if start.offset < low else "it was truncated"
        what = f"offset {start.offset} is needed, and the partition has [{low}, {high})"
        return f"{what}: {why}. {self._reset_hint(start.topic)}"

    def _reset_hint(self, topic: str) -> str:
        """Return what a person can do about offsets that do not fit a topic."""
        return (
            "No record is skipped automatically. To go on with the records that are there, stop ingest, then run "
            f"kafka-consumer-groups --group {self._group} --topic {topic} --reset-offsets --to-earliest --execute"
        )


def commit_start(clients: KafkaClients, config: LoopConfig, where: Literal["earliest", "latest"]) -> list[str]:
    """Commit where ingest starts, for all partitions of all source topics that have no committed offset yet.

    Partitions that were added to a topic later start with their first record in any case: none of it was read.

    Args:
        where: start with all records that are there, or with new ones only.

    Returns:
        A sentence for each topic about the offsets that were committed.

    Raises:
        BrokerError: a topic does not exist, or workers are running.
        ConfigError: `where` is neither.
    """
    if where not in ("earliest", "latest"):
        raise ConfigError(f"{where!r} is neither earliest nor latest", where="--from")
    topics = source_topics(config)
    if not topics:
        return []
    positions = SourcePositions(clients, config)
    positions.refresh_ids()
    counts = partition_counts(clients, topics)
    consumer = clients.member(Topics.of(config).group("ingest"))
    try:
        return [_start_topic(clients, consumer, positions, topic, counts[topic], where) for topic in topics]
    finally:
        consumer.close()


def copy_positions(clients: KafkaClients, old: LoopConfig, new: LoopConfig) -> list[str]:
    """Copy the committed offsets of one loop's ingest to another's; return the topics that had some.

    Raises:
        BrokerError: workers are running, or the cluster does not answer.
    """
    topics = [topic for topic in source_topics(new) if topic in source_topics(old)]
    counts = partition_counts(clients, topics)
    before, after = clients.observer(Topics.of(old).group("ingest")), clients.member(Topics.of(new).group("ingest"))
    copied = []
    try:
        for topic in topics:
            every = [TopicPartition(topic, number) for number in range(counts.get(topic, 0))]
            known = [one for one in SourcePositions(clients, old).committed(before, every) if one.offset >= 0]
            if known:
                _commit(clients, after, topic, known)
                copied.append(topic)
    finally:
        before.close()
        after.close()
    return copied


def _start_topic(
    clients: KafkaClients, consumer: Consumer, positions: SourcePositions, topic: str, count: int, where: str
) -> str:
    known = positions.committed(consumer, [TopicPartition(topic, number) for number in range(count)])
    missing = [one.partition for one in known if one.offset < 0]
    if not missing:
        return f"Topic {topic}: all {count} partitions have a position already."
    is_new = len(missing) == count
    at = 1 if where == "latest" and is_new else 0
    starts = [
        positions.to_commit(topic, number, offset_bounds(clients, consumer, topic, number)[at]) for number in missing
    ]
    _commit(clients, consumer, topic, starts)
    what = "new records only" if at else "all records that are there"
    return f"Topic {topic}: {len(missing)} of {count} partitions start with {what}."


def _commit(clients: KafkaClients, consumer: Consumer, topic: str, offsets: list[TopicPartition]) -> None:
    """Commit from outside of the group, which accepts that once the session of its last worker has ended."""
    deadline_s = monotonic() + clients.session_ended_after_s
    while True:
        try:
            done = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in _HAS_MEMBERS and monotonic() < deadline_s:
                Event().wait(RETRY_AFTER_S)
                continue
            what = f"topic {topic}: positions cannot be committed (is ingest running? it has to be stopped)"
            raise broker_error(what, error, clients) from None
        break
    for one in done or ():
        if one.error is not None:
            where = f"topic {one.topic}, partition {one.partition}"
            raise BrokerError(f"its position cannot be committed: {one.error.str()}", where=where)


def _topic_id(metadata: str | None) -> str | None:
    """Return the topic's id that was committed with an offset; other tools commit offsets without one."""
    try:
        return _decode_metadata((metadata or "").rstrip("\0")).topic_id
    except msgspec.MsgspecError:
        return None
