"""Label kinds of the topics: their names and tasks, and the fields with the outputs and the label values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.base.metric_name import Task
from truthloop.onboarding.draft.canonical import canonical_kinds, is_canonical
from truthloop.onboarding.draft.suggestions import (
    CLEAR_WEIGHT,
    LabelSuggestion,
    OutputSuggestion,
    suggest_labels,
    suggest_outputs,
)
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import (
    LABEL_TOPIC_HINTS,
    OUTPUT_HINTS,
    column_name,
    name_parts,
    similarity,
)
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["TOPIC_STOP_WORDS", "KindFields", "match_kinds"]

SAME_CLASSES: Final = 0.5
"""Share of the labels' classes that a field of the predictions must have to be the output."""

PLURAL: Final = 3
"""Longer name parts lose an s at their end."""

TOPIC_STOP_WORDS: Final = frozenset(
    {"v", "public", "topic", "topics", "events", "event", "prod", "dev", "dbserver", "db", "stream", "records"}
)
_GENERIC: Final = frozenset(
    {"label", "labels", "value", "status", "outcome", "result", "truth", "actual", "target", "y", "class"}
) | {"is", "was", "has", "stage", "reason", "flag", "verdict", "positive", "resolution", "decision", "final", "true"}
_TOPIC_GENERIC: Final = frozenset({"label", "labels", "outcome", "outcomes", "truth", "feedback", "actuals", "results"})


@dataclass
class KindFields:
    """Label kinds, and the fields that hold their outputs and values.

    Attributes:
        tasks: task of each kind.
        outputs: by topic of predictions, then by kind.
        values: by topic of labels; None if the record itself is a positive label.
        kinds: kind of each topic of labels.
        doubts: by topic of labels, why its values may not mean the same as those of another topic of the kind.
    """

    tasks: dict[str, Task]
    outputs: dict[str, dict[str, OutputSuggestion]] = field(default_factory=dict)
    values: dict[str, LabelSuggestion | None] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)


def match_kinds(
    predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile], kind: str = "", task: Task | None = None
) -> KindFields:
    """Return the kinds of the topics and their fields; `kind` and `task` are the user's choice, if any."""
    values = {topic.topic: _best_label(topic, task) for topic in labels}
    tasks: dict[str, Task] = {}
    for topic in labels:
        if is_canonical(topic, "labels"):
            tasks |= canonical_kinds(topic, "labels")
    for topic in predictions:
        if is_canonical(topic, "predictions"):
            tasks |= canonical_kinds(topic, "predictions")
    found = KindFields(tasks, {}, values)
    if not tasks:
        name = kind or _kind_name(predictions, labels, values)
        classes = _class_outputs(predictions, labels, values) if task in (None, "multiclass") else {}
        first = next((value for value in values.values() if value is not None), None)
        tasks[name] = task or ("multiclass" if classes else first.task if first else "binary")
        found.outputs = {topic: {name: output} for topic, output in classes.items()}
    for topic in labels:
        found.kinds[topic.topic] = max(tasks, key=lambda name: (similarity(name, topic.topic), name == kind))
    found.doubts = _doubts([topic for topic in labels if not is_canonical(topic, "labels")], found)
    for topic in predictions:
        outputs = found.outputs.setdefault(topic.topic, {})
        for name, task_of_kind in tasks.items():
            if name not in outputs and (output := _output(topic, name, task_of_kind)) is not None:
                outputs[name] = output
    return found


def _doubts(labels: Sequence[TopicProfile], found: KindFields) -> dict[str, str]:
    """Return the topics whose values may mean the opposite of those of the first topic of the same kind."""
    first: dict[str, TopicProfile] = {}
    doubts = {}
    for topic in labels:
        other = first.setdefault(found.kinds[topic.topic], topic)
        if other is not topic and not _is_same_field(found.values[topic.topic], found.values[other.topic]):
            value = found.values[other.topic]
            what = "a record" if value is None else value.field.path
            doubts[topic.topic] = (
                f"does 1 mean the same as with {what} of {other.topic}, or the opposite (then swap 0 and 1 by `values`)"
            )
    return doubts


def _is_same_field(one: LabelSuggestion | None, other: LabelSuggestion | None) -> bool:
    """Return whether two label fields have the same last name and the same values, so that they mean the same."""
    if one is None or other is None:
        return False
    names = [name_parts(suggestion.field.path.rpartition(".")[2]) for suggestion in (one, other)]
    return names[0] == names[1] and one.values == other.values


def _best_label(topic: TopicProfile, task: Task | None) -> LabelSuggestion | None:
    return next((one for one in suggest_labels(topic) if task in (None, one.task)), None)


def _class_outputs(
    predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile], values: dict[str, LabelSuggestion | None]
) -> dict[str, OutputSuggestion]:
    """Return the fields of predictions that have the classes of a label field, by topic, and add that to `values`."""
    for topic in labels:
        for label in topic.record_fields():
            outputs = {one.topic: output for one in predictions if (output := _same_classes(label, one)) is not None}
            if outputs:
                values[topic.topic] = LabelSuggestion(label, "multiclass", None, 0, "the same classes", is_sure=True)
                return outputs
    return {}


def _same_classes(label: FieldProfile, topic: TopicProfile) -> OutputSuggestion | None:
    if len(label.categories) < 3:  # noqa: PLR2004 - two classes are binary
        return None
    for one in topic.record_fields():
        is_named = set(name_parts(one.path)) & (OUTPUT_HINTS | {"class", "label"})
        if is_named and len(set(one.categories) & set(label.categories)) >= SAME_CLASSES * label.distinct:
            return OutputSuggestion(one, None, 0, f"{one.path} has the labels' classes")
    return None


def _output(topic: TopicProfile, kind: str, task: Task) -> OutputSuggestion | None:
    """Return the most likely output of a kind."""
    parts = set(name_parts(kind))
    if task == "binary":
        best = max(
            suggest_outputs(topic),
            key=lambda one: one.weight + 2 * bool(parts & set(name_parts(one.field.path))),
            default=None,
        )
        return best if best is not None and best.weight > 0 else None
    for one in topic.record_fields():
        has_type = one.is_number if task == "regression" else bool(one.categories)
        if has_type and set(name_parts(one.path)) & OUTPUT_HINTS and one.path not in topic.time_formats:
            return OutputSuggestion(one, None, 0, f"{one.path} is named like a model's output")
    return None


def _kind_name(
    predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile], values: Mapping[str, LabelSuggestion | None]
) -> str:
    """Name the kind after the label's field, or else after the output, or else after the topic of labels."""
    for value in values.values():
        if value is not None and (parts := _specific_parts(value.field.path, _GENERIC)):
            return column_name(parts)
    for topic in predictions:
        for one in suggest_outputs(topic):
            parts = _specific_parts(one.field.path, OUTPUT_HINTS | _GENERIC)
            if parts and one.weight >= CLEAR_WEIGHT:
                return column_name(parts)
    for topic in labels:
        parts = [part for part in name_parts(topic.topic) if part not in _TOPIC_GENERIC | TOPIC_STOP_WORDS]
        parts = [part for part in parts if not part.isdigit()]
        if parts:
            best = next((part for part in reversed(parts) if part in LABEL_TOPIC_HINTS), parts[-1])
            return column_name([best.removesuffix("s") if len(best) > PLURAL else best])
    return "outcome"


def _specific_parts(path: str, generic: Iterable[str]) -> list[str]:
    return [part for part in name_parts(path.rpartition(".")[2]) if part not in generic]
