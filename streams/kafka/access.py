"""What each role may do on the cluster, and no more: the access rules of a loop."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from schemas.config.loop import LoopConfig
from streams.kafka.client import READER_GROUP
from streams.kafka.topics import Topics

__all__ = ["AccessRule", "access_rules", "acl_commands"]

Resource = Literal["topic", "group", "transactional-id"]


class AccessRule(NamedTuple):
    """One principal's rights on one resource.

    Attributes:
        principal: the role, `repair`: who runs `truthloop dlq`, or `operator`: who runs `truthloop start`,
            `close`, `plan`, `apply` and `status`.
        name: of the resource, or of all that begin with it.
        rights: names of Kafka's operations.
    """

    principal: str
    resource: Resource
    name: str
    rights: tuple[str, ...]
    is_prefix: bool = False


def access_rules(config: LoopConfig) -> Iterator[AccessRule]:
    """Yield the rules of a loop, by role."""
    topics = Topics.of(config)
    sources = list(dict.fromkeys(source.topic for source in config.ingest if source.topic is not None))
    if sources:
        yield from _ingest(topics, sources)
        yield from _repair(topics, sources)
    yield from _join(topics)
    yield from _lake(topics)
    yield from _feedback(topics)
    yield from _operator(topics, sources)


def _ingest(topics: Topics, sources: Sequence[str]) -> Iterator[AccessRule]:
    yield from _on_topics("ingest", sources, "Read")
    yield from _described(topics, "ingest")
    yield from _on_topics("ingest", [topics.predictions, topics.labels, topics.rejects], "Write", "DescribeConfigs")
    yield _on_group("ingest", topics.group("ingest"), "Read")
    yield _on_transactions(topics, "ingest")


def _repair(topics: Topics, sources: Sequence[str]) -> Iterator[AccessRule]:
    yield from _described(topics, "repair")
    yield from _on_topics("repair", sources, "Read")
    yield from _on_topics("repair", [topics.rejects], "Read", "Write")
    yield from _on_topics("repair", [topics.predictions, topics.labels], "Write")
    yield _on_group("repair", READER_GROUP, "Describe")
    yield _on_transactions(topics, "repair")


def _join(topics: Topics) -> Iterator[AccessRule]:
    yield from _described(topics, "join")
    yield from _on_topics("join", topics.inputs, "Read")
    yield from _on_topics("join", [topics.ledger], "Read", "Write")
    yield from _on_topics("join", [topics.outcomes, topics.rejects], "Write")
    yield _on_group("join", topics.group("join"), "Read")
    yield _on_group("join", READER_GROUP, "Describe")
    yield _on_transactions(topics, "join")


def _lake(topics: Topics) -> Iterator[AccessRule]:
    yield from _described(topics, "lake")
    read = [topics.predictions, topics.labels, topics.outcomes, topics.rejects, topics.ledger]
    yield from _on_topics("lake", read, "Read")
    yield from _on_topics("lake", [topics.commits], "Write")
    yield _on_group("lake", topics.group("lake"), "Read")


def _feedback(topics: Topics) -> Iterator[AccessRule]:
    yield from _described(topics, "feedback", of_leader="Read")
    yield from _on_topics("feedback", [topics.commits], "Read", "Write")
    yield from _on_topics("feedback", [topics.evidence, topics.decisions, topics.commands], "Write")
    yield _on_group("feedback", topics.group("feedback"), "Read")


def _operator(topics: Topics, sources: Sequence[str]) -> Iterator[AccessRule]:
    yield from _described(topics, "operator", "Create")
    yield from _on_topics("operator", sources, "Read")
    yield from _on_topics("operator", [topics.commands], "Write")
    yield from _on_topics("operator", [topics.ledger], "Read")
    if sources:
        yield _on_group("operator", topics.group("ingest"), "Read")
    yield _on_group("operator", topics.group("join"), "Describe")
    yield _on_group("operator", READER_GROUP, "Describe")


def _on_topics(principal: str, names: Iterable[str], *rights: str) -> Iterator[AccessRule]:
    return (AccessRule(principal, "topic", name, rights) for name in names)


def _on_group(principal: str, name: str, right: str) -> AccessRule:
    return AccessRule(principal, "group", name, (right,))


def _on_transactions(topics: Topics, role: str) -> AccessRule:
    return AccessRule(role, "transactional-id", topics.transactional_id(role, ""), ("Write",), is_prefix=True)


def _described(topics: Topics, principal: str, *rights: str, of_leader: str = "Describe") -> Iterator[AccessRule]:
    """Yield the rules to look at all of the loop's topics: by what their names begin with, where that is the loop's."""
    own = (*rights, "Describe")
    if topics.name_prefix:
        yield AccessRule(principal, "topic", topics.name_prefix, own, is_prefix=True)
    else:
        yield from _on_topics(principal, (name for name in topics.all if name != topics.leader), *own)
    before_leader = f"{topics.group('feedback')}-"
    yield AccessRule(principal, "topic", before_leader, (*rights, of_leader), is_prefix=True)


def acl_commands(config: LoopConfig, bootstrap_servers: str) -> Iterator[str]:
    """Yield the rules as commands of Kafka's own kafka-acls.sh."""
    for rule in access_rules(config):
        rights = " ".join(f"--operation {right}" for right in rule.rights)
        pattern = " --resource-pattern-type prefixed" if rule.is_prefix else ""
        yield (
            f"kafka-acls.sh --bootstrap-server {bootstrap_servers} --add --allow-principal User:{rule.principal} "
            f"{rights} --{rule.resource} {rule.name}{pattern}"
        )
