"""Check of topics: that they exist, and that their settings neither lose nor refuse records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from schemas.base.duration import format_duration
from schemas.base.problem import did_you_mean
from schemas.config.loop import LoopConfig
from streams.kafka.client import MESSAGE_BYTES_MAX
from streams.kafka.sample import Cluster, TopicFacts
from streams.kafka.topics import RETENTION_MS, Topics
from truthloop.onboarding.check.forecast import TopicFlow
from truthloop.onboarding.check.issue import Issue, Severity, issue
from truthloop.onboarding.profiles.describe import list_text

__all__ = ["check_existence", "check_settings"]

REPLICAS: Final = 3
IN_SYNC: Final = 2
TOPICS_SHOWN: Final = 3
NAMES_COMPARED: Final = 1_000
HOUR_MS: Final = 3_600_000


def check_existence(
    cluster: Cluster, config: LoopConfig, sources: Sequence[str], inputs: Sequence[str]
) -> Iterator[Issue]:
    """Yield topics that do not exist.

    Args:
        sources: topics that `ingest` names.
        inputs: canonical topics that no source fills.
    """
    for name in sources:
        if name not in cluster.topics:
            hint = did_you_mean(name, cluster.names[:NAMES_COMPARED]) if cluster.names else ""
            text = f"does not exist, or you may not see it{hint if 'did you mean' in hint else ''}"
            yield issue("missing_topic", f"topic {name}", text)
    for name in inputs:
        if name not in cluster.topics:
            text = "does not exist, and no source in `ingest` would fill it"
            hint = (
                f"`truthloop start` creates it with {config.partitions} partitions, for producers that write canonical "
            )
            hint += "records; topics with other records belong in `ingest`."
            yield issue("missing_topic", f"topic {name}", text, hint=hint)


def check_settings(
    cluster: Cluster, config: LoopConfig, sources: Sequence[str], flows: Mapping[str, TopicFlow]
) -> Iterator[Issue]:
    """Yield unsuitable settings of the source topics and of the loop's own topics."""
    own = Topics.of(config)
    for name in sources:
        if (facts := cluster.topics.get(name)) is not None and facts.settings:
            yield from _check_source(facts, flows.get(name))
    for name in own.all:
        if (facts := cluster.topics.get(name)) is not None:
            yield from _check_own(facts, config, is_written_by_loop=name not in (own.commands, own.commits))
    unknown = [f"topic {facts.name}" for facts in cluster.topics.values() if not facts.settings]
    if unknown:
        text = "the cluster does not show their settings, so retention and message sizes were not checked"
        yield issue("settings_unknown", list_text(unknown, TOPICS_SHOWN), text)
    few = [facts for facts in cluster.topics.values() if facts.replicas < REPLICAS or _in_sync(facts) < IN_SYNC]
    if few:
        least = min(few, key=lambda facts: facts.replicas)
        in_sync = f", min.insync.replicas={_in_sync(least)}" if least.settings else ""
        text = f"has {_count(least.replicas, 'replica')}{in_sync}; the cluster has {_count(cluster.brokers, 'broker')}"
        yield issue("copies", list_text([f"topic {facts.name}" for facts in few], TOPICS_SHOWN), text)


def _check_source(facts: TopicFacts, flow: TopicFlow | None) -> Iterator[Issue]:
    where, cleanup = f"topic {facts.name}", facts.settings.get("cleanup.policy", "")
    if "compact" in cleanup:
        text = f"cleanup.policy={cleanup} keeps only the last record of each Kafka key, so records that ingest has not "
        yield issue("compacted", where, f"{text}read yet can be deleted, corrections and whole predictions included")
        if "delete" not in cleanup:
            return
    yield from _check_retention(facts)
    limit = _number(facts, "retention.bytes")
    if limit > 0 and flow is not None and flow.bytes_per_ms:
        held_ms = limit * facts.partitions / flow.bytes_per_ms
        if held_ms < RETENTION_MS:
            held = format_duration(round(held_ms / HOUR_MS) * HOUR_MS)
            text = f"retention.bytes={limit} holds about {held} of records at this rate (uncompressed), less than 7d"
            yield issue("retention", where, text)


def _check_own(facts: TopicFacts, config: LoopConfig, *, is_written_by_loop: bool) -> Iterator[Issue]:
    where = f"topic {facts.name}"
    needed = Topics.of(config).partitions_of(facts.name)
    if facts.partitions != needed:
        text = f"has {facts.partitions} partitions, and the loop has {needed}"
        yield issue("partition_count", where, text)
    if not facts.settings:
        return
    if "compact" in facts.settings.get("cleanup.policy", ""):
        text = "is compacted, so records that the join and the lake still need are deleted"
        yield issue("compacted", where, text, severity=Severity.ERROR, hint="Set cleanup.policy=delete.")
    yield from _check_retention(facts)
    limit, sent = _number(facts, "max.message.bytes"), _message_bytes(config)
    if is_written_by_loop and 0 <= limit < sent:
        text = f"accepts messages of up to {limit:,} bytes (max.message.bytes), but up to {sent:,} are sent"
        yield issue("message_size", where, text)


def _check_retention(facts: TopicFacts) -> Iterator[Issue]:
    retention_ms = _number(facts, "retention.ms")
    if 0 <= retention_ms < RETENTION_MS:
        text = f"retention.ms is {format_duration(retention_ms)}, less than 7d"
        yield issue("retention", f"topic {facts.name}", text)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _in_sync(facts: TopicFacts) -> int:
    return _number(facts, "min.insync.replicas") if facts.settings else IN_SYNC


def _number(facts: TopicFacts, setting: str) -> int:
    """Return a setting as a number; -1 if it has none, or is unlimited."""
    try:
        return int(facts.settings.get(setting, -1))
    except ValueError:
        return -1


def _message_bytes(config: LoopConfig) -> int:
    """Return the size of the largest message that the loop's producers send."""
    return int(config.kafka.client.get("message.max.bytes", MESSAGE_BYTES_MAX) if config.kafka else MESSAGE_BYTES_MAX)
