"""A bounded look at topics that others write: what the cluster says of them, and some of their records.

Newest records and blocks spread over all that is there, partition by partition: records of now, and of before. Law:
no group is joined and nothing is committed, and a large topic costs no more than a small one. Must not look into
records.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec  # type: ignore[attr-defined]

from schemas.config.connection import KafkaConfig
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.messages import SourceMessages
from streams.kafka.sample_offsets import Block, sample_plan

__all__ = [
    "Cluster",
    "SampleLimits",
    "TopicFacts",
    "TopicSample",
    "look_at",
    "sample_topic",
    "with_small_fetches",
]

MESSAGES_PER_READ: Final = 1_000
READ_S: Final = 0.05
"""Waiting longer for a full piece would be waiting at the end of every block."""

_SMALL_FETCHES: Final[Mapping[str, Any]] = {
    # a block is some hundred records: what is fetched beyond it is thrown away
    "fetch.max.bytes": 2_000_000,
    "max.partition.fetch.bytes": 131_072,
    "queued.max.messages.kbytes": 8_192,
    "fetch.queue.backoff.ms": 5,
}

_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - its public name
_REFUSED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


@dataclass(frozen=True)
class SampleLimits:
    """What a sample of one topic may cost.

    Attributes:
        records: how many are read, about.
        size: bytes of values, keys and headers that are kept.
        seconds: after which what has come is taken.
    """

    records: int
    size: int = 48 * 1024 * 1024
    seconds: float = 20.0


@dataclass(frozen=True)
class TopicFacts:
    """What the cluster says of a topic.

    Attributes:
        name: of the topic.
        partitions: how many.
        replicas: copies of the partition that has the fewest.
        settings: in force, by name; empty where the cluster does not tell.
    """

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Cluster:
    """What the cluster says.

    Attributes:
        brokers: how many.
        topics: those that were asked for and exist.
        names: of all topics that can be seen, in order.
    """

    brokers: int
    topics: Mapping[str, TopicFacts]
    names: tuple[str, ...]


@dataclass(frozen=True)
class TopicSample:
    """Some records of a topic, in the order of partition and offset.

    Attributes:
        facts: of the topic.
        ranges: offsets that were there, by partition.
        messages: the records.
        covered: how many offsets lie in the blocks that were read to their end.
        stopped: `time` or `size` where a limit ended the reading before it was done; else empty.
    """

    facts: TopicFacts
    ranges: Mapping[int, Block]
    messages: SourceMessages
    covered: int = 0
    stopped: str = ""

    @property
    def topic(self) -> str:
        """Its name."""
        return self.facts.name

    @property
    def offsets(self) -> int:
        """How many offsets the topic has."""
        return sum(high - low for low, high in self.ranges.values())

    @property
    def records(self) -> int:
        """About how many records it has: compaction leaves holes, and ends of transactions take offsets, too."""
        return round(self.offsets * min(1.0, len(self.messages) / self.covered)) if self.covered else self.offsets

    @property
    def is_whole(self) -> bool:
        """Whether all records that were there have been read."""
        return self.covered >= self.offsets and not self.stopped


def with_small_fetches(config: KafkaConfig) -> KafkaConfig:
    """Return the same cluster with properties under which reading a block does not fetch what lies behind it."""
    return config.model_copy(update={"client": {**config.client, **_SMALL_FETCHES}})


def look_at(clients: KafkaClients, names: Iterable[str]) -> Cluster:
    """Ask what the cluster has of these topics; nothing is made by asking.

    Raises:
        BrokerError: it does not answer.
    """
    try:
        metadata = clients.admin().list_topics(timeout=REACH_TIMEOUT_S)
    except KafkaException as error:
        raise broker_error("cannot be reached", error, clients) from None
    known = {name: topic for name, topic in metadata.topics.items() if topic.error is None}
    wanted = [name for name in dict.fromkeys(names) if name in known]
    settings = _settings(clients, wanted)
    facts = {
        name: TopicFacts(
            name,
            len(known[name].partitions),
            min((len(partition.replicas) for partition in known[name].partitions.values()), default=0),
            settings.get(name, {}),
        )
        for name in wanted
    }
    return Cluster(len(metadata.brokers), facts, tuple(sorted(known)))


def _settings(clients: KafkaClients, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics; those of which the cluster does not tell are left out."""
    if not names:
        return {}
    admin = clients.admin()  # kept: dropped before its futures are read, it would fail them
    found = {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    for resource, future in admin.describe_configs(resources, request_timeout=REACH_TIMEOUT_S).items():
        try:
            entries = future.result(timeout=REACH_TIMEOUT_S)
        except (KafkaException, TimeoutError):
            continue
        found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return found


def sample_topic(clients: KafkaClients, facts: TopicFacts, limits: SampleLimits) -> TopicSample:
    """Read a sample of a topic.

    Args:
        clients: of the cluster, best made of what `with_small_fetches` returns.
        facts: of the topic.
        limits: of the sample.

    Raises:
        BrokerError: the cluster does not answer, or refuses.
    """
    try:
        ranges = _ranges(clients, facts)
        reader = clients.reader()
        try:
            reading = _Reading(reader, facts.name, limits)
            for wanted in sample_plan(ranges, limits.records):
                reading.read(wanted)
        finally:
            reader.close()
    except KafkaException as error:
        raise broker_error(f"topic {facts.name} cannot be read", error, clients) from None
    found = sorted(reading.messages, key=lambda message: (message.partition() or 0, message.offset() or 0))
    return TopicSample(facts, ranges, SourceMessages.of(facts.name, found), reading.covered, reading.stopped)


def _ranges(clients: KafkaClients, facts: TopicFacts) -> dict[int, Block]:
    places = [TopicPartition(facts.name, number) for number in range(facts.partitions)]
    ends = []
    for wanted in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call] # the library's
        admin = clients.admin()
        futures = admin.list_offsets(dict.fromkeys(places, wanted), request_timeout=REACH_TIMEOUT_S)
        ends.append({place.partition: future.result(timeout=REACH_TIMEOUT_S) for place, future in futures.items()})
    return {number: (low.offset, ends[1][number].offset) for number, low in sorted(ends[0].items())}


class _Reading:
    """Reads blocks until they are read or a limit is reached."""

    def __init__(self, reader: Consumer, topic: str, limits: SampleLimits) -> None:
        self._reader = reader
        self._topic = topic
        self._limits = limits
        self._deadline = monotonic() + limits.seconds
        self._size = 0
        self._planned = 0
        self.covered = 0
        self.messages: list[Message] = []
        self.stopped = ""

    def read(self, wanted: Mapping[int, Block]) -> None:
        """Read one block of each partition; large records end it when the blocks so far have had their share."""
        size = sum(following - first for first, following in wanted.values())
        self._planned += size
        allowed = self._limits.size * min(1.0, self._planned / max(self._limits.records, 1))
        left = dict(wanted)
        self._reader.assign([TopicPartition(self._topic, number, first) for number, (first, _) in left.items()])
        while left:
            if self._size >= allowed or monotonic() >= self._deadline:
                self.stopped = "size" if self._size >= allowed else "time"
                return
            before = set(left)
            for message in self._reader.consume(MESSAGES_PER_READ, timeout=READ_S):
                self._take(message, left)
            if done := before - set(left):  # paused, they would still be paused when the next round assigns them
                self._reader.incremental_unassign([TopicPartition(self._topic, number) for number in done])
        self.covered += size

    def _take(self, message: Message, left: dict[int, Block]) -> None:
        number, error = message.partition(), message.error()
        if error is not None:
            if error.code() in _REFUSED or error.fatal():
                raise KafkaException(error)
            if number is not None and error.code() in (KafkaError._PARTITION_EOF, *_GONE):  # noqa: SLF001 - the same
                left.pop(number, None)
            return
        if number is None or number not in left:
            return
        offset, (_, following) = message.offset() or 0, left[number]
        if offset < following:
            self._size += sum(map(len, (message.value() or b"", message.key() or b"")))
            headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
            self._size += sum(len(name) + len(value or b"") for name, value in headers)
            self.messages.append(message)
        if offset >= following - 1:
            del left[number]
