"""Decides whether a topic has predictions or labels, by points that each have a reason for people to read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.base.problem import did_you_mean
from schemas.errors import ConfigError
from streams.columns.schema import Role
from truthloop.onboarding.draft.canonical import is_canonical
from truthloop.onboarding.draft.suggestions import CLEAR_WEIGHT, suggest_labels, suggest_outputs, suggest_versions
from truthloop.onboarding.profiles.names import LABEL_TOPIC_HINTS, PREDICTION_TOPIC_HINTS, name_parts
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["RoleGuess", "assign_roles", "parse_roles"]

FIELDS_OF_PREDICTIONS: Final = 10
FIELDS_OF_LABELS: Final = 6
CANONICAL: Final = 10.0
"""Points for canonical messages: more than all other points together."""


@dataclass(frozen=True)
class RoleGuess:
    """The most likely role of a topic.

    Attributes:
        margin: points for predictions minus points for labels.
        reasons: for both roles, each as `role: reason`.
        given: role that the user gave; None if it is guessed.
    """

    margin: float
    reasons: tuple[str, ...]
    given: Role | None = None

    @property
    def role(self) -> Role:
        """The given role, or else the guessed one."""
        return self.given or ("predictions" if self.margin > 0 else "labels")


def parse_roles(texts: Sequence[str], topics: Sequence[str]) -> dict[str, Role]:
    """Return the roles in texts such as `TOPIC=predictions`, by topic.

    Raises:
        ConfigError: a text has another form, or names a topic that is not in `topics`.
    """
    found: dict[str, Role] = {}
    for text in texts:
        topic, _, role = text.rpartition("=")
        if role not in ("predictions", "labels") or not topic:
            raise ConfigError(f"--as {text!r}: write TOPIC=predictions or TOPIC=labels")
        if topic not in topics:
            raise ConfigError(f"--as {text!r}: {topic!r} is not given with --from-topic{did_you_mean(topic, topics)}")
        found[topic] = role  # type: ignore[assignment] # checked above
    return found


def assign_roles(topics: Sequence[TopicProfile], given: Mapping[str, Role]) -> dict[str, RoleGuess]:
    """Return the role of each topic; of two topics one has predictions and one labels, unless the user says otherwise.

    Raises:
        ConfigError: a topic may be both, and its role is not given.
    """
    guesses = {topic.topic: _guess(topic, given.get(topic.topic)) for topic in topics}
    free = [name for name, guess in guesses.items() if guess.given is None]
    if len(topics) == 2 and free:  # noqa: PLR2004 - two topics are one of each
        if len(free) == 1:
            (other,) = (guess.role for name, guess in guesses.items() if name not in free)
            missing: Role = "labels" if other == "predictions" else "predictions"
            guesses[free[0]] = _as_role(guesses[free[0]], missing, f"the other topic has {other}")
        elif guesses[free[0]].margin != guesses[free[1]].margin:
            first, second = sorted(free, key=lambda name: -guesses[name].margin)
            guesses[first] = _as_role(
                guesses[first], "predictions", "it has more points for predictions than the other topic"
            )
            guesses[second] = _as_role(guesses[second], "labels", "it has more points for labels than the other topic")
    unknown = [name for name, guess in guesses.items() if guess.given is None and guess.margin == 0]
    if unknown:
        raise ConfigError(
            "its records do not show whether they are predictions or labels",
            where=f"topic {unknown[0]}",
            hint=f"Give the role: --as {unknown[0]}=predictions, or --as {unknown[0]}=labels",
        )
    return guesses


def _guess(topic: TopicProfile, given: Role | None) -> RoleGuess:
    points = list(_points(topic))
    reasons = tuple(f"{'predictions' if weight > 0 else 'labels'}: {reason}" for weight, reason in points)
    return RoleGuess(sum(weight for weight, _ in points), reasons, given)


def _points(topic: TopicProfile) -> Iterator[tuple[float, str]]:
    """Yield points, positive for predictions and negative for labels, with their reasons."""
    yield from _points_of_topic(topic)
    if outputs := suggest_outputs(topic):
        yield (3 if outputs[0].weight >= CLEAR_WEIGHT else 1), outputs[0].reason
    if versions := suggest_versions(topic):
        yield (2 if "version" in name_parts(versions[0].path) else 1), f"{versions[0].path} is named like a version"
    labels = suggest_labels(topic)
    if labels and labels[0].weight >= CLEAR_WEIGHT:
        yield -3, labels[0].reason + (" and is named like a result" if "named" not in labels[0].reason else "")
    elif labels:
        yield -1, labels[0].reason
    count = sum(1 for _ in topic.record_fields())
    if count >= FIELDS_OF_PREDICTIONS:
        yield 1, f"it has {count} fields, like the input of a model"
    elif count <= FIELDS_OF_LABELS:
        yield -0.5, f"it has only {count} fields"


def _points_of_topic(topic: TopicProfile) -> Iterator[tuple[float, str]]:
    canonical = "the records have the fields of Truthloop's own messages"
    if is_canonical(topic, "predictions"):
        yield CANONICAL, canonical
    if is_canonical(topic, "labels"):
        yield -CANONICAL, canonical
    parts = set(name_parts(topic.topic))
    if hints := sorted(parts & PREDICTION_TOPIC_HINTS):
        yield 3, f"the topic's name has {', '.join(hints)}"
    if hints := sorted(parts & LABEL_TOPIC_HINTS):
        yield -3, f"the topic's name has {', '.join(hints)}"
    if topic.envelope.op:
        yield -2, f"its records are changes of database rows ({topic.envelope.name}), and predictions do not change"


def _as_role(guess: RoleGuess, role: Role, reason: str) -> RoleGuess:
    """Return the guess if it is for that role, else one that is."""
    if guess.role == role and guess.margin:
        return guess
    sign = 1 if role == "predictions" else -1
    return RoleGuess(sign * max(abs(guess.margin), 0.1), (*guess.reasons, f"{role}: {reason}"))
