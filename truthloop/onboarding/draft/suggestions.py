"""Suggestions for one topic: fields that may be outputs, label values, versions or times, with the reason. Best first.

`draft.kinds` and `draft.source` choose among them.
"""

from dataclasses import dataclass
from typing import Any, Final

from schemas.base.metric_name import Task
from streams.columns.schema import Role
from truthloop.onboarding.profiles.field import CATEGORY_LENGTH, FieldProfile
from truthloop.onboarding.profiles.names import (
    HAPPENED_HINTS,
    IDENTITY_HINTS,
    KNOWN_HINTS,
    LABEL_HINTS,
    NO_VALUES,
    OUTPUT_HINTS,
    PREDICTED_HINTS,
    TIME_HINTS,
    YES_VALUES,
    last_name_parts,
    name_parts,
)
from truthloop.onboarding.profiles.time_format import HOUR_MS
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = [
    "CLEAR_WEIGHT",
    "PRESENT",
    "LabelSuggestion",
    "OutputSuggestion",
    "suggest_labels",
    "suggest_outputs",
    "suggest_times",
    "suggest_versions",
]

PRESENT: Final = 0.9
"""Share of the records that must have a field that the map needs; the rest may be broken records."""

CATEGORIES: Final = 20
"""A number with more distinct values is a measure, not a category."""

VERSIONS_MAX: Final = 50
PERCENT: Final = 100
CLEAR_WEIGHT: Final = 4.0
"""Weight from which the name and the values of an output or a label agree."""

_WEAK_LABEL_HINTS: Final = frozenset(
    {"status", "stage", "reason", "value", "class", "is", "was", "has", "flag", "result", "decision", "resolution"}
)
_OTHER_VERSIONS: Final = frozenset({"schema", "app", "api", "spec", "event", "client", "sdk", "os", "browser", "data"})
_DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True)
class OutputSuggestion:
    """A field that may be a model's output.

    Attributes:
        scale: factor to the range from 0 to 1; None if none is needed.
        weight: higher is more likely.
    """

    field: FieldProfile
    scale: float | None
    weight: float
    reason: str


@dataclass(frozen=True)
class LabelSuggestion:
    """A field that may be the label value.

    Attributes:
        task: the task that its values suggest.
        values: the meaning of its values as 0 or 1; None if they need no translation.
        weight: higher is more likely.
        is_sure: `values` is None, or the values are known words for yes and no.
    """

    field: FieldProfile
    task: Task
    values: dict[str, int] | None
    weight: float
    reason: str
    is_sure: bool


def suggest_outputs(topic: TopicProfile) -> list[OutputSuggestion]:
    """Return numbers that may be probabilities or percentages."""
    found = []
    for field in topic.record_fields():
        if not field.is_number or field.distinct <= 2 or topic.share(field) < 0.5 or field.path in topic.time_formats:  # noqa: PLR2004 - two values are a class; half of the records
            continue
        low, high = field.limits
        named = _output_name(topic, field)
        if low < 0 or high > PERCENT or (high > 1 and not named) or (not named and field.distinct <= CATEGORIES):
            continue
        scale = None if high <= 1 else 1 / PERCENT
        weight = 2 + named - (3 if topic.is_feature(field.path) else 0)
        reason = f"{field.path} is between 0 and {1 if scale is None else PERCENT}"
        found.append(OutputSuggestion(field, scale, weight, f"{reason} and is named like a score" if named else reason))
    return sorted(found, key=lambda one: (-one.weight, len(one.field.path)))


def _output_name(topic: TopicProfile, field: FieldProfile) -> int:
    """Return 3 if the field's name hints at an output, 2 if its parent's name does, else 0."""
    if last_name_parts(field.path) & OUTPUT_HINTS:
        return 3
    parent = topic.inner_path(field.path).rpartition(".")[0]
    return 2 if parent and last_name_parts(parent) & OUTPUT_HINTS else 0


def suggest_labels(topic: TopicProfile) -> list[LabelSuggestion]:
    """Return fields that may be the label value."""
    found = []
    for field in topic.record_fields():
        if topic.share(field) < PRESENT or field.path in topic.time_formats or field.looks_personal:
            continue
        if "version" not in last_name_parts(field.path) and (one := _label(topic, field)) is not None:
            found.append(one)
    return sorted(found, key=lambda one: (-one.weight, len(one.field.path)))


def _label(topic: TopicProfile, field: FieldProfile) -> LabelSuggestion | None:
    hints = last_name_parts(field.path) & LABEL_HINTS if not _output_name(topic, field) else frozenset()
    has_strong_hint = bool(hints - _WEAK_LABEL_HINTS)
    name = (3.0 if has_strong_hint else 1.5 if hints else 0.0) - 3 * topic.is_feature(field.path)
    identity = 2 if last_name_parts(field.path) & IDENTITY_HINTS and not has_strong_hint else 0
    distinct, values = field.distinct, set(field.counts)
    if distinct == 1 and name <= 0:
        return None
    if field.kind == "true or false" or (field.is_number and values <= {0, 1}):
        what = "true or false" if field.kind == "true or false" else "0 or 1"
        return LabelSuggestion(field, "binary", None, 3 + name, f"{field.path} is {what}", is_sure=True)
    if distinct == 2 and field.kind and all(_is_short(value) for value in values):  # noqa: PLR2004 - two values
        mapping, is_sure = _two_values(field)
        weight = (2 if field.kind == "text" else 1) + name + is_sure - identity
        return LabelSuggestion(field, "binary", mapping, weight, f"{field.path} has two values", is_sure=is_sure)
    if field.categories and name > 0:
        mapping = {value: int(value.lower() in YES_VALUES) for value in field.categories}
        if 1 not in mapping.values():
            mapping[field.counts.most_common()[-1][0]] = 1  # the rarest: the positive class mostly is
        reason = f"{field.path} has {distinct} values and is named like a result"
        return LabelSuggestion(field, "binary", mapping, 0.5 + name - identity, reason, is_sure=False)
    if field.is_number and distinct > CATEGORIES and name >= 3 and not identity:  # noqa: PLR2004 - a strong hint
        reason = f"{field.path} is a number and is named like a result"
        return LabelSuggestion(field, "regression", None, name, reason, is_sure=True)
    return None


def _two_values(field: FieldProfile) -> tuple[dict[str, int], bool]:
    """Return which of two values is positive, and whether it is known; an unknown one is guessed to be the rarer."""
    one, other = (value for value, _ in field.counts.most_common())
    texts = [_text(one), _text(other)]
    for yes, no in (texts, texts[::-1]):
        if yes.lower() in YES_VALUES and no.lower() not in YES_VALUES:
            return {yes: 1, no: 0}, True
        if no.lower() in NO_VALUES and yes.lower() not in NO_VALUES:
            return {yes: 1, no: 0}, yes.lower() in YES_VALUES
    return {texts[1]: 1, texts[0]: 0}, False


def _is_short(value: Any) -> bool:  # noqa: ANN401 - decoded JSON
    return type(value) is not str or (0 < len(value) <= CATEGORY_LENGTH and value.isprintable())


def _text(value: Any) -> str:  # noqa: ANN401 - decoded JSON
    return str(int(value)) if type(value) is float and value.is_integer() else str(value)


def suggest_versions(topic: TopicProfile) -> list[FieldProfile]:
    """Return fields that may be the model's version."""
    found = []
    for field in topic.fields.values():
        if not (topic.is_record_field(field.path) or field.path.startswith("$headers.")):
            continue
        if field.kind not in ("text", "whole number", "number") or field.distinct > VERSIONS_MAX:
            continue
        time_format = topic.time_formats.get(field.path)
        if topic.share(field) < PRESENT or (time_format is not None and not time_format.is_day):
            continue  # a version may be a day
        last, all_parts = last_name_parts(field.path), set(name_parts(topic.inner_path(field.path)))
        if "version" in last or last == {"v"}:
            weight = 4 if "model" in all_parts else 0 if all_parts & _OTHER_VERSIONS or last == {"v"} else 2
        else:
            weight = 1 if "model" in last and field.kind == "text" else 0
        if weight:
            found.append((weight, field))
    return [field for _, field in sorted(found, key=lambda one: (-one[0], len(one[1].path)))]


def suggest_times(topic: TopicProfile, role: Role) -> list[FieldProfile]:
    """Return fields that may be the time of a prediction, or the time when a label became known."""
    found = []
    for path, time_format in topic.time_formats.items():
        field = topic.fields[path]
        rank = topic.envelope.times.index(path) if path in topic.envelope.times else None
        if rank is None and not (topic.is_record_field(path) or path.startswith("$headers.")):
            continue
        if topic.share(field) < PRESENT or topic.is_feature(path):
            continue
        near = _nearness(topic, path)
        named = bool(last_name_parts(path) & TIME_HINTS)
        if time_format.unit is not None and not named and near < 1:
            continue  # a number that may as well be an id
        weight = near + 2 * named - 3 * time_format.is_day - 0.2 * path.count(".")
        if rank is not None:
            # deletions of rows have no other time than the envelope's
            weight += (10 if topic.envelope.op else 1) - rank / 2
        weight += _role_weight(path, role)
        found.append((weight, field))
    return [field for weight, field in sorted(found, key=lambda one: (-one[0], len(one[1].path))) if weight > 0]


def _nearness(topic: TopicProfile, path: str) -> float:
    """Return how near a field's times are to Kafka's: records are usually sent soon after they are made."""
    lag = topic.lag(path)
    if lag is None:
        return 0
    if lag.zone_minutes() is not None:
        return 2
    return next((points for limit, points in ((60_000, 3), (HOUR_MS, 2), (_DAY_MS, 1)) if abs(lag.p50) <= limit), 0)


def _role_weight(path: str, role: Role) -> float:
    wanted, other = (PREDICTED_HINTS, KNOWN_HINTS) if role == "predictions" else (KNOWN_HINTS, PREDICTED_HINTS)
    last = last_name_parts(path)
    return 2.0 * bool(last & wanted) - 1.0 * bool(last & other) - 1.0 * bool(last & HAPPENED_HINTS)
