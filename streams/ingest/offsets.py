"""Where ingest stands in its source topics, as its group has committed it, and where it begins.

The id of a topic is committed with each position, so that a topic that was made anew is not taken for the one that
was read. Law: a position is never guessed where records could be left out. Must not read records.
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
from streams.kafka.client import LEFT_AFTER_S, REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.range import watermarks
from streams.kafka.topics import Topics, partition_counts

__all__ = ["SourcePositions", "StartPosition", "carry_positions", "commit_start", "source_topics"]

log = logging.getLogger("truthloop.ingest")

COMMITTED_TIMEOUT_S: Final = 60.0
"""A predecessor's open transaction holds its offsets back until it ends, 30 s at most."""

ATTEMPTS_MAX: Final = 40
RETRY_AFTER_S: Final = 0.5
"""A coordinator that has just been chosen reads what it has to know first: seconds, with large groups."""

_PASSING: Final = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)

_OCCUPIED: Final = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS}
)


class _Metadata(msgspec.Struct):
    topic_id: str | None = None


class StartPosition(NamedTuple):
    """Where a partition is to be read from.

    Attributes:
        topic: its topic.
        partition: its number.
        offset: of the next record.
        fault: why it cannot be read, and the way out; empty where it can.
    """

    topic: str
    partition: int
    offset: int
    fault: str = ""


def source_topics(config: LoopConfig) -> list[str]:
    """Return the topics that ingest reads, each once."""
    return list(dict.fromkeys(source.topic for source in config.ingest if source.topic is not None))


class SourcePositions:
    """Reads and writes positions of one loop's ingest.

    Args:
        clients: of the cluster.
        config: the loop's.

    Attributes:
        topics: that are read.
    """

    def __init__(self, clients: KafkaClients, config: LoopConfig) -> None:
        self._clients = clients
        self._group = Topics.of(config).group("ingest")
        self.topics = source_topics(config)
        self._ids: dict[str, str] = {}

    def refresh_ids(self) -> None:
        """Ask for the topics' ids; a cluster that does not tell them is believed without.

        Raises:
            BrokerError: a topic does not exist.
        """
        admin = self._clients.admin()
        found = {}
        for topic, future in admin.describe_topics(TopicCollection(self.topics)).items():
            try:
                told = str(future.result(timeout=REACH_TIMEOUT_S).topic_id)
            except KafkaException as error:
                raise broker_error(f"source topic {topic} cannot be read", error, self._clients) from None
            if told:
                found[topic] = told
        self._ids = found

    def place(self, topic: str, partition: int, offset: int) -> TopicPartition:
        """Return a position as it is committed."""
        metadata = msgspec.json.encode(_Metadata(self._ids.get(topic))).decode()
        return TopicPartition(topic, partition, offset, metadata=metadata)

    def standings(self, consumer: Consumer, places: Sequence[TopicPartition]) -> list[StartPosition]:
        """Return where these partitions are to be read from, by what the group has committed.

        A partition that has no position, in a topic where others have one, came into being later and is read from
        its beginning.

        Raises:
            BrokerError: no partition of a topic has a position: nobody said where to begin.
        """
        known = self.committed(consumer, places)
        lost = {place.topic for place in known if place.offset < 0}
        for topic in sorted(lost - {place.topic for place in known if place.offset >= 0}):
            self._check_started(consumer, topic)
        return [self._standing(place) for place in known]

    def committed(self, consumer: Consumer, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Return what the group has committed; it waits for transactions that are open.

        Raises:
            BrokerError: the cluster does not answer.
        """
        if not places:
            return []
        bare = [TopicPartition(place.topic, place.partition) for place in places]
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return consumer.committed(bare, timeout=COMMITTED_TIMEOUT_S)
            except KafkaException as error:
                if attempt == ATTEMPTS_MAX or error.args[0].code() not in _PASSING:
                    raise broker_error("what was committed cannot be read", error, self._clients) from None
                Event().wait(RETRY_AFTER_S)
        raise AssertionError

    def _standing(self, place: TopicPartition) -> StartPosition:
        topic, partition = place.topic, place.partition
        if place.offset < 0:
            log.info("topic %s, partition %d is new: it is read from its first record", topic, partition)
            return StartPosition(
                topic, partition, 0
            )  # and not from what retention has left of it, which nobody has seen
        was, now = _topic_id(place.metadata), self._ids.get(topic)
        if was is not None and now is not None and was != now:
            fault = f"it was made anew since offset {place.offset} was committed. {self.way_out(topic)}"
            return StartPosition(topic, partition, place.offset, fault)
        return StartPosition(topic, partition, place.offset)

    def _check_started(self, consumer: Consumer, topic: str) -> None:
        count = partition_counts(self._clients, [topic]).get(topic, 0)
        every = self.committed(consumer, [TopicPartition(topic, number) for number in range(count)])
        if all(place.offset < 0 for place in every):
            raise BrokerError(
                "nobody has said where reading begins: no partition has a committed position",
                where=f"topic {topic}, group {self._group}",
                hint="`truthloop start --from earliest` begins with all that is there, `--from latest` with what "
                "comes. Positions also expire once no worker has run for a week.",
            )

    def fault(self, consumer: Consumer, standing: StartPosition) -> str:
        """Return why a partition's records are not there, and the way out."""
        low, high = watermarks(self._clients, consumer, standing.topic, standing.partition)
        what = "retention has removed records before they were read" if standing.offset < low else "it was cut short"
        return (
            f"offset {standing.offset} is wanted, and [{low}, {high}) is there: {what}. {self.way_out(standing.topic)}"
        )

    def way_out(self, topic: str) -> str:
        """Return what a person can do about positions that do not fit a topic."""
        return (
            "Nothing is skipped by itself. To go on with what is there, stop ingest, then kafka-consumer-groups "
            f"--group {self._group} --topic {topic} --reset-offsets --to-earliest --execute"
        )


def commit_start(clients: KafkaClients, config: LoopConfig, where: Literal["earliest", "latest"]) -> list[str]:
    """Commit where ingest begins, for all partitions of all source topics that have no position yet.

    Partitions that a topic got later begin with their first record in any case: their records were never seen.

    Args:
        clients: of the cluster.
        config: the loop's.
        where: begin with all that is there, or with what comes.

    Returns:
        What was done, a sentence for each topic.

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


def carry_positions(clients: KafkaClients, old: LoopConfig, new: LoopConfig) -> list[str]:
    """Let the ingest of one loop go on where that of another has stopped; return the topics for which that is so.

    Raises:
        BrokerError: workers are running, or the cluster does not answer.
    """
    topics = [topic for topic in source_topics(new) if topic in source_topics(old)]
    counts = partition_counts(clients, topics)
    before, after = clients.onlooker(Topics.of(old).group("ingest")), clients.member(Topics.of(new).group("ingest"))
    carried = []
    try:
        for topic in topics:
            every = [TopicPartition(topic, number) for number in range(counts.get(topic, 0))]
            places = [place for place in SourcePositions(clients, old).committed(before, every) if place.offset >= 0]
            if places:
                _commit(clients, after, topic, places)
                carried.append(topic)
    finally:
        before.close()
        after.close()
    return carried


def _start_topic(
    clients: KafkaClients, consumer: Consumer, positions: SourcePositions, topic: str, count: int, where: str
) -> str:
    known = positions.committed(consumer, [TopicPartition(topic, number) for number in range(count)])
    missing = [place.partition for place in known if place.offset < 0]
    if not missing:
        return f"Topic {topic}: all {count} partitions have a position already."
    is_new = len(missing) == count
    at = 1 if where == "latest" and is_new else 0
    places = [positions.place(topic, number, watermarks(clients, consumer, topic, number)[at]) for number in missing]
    _commit(clients, consumer, topic, places)
    what = "with what comes" if at else "with all that is there"
    return f"Topic {topic}: {len(missing)} of {count} partitions begin {what}."


def _commit(clients: KafkaClients, consumer: Consumer, topic: str, places: list[TopicPartition]) -> None:
    """Commit positions from outside of the group, which takes them once its last worker's session has ended."""
    deadline_s = monotonic() + LEFT_AFTER_S
    while True:
        try:
            done = consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in _OCCUPIED and monotonic() < deadline_s:
                Event().wait(RETRY_AFTER_S)
                continue
            what = f"topic {topic}: positions cannot be committed (is ingest running? it has to be stopped)"
            raise broker_error(what, error, clients) from None
        break
    for place in done or ():
        if place.error is not None:
            where = f"topic {place.topic}, partition {place.partition}"
            raise BrokerError(f"its position cannot be committed: {place.error.str()}", where=where)


def _topic_id(metadata: str | None) -> str | None:
    """Return the topic's id that was committed with a position; others may have committed positions without."""
    try:
        return msgspec.json.decode((metadata or "").rstrip("\0"), type=_Metadata).topic_id
    except msgspec.MsgspecError:
        return None
