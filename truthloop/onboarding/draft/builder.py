"""From sampled topics to a whole draft: who is joined with whom, on what, and about which kinds of label.

Must not write YAML, and must not look at what the mapping would make of the draft.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.config.loop import MAX_PARTITIONS
from schemas.errors import ConfigError, InputError
from streams.kafka.topics import Topics
from truthloop.onboarding.draft.suggestions import Role, Task
from truthloop.onboarding.draft.canonical import is_canonical, canonical_contract, canonical_loop, slug
from truthloop.onboarding.draft.contract import Contract
from truthloop.onboarding.draft.keys import KeyPair, suggest_keys, suggest_key_pairs
from truthloop.onboarding.draft.kinds import TOPIC_STOP_WORDS, KindFields, match_kinds
from truthloop.onboarding.draft.config_draft import ConfigDraft, KindDraft, SourceDraft
from truthloop.onboarding.draft.roles import RoleGuess
from truthloop.onboarding.draft.source import ChosenKey, draft_label_source, draft_prediction_source, time_path, topic_notes
from truthloop.onboarding.profiles.describe import percent
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import words
from truthloop.onboarding.profiles.time_format import HOUR_MS
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["DraftOptions", "build_draft"]

PARTITIONS: Final = 8

RIVAL: Final = 0.8
"""A field that is so nearly as unique as the key could be meant in its place."""

HISTORY_MS: Final = 24 * HOUR_MS
"""Records whose own times are farther from Kafka's were not sent when they were made."""


@dataclass(frozen=True)
class DraftOptions:
    """What a person has said; empty where not.

    Attributes:
        loop: its name.
        kind: of labels.
        task: what the model predicts.
    """

    loop: str = ""
    kind: str = ""
    task: Task | None = None


def build_draft(topics: Sequence[TopicProfile], guesses: dict[str, RoleGuess], wishes: DraftOptions) -> ConfigDraft:
    """Return what is proposed.

    Args:
        topics: all that were sampled; each has records that are JSON objects.
        guesses: what each of them is.
        wishes: of who asks.

    Raises:
        ConfigError: the loop's own topics would be those that are read.
        InputError: a topic has no field that could be a key.
    """
    mine = [topic for topic in topics if guesses[topic.topic].role == "predictions"]
    theirs = [topic for topic in topics if guesses[topic.topic].role == "labels"]
    own = canonical_loop(mine, theirs)
    plan = match_kinds(mine, theirs, wishes.kind, wishes.task)
    draft = ConfigDraft(loop=_loop(wishes.loop or own, topics, mine or theirs, is_own=bool(own)))
    draft.kinds = [_kind(name, task, plan, has_predictions=bool(mine)) for name, task in plan.tasks.items()]
    draft.missing = "predictions" if not mine else "labels" if not theirs else None
    keys = _keys(mine, theirs)
    contracts = []
    for topic in mine:
        source, contract = _predictions(topic, keys[topic.topic], plan)
        contracts.append(contract)
        draft.sources.append(source)
    draft.sources += [_labels(topic, keys[topic.topic], plan) for topic in theirs]
    for source in draft.sources:
        source.notes[1:1] = [f"Taken for {source.role}: {_why(guesses[source.topic])}."]
        if own and draft.loop == own:
            source.is_own = True
    _settle_contract(draft, contracts)
    _settle_clock(draft, [*mine, *theirs], guesses)
    most = max(topic.sample.facts.partitions for topic in topics)
    draft.partitions = most if own else min(max(PARTITIONS, most), MAX_PARTITIONS)
    draft.partitions_remark = f"the topics have up to {most}"
    return draft


def _kind(name: str, task: Task, plan: KindFields, *, has_predictions: bool) -> KindDraft:
    is_known = any(name in found for found in plan.outputs.values())
    only_yes = bool(plan.values) and all(value is None for value in plan.values.values())
    remark = "" if is_known or not has_predictions else "DECIDE: no field looks like what the model says"
    return KindDraft(name, task, remark, 0 if only_yes and task == "binary" else None)


def _predictions(topic: TopicProfile, key: ChosenKey, plan: KindFields) -> tuple[SourceDraft, Contract]:
    if is_canonical(topic, "predictions"):
        return SourceDraft(topic.topic, "predictions", topic_notes(topic)), canonical_contract(topic)
    return draft_prediction_source(topic, key, plan.outputs.get(topic.topic, {}))


def _labels(topic: TopicProfile, key: ChosenKey, plan: KindFields) -> SourceDraft:
    if is_canonical(topic, "labels"):
        return SourceDraft(topic.topic, "labels", topic_notes(topic))
    return draft_label_source(topic, key, plan.kinds[topic.topic], plan.values[topic.topic])


def _why(guess: RoleGuess) -> str:
    if guess.given:
        return "--as says so"
    reasons = [reason.partition(": ")[2] for reason in guess.reasons if reason.startswith(guess.role)]
    against = [reason.partition(": ")[2] for reason in guess.reasons if not reason.startswith(guess.role)]
    return "; ".join(reasons) + (f" (against it: {'; '.join(against)})" if against else "")


def _keys(mine: Sequence[TopicProfile], theirs: Sequence[TopicProfile]) -> dict[str, ChosenKey]:
    """Return the key of each topic.

    Raises:
        InputError: a topic has none.
    """
    found: dict[str, ChosenKey] = {}
    for one in mine:
        for other in theirs:
            times: dict[Role, str | None] = {
                "predictions": time_path(one, "predictions"),
                "labels": time_path(other, "labels"),
            }
            pairs = suggest_key_pairs(one, other, times)
            fixed = [
                pair
                for pair in pairs
                if (one.topic not in found or pair.prediction == found[one.topic].path)
                and (other.topic not in found or pair.label == found[other.topic].path)
            ]
            if fixed:
                found.setdefault(one.topic, ChosenKey(fixed[0].prediction, _key_remark(fixed[0], pairs, one, other.topic)))
                found.setdefault(other.topic, ChosenKey(fixed[0].label, _key_remark(fixed[0], pairs, None, one.topic)))
    for topic in [*mine, *theirs]:
        if topic.topic not in found:
            found[topic.topic] = _single(topic)
    return found


def _single(topic: TopicProfile) -> ChosenKey:
    fields = suggest_keys(topic)
    if not fields:
        raise InputError(
            "no field of its records could be a key: a text or whole number with many different values",
            where=f"topic {topic.topic}",
            hint="Raise --sample, or write the map by hand: a key may have several paths, [date, number].",
        )
    others = f"; else {', '.join(one.path for one in fields[1:4])}" if len(fields) > 1 else ""
    return ChosenKey(fields[0].path, f"DECIDE: {percent(fields[0].distinct / fields[0].present)} are different{others}")


def _key_remark(pair: KeyPair, pairs: Sequence[KeyPair], topic: TopicProfile | None, other: str) -> str:
    if not pair.common:
        return f"DECIDE: no value in common with {other} in the sample"
    if topic is None:
        return f"{percent(pair.common / pair.labels)} of the sampled ones are in the sample of {other}"
    field = topic.filled(topic.fields[pair.prediction])
    rivals = {
        one.prediction: None
        for one in pairs
        if one.common
        and one.prediction != pair.prediction
        and _is_rival(topic.filled(topic.fields[one.prediction]), field)
    }
    said = f"{percent(field.distinct / field.present)} are different"
    return f"{said}; DECIDE: or {', '.join(list(rivals)[:3])}" if rivals else said


def _is_rival(one: FieldProfile, key: FieldProfile) -> bool:
    is_same = all(mine == its for mine, its in zip(one.values, key.values, strict=True) if its is not None)
    return not is_same and one.distinct / one.present >= RIVAL * key.distinct / key.present


def _loop(wish: str, topics: Sequence[TopicProfile], first: Sequence[TopicProfile], *, is_own: bool) -> str:
    """Return the loop's name: what was wished, else that of the first topic.

    Raises:
        ConfigError: the loop's own topics would be those that are read.
    """
    found = [word for word in words(first[0].topic) if word not in TOPIC_STOP_WORDS and not word.isdigit()]
    name = wish or slug("-".join(found)) or "my-model"
    taken = [topic.topic for topic in topics if topic.topic in Topics(name, 1).all]
    if not taken or is_own:
        return name
    if wish:
        raise ConfigError(
            f"topic {taken[0]} would be the loop's own, and its records are not in the form of the loop's own topics",
            where=f"--loop {wish}",
            hint="Choose another name: topics of a loop are named NAME.predictions, NAME.labels and so on.",
        )
    return f"{name}-loop"


def _settle_contract(draft: ConfigDraft, contracts: Sequence[Contract]) -> None:
    known: set[str] = set()
    for contract in contracts:
        draft.slices += [name for name in contract.slices if name not in draft.slices]
        for feature in contract.features:
            if feature.name.lower() not in known:
                known.add(feature.name.lower())
                draft.features.append(feature)
        draft.keeps_unknown &= not contract.has_personal


def _settle_clock(draft: ConfigDraft, topics: Sequence[TopicProfile], guesses: dict[str, RoleGuess]) -> None:
    paths = {topic.topic: time_path(topic, guesses[topic.topic].role) for topic in topics}
    lags = [topic.lag(path) for topic in topics if (path := paths[topic.topic]) is not None]
    if any(lag is not None and abs(lag.p50) > HISTORY_MS for lag in lags):
        draft.clock = "event"
        draft.clock_remark = "DECIDE: records came more than a day after their times, like history that was loaded"
    else:
        draft.clock_remark = "a label is known once it has arrived here"
