"""The loop's own topics: their names, their creation, and the check that they have the loop's partitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import monotonic

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.cimpl import NewTopic

from schemas.config.loop import LoopConfig
from schemas.config.topic_names import TopicNames
from schemas.errors import BrokerError
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error

__all__ = ["Topics", "check_topics", "create_topics", "partition_counts"]

RETENTION_MS = 7 * 86_400_000
"""A week: records must stay until the lake has them, through its lag and outages. The delay of labels has no effect."""

_TOPIC_CONFIG: Mapping[str, str] = {"retention.ms": str(RETENTION_MS), "cleanup.policy": "delete"}


@dataclass(frozen=True)
class Topics:
    """The topics of one loop.

    Attributes:
        names: how topics and groups are named.
    """

    loop: str
    partitions: int
    names: TopicNames = field(default_factory=TopicNames)

    @classmethod
    def of(cls, config: LoopConfig) -> "Topics":
        """Return the topics of a config's loop."""
        return cls(config.loop, config.partitions, config.topics)

    def name(self, short: str) -> str:
        """Return the full name of a topic, such as `predictions`; tables of the lake have the names of theirs."""
        return self.names.topic(self.loop, short)

    @property
    def predictions(self) -> str:
        """Canonical predictions."""
        return self.name("predictions")

    @property
    def labels(self) -> str:
        """Canonical labels."""
        return self.name("labels")

    @property
    def commands(self) -> str:
        """Commands for the join: close, config."""
        return self.name("commands")

    @property
    def outcomes(self) -> str:
        """Every revision of every outcome."""
        return self.name("outcomes")

    @property
    def rejects(self) -> str:
        """Records that made no outcome, with their bytes."""
        return self.name("rejects")

    @property
    def ledger(self) -> str:
        """One entry per transaction and partition of the join."""
        return self.name("ledger")

    @property
    def commits(self) -> str:
        """Commit notices of the lake; written without transactions."""
        return self.name("commits")

    @property
    def evidence(self) -> str:
        """Findings at the end of each day; written without transactions."""
        return self.name("evidence")

    @property
    def decisions(self) -> str:
        """Entries of the gate's log; written without transactions."""
        return self.name("decisions")

    @property
    def leader(self) -> str:
        """An empty topic of Faust's leader election: the worker that owns its one partition is the active one."""
        return f"{self.group('feedback')}-__assignor-__leader"

    @property
    def inputs(self) -> tuple[str, str, str]:
        """Topics that the join reads."""
        return self.predictions, self.labels, self.commands

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic of the loop."""
        own = (self.outcomes, self.rejects, self.ledger, self.commits, self.evidence, self.decisions)
        return (*self.inputs, *own, self.leader)

    def partitions_of(self, name: str) -> int:
        """Return the number of partitions that a topic of the loop needs."""
        return 1 if name == self.leader else self.partitions

    def group(self, role: str) -> str:
        """Return the consumer group of a role."""
        return self.names.group_of(self.loop, role)

    def instance(self, role: str, slot: str) -> str:
        """Return the name of a role's worker as a static member of its group."""
        return f"{self.group(role)}-{slot}"

    def transactional_id(self, role: str, slot: str) -> str:
        """Return the transactional id of a role's worker."""
        return f"tl-{self.instance(role, slot)}"

    @property
    def name_prefix(self) -> str:
        """What the names of all topics but the leader's begin with; empty where that is not the loop's alone."""
        before = self.names.name.partition("{topic}")[0]
        return before.replace("{loop}", self.loop) if "{loop}" in before else ""


def partition_counts(clients: KafkaClients, names: Iterable[str]) -> dict[str, int]:
    """Return the number of partitions of each topic that exists.

    Raises:
        BrokerError: the cluster does not answer.
    """
    try:
        known = clients.admin().list_topics(timeout=REQUEST_TIMEOUT_S).topics
    except KafkaException as error:
        raise broker_error("cannot be reached", error, clients) from None
    return {name: len(known[name].partitions) for name in names if name in known and known[name].error is None}


def create_topics(clients: KafkaClients, topics: Topics) -> list[str]:
    """Create those of the loop's topics that do not exist, and return their names.

    Raises:
        BrokerError: the cluster refuses, or an existing topic has another number of partitions.
    """
    existing = partition_counts(clients, topics.all)
    missing = [name for name in topics.all if name not in existing]
    if missing:
        new_topics = [
            NewTopic(name, num_partitions=topics.partitions_of(name), replication_factor=-1, config=dict(_TOPIC_CONFIG))
            for name in missing
        ]
        admin = clients.admin()  # kept: dropped before its futures are read, it would fail them
        for name, future in admin.create_topics(new_topics, request_timeout=REQUEST_TIMEOUT_S).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise broker_error(f"topic {name} cannot be created", error, clients) from None
    check_topics(_counts_once_visible(clients, topics.all), topics)
    return missing


def _counts_once_visible(clients: KafkaClients, names: Sequence[str]) -> dict[str, int]:
    """Return partition counts once the brokers report all topics, which takes a moment after their creation."""
    pause, deadline_s = Event(), monotonic() + REQUEST_TIMEOUT_S
    while True:
        counts = partition_counts(clients, names)
        if len(counts) == len(names) or monotonic() > deadline_s:
            return counts
        pause.wait(0.1)


def check_topics(counts: Mapping[str, int], topics: Topics) -> None:
    """Refuse topics that are missing or have another number of partitions than the loop.

    Raises:
        BrokerError: a topic does not fit; the message names it, with its partitions and the loop's.
    """
    for name in topics.all:
        if name not in counts:
            raise BrokerError(
                "does not exist", where=f"topic {name}", hint="`truthloop start` creates the loop's topics."
            )
        if counts[name] != topics.partitions_of(name):
            raise BrokerError(
                f"has {counts[name]} partitions, and the loop has {topics.partitions_of(name)}",
                where=f"topic {name}",
                hint="The number is fixed for the loop's life: put `partitions` back, or begin a loop of another name "
                "with `truthloop rescale`. A topic that somebody else enlarged has keys in the wrong partitions.",
            )
