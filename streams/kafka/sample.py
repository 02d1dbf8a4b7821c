"""Bounded samples of source topics: what the cluster reports of a topic, and some of its records.

A sample has the newest records of each partition and blocks spread over its older ones. Sampling joins no group,
commits nothing, and costs no more for a large topic than for a small one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec  # type: ignore[attr-defined]

from schemas.config.connection import KafkaConfig
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.messages import SourceMessages
from streams.kafka.range import once_led
from streams.kafka.sample_offsets import Block, sample_plan

__all__ = [
    "Cluster",
    "SampleLimits",
    "TopicFacts",
    "TopicSample",
    "describe_topics",
    "sample_topic",
    "with_small_fetches",
]

MESSAGES_PER_READ: Final = 1_000
READ_S: Final = 0.05
"""A longer wait for a full piece would be spent again at the end of every block."""

_SMALL_FETCHES: Final[Mapping[str, Any]] = {
    # a block has some hundred records; whatever is fetched beyond it is thrown away
    "fetch.max.bytes": 2_000_000,
    "max.partition.fetch.bytes": 131_072,
    "queued.max.messages.kbytes": 8_192,
    "fetch.queue.backoff.ms": 5,
}

_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - its public name
_REFUSED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


@dataclass(frozen=True)
class SampleLimits:
    """Limits of the sample of one topic.

    Attributes:
        records: approximate number of records to read.
        size: bytes of values, keys and headers to keep.
        seconds: time after which reading stops.
    """

    records: int
    size: int = 48 * 1024 * 1024
    seconds: float = 20.0


@dataclass(frozen=True)
class TopicFacts:
    """What the cluster reports of a topic.

    Attributes:
        partitions: number of partitions.
        replicas: replicas of the partition with the fewest.
        settings: the topic's config by name; empty where the cluster does not allow reading it.
    """

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Cluster:
    """What the cluster reports of itself.

    Attributes:
        brokers: number of brokers.
        topics: the requested topics that exist, by name.
        names: all visible topics, sorted.
    """

    brokers: int
    topics: Mapping[str, TopicFacts]
    names: tuple[str, ...]


@dataclass(frozen=True)
class TopicSample:
    """Some records of a topic, in the order of partition and offset.

    Attributes:
        ranges: available offsets by partition, when the sample was taken.
        covered: number of offsets in the blocks that were read to their end.
        stopped: `time` or `size` where that limit stopped the reading early; else empty.
    """

    facts: TopicFacts
    ranges: Mapping[int, Block]
    messages: SourceMessages
    covered: int = 0
    stopped: str = ""

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.facts.name

    @property
    def offsets(self) -> int:
        """Number of available offsets."""
        return sum(high - low for low, high in self.ranges.values())

    @property
    def records(self) -> int:
        """Estimated number of records: fewer than offsets after compaction and where transaction markers take some."""
        return round(self.offsets * min(1.0, len(self.messages) / self.covered)) if self.covered else self.offsets

    @property
    def is_whole(self) -> bool:
        """Whether the sample holds every available record."""
        return self.covered >= self.offsets and not self.stopped


def with_small_fetches(config: KafkaConfig) -> KafkaConfig:
    """Return the config with fetches so small that reading a block hardly fetches beyond it."""
    return config.model_copy(update={"client": {**config.client, **_SMALL_FETCHES}})


def describe_topics(clients: KafkaClients, names: Iterable[str]) -> Cluster:
    """Return the cluster with those of these topics that exist; creates none of them.

    Raises:
        BrokerError: the cluster does not answer.
    """
    try:
        metadata = clients.admin().list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise broker_error("cannot be reached", error, clients) from None
    known = {name: topic for name, topic in metadata.topics.items() if topic.error is None}
    existing = [name for name in dict.fromkeys(names) if name in known]
    settings = _settings(clients, existing)
    facts = {
        name: TopicFacts(
            name,
            len(known[name].partitions),
            min((len(partition.replicas) for partition in known[name].partitions.values()), default=0),
            settings.get(name, {}),
        )
        for name in existing
    }
    return Cluster(len(metadata.brokers), facts, tuple(sorted(known)))


def _settings(clients: KafkaClients, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the config of each topic; topics whose config may not be read are left out."""
    if not names:
        return {}
    admin = clients.admin()  # kept: dropped before its futures are read, it would fail them
    found = {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            entries = future.result()
        except KafkaException:
            continue
        found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return found


def sample_topic(clients: KafkaClients, facts: TopicFacts, limits: SampleLimits) -> TopicSample:
    """Read a sample of a topic; `clients` are best made with the config that `with_small_fetches` returns.

    Raises:
        BrokerError: the cluster does not answer, or denies access.
    """
    try:
        ranges = once_led(lambda: _ranges(clients, facts))
        reader = clients.reader()
        try:
            reading = _Reading(reader, facts.name, limits)
            for blocks in sample_plan(ranges, limits.records):
                reading.read(blocks)
        finally:
            reader.close()
    except KafkaException as error:
        raise broker_error(f"topic {facts.name} cannot be read", error, clients) from None
    found = sorted(reading.messages, key=lambda message: (message.partition() or 0, message.offset() or 0))
    return TopicSample(facts, ranges, SourceMessages.of(facts.name, found), reading.covered, reading.stopped)


def _ranges(clients: KafkaClients, facts: TopicFacts) -> dict[int, Block]:
    partitions = [TopicPartition(facts.name, number) for number in range(facts.partitions)]
    ends = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call] # the library's
        admin = clients.admin()
        futures = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=REQUEST_TIMEOUT_S)
        ends.append({one.partition: future.result() for one, future in futures.items()})
    return {number: (low.offset, ends[1][number].offset) for number, low in sorted(ends[0].items())}


class _Reading:
    """Reads blocks until all are read or a limit is reached."""

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

    def read(self, blocks: Mapping[int, Block]) -> None:
        """Read one block of each partition; stops early once the bytes allowed for the blocks so far are used up."""
        size = sum(following - first for first, following in blocks.values())
        self._planned += size
        allowed = self._limits.size * min(1.0, self._planned / max(self._limits.records, 1))
        left = dict(blocks)
        self._reader.assign([TopicPartition(self._topic, number, first) for number, (first, _) in left.items()])
        while left:
            if self._size >= allowed or monotonic() >= self._deadline:
                self.stopped = "size" if self._size >= allowed else "time"
                return
            before = set(left)
            for message in self._reader.consume(MESSAGES_PER_READ, timeout=READ_S):
                self._take(message, left)
            if done := before - set(left):  # pausing would not do: they would stay paused in the next round
                self._reader.incremental_unassign([TopicPartition(self._topic, number) for number in done])
        self.covered += size

    def _take(self, message: Message, left: dict[int, Block]) -> None:
        number, error = message.partition(), message.error()
        if error is not None:
            if error.code() in _REFUSED or error.fatal():
                raise KafkaException(error)
            if number is not None and error.code() in (KafkaError._PARTITION_EOF, *_OUT_OF_RANGE):  # noqa: SLF001 - the same
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
