"""Builds a `ConfigDraft` from the profiles of topics: chooses keys, kinds, clock, partitions and the loop's name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.base.figures import share as as_share
from schemas.base.metric_name import Task
from schemas.config.loop import MAX_PARTITIONS
from schemas.errors import ConfigError, InputError
from streams.kafka.topics import Topics
from truthloop.onboarding.draft.canonical import canonical_contract, canonical_loop, is_canonical, slug
from truthloop.onboarding.draft.config_draft import ConfigDraft, KindDraft, SourceDraft
from truthloop.onboarding.draft.contract import Contract
from truthloop.onboarding.draft.keys import KeyPair, suggest_key_pairs, suggest_keys
from truthloop.onboarding.draft.kinds import TOPIC_STOP_WORDS, KindFields, match_kinds
from truthloop.onboarding.draft.roles import RoleGuess
from truthloop.onboarding.draft.source import (
    ChosenKey,
    draft_label_source,
    draft_prediction_source,
    time_path,
    topic_notes,
)
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import name_parts
from truthloop.onboarding.profiles.time_format import HOUR_MS
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["DraftOptions", "build_draft"]

PARTITIONS: Final = 8

RIVAL: Final = 0.8
"""A field with at least this multiple of the key's uniqueness is shown as an alternative."""

HISTORY_MS: Final = 24 * HOUR_MS
"""Records whose own times are farther from Kafka's were loaded later, not sent when they were made."""


@dataclass(frozen=True)
class DraftOptions:
    """Choices of the user; empty ones are left to the draft.

    Attributes:
        loop: name of the loop.
        kind: name of the label kind.
    """

    loop: str = ""
    kind: str = ""
    task: Task | None = None


def build_draft(topics: Sequence[TopicProfile], guesses: Mapping[str, RoleGuess], options: DraftOptions) -> ConfigDraft:
    """Return the draft for topics that have JSON objects, with their roles.

    Raises:
        ConfigError: a topic has the name of one of the loop's own topics, but foreign records.
        InputError: a topic has no field that could be a key.
    """
    predictions = [topic for topic in topics if guesses[topic.topic].role == "predictions"]
    labels = [topic for topic in topics if guesses[topic.topic].role == "labels"]
    own_loop = canonical_loop(predictions, labels)
    kinds = match_kinds(predictions, labels, options.kind, options.task)
    loop = _loop_name(options.loop or own_loop, topics, (predictions or labels)[0], is_own=bool(own_loop))
    keys = _choose_keys(predictions, labels)
    draft = ConfigDraft(loop)
    draft.kinds = [_kind(name, task, kinds, has_predictions=bool(predictions)) for name, task in kinds.tasks.items()]
    draft.missing = "predictions" if not predictions else "labels" if not labels else None
    for topic in predictions:
        source, contract = _prediction_source(topic, keys[topic.topic], kinds)
        draft.sources.append(source)
        _add_contract(draft, contract)
    draft.sources += [_label_source(topic, keys[topic.topic], kinds) for topic in labels]
    for source in draft.sources:
        source.notes[1:1] = [f"Role {source.role}: {_reasons(guesses[source.topic])}."]
        source.is_own = bool(own_loop) and loop == own_loop
    _choose_clock(draft, topics, guesses)
    most = max(topic.sample.facts.partitions for topic in topics)
    draft.partitions = most if own_loop else min(max(PARTITIONS, most), MAX_PARTITIONS)
    draft.partitions_comment = f"the topics have up to {most}"
    return draft


def _kind(name: str, task: Task, kinds: KindFields, *, has_predictions: bool) -> KindDraft:
    has_output = any(name in outputs for outputs in kinds.outputs.values())
    only_positive = bool(kinds.values) and all(value is None for value in kinds.values.values())
    comment = "" if has_output or not has_predictions else "DECIDE: no field looks like the model's output"
    return KindDraft(name, task, comment, 0 if only_positive and task == "binary" else None)


def _prediction_source(topic: TopicProfile, key: ChosenKey, kinds: KindFields) -> tuple[SourceDraft, Contract]:
    if is_canonical(topic, "predictions"):
        return SourceDraft(topic.topic, "predictions", topic_notes(topic)), canonical_contract(topic)
    return draft_prediction_source(topic, key, kinds.outputs.get(topic.topic, {}))


def _label_source(topic: TopicProfile, key: ChosenKey, kinds: KindFields) -> SourceDraft:
    if is_canonical(topic, "labels"):
        return SourceDraft(topic.topic, "labels", topic_notes(topic))
    name = topic.topic
    return draft_label_source(topic, key, kinds.kinds[name], kinds.values[name], kinds.doubts.get(name, ""))


def _reasons(guess: RoleGuess) -> str:
    if guess.given:
        return "given with --as"
    reasons = [reason.partition(": ")[2] for reason in guess.reasons if reason.startswith(guess.role)]
    against = [reason.partition(": ")[2] for reason in guess.reasons if not reason.startswith(guess.role)]
    return "; ".join(reasons) + (f" (against it: {'; '.join(against)})" if against else "")


def _choose_keys(predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile]) -> dict[str, ChosenKey]:
    """Return the key of each topic: of the best pair that keeps the keys chosen before.

    Raises:
        InputError: a topic has no field that could be a key.
    """
    found: dict[str, ChosenKey] = {}
    for one in predictions:
        for other in labels:
            times = {"predictions": time_path(one, "predictions"), "labels": time_path(other, "labels")}
            pairs = suggest_key_pairs(one, other, times)
            for pair in pairs:
                paths = {one.topic: pair.prediction, other.topic: pair.label}
                if all(name not in found or found[name].path == path for name, path in paths.items()):
                    found.setdefault(
                        one.topic, ChosenKey(pair.prediction, _pair_comment(pair, pairs, one, other.topic))
                    )
                    found.setdefault(other.topic, ChosenKey(pair.label, _pair_comment(pair, pairs, None, one.topic)))
                    break
    for topic in [*predictions, *labels]:
        if topic.topic not in found:
            found[topic.topic] = _key_alone(topic)
    return found


def _key_alone(topic: TopicProfile) -> ChosenKey:
    fields = suggest_keys(topic)
    if not fields:
        raise InputError(
            "no field of its records could be a key: a text or whole number with many different values",
            where=f"topic {topic.topic}",
            hint="Raise --sample, or write the map by hand: a key may have several paths, [date, number].",
        )
    others = f"; or {', '.join(one.path for one in fields[1:4])}" if len(fields) > 1 else ""
    return ChosenKey(
        fields[0].path, f"DECIDE: {as_share(fields[0].distinct / fields[0].present)} are different{others}"
    )


def _pair_comment(pair: KeyPair, pairs: Sequence[KeyPair], topic: TopicProfile | None, other: str) -> str:
    """Return the comment for the key of the topic of predictions, or of the labels if `topic` is None."""
    if not pair.common:
        return f"DECIDE: no value in common with {other} in the sample"
    if topic is None:
        return f"{as_share(pair.common / pair.labels)} of the sampled ones are in the sample of {other}"
    field = topic.filled(topic.fields[pair.prediction])
    rivals = {
        one.prediction: None
        for one in pairs
        if one.common
        and one.prediction != pair.prediction
        and _is_rival(topic.filled(topic.fields[one.prediction]), field)
    }
    comment = f"{as_share(field.distinct / field.present)} are different"
    return f"{comment}; DECIDE: or {', '.join(list(rivals)[:3])}" if rivals else comment


def _is_rival(one: FieldProfile, key: FieldProfile) -> bool:
    is_copy = all(value == its for value, its in zip(one.values, key.values, strict=True) if its is not None)
    return not is_copy and one.distinct / one.present >= RIVAL * key.distinct / key.present


def _loop_name(wanted: str, topics: Sequence[TopicProfile], first: TopicProfile, *, is_own: bool) -> str:
    """Return the wanted name of the loop, or else one made of the first topic's name.

    Raises:
        ConfigError: the loop's own topics would be among the topics, and these have foreign records.
    """
    parts = [part for part in name_parts(first.topic) if part not in TOPIC_STOP_WORDS and not part.isdigit()]
    name = wanted or slug("-".join(parts)) or "my-model"
    taken = [topic.topic for topic in topics if topic.topic in Topics(name, 1).all]
    if not taken or is_own:
        return name
    if wanted:
        raise ConfigError(
            f"topic {taken[0]} would be the loop's own, and its records are not in the form of the loop's own topics",
            where=f"--loop {wanted}",
            hint="Choose another name: topics of a loop are named NAME.predictions, NAME.labels and so on.",
        )
    return f"{name}-loop"


def _add_contract(draft: ConfigDraft, contract: Contract) -> None:
    draft.slices += [name for name in contract.slices if name not in draft.slices]
    for feature in contract.features:
        if all(feature.name.lower() != one.name.lower() for one in draft.features):
            draft.features.append(feature)
    draft.keeps_unknown &= not contract.has_personal


def _choose_clock(draft: ConfigDraft, topics: Sequence[TopicProfile], guesses: Mapping[str, RoleGuess]) -> None:
    paths = {topic.topic: time_path(topic, guesses[topic.topic].role) for topic in topics}
    lags = [topic.lag(path) for topic in topics if (path := paths[topic.topic]) is not None]
    if any(lag is not None and abs(lag.p50) > HISTORY_MS for lag in lags):
        draft.clock = "event"
        draft.clock_comment = "DECIDE: records arrived more than a day after their times, like loaded history"
