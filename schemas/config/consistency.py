"""Consistency of a loop's config across its sections: kinds, slices and outputs that one names and another lacks.

Each function checks the sections that it takes and yields problems with their path from the top of the config. Rules on
a single field are with the field.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from schemas.base.duration import format_duration
from schemas.base.metric_name import METRICS, plain_name
from schemas.base.problem import Problem, did_you_mean
from schemas.config.label import CohortConfig, CoverageGoal, LabelConfig
from schemas.config.mapping import Scalar, SourceMap
from schemas.config.metric import MetricChoice, name_of_choice
from schemas.config.prediction import OutputConfig, PredictionConfig
from schemas.config.registry import SchemaRegistryConfig
from schemas.config.topic_names import TopicNames

__all__ = [
    "age_problems",
    "cohort_problems",
    "coverage_problems",
    "delay_problems",
    "kind_problems",
    "metric_problems",
    "own_topics",
    "registry_problems",
    "schema_problems",
    "source_problems",
]

_OWN_TOPICS = ("predictions", "labels", "commands", "outcomes", "rejects", "ledger", "commits", "evidence", "decisions")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

Outputs = Mapping[str, OutputConfig]
Labels = Mapping[str, LabelConfig]


def own_topics(loop: str, names: TopicNames) -> frozenset[str]:
    """Return the names of the topics that a loop has for itself."""
    return frozenset(names.topic(loop, one) for one in _OWN_TOPICS)


def kind_problems(outputs: Outputs, labels: Labels) -> Iterator[Problem]:
    """Find kinds that only one of outputs and labels has, and implied values that do not fit a kind's task."""
    for kind in sorted(set(outputs) - set(labels)):
        message = f"labels has no kind {kind!r}, and every output needs one{did_you_mean(kind, labels)}"
        yield Problem(("predictions", "outputs", kind), message)
    for kind in sorted(set(labels) - set(outputs)):
        message = f"predictions.outputs has no {kind!r}, and every kind needs one{did_you_mean(kind, outputs)}"
        yield Problem(("labels", kind), message)
    for kind in sorted(set(labels) & set(outputs)):
        task, timeout = outputs[kind].task, labels[kind].on_timeout
        if not isinstance(timeout, str) and (message := _value_problem(task, timeout.imply)):
            yield Problem(("labels", kind, "on_timeout", "imply"), message)


def cohort_problems(cohorts: CohortConfig, slices: Sequence[str]) -> Iterator[Problem]:
    """Find cohorts by a slice that does not exist."""
    for at, name in enumerate(cohorts.by):
        if name != "version" and name not in slices:
            hint = did_you_mean(name, ["version", *slices])
            message = f"{name!r} is neither 'version' nor one of predictions.slices{hint}"
            yield Problem(("cohorts", "by", at), message)


def coverage_problems(coverage: Sequence[CoverageGoal], labels: Labels) -> Iterator[Problem]:
    """Find coverage goals of kinds that do not exist."""
    for at, goal in enumerate(coverage):
        if goal.label not in labels:
            message = f"{goal.label!r} is not a label kind{did_you_mean(goal.label, labels)}"
            yield Problem(("coverage", at, "label"), message)


def metric_problems(
    metrics: Mapping[str, Sequence[MetricChoice]], outputs: Outputs, labels: Labels
) -> Iterator[Problem]:
    """Find metrics of kinds that do not exist, and metrics that do not fit a kind's task."""
    for kind in metrics:
        if kind not in labels:
            yield Problem(("metrics", kind), f"{kind!r} is not a label kind{did_you_mean(kind, labels)}")
    for kind, output in outputs.items():
        for at, choice in enumerate(metrics.get(kind, ())):
            name = plain_name(name_of_choice(choice))
            if name not in METRICS[output.task]:
                yield Problem(
                    ("metrics", kind, at),
                    f"{name!r} is not for task: {output.task}, which has {', '.join(METRICS[output.task])}",
                )


def delay_problems(labels: Labels, slices: Sequence[str]) -> Iterator[Problem]:
    """Find label delays by a slice that does not exist."""
    for kind, label in labels.items():
        if label.delay_by is not None and label.delay_by not in slices:
            hint = did_you_mean(label.delay_by, slices)
            yield Problem(("labels", kind, "delay_by"), f"{label.delay_by!r} is not one of predictions.slices{hint}")


def age_problems(evaluate_at: Sequence[int | Literal["final"]], labels: Labels) -> Iterator[Problem]:
    """Find evaluation ages beyond the shortest horizon."""
    shortest = min((label.horizon for label in labels.values()), default=0)
    for at, age in enumerate(evaluate_at):
        if age != "final" and age > shortest:
            yield Problem(("evaluate_at", at), f"{format_duration(age)} is beyond the shortest horizon; write final")


def registry_problems(sources: Sequence[SourceMap], registry: SchemaRegistryConfig | None) -> Iterator[Problem]:
    """Find keys that are read by the schemas of a registry where there is none."""
    for at, source in enumerate(sources):
        if source.key_format == "registry" and registry is None:
            yield Problem(("ingest", at, "key_format"), "registry: needs `schema_registry`, which says where it is")


def schema_problems(sources: Sequence[SourceMap]) -> Iterator[Problem]:
    """Find sources of one topic that read its values by different schemas."""
    first: dict[str, SourceMap] = {}
    for at, source in enumerate(sources):
        if source.topic is not None and first.setdefault(source.topic, source).value_schema != source.value_schema:
            message = f"is another one than that of the source before: {source.topic} has one schema"
            yield Problem(("ingest", at, "value_schema"), message)


def source_problems(
    sources: Sequence[SourceMap], own_topics: Collection[str], predictions: PredictionConfig, labels: Labels
) -> Iterator[Problem]:
    """Find kinds, slices and outputs that a source names and the loop lacks, and topics that ingest writes itself."""
    groups = {"outputs": set(predictions.outputs), "slices": set(predictions.slices)}
    for at, source in enumerate(sources):
        if source.topic in own_topics:
            message = "is one of the loop's own topics, and ingest would read what it writes"
            yield Problem(("ingest", at, "topic"), message)
        if source.kind is not None and source.kind not in labels:
            hint = did_you_mean(source.kind, labels)
            yield Problem(("ingest", at, "kind"), f"{source.kind!r} is not a label kind{hint}")
        elif source.kind in predictions.outputs and "value" in source.map:
            task, field = predictions.outputs[source.kind].task, source.map["value"]
            if task == "binary":
                for name, value in (field.values or {}).items():
                    if message := _value_problem(task, value):
                        yield Problem(("ingest", at, "map", "value", "values", str(name)), message)
        for target in source.map:
            group, _, name = target.partition(".")
            path = ("ingest", at, "map", target)
            if group in groups and name not in groups[group]:
                hint = did_you_mean(name, groups[group])
                yield Problem(path, f"{name!r} is not one of predictions.{group}{hint}")
            elif group == "features" and name and not _PLAIN_NAME.fullmatch(name):
                yield Problem(path, f"{name!r} must be a plain name: letters, digits and _")


def _value_problem(task: str, value: Scalar) -> str:
    """Return why a label of this task cannot have the value; empty if it can."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if task == "binary":
        return "" if value in (0, 1) else f"must be 0 or 1 for task: binary, not {value!r}"
    if task == "regression":
        return "" if number else f"must be a number for task: regression, not {value!r}"
    return "" if isinstance(value, str) else f"must be a class as text for task: multiclass, not {value!r}"
