"""Everything that can be said of a config and the topics it names: what `truthloop check --live` looks at.

Must not talk to Kafka or print.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from streams.columns.schema import Role
from streams.ingest.offsets import source_topics
from streams.kafka.sample import Cluster, TopicSample
from streams.kafka.topics import Topics
from streams.mapping.tools import MappingTools
from truthloop.onboarding.check.clocks import look_at_clocks
from truthloop.onboarding.check.delays import look_at_delays
from truthloop.onboarding.check.forecast import Forecast, TopicFlow, flow_of, forecast_of
from truthloop.onboarding.check.issue import Issue, Severity, in_order
from truthloop.onboarding.check.keys import Overlap, look_at_overlap, look_at_partitions, overlap_of
from truthloop.onboarding.check.mapping import look_at_mapping
from truthloop.onboarding.check.topics import look_at_missing, look_at_topics
from truthloop.onboarding.trial.delays import Delays, delays_of
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic, map_own_topic, map_topic

__all__ = ["Inspection", "Wanted", "inspect", "wanted_topics"]

ROLES: Final[tuple[Role, Role]] = ("predictions", "labels")


@dataclass(frozen=True)
class Wanted:
    """Which topics have to be looked at for a config.

    Attributes:
        sources: that `ingest` names; sampled.
        inputs: canonical ones that no source fills, by role; sampled.
        probed: canonical ones that sources fill; a few records tell whether somebody else writes to them.
        others: the rest of the loop's own; only their settings count.
    """

    sources: list[str]
    inputs: dict[Role, str]
    probed: dict[Role, str]
    others: list[str]


@dataclass
class Inspection:
    """What was found.

    Attributes:
        topics: that records were read of, mapped: sources, or canonical inputs.
        flows: by topic.
        delays: by kind, where labels met predictions.
        overlaps: by kind, where both sides have keys.
        forecast: what it will take.
        findings: the gravest first.
        is_started: all of the loop's own topics are there.
    """

    topics: list[MappedTopic] = field(default_factory=list)
    flows: dict[str, TopicFlow] = field(default_factory=dict)
    delays: dict[str, Delays] = field(default_factory=dict)
    overlaps: dict[str, Overlap] = field(default_factory=dict)
    forecast: Forecast = field(default_factory=lambda: Forecast(None, None, None, None, None))
    findings: list[Issue] = field(default_factory=list)
    is_started: bool = False


def wanted_topics(config: LoopConfig) -> Wanted:
    """Return the topics that have to be looked at."""
    own = Topics.of(config)
    names: dict[Role, str] = {"predictions": own.predictions, "labels": own.labels}
    filled = {source.as_ for source in config.ingest if source.topic is not None}
    by_files = {source.as_ for source in config.ingest} - filled
    inputs = {role: names[role] for role in ROLES if role not in filled | by_files}
    probed = {role: names[role] for role in ROLES if role in filled}
    others = [name for name in own.all if name not in {*inputs.values(), *probed.values()}]
    return Wanted(source_topics(config), inputs, probed, others)


def inspect(
    config: LoopConfig, cluster: Cluster, samples: Mapping[str, TopicSample], tools: MappingTools, now_ms: int
) -> Inspection:
    """Look at everything.

    Args:
        config: the loop's.
        cluster: what it says of the wanted topics.
        samples: of those that exist and are to be sampled.
        tools: what the mapping needs.
        now_ms: the present.
    """
    wanted = wanted_topics(config)
    found = Inspection(is_started=all(name in cluster.topics for name in Topics.of(config).all))
    findings = found.findings
    for name in wanted.sources:
        if name in samples:
            found.topics.append(map_topic(samples[name], config, tools, now_ms))
    own: list[MappedTopic] = []
    for role, name in [*wanted.inputs.items(), *wanted.probed.items()]:
        if name in samples:
            own.append(map_own_topic(samples[name], role, config))
            if role in wanted.inputs:
                found.topics.append(own[-1])
    found.flows = {topic.topic: flow_of(topic) for topic in found.topics}
    findings += look_at_missing(cluster, config, wanted.sources, list(wanted.inputs.values()))
    findings += _look_at_emptiness(found)
    for topic in found.topics:
        findings += look_at_mapping(topic, config)
    findings += look_at_clocks(found.topics, config)
    _look_at_kinds(found, config)
    for topic in own:
        if topic.sources[0].frame.height:
            findings += look_at_partitions(topic.sample, topic.sources[0])
    findings += look_at_topics(cluster, config, wanted.sources, found.flows)
    found.forecast = forecast_of(found.topics, found.flows, config)
    found.findings = in_order(findings)
    return found


def _look_at_emptiness(found: Inspection) -> list[Issue]:
    empty = [topic for topic in found.topics if not len(topic.sample.messages)]
    if empty and len(empty) == len(found.topics):
        return [
            Issue(
                Severity.ERROR,
                "no_records",
                ", ".join(f"topic {topic.topic}" for topic in empty),
                "there are no records, so nothing can be said",
                "Look again once something is written to them.",
            )
        ]
    return [
        Issue(
            Severity.WARNING,
            "empty_topic",
            f"topic {topic.topic}",
            "has no records, so nothing can be said of them",
            "Look again once something is written to it.",
        )
        for topic in empty
    ]


def _look_at_kinds(found: Inspection, config: LoopConfig) -> None:
    predictions = [topic for topic in found.topics if any(one.role == "predictions" for one in topic.sources)]
    labels = [one for topic in found.topics for one in topic.sources if one.role == "labels"]
    made = _frame([one for topic in predictions for one in topic.sources if one.role == "predictions"])
    truths = _frame(labels)
    for kind, label in config.labels.items():
        delays = delays_of(made, truths.filter(pl.col("kind") == kind), label.horizon, label.retain)
        if delays is not None:
            found.delays[kind] = delays
            found.findings += look_at_delays(kind, label, delays)
        overlap = overlap_of(predictions, labels, kind, delays)
        if overlap is not None:
            found.overlaps[kind] = overlap
            found.findings += look_at_overlap(kind, overlap)


def _frame(sources: list[MappedSource]) -> pl.DataFrame:
    kind = pl.col("kind") if sources and sources[0].role == "labels" else pl.lit(None, dtype=pl.String).alias("kind")
    frames = [one.frame.select("key", "known_ms", kind) for one in sources]
    empty = pl.DataFrame(schema={"key": pl.String, "known_ms": pl.Int64, "kind": pl.String})
    return pl.concat([empty, *frames])
