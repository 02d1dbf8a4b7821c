"""Which field predictions and labels are joined on: nearly unique, in both topics, with the same values.

Fields that look alike but mean another thing (a customer's id) are told apart by uniqueness and by time: a label
comes after its prediction. Must not change anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from truthloop.onboarding.draft.suggestions import PRESENT, Role
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import IDENTITY_HINTS, last_name_parts, similarity
from truthloop.onboarding.profiles.topic import KEY, TopicProfile

__all__ = ["KeyPair", "suggest_keys", "suggest_key_pairs", "single_keys"]

CANDIDATES_MAX: Final = 12
"""Fields of one topic whose values are compared with those of the other's."""

DISTINCT_SHARE: Final = 0.05
"""A key has more different values than this share of the records; what has fewer is a group."""

CHANCE: Final = 0.2
"""Whole numbers that fill a range meet by chance; so much more than that must meet to count."""


@dataclass(frozen=True)
class KeyPair:
    """A field of predictions and one of labels.

    Attributes:
        prediction: path in the predictions.
        label: path in the labels.
        common: keys of the labels' sample that the predictions' sample has.
        labels: different keys in the labels' sample.
        weight: how much speaks for it.
    """

    prediction: str
    label: str
    common: int
    labels: int
    weight: float


@dataclass(frozen=True)
class _Side:
    field: FieldProfile
    texts: dict[str, int]  # value -> index of the first record that has it
    unique: float


def suggest_keys(topic: TopicProfile) -> list[FieldProfile]:
    """Return fields that may be a key, the most nearly unique first."""
    found = []
    for field in topic.fields.values():
        if not (topic.holds(field.path) or field.path == KEY):
            continue
        filled = topic.filled(field)
        if (
            filled.kind not in ("text", "whole number")
            or max(filled.share, topic.share(field)) < PRESENT
            or field.path in topic.moments
        ):
            continue
        if filled.distinct > max(2, DISTINCT_SHARE * filled.present) and not filled.is_prose:
            found.append(filled)
    found.sort(key=lambda field: (-_alone(topic, field), len(field.path)))
    return found[:CANDIDATES_MAX]


def single_keys(topic: TopicProfile) -> list[FieldProfile]:
    """Return the same, where there is no other topic to compare with."""
    return suggest_keys(topic)


def _alone(topic: TopicProfile, field: FieldProfile) -> float:
    """Return what speaks for a key in its own topic."""
    weight = 2 * field.distinct / field.present
    if field.path == KEY:
        return weight - 0.1  # the same in a field is in files, too
    weight += 0.5 * bool(last_name_parts(field.path) & IDENTITY_HINTS)
    return weight - topic.is_feature(field.path) - 0.05 * topic.short(field.path).count(".")


def suggest_key_pairs(predictions: TopicProfile, labels: TopicProfile, times: dict[Role, str | None]) -> list[KeyPair]:
    """Return pairs of fields that may be the key, best first.

    Args:
        predictions: their topic.
        labels: their topic.
        times: field that is the time of each, where one is known.
    """
    mine = [_side(field) for field in suggest_keys(predictions)]
    theirs = [_side(field) for field in suggest_keys(labels)]
    moments = [_moments(predictions, times["predictions"]), _moments(labels, times["labels"])]
    found = []
    for one in mine:
        for other in theirs:
            common = one.texts.keys() & other.texts.keys()
            weight = _alone(predictions, one.field) + _likeness(one, other, len(common))
            if common and all(moments):
                weight += 2 * _order(common, (one, other), moments)
            pair = KeyPair(one.field.path, other.field.path, len(common), len(other.texts), weight)
            found.append(pair)
    return sorted(found, key=lambda pair: (-pair.weight, len(pair.prediction) + len(pair.label)))


def _side(field: FieldProfile) -> _Side:
    texts: dict[str, int] = {}
    for index, value in enumerate(field.values):
        if value is not None:
            texts.setdefault(str(value), index)
    return _Side(field, texts, field.distinct / field.present)


def _likeness(one: _Side, other: _Side, common: int) -> float:
    weight = 2 * similarity(one.field.path, other.field.path)
    if one.field.form != other.field.form:
        weight -= 2
    smaller = min(len(one.texts), len(other.texts))
    surplus = common / smaller - CHANCE * _density(one, other)
    return weight + (1 + 3 * min(1.0, surplus) if common and surplus > 0 else 0)


def _density(one: _Side, other: _Side) -> float:
    """Return how full of values the range of whole numbers is: 1 where sets of them meet whatever they mean."""
    if one.field.form != "whole number" or other.field.form != "whole number":
        return 0.0
    numbers = [sorted(int(text) for text in side.texts if text.isdigit()) for side in (one, other)]
    if not all(numbers):
        return 0.0
    span = max(numbers[0][-1], numbers[1][-1]) - min(numbers[0][0], numbers[1][0]) + 1
    return min(1.0, max(len(one.texts), len(other.texts)) / span)


def _moments(topic: TopicProfile, path: str | None) -> Sequence[Any]:
    if path is None:
        return topic.kafka_ms
    return topic.moments[path].ms


def _order(common: set[str], sides: tuple[_Side, _Side], moments: Sequence[Sequence[Any]]) -> float:
    """Return the share of common keys whose label is not before the prediction, less what chance would give."""
    pairs = [[moments[at][side.texts[key]] for at, side in enumerate(sides)] for key in common]
    known = [after >= before for before, after in pairs if before is not None and after is not None]
    return 2 * sum(known) / len(known) - 1 if known else 0.0
