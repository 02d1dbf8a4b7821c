"""Suggests the key that predictions and labels are joined on: nearly unique, in both topics, with the same values.

Fields with the same values but another meaning, such as a customer's id, are distinguished by uniqueness and by time: a
label comes after its prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.config.record_metadata import HEADER_PREFIX, KEY_PREFIX, is_key_path
from truthloop.onboarding.draft.suggestions import PRESENT
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import IDENTITY_HINTS, last_name_parts, similarity
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["KeyPair", "suggest_key_pairs", "suggest_keys"]

KEYS_MAX: Final = 12
"""Maximum number of fields of one topic whose values are compared with the other topic's."""

DISTINCT_SHARE: Final = 0.05
"""A key has more distinct values than this share of its records; a field with fewer is a category."""

METADATA_PENALTY: Final = 0.1
"""An equal field of the record is better than one of its metadata: files have it, too."""

CHANCE: Final = 0.2
"""Whole numbers of a dense range are equal by chance; only matches above this share of the density count."""


@dataclass(frozen=True)
class KeyPair:
    """A field of predictions and one of labels that may be the key.

    Attributes:
        prediction: path in the predictions.
        label: path in the labels.
        common: number of distinct values that both samples have.
        labels: number of distinct values in the labels' sample.
        weight: higher is more likely.
    """

    prediction: str
    label: str
    common: int
    labels: int
    weight: float


@dataclass(frozen=True)
class _Side:
    """A field of one topic, with the index of the first record of each value.

    Attributes:
        name: its path in the record or the key, whatever is around that.
    """

    field: FieldProfile
    name: str
    first_index: dict[str, int]


def suggest_keys(topic: TopicProfile) -> list[FieldProfile]:
    """Return fields that may be a key, best first."""
    found = []
    for field in topic.fields.values():
        if not (topic.is_record_field(field.path) or _is_metadata(field)) or field.path in topic.time_formats:
            continue
        filled = topic.filled(field)
        if filled.kind not in ("text", "whole number") or max(filled.share, topic.share(field)) < PRESENT:
            continue
        if filled.distinct > max(2, DISTINCT_SHARE * filled.present) and not filled.is_prose:
            found.append(filled)
    found.sort(key=lambda field: (-_weight_alone(topic, field), len(field.path)))
    return found[:KEYS_MAX]


def _weight_alone(topic: TopicProfile, field: FieldProfile) -> float:
    """Return the weight of a field as a key, from its own topic only."""
    weight = 2 * field.distinct / field.present
    if _is_metadata(field):
        return weight - METADATA_PENALTY
    weight += 0.5 * bool(last_name_parts(field.path) & IDENTITY_HINTS)
    return weight - topic.is_feature(field.path) - 0.05 * topic.inner_path(field.path).count(".")


def _is_metadata(field: FieldProfile) -> bool:
    """Return whether a field is Kafka's key or a header, as the attributes of a CloudEvent in binary mode are."""
    return is_key_path(field.path) or field.path.startswith(HEADER_PREFIX)


def suggest_key_pairs(
    predictions: TopicProfile, labels: TopicProfile, times: Mapping[str, str | None]
) -> list[KeyPair]:
    """Return pairs of fields that may be the key, best first; `times` are the paths of the times, by role."""
    label_sides = [_side(labels, field) for field in suggest_keys(labels)]
    times_ms = [_times_ms(predictions, times["predictions"]), _times_ms(labels, times["labels"])]
    found = []
    for one in (_side(predictions, field) for field in suggest_keys(predictions)):
        for other in label_sides:
            common = one.first_index.keys() & other.first_index.keys()
            weight = _weight_alone(predictions, one.field) + _weight_together(one, other, len(common))
            weight -= METADATA_PENALTY * _is_metadata(other.field)
            if common and all(times_ms):
                weight += 2 * _time_order(common, (one, other), times_ms)
            found.append(KeyPair(one.field.path, other.field.path, len(common), len(other.first_index), weight))
    return sorted(found, key=lambda pair: (-pair.weight, len(pair.prediction) + len(pair.label)))


def _side(topic: TopicProfile, field: FieldProfile) -> _Side:
    first_index: dict[str, int] = {}
    for index, value in enumerate(field.values):
        if value is not None:
            first_index.setdefault(str(value), index)
    return _Side(field, topic.inner_path(field.path).removeprefix(KEY_PREFIX), first_index)


def _weight_together(one: _Side, other: _Side, common: int) -> float:
    """Return the weight of a pair by its names, patterns and common values."""
    weight = 2 * similarity(one.name, other.name)
    if one.field.pattern != other.field.pattern:
        weight -= 2
    surplus = common / min(len(one.first_index), len(other.first_index)) - CHANCE * _density(one, other)
    return weight + (1 + 3 * min(1.0, surplus) if common and surplus > 0 else 0)


def _density(one: _Side, other: _Side) -> float:
    """Return the share of the range of whole numbers that is used, 0 for other values; at 1 any two sets overlap."""
    if one.field.pattern != "whole number" or other.field.pattern != "whole number":
        return 0.0
    numbers = [sorted(int(text) for text in side.first_index if text.isdigit()) for side in (one, other)]
    if not all(numbers):
        return 0.0
    span = max(numbers[0][-1], numbers[1][-1]) - min(numbers[0][0], numbers[1][0]) + 1
    return min(1.0, max(len(one.first_index), len(other.first_index)) / span)


def _times_ms(topic: TopicProfile, path: str | None) -> Sequence[Any]:
    return topic.kafka_ms if path is None else topic.time_formats[path].ms


def _time_order(common: set[str], sides: tuple[_Side, _Side], times_ms: Sequence[Sequence[Any]]) -> float:
    """Return from -1 to 1 how often a label is not before its prediction; 0 is as often as by chance."""
    pairs = [[times[side.first_index[key]] for times, side in zip(times_ms, sides, strict=True)] for key in common]
    known = [after >= before for before, after in pairs if before is not None and after is not None]
    return 2 * sum(known) / len(known) - 1 if known else 0.0
