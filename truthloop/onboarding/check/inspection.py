"""Inspection of a config and its topics: runs all checks of `truthloop check --live` on sampled records."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from schemas.config.loop import LoopConfig
from streams.columns.schema import Role
from streams.ingest.offsets import source_topics
from streams.kafka.sample import Cluster, TopicSample
from streams.kafka.topics import Topics
from streams.mapping.tools import MappingTools
from streams.registry.catalog import RegistryCatalog, SchemaUse
from truthloop.onboarding.check.classes import check_classes
from truthloop.onboarding.check.clocks import check_clocks
from truthloop.onboarding.check.delays import check_delays
from truthloop.onboarding.check.forecast import Forecast, TopicFlow, flow_of, forecast_of
from truthloop.onboarding.check.issue import Issue, by_severity, issue
from truthloop.onboarding.check.keys import Overlap, check_overlap, check_partitions, overlap_of
from truthloop.onboarding.check.mapping import check_mapping
from truthloop.onboarding.check.schemas import check_schemas
from truthloop.onboarding.check.topics import check_existence, check_settings
from truthloop.onboarding.trial.delays import Delays, measure_delays
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic, map_canonical_topic, map_topic

__all__ = ["Inspection", "InspectionPlan", "inspect", "plan_inspection"]


@dataclass(frozen=True)
class InspectionPlan:
    """Topics to inspect for a config.

    Attributes:
        sources: topics that `ingest` names; to be sampled.
        inputs: canonical topics that no source fills, by role; to be sampled.
        probed: canonical topics that sources fill, by role; a few records show whether others write to them, too.
        others: the loop's other topics; only their settings are checked.
    """

    sources: list[str]
    inputs: dict[Role, str]
    probed: dict[Role, str]
    others: list[str]


@dataclass
class Inspection:
    """Result of an inspection.

    Attributes:
        topics: sampled sources and inputs, mapped.
        flows: by topic.
        schemas: of the values, by topic; empty without a registry.
        delays: by kind, where sampled labels have sampled predictions.
        overlaps: by kind, where both sides have keys.
        source_overlaps: the same by kind and source, where several sources have labels of a kind.
        issues: worst first.
        is_started: all of the loop's own topics exist.
    """

    topics: list[MappedTopic] = field(default_factory=list)
    flows: dict[str, TopicFlow] = field(default_factory=dict)
    schemas: dict[str, list[SchemaUse]] = field(default_factory=dict)
    delays: dict[str, Delays] = field(default_factory=dict)
    overlaps: dict[str, Overlap] = field(default_factory=dict)
    source_overlaps: dict[str, dict[str, Overlap]] = field(default_factory=dict)
    forecast: Forecast = field(default_factory=lambda: Forecast(None, None, None, None, None))
    issues: list[Issue] = field(default_factory=list)
    is_started: bool = False


def plan_inspection(config: LoopConfig) -> InspectionPlan:
    """Return the topics to inspect."""
    own = Topics.of(config)
    names: dict[Role, str] = {"predictions": own.predictions, "labels": own.labels}
    from_topics = {source.as_ for source in config.ingest if source.topic is not None}
    from_ingest = {source.as_ for source in config.ingest}
    inputs = {role: name for role, name in names.items() if role not in from_ingest}
    probed = {role: name for role, name in names.items() if role in from_topics}
    others = [name for name in own.all if name not in {*inputs.values(), *probed.values()}]
    return InspectionPlan(source_topics(config), inputs, probed, others)


def inspect(
    config: LoopConfig,
    cluster: Cluster,
    samples: Mapping[str, TopicSample],
    tools: MappingTools,
    now_ms: int,
    catalog: RegistryCatalog | None = None,
) -> Inspection:
    """Run all checks.

    Args:
        cluster: facts of the planned topics.
        samples: of the topics that exist and are planned to be sampled.
        tools: hooks and redaction of the mapping.
        now_ms: present.
        catalog: of the schemas of a registry; None without one.

    Raises:
        RegistryAway: the registry does not answer.
    """
    plan = plan_inspection(config)
    found = Inspection(is_started=all(name in cluster.topics for name in Topics.of(config).all))
    found.topics = [map_topic(samples[name], config, tools, now_ms) for name in plan.sources if name in samples]
    canonical: list[MappedTopic] = []
    for role, name in [*plan.inputs.items(), *plan.probed.items()]:
        if name in samples:
            canonical.append(map_canonical_topic(samples[name], role, config))
            if role in plan.inputs:
                found.topics.append(canonical[-1])
    found.flows = {topic.topic: flow_of(topic) for topic in found.topics}
    issues = [*check_existence(cluster, config, plan.sources, list(plan.inputs.values())), *_check_emptiness(found)]
    for topic in found.topics:
        issues += check_mapping(topic, config)
        if catalog is not None and topic.topic not in tools.own_formats:
            found.schemas[topic.topic] = catalog.uses(topic.sample.messages.values)
        issues += check_schemas(topic.topic, found.schemas.get(topic.topic, ()), config)
    issues += check_clocks(found.topics, config)
    issues += _check_kinds(found, config)
    for topic in canonical:
        if topic.sources[0].frame.height:
            issues += check_partitions(topic.sample, topic.sources[0])
    issues += check_settings(cluster, config, plan.sources, found.flows)
    found.forecast = forecast_of(found.topics, found.flows, config)
    found.issues = by_severity(issues)
    return found


def _check_emptiness(found: Inspection) -> Iterator[Issue]:
    empty = [f"topic {topic.topic}" for topic in found.topics if not len(topic.sample.messages)]
    if empty and len(empty) == len(found.topics):
        yield issue("no_records", ", ".join(empty), "there are no records, so nothing could be checked")
        return
    for where in empty:
        yield issue("empty_topic", where, "has no records, so its mapping could not be checked")


def _check_kinds(found: Inspection, config: LoopConfig) -> Iterator[Issue]:
    """Measure delays of all kinds, and the overlap of each source of labels with the predictions; and check them."""
    topics = [topic for topic in found.topics if any(source.role == "predictions" for source in topic.sources)]
    predictions = [source for topic in topics for source in topic.sources if source.role == "predictions"]
    labels = [source for topic in found.topics for source in topic.sources if source.role == "labels"]
    made, known = _known_times(predictions), _known_times(labels)
    for kind, label in config.labels.items():
        delays = measure_delays(made, known.filter(pl.col("kind") == kind), label.horizon, label.retain)
        if delays is not None:
            found.delays[kind] = delays
            yield from check_delays(kind, label, delays)
        overlap = overlap_of(topics, labels, kind, delays)
        if overlap is not None:
            found.overlaps[kind] = overlap
            by_source = _by_source(topics, labels, kind, delays)
            if len(by_source) > 1:
                found.source_overlaps[kind] = by_source
                for title, one in by_source.items():
                    yield from check_overlap(f"kind {kind} of {title}", one)
            else:
                yield from check_overlap(f"kind {kind}", overlap)
        if config.predictions.outputs[kind].task == "multiclass":
            yield from check_classes(kind, predictions, labels)


def _by_source(
    predictions: Sequence[MappedTopic], labels: Sequence[MappedSource], kind: str, delays: Delays | None
) -> dict[str, Overlap]:
    """Return the overlap of each source that has labels of a kind, by its title, and its number if others share it."""
    titles = Counter(source.title for source in labels)
    found: dict[str, Overlap] = {}
    for number, source in enumerate(labels, start=1):
        overlap = overlap_of(predictions, [source], kind, delays)
        if overlap is not None:
            found[source.title if titles[source.title] == 1 else f"{source.title} ({number})"] = overlap
    return found


def _known_times(sources: list[MappedSource]) -> pl.DataFrame:
    """Return `key`, `known_ms` and `kind` (null for predictions) of all records of sources of one role."""
    kind = pl.col("kind") if sources and sources[0].role == "labels" else pl.lit(None, dtype=pl.String).alias("kind")
    empty = pl.DataFrame(schema={"key": pl.String, "known_ms": pl.Int64, "kind": pl.String})
    return pl.concat([empty, *(source.frame.select("key", "known_ms", kind) for source in sources)])
