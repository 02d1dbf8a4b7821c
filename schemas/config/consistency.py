"""Whether the parts of a loop's config name the same kinds, slices and outputs.

What one field may be is said where the field is, in `schemas.config.loop`; this module only looks across.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.base.duration import format_duration
from schemas.base.metric_name import METRICS
from schemas.base.problem import Path, Problem, did_you_mean
from schemas.config.mapping import Scalar
from schemas.config.privacy import privacy_problems

if TYPE_CHECKING:
    from schemas.config.loop import LoopConfig

__all__ = ["consistency_problems"]

_OWN_TOPICS = frozenset(
    {"predictions", "labels", "commands", "outcomes", "rejects", "ledger", "commits", "evidence", "decisions"}
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def consistency_problems(config: "LoopConfig") -> list[Problem]:
    """Return what one part of the config says and another does not know; none is healthy."""
    return [
        *_kind_problems(config),
        *_cohort_problems(config),
        *_source_problems(config),
        *privacy_problems(config),
    ]


def _kind_problems(config: "LoopConfig") -> Iterator[Problem]:
    """Find kinds that only one of outputs and labels has, and what does not fit a kind's task."""
    outputs, labels = config.predictions.outputs, config.labels
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


def _value_problem(task: str, value: Scalar) -> str:
    """Say why a task cannot have this label value; empty where it can."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if task == "binary":
        return "" if value in (0, 1) else f"must be 0 or 1 for task: binary, not {value!r}"
    if task == "regression":
        return "" if number else f"must be a number for task: regression, not {value!r}"
    return "" if isinstance(value, str) else f"must be a class as text for task: multiclass, not {value!r}"


def _cohort_problems(config: "LoopConfig") -> Iterator[Problem]:
    """Find names in cohorts, coverage and metrics that the loop does not have."""
    slices = config.predictions.slices
    for at, name in enumerate(config.cohorts.by):
        if name != "version" and name not in slices:
            hint = did_you_mean(name, ["version", *slices])
            message = f"{name!r} is neither 'version' nor one of predictions.slices{hint}"
            yield Problem(("cohorts", "by", at), message)
    named: list[tuple[Path, str]] = [(("coverage", at, "label"), goal.label) for at, goal in enumerate(config.coverage)]
    named += [(("metrics", kind), kind) for kind in config.metrics]
    for path, kind in named:
        if kind not in config.labels:
            yield Problem(path, f"{kind!r} is not a label kind{did_you_mean(kind, config.labels)}")
    for kind, output in config.predictions.outputs.items():
        for at, name in enumerate(config.metrics.get(kind, ())):
            if name not in METRICS[output.task]:
                yield Problem(
                    ("metrics", kind, at),
                    f"{name!r} is not for task: {output.task}, which has {', '.join(METRICS[output.task])}",
                )
    for kind, label in config.labels.items():
        if label.delay_by is not None and label.delay_by not in slices:
            hint = did_you_mean(label.delay_by, slices)
            yield Problem(("labels", kind, "delay_by"), f"{label.delay_by!r} is not one of predictions.slices{hint}")
    shortest = min((label.horizon for label in config.labels.values()), default=0)
    for at, age in enumerate(config.evaluate_at):
        if age != "final" and age > shortest:
            yield Problem(("evaluate_at", at), f"{format_duration(age)} is beyond the shortest horizon; write final")


def _source_problems(config: "LoopConfig") -> Iterator[Problem]:
    """Find kinds, slices and outputs that a source names and the loop does not have."""
    groups = {"outputs": set(config.predictions.outputs), "slices": set(config.predictions.slices)}
    for at, source in enumerate(config.ingest):
        if source.topic is not None and source.topic.startswith(f"{config.loop}."):
            own = source.topic.removeprefix(f"{config.loop}.")
            if own in _OWN_TOPICS:
                message = "is one of the loop's own topics, and ingest would read what it writes"
                yield Problem(("ingest", at, "topic"), message)
        if source.kind is not None and source.kind not in config.labels:
            hint = did_you_mean(source.kind, config.labels)
            yield Problem(("ingest", at, "kind"), f"{source.kind!r} is not a label kind{hint}")
        elif source.kind in config.predictions.outputs and "value" in source.map:
            task, field = config.predictions.outputs[source.kind].task, source.map["value"]
            if task == "binary":
                for name, value in (field.values or {}).items():
                    if message := _value_problem(task, value):
                        yield Problem(("ingest", at, "map", "value", "values", name), message)
        for target in source.map:
            group, _, name = target.partition(".")
            path = ("ingest", at, "map", target)
            if group in groups and name not in groups[group]:
                hint = did_you_mean(name, groups[group])
                yield Problem(path, f"{name!r} is not one of predictions.{group}{hint}")
            elif group == "features" and name and not _PLAIN_NAME.fullmatch(name):
                yield Problem(path, f"{name!r} must be a plain name: letters, digits and _")
