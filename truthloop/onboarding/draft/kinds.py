"""Which kinds of label the topics are about: their names, what the model predicts, and which field says so.

Must not know keys or times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from truthloop.onboarding.draft.suggestions import CLEAR_WEIGHT, LabelSuggestion, OutputSuggestion, Task, suggest_labels, suggest_outputs
from truthloop.onboarding.draft.canonical import is_canonical, canonical_kinds
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import LABEL_TOPIC_HINTS, OUTPUT_HINTS, column_name, similarity, words
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["TOPIC_STOP_WORDS", "KindFields", "match_kinds"]

SAME_CLASSES: Final = 0.5
"""Of the labels' classes that the model must name, too, for its field to be what it predicts."""

PLURAL: Final = 3
"""Longer words lose an s at their end."""

TOPIC_STOP_WORDS: Final = frozenset(
    {"v", "public", "topic", "topics", "events", "event", "prod", "dev", "dbserver", "db", "stream", "records"}
)
_GENERIC: Final = frozenset(
    {"label", "labels", "value", "status", "outcome", "result", "truth", "actual", "target", "y", "class"}
) | {"is", "was", "has", "stage", "reason", "flag", "verdict", "positive", "resolution", "decision", "final", "true"}
_TOPIC_GENERIC: Final = frozenset({"label", "labels", "outcome", "outcomes", "truth", "feedback", "actuals", "results"})


@dataclass
class KindFields:
    """Kinds of label, and the fields that are about them.

    Attributes:
        tasks: what the model predicts, by kind.
        suggest_outputs: by topic of predictions and kind: the field that says it, and what makes it a share.
        values: by topic of labels: the truth; None where a record itself is a yes.
        kinds: by topic of labels.
    """

    tasks: dict[str, Task]
    suggest_outputs: dict[str, dict[str, OutputSuggestion]] = field(default_factory=dict)
    values: dict[str, LabelSuggestion | None] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


def match_kinds(
    predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile], kind: str = "", task: Task | None = None
) -> KindFields:
    """Return what the topics are about.

    Args:
        predictions: their topics.
        labels: their topics.
        kind: a name that somebody has given.
        task: what somebody has said.
    """
    values = {topic.topic: _first_value(topic, task) for topic in labels}
    tasks: dict[str, Task] = {}
    for topic in labels:
        if is_canonical(topic, "labels"):
            tasks |= canonical_kinds(topic, "labels")
    for topic in predictions:
        if is_canonical(topic, "predictions"):
            tasks |= canonical_kinds(topic, "predictions")
    if not tasks:
        name = kind or _name(predictions, labels, values)
        classes = _class_output(predictions, labels, values) if task in (None, "multiclass") else {}
        first = next((value for value in values.values() if value is not None), None)
        tasks = {name: task or ("multiclass" if classes else first.task if first else "binary")}
        plan = KindFields(tasks, {topic: {name: output} for topic, output in classes.items()}, values)
    else:
        plan = KindFields(tasks, {}, values)
    for topic in labels:
        plan.kinds[topic.topic] = max(tasks, key=lambda name: (similarity(name, topic.topic), name == kind))
    for topic in predictions:
        known = plan.suggest_outputs.setdefault(topic.topic, {})
        for name, wanted in tasks.items():
            if name not in known and (output := _output(topic, name, wanted)) is not None:
                known[name] = output
    return plan


def _first_value(topic: TopicProfile, task: Task | None) -> LabelSuggestion | None:
    found = [one for one in suggest_labels(topic) if task in (None, one.task)]
    return found[0] if found else None


def _class_output(
    predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile], values: dict[str, LabelSuggestion | None]
) -> dict[str, OutputSuggestion]:
    """Find a class that the model says and the labels know, and note that it is what the labels say."""
    for topic in labels:
        for truth in topic.own():
            found = {one.topic: said for one in predictions if (said := _same_classes(truth, one)) is not None}
            if found:
                values[topic.topic] = LabelSuggestion(truth, "multiclass", None, 0, "the same classes", is_sure=True)
                return found
    return {}


def _same_classes(truth: FieldProfile, topic: TopicProfile) -> OutputSuggestion | None:
    if len(truth.categories) < 3:  # noqa: PLR2004 - two classes are a yes and a no
        return None
    for one in topic.own():
        named = set(words(one.path)) & (OUTPUT_HINTS | {"class", "label"})
        same = set(one.categories) & set(truth.categories)
        if named and len(same) >= SAME_CLASSES * truth.distinct:
            return OutputSuggestion(one, None, 0, f"{one.path} has the labels' classes")
    return None


def _output(topic: TopicProfile, kind: str, task: Task) -> OutputSuggestion | None:
    wanted = set(words(kind))
    if task == "binary":
        found = sorted(suggest_outputs(topic), key=lambda one: -(one.weight + 2 * bool(wanted & set(words(one.field.path)))))
        return found[0] if found and found[0].weight > 0 else None
    for one in topic.own():
        is_fit = one.is_number if task == "regression" else bool(one.categories)
        if is_fit and set(words(one.path)) & OUTPUT_HINTS and one.path not in topic.moments:
            return OutputSuggestion(one, None, 0, f"{one.path} is named like what a model says")
    return None


def _name(
    predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile], values: Mapping[str, LabelSuggestion | None]
) -> str:
    """Name the kind after the field of the label, else after the output, else after the topic of the labels."""
    for value in values.values():
        last = [] if value is None else [word for word in _last_words(value.field.path) if word not in _GENERIC]
        if last:
            return column_name(last)
    for topic in predictions:
        for one in suggest_outputs(topic):
            last = [word for word in _last_words(one.field.path) if word not in OUTPUT_HINTS | _GENERIC]
            if last and one.weight >= CLEAR_WEIGHT:
                return column_name(last)
    for topic in labels:
        noise = _TOPIC_GENERIC | TOPIC_STOP_WORDS
        found = [word for word in words(topic.topic) if word not in noise and not word.isdigit()]
        if found:
            best = next((word for word in reversed(found) if word in LABEL_TOPIC_HINTS), found[-1])
            return column_name([best.removesuffix("s") if len(best) > PLURAL else best])
    return "outcome"


def _last_words(path: str) -> tuple[str, ...]:
    return words(path.rpartition(".")[2])
