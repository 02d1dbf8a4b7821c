"""Settings of topics under which records are lost, refused, or looked for in the wrong place.

Must not judge records.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from schemas.base.duration import format_duration
from schemas.base.problem import did_you_mean
from schemas.config.loop import LoopConfig
from streams.kafka.client import MESSAGE_BYTES_MAX
from streams.kafka.sample import Cluster, TopicFacts
from streams.kafka.topics import WEEK_MS, Topics
from truthloop.onboarding.check.forecast import TopicFlow
from truthloop.onboarding.check.issue import Issue, Severity

__all__ = ["look_at_missing", "look_at_topics"]

COPIES: Final = 3
IN_SYNC: Final = 2
NAMES_COMPARED: Final = 1_000


def look_at_missing(
    cluster: Cluster, config: LoopConfig, sources: Sequence[str], inputs: Sequence[str]
) -> Iterator[Issue]:
    """Find topics that are named and do not exist.

    Args:
        cluster: what it says.
        config: the loop's.
        sources: topics that `ingest` names.
        inputs: canonical topics that somebody else has to fill.
    """
    for name in sources:
        if name not in cluster.topics:
            hint = did_you_mean(name, cluster.names[:NAMES_COMPARED]) if cluster.names else ""
            yield Issue(
                Severity.ERROR,
                "missing_topic",
                f"topic {name}",
                f"does not exist, or may not be seen{hint if 'did you mean' in hint else ''}",
                "It is named in `ingest`.",
            )
    for name in inputs:
        if name not in cluster.topics:
            yield Issue(
                Severity.ERROR,
                "missing_topic",
                f"topic {name}",
                "does not exist, and no source in `ingest` would fill it",
                f"`truthloop start` makes it with {config.partitions} partitions, for producers that write our form; "
                "topics of another form are named in `ingest`.",
            )


def look_at_topics(
    cluster: Cluster, config: LoopConfig, sources: Sequence[str], flows: Mapping[str, TopicFlow]
) -> Iterator[Issue]:
    """Find settings of source topics and of the loop's own that do not do."""
    own = Topics.of(config)
    silent = [name for name, facts in cluster.topics.items() if not facts.settings]
    for name in sources:
        if (facts := cluster.topics.get(name)) is not None and facts.settings:
            yield from _source(facts, flows.get(name))
    for name in own.all:
        if (facts := cluster.topics.get(name)) is not None:
            yield from _own(facts, config, is_sent_to=name not in (own.commands, own.commits))
    if silent:
        yield Issue(
            Severity.REMARK,
            "settings_unknown",
            f"topic {silent[0]}" + (f" and {len(silent) - 1} more" if len(silent) > 1 else ""),
            "the cluster does not tell their settings, so nothing is said of retention and sizes",
            "It takes the right DescribeConfigs on the topic.",
        )
    yield from _copies(cluster)


def _source(facts: TopicFacts, flow: TopicFlow | None) -> Iterator[Issue]:
    where = f"topic {facts.name}"
    if "compact" in facts.settings.get("cleanup.policy", ""):
        yield Issue(
            Severity.WARNING,
            "compacted",
            where,
            f"cleanup.policy={facts.settings['cleanup.policy']}: of records with the same Kafka key only the last is "
            "kept, so what ingest has not read yet may be gone, corrections and whole predictions included",
            "Use delete, or make sure that ingest is never behind for longer than min.compaction.lag.ms.",
        )
        if "delete" not in facts.settings["cleanup.policy"]:
            return
    yield from _retention(facts, where)
    by_size = _whole(facts, "retention.bytes")
    if by_size > 0 and flow is not None and flow.bytes_per_ms:
        held = by_size * facts.partitions / flow.bytes_per_ms
        if held < WEEK_MS:
            yield Issue(
                Severity.WARNING,
                "retention",
                where,
                f"retention.bytes={by_size} holds about {format_duration(round(held / 3_600_000) * 3_600_000)} of "
                "records at this rate (uncompressed), less than 7d",
                "Raise it: until they are in the lake, records must stay, over outages, too.",
            )


def _own(facts: TopicFacts, config: LoopConfig, *, is_sent_to: bool) -> Iterator[Issue]:
    where = f"topic {facts.name}"
    if facts.partitions != config.partitions:
        yield Issue(
            Severity.ERROR,
            "partition_count",
            where,
            f"has {facts.partitions} partitions, and the loop has {config.partitions}",
            "All of the loop's topics need the same number: put `partitions` right before the first start, or make the "
            "topic anew. A topic that was enlarged has keys in the wrong place.",
        )
    if not facts.settings:
        return
    if "compact" in facts.settings.get("cleanup.policy", ""):
        yield Issue(
            Severity.ERROR,
            "compacted",
            where,
            "is compacted, so records that the join and the lake still need disappear",
            "Set cleanup.policy=delete.",
        )
    yield from _retention(facts, where)
    limit, wanted = _whole(facts, "max.message.bytes"), _message_bytes(config)
    if is_sent_to and 0 <= limit < wanted:
        yield Issue(
            Severity.ERROR,
            "message_size",
            where,
            f"takes messages of up to {limit:,} bytes (max.message.bytes), and up to {wanted:,} are sent",
            f"Raise it, or set kafka.client: {{message.max.bytes: {limit}}}.",
        )


def _retention(facts: TopicFacts, where: str) -> Iterator[Issue]:
    retention = _whole(facts, "retention.ms")
    if 0 <= retention < WEEK_MS:
        yield Issue(
            Severity.WARNING,
            "retention",
            where,
            f"retention.ms is {format_duration(retention)}, less than 7d",
            "Until they are in the lake, records must stay, over outages, too: 7d. It need not cover labels' delays.",
        )


def _copies(cluster: Cluster) -> Iterator[Issue]:
    few = [facts for facts in cluster.topics.values() if facts.replicas < COPIES or _in_sync(facts) < IN_SYNC]
    if not few:
        return
    least = min(few, key=lambda facts: facts.replicas)
    sync = f", min.insync.replicas={_in_sync(least)}" if least.settings else ""
    brokers = f"; the cluster has {cluster.brokers} broker{'s' if cluster.brokers > 1 else ''}"
    yield Issue(
        Severity.REMARK,
        "copies",
        ", ".join(f"topic {facts.name}" for facts in few[:COPIES]) + (", ..." if len(few) > COPIES else ""),
        f"has {least.replicas} cop{'y' if least.replicas == 1 else 'ies'} of every record{sync}{brokers}",
        "For production: 3 copies and min.insync.replicas=2, or records are lost with a machine.",
    )


def _in_sync(facts: TopicFacts) -> int:
    return _whole(facts, "min.insync.replicas") if facts.settings else IN_SYNC


def _whole(facts: TopicFacts, name: str) -> int:
    """Return a setting as a number; -1 where it has none, or is without limit."""
    try:
        return int(facts.settings.get(name, -1))
    except ValueError:
        return -1


def _message_bytes(config: LoopConfig) -> int:
    wish = config.kafka.client.get("message.max.bytes", MESSAGE_BYTES_MAX) if config.kafka else MESSAGE_BYTES_MAX
    return int(wish)
