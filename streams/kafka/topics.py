"""The loop's own topics: their names, how they are made, and whether what is there is what is needed.

Must not read or write records.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.cimpl import NewTopic

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients, broker_error

__all__ = ["Topics", "check_topics", "create_topics", "partition_counts"]

WEEK_MS = 7 * 86_400_000
"""Lake lag plus outages: until the lake has them, records must stay. Labels may come months later."""

_RETENTION: Mapping[str, str] = {"retention.ms": str(WEEK_MS), "cleanup.policy": "delete"}


@dataclass(frozen=True)
class Topics:
    """Names of the topics of one loop."""

    loop: str
    partitions: int

    @classmethod
    def of(cls, config: LoopConfig) -> "Topics":
        """Return the topics of a loop."""
        return cls(config.loop, config.partitions)

    @property
    def predictions(self) -> str:
        """Canonical predictions."""
        return f"{self.loop}.predictions"

    @property
    def labels(self) -> str:
        """Canonical labels."""
        return f"{self.loop}.labels"

    @property
    def commands(self) -> str:
        """What people tell the join: close, config."""
        return f"{self.loop}.commands"

    @property
    def outcomes(self) -> str:
        """Every revision of every outcome."""
        return f"{self.loop}.outcomes"

    @property
    def rejects(self) -> str:
        """Records that made no outcome, with their bytes."""
        return f"{self.loop}.rejects"

    @property
    def ledger(self) -> str:
        """One entry per transaction and partition of the join."""
        return f"{self.loop}.ledger"

    @property
    def commits(self) -> str:
        """What the lake has taken in; written without transactions."""
        return f"{self.loop}.commits"

    @property
    def evidence(self) -> str:
        """What was found at the end of each day; written without transactions."""
        return f"{self.loop}.evidence"

    @property
    def decisions(self) -> str:
        """The log of the gate; written without transactions."""
        return f"{self.loop}.decisions"

    @property
    def leader(self) -> str:
        """Holds nothing: who is given its only partition is the feedback role's active worker."""
        return f"{self.group('feedback')}-__assignor-__leader"

    @property
    def inputs(self) -> tuple[str, str, str]:
        """What the join reads."""
        return self.predictions, self.labels, self.commands

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic of the loop."""
        own = (self.outcomes, self.rejects, self.ledger, self.commits, self.evidence, self.decisions)
        return (*self.inputs, *own, self.leader)

    def partitions_of(self, name: str) -> int:
        """Return how many partitions a topic of the loop has."""
        return 1 if name == self.leader else self.partitions

    def group(self, role: str) -> str:
        """Return the consumer group of a role."""
        return f"{self.loop}-{role}"


def partition_counts(clients: KafkaClients, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each topic has; topics that do not exist are left out.

    Raises:
        BrokerError: the cluster does not answer.
    """
    try:
        known = clients.admin().list_topics(timeout=REACH_TIMEOUT_S).topics
    except KafkaException as error:
        raise broker_error("cannot be reached", error, clients) from None
    return {name: len(known[name].partitions) for name in names if name in known and known[name].error is None}


def create_topics(clients: KafkaClients, topics: Topics) -> list[str]:
    """Make the loop's topics that do not exist, and return their names.

    Raises:
        BrokerError: the cluster refuses, or a topic that exists has another number of partitions.
    """
    there = partition_counts(clients, topics.all)
    missing = [name for name in topics.all if name not in there]
    if missing:
        wanted = [
            NewTopic(name, num_partitions=topics.partitions_of(name), replication_factor=-1, config=dict(_RETENTION))
            for name in missing
        ]
        admin = clients.admin()  # kept: dropped before its futures are read, it would fail them
        for name, future in admin.create_topics(wanted).items():
            try:
                future.result(timeout=REACH_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise broker_error(f"topic {name} cannot be made", error, clients) from None
    check_topics(_once_told(clients, topics.all), topics)
    return missing


def _once_told(clients: KafkaClients, names: Sequence[str]) -> dict[str, int]:
    """Return the partitions of topics once the brokers know of all: it takes them a moment after they were made."""
    pause, deadline_s = Event(), monotonic() + REACH_TIMEOUT_S
    while True:
        counts = partition_counts(clients, names)
        if len(counts) == len(names) or monotonic() > deadline_s:
            return counts
        pause.wait(0.1)


def check_topics(counts: Mapping[str, int], topics: Topics) -> None:
    """Refuse topics that are missing or have another number of partitions than the loop.

    Raises:
        BrokerError: names the topic, what it has and what is needed.
    """
    for name in topics.all:
        if name not in counts:
            raise BrokerError(
                "does not exist", where=f"topic {name}", hint="`truthloop start` makes the loop's topics."
            )
        if counts[name] != topics.partitions_of(name):
            raise BrokerError(
                f"has {counts[name]} partitions, and the loop has {topics.partitions_of(name)}",
                where=f"topic {name}",
                hint="The number is fixed for the loop's life: put `partitions` back, or begin a loop of another name "
                "with `truthloop rescale`. A topic that somebody else enlarged has keys in the wrong place.",
            )
