"""Whether a topic holds predictions or labels, and why.

Points for both are added up and every point has its reason, so that a person can see what was wrong. Must not look
at what somebody has said it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.base.problem import did_you_mean
from schemas.errors import ConfigError
from truthloop.onboarding.draft.suggestions import CLEAR_WEIGHT, Role, suggest_labels, suggest_outputs, suggest_versions
from truthloop.onboarding.draft.canonical import is_canonical
from truthloop.onboarding.profiles.names import LABEL_TOPIC_HINTS, PREDICTION_TOPIC_HINTS, words
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["RoleGuess", "parse_roles", "guess_role", "assign_roles"]

FIELDS_OF_PREDICTIONS: Final = 10
FIELDS_OF_LABELS: Final = 6

SURE: Final = 10.0


@dataclass(frozen=True)
class RoleGuess:
    """What a topic is most probably.

    Attributes:
        margin: points for predictions less points for labels.
        reasons: for either, with their side in front.
        given: what somebody said it is; empty where nobody did.
    """

    margin: float
    reasons: tuple[str, ...]
    given: Role | None = None

    @property
    def role(self) -> Role:
        """What it is taken for."""
        return self.given or ("predictions" if self.margin > 0 else "labels")


def guess_role(topic: TopicProfile) -> RoleGuess:
    """Return what speaks for predictions and what for labels."""
    points = list(_points(topic))
    margin = sum(weight for weight, _ in points)
    return RoleGuess(margin, tuple(f"{'predictions' if weight > 0 else 'labels'}: {why}" for weight, why in points))


def _points(topic: TopicProfile) -> Iterator[tuple[float, str]]:
    yield from _points_of_form(topic)
    if (scores := suggest_outputs(topic)) and scores[0].weight >= CLEAR_WEIGHT:
        yield 3, scores[0].why
    elif scores:
        yield 1, scores[0].why
    if named := suggest_versions(topic):
        yield (2 if "version" in words(named[0].path) else 1), f"{named[0].path} names a version"
    values = suggest_labels(topic)
    if values and values[0].weight >= CLEAR_WEIGHT:
        yield -3, values[0].why + (" and is named like a result" if "named" not in values[0].why else "")
    elif values:
        yield -1, values[0].why
    count = sum(1 for _ in topic.own())
    if count >= FIELDS_OF_PREDICTIONS:
        yield 1, f"{count} fields, as models are given"
    elif count <= FIELDS_OF_LABELS:
        yield -0.5, f"only {count} fields"


def _points_of_form(topic: TopicProfile) -> Iterator[tuple[float, str]]:
    own = "the records have the fields of Truthloop's own messages"
    if is_canonical(topic, "predictions"):
        yield SURE, own
    if is_canonical(topic, "labels"):
        yield -SURE, own
    found = set(words(topic.topic))
    if hits := sorted(found & PREDICTION_TOPIC_HINTS):
        yield 3, f"the topic's name has {', '.join(hits)}"
    if hits := sorted(found & LABEL_TOPIC_HINTS):
        yield -3, f"the topic's name has {', '.join(hits)}"
    if topic.envelope.op:
        yield -2, f"rows of a database table ({topic.envelope.name}) change, and predictions do not"


def parse_roles(texts: Sequence[str], topics: Sequence[str]) -> dict[str, Role]:
    """Read what people say of topics, as `TOPIC=predictions`.

    Raises:
        ConfigError: another form, or a topic that is not looked at.
    """
    found: dict[str, Role] = {}
    for text in texts:
        topic, _, role = text.rpartition("=")
        if role not in ("predictions", "labels") or not topic:
            raise ConfigError(f"--as {text!r}: write TOPIC=predictions or TOPIC=labels")
        if topic not in topics:
            raise ConfigError(f"--as {text!r}: {topic!r} is not given with --from-topic{did_you_mean(topic, topics)}")
        found[topic] = role  # type: ignore[assignment] # looked at above
    return found


def assign_roles(topics: Sequence[TopicProfile], given: dict[str, Role]) -> dict[str, RoleGuess]:
    """Return what each topic is; of two of which nobody said anything, one is predictions and one is labels.

    Raises:
        ConfigError: nothing tells them apart.
    """
    guesses = {}
    for topic in topics:
        guess = guess_role(topic)
        guesses[topic.topic] = RoleGuess(guess.margin, guess.reasons, given.get(topic.topic))
    free = [name for name, guess in guesses.items() if guess.given is None]
    if len(topics) == 2 and free:  # noqa: PLR2004 - two topics are one of each
        if len(free) == 1:
            (other,) = (guess.role for name, guess in guesses.items() if name not in free)
            missing: Role = "labels" if other == "predictions" else "predictions"
            guesses[free[0]] = _as(guesses[free[0]], missing, "the other topic is the other")
        elif guesses[free[0]].margin != guesses[free[1]].margin:
            first, second = sorted(free, key=lambda name: -guesses[name].margin)
            guesses[first] = _as(guesses[first], "predictions", "more than in the other topic")
            guesses[second] = _as(guesses[second], "labels", "more than in the other topic")
    unknown = [name for name, guess in guesses.items() if guess.given is None and guess.margin == 0]
    if unknown:
        raise ConfigError(
            "its records do not tell whether they are predictions or labels",
            where=f"topic {unknown[0]}",
            hint=f"Say it: --as {unknown[0]}=predictions, or --as {unknown[0]}=labels",
        )
    return guesses


def _as(guess: RoleGuess, role: Role, why: str) -> RoleGuess:
    if guess.role == role and guess.margin:
        return guess
    sign = 1 if role == "predictions" else -1
    return RoleGuess(sign * max(abs(guess.margin), 0.1), (*guess.reasons, f"{role}: {why}"))
