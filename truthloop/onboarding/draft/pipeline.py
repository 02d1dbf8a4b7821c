"""Samples in, a config out that has been tried on them: `truthloop new --from-topic` without Kafka and files.

The text is read again as a config and the sampled records are mapped by it, so that what is said of it is true.
Must not write or print.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.config.loop import LoopConfig
from schemas.errors import InputError
from streams.kafka.sample import TopicSample
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools
from truthloop.config.yaml_source import YamlError, read_yaml
from truthloop.onboarding.draft.suggestions import Role
from truthloop.onboarding.draft.builder import DraftOptions, build_draft
from truthloop.onboarding.draft.config_draft import SourceDraft
from truthloop.onboarding.draft.roles import RoleGuess, assign_roles
from truthloop.onboarding.draft.yaml_text import DraftOrigin, config_text
from truthloop.onboarding.profiles.describe import values_text
from truthloop.onboarding.profiles.topic import TopicProfile, profile_topic
from truthloop.onboarding.trial.delays import Delays, suggest_ages, measure_delays
from truthloop.onboarding.trial.mapped import MappedTopic, map_canonical_topic, map_topic

__all__ = ["DraftedTopic", "FieldRow", "DraftResult", "draft_from_samples"]


@dataclass(frozen=True)
class FieldRow:
    """A field as it is shown to people; no value of a record, but names of few categories.

    Attributes:
        path: as a map names it.
        what: what its values look like.
        missing: share of the records that lack it.
        distinct: different values in the sample.
        use: what it is in the config; empty where it is left out.
    """

    path: str
    what: str
    missing: float
    distinct: int
    use: str


@dataclass(frozen=True)
class DraftedTopic:
    """What was made of one topic.

    Attributes:
        topic: its name.
        guess: what it was taken for, and why.
        rows: its fields.
        mapped: the sample under the config.
    """

    topic: str
    guess: RoleGuess
    rows: list[FieldRow]
    mapped: MappedTopic

    @property
    def refused(self) -> dict[str, int]:
        """How many sampled records would be rejected, by reason."""
        return dict(Counter(one.reason for one in self.mapped.refused).most_common())


@dataclass(frozen=True)
class DraftResult:
    """A config that has been tried.

    Attributes:
        text: of the file.
        config: the same, read.
        topics: what was made of each.
        delays: of the labels; None where no key of both topics was met.
    """

    text: str
    config: LoopConfig
    topics: list[DraftedTopic]
    delays: Delays | None


def draft_from_samples(
    samples: Sequence[TopicSample], given: Mapping[str, Role], wishes: DraftOptions, origin: DraftOrigin, now_ms: int
) -> DraftResult:
    """Draft a config from samples.

    Args:
        samples: of topics.
        given: what somebody said that topics are.
        wishes: what else somebody said.
        origin: of the samples.
        now_ms: the present.

    Raises:
        InputError: a topic has no records that can be read, or no field that could be a key.
        ConfigError: nothing tells predictions from labels.
    """
    topics = [_readable(profile_topic(sample, now_ms)) for sample in samples]
    guesses = assign_roles(topics, dict(given))
    draft = build_draft(topics, guesses, wishes)
    config = _config(config_text(draft, suggest_ages(None), origin))
    mapped = _mapped(samples, guesses, config, now_ms)
    delays = _delays(mapped, config)
    text = config_text(draft, suggest_ages(delays), origin)
    sources = {source.topic: source for source in draft.sources}
    found = [
        DraftedTopic(topic.topic, guesses[topic.topic], _rows(topic, sources[topic.topic]), mapped[topic.topic])
        for topic in topics
    ]
    return DraftResult(text, _config(text), found, delays)


def _readable(topic: TopicProfile) -> TopicProfile:
    read = len(topic.sample.messages)
    where = f"topic {topic.topic}"
    if not read:
        raise InputError(
            "it has no records to look at",
            where=where,
            hint="Let something be written to it first, or leave it out: the map can be written by hand.",
        )
    if not topic.objects:
        what = next(iter(topic.unreadable), "messages without a value")
        raise InputError(
            f"none of {read:,} sampled records is a JSON object: {what}",
            where=where,
            hint="Only JSON is read by now: let a converter write JSON to another topic.",
        )
    return topic


def _config(text: str) -> LoopConfig:
    try:
        document = read_yaml(text)
        if not document.problems:
            return LoopConfig.model_validate(document.value)
        reason = "; ".join(str(problem) for problem, _ in document.problems)
    except (YamlError, ValidationError) as error:
        reason = str(error)
    raise InputError(
        f"what was drafted from these records is no valid config: {reason}",
        hint="This is a fault of Truthloop, please report it. `truthloop new` without --from-topic writes a start.",
    )


def _mapped(
    samples: Sequence[TopicSample], guesses: Mapping[str, RoleGuess], config: LoopConfig, now_ms: int
) -> dict[str, MappedTopic]:
    tools = MappingTools(Redaction(config))
    covered = {source.topic for source in config.ingest}
    return {
        sample.topic: map_topic(sample, config, tools, now_ms)
        if sample.topic in covered
        else map_canonical_topic(sample, guesses[sample.topic].role, config)
        for sample in samples
    }


def _delays(mapped: Mapping[str, MappedTopic], config: LoopConfig) -> Delays | None:
    """Return the delays of the kind of which most pairs were seen."""
    sources = [source for topic in mapped.values() for source in topic.sources]
    found = []
    for one in sources:
        for other in sources:
            if one.role != "predictions" or other.role != "labels":
                continue
            for kind in config.labels:
                delays = measure_delays(one.frame, other.frame.filter(other.frame["kind"] == kind))
                if delays is not None:
                    found.append(delays)
    return max(found, key=lambda delays: delays.pairs, default=None)


def _rows(topic: TopicProfile, source: SourceDraft) -> list[FieldRow]:
    uses: dict[str, list[str]] = {}
    for line in source.lines:
        for path in line.path if isinstance(line.path, tuple) else (line.path or "",):
            uses.setdefault(path, []).append(line.target)
        other = line.options.get("otherwise")
        if isinstance(other, str):
            uses.setdefault(other, []).append(line.target)
    for path in source.where:
        uses.setdefault(path, []).append("where")
    rows = []
    for path, field in topic.fields.items():
        use = uses.get(path) or [target for other, found in uses.items() if _is_below(path, other) for target in found]
        share = topic.share(field)
        what = values_text(field, 1.0) if path not in topic.moments else _time_text(topic, path)
        rows.append(FieldRow(path, what, 1 - share, field.distinct, ", ".join(use)))
    return rows


def _is_below(path: str, group: str) -> bool:
    return group.endswith("*") and path.startswith(group.removesuffix("*"))


def _time_text(topic: TopicProfile, path: str) -> str:
    form = topic.moments[path]
    if form.unit:
        return f"time in {form.unit}"
    return "day" if form.is_day else "time without zone" if form.is_naive else "time with zone"
