"""Pipeline of `truthloop new --from-topic`: samples in; out comes a config that was tried on them.

Profiles the topics, guesses their roles, builds the draft, writes it as YAML, reads that as a config and maps the
samples with it, so that what is reported of the config is true. Needs no Kafka and writes no files.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.config.loop import LoopConfig
from schemas.errors import InputError
from streams.columns.schema import Role
from streams.kafka.sample import TopicSample
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools
from streams.readers.format import ValueFormat
from truthloop.config.yaml_source import YamlError, read_yaml
from truthloop.onboarding.draft.builder import DraftOptions, build_draft
from truthloop.onboarding.draft.config_draft import SourceDraft
from truthloop.onboarding.draft.roles import RoleGuess, assign_roles
from truthloop.onboarding.draft.yaml_text import DraftOrigin, config_text
from truthloop.onboarding.profiles.describe import values_text
from truthloop.onboarding.profiles.topic import TopicProfile, profile_topic
from truthloop.onboarding.trial.delays import Delays, measure_delays, suggest_ages
from truthloop.onboarding.trial.mapped import MappedTopic, map_canonical_topic, map_topic

__all__ = ["DraftResult", "DraftedTopic", "FieldRow", "draft_from_samples"]


@dataclass(frozen=True)
class FieldRow:
    """A field as it is shown to people: without values of records, except category names.

    Attributes:
        path: dotted path, as in a map.
        what: description of its values.
        missing: share of the records without the field.
        distinct: number of distinct values in the sample.
        use: canonical fields that it is mapped to; empty if it is not used.
    """

    path: str
    what: str
    missing: float
    distinct: int
    use: str


@dataclass(frozen=True)
class DraftedTopic:
    """One topic of a drafted config.

    Attributes:
        rows: its fields.
        mapped: its sample, mapped by the config.
    """

    topic: str
    guess: RoleGuess
    rows: list[FieldRow]
    mapped: MappedTopic

    @property
    def rejects(self) -> dict[str, int]:
        """Number of sampled records that would be rejected, by reason."""
        return dict(Counter(one.reason for one in self.mapped.rejects).most_common())


@dataclass(frozen=True)
class DraftResult:
    """A drafted config that was tried on the samples.

    Attributes:
        text: of the YAML file.
        config: the text, read as a config.
        delays: of the labels; None if no sampled label has its prediction in the sample.
    """

    text: str
    config: LoopConfig
    topics: list[DraftedTopic]
    delays: Delays | None


def draft_from_samples(
    samples: Sequence[TopicSample],
    given: Mapping[str, Role],
    options: DraftOptions,
    origin: DraftOrigin,
    now_ms: int,
    form: ValueFormat | None = None,
) -> DraftResult:
    """Draft a config from samples, and try it on them.

    Args:
        given: roles that the user gave, by topic.
        now_ms: present.
        form: how values are read; None: there is no registry.

    Raises:
        InputError: a topic has no readable records, or no field that could be a key.
        ConfigError: predictions cannot be distinguished from labels.
        RegistryAway: a schema cannot be read now.
    """
    form = form or ValueFormat()
    topics = [profile_topic(sample, now_ms, form) for sample in samples]
    for topic in topics:
        _check_readable(topic)
    guesses = assign_roles(topics, given)
    draft = build_draft(topics, guesses, options)
    # the delays are measured with the config, and the config's ages come from the delays
    config = _config(config_text(draft, suggest_ages(None), origin))
    mapped = _map_samples(samples, guesses, config, MappingTools(Redaction(config), format=form), now_ms)
    delays = _delays(mapped, config)
    text = config_text(draft, suggest_ages(delays), origin)
    sources = {source.topic: source for source in draft.sources}
    drafted = [
        DraftedTopic(topic.topic, guesses[topic.topic], _rows(topic, sources[topic.topic]), mapped[topic.topic])
        for topic in topics
    ]
    return DraftResult(text, _config(text), drafted, delays)


def _check_readable(topic: TopicProfile) -> None:
    read, where = len(topic.sample.messages), f"topic {topic.topic}"
    if not read:
        raise InputError(
            "it has no records to draft from",
            where=where,
            hint="Write some records to it first, or leave it out: its map can be written by hand.",
        )
    if not topic.objects:
        what = next(iter(topic.unreadable), "messages without a value")
        raise InputError(
            f"none of {read:,} sampled records is a JSON object: {what}",
            where=where,
            hint="For Avro and Protobuf give --schema-registry, if the records begin with the id of a schema.",
        )


def _config(text: str) -> LoopConfig:
    try:
        document = read_yaml(text)
        if not document.problems:
            return LoopConfig.model_validate(document.value)
        reason = "; ".join(str(problem) for problem, _ in document.problems)
    except (YamlError, ValidationError) as error:
        reason = str(error)
    raise InputError(
        f"the drafted config is not valid: {reason}",
        hint="This is a bug of Truthloop, please report it. `truthloop new` without --from-topic writes a template.",
    )


def _map_samples(
    samples: Sequence[TopicSample],
    guesses: Mapping[str, RoleGuess],
    config: LoopConfig,
    tools: MappingTools,
    now_ms: int,
) -> dict[str, MappedTopic]:
    sources = {source.topic for source in config.ingest}
    return {
        sample.topic: map_topic(sample, config, tools, now_ms)
        if sample.topic in sources
        else map_canonical_topic(sample, guesses[sample.topic].role, config)
        for sample in samples
    }


def _delays(mapped: Mapping[str, MappedTopic], config: LoopConfig) -> Delays | None:
    """Return the delays of the kind and sources with the most pairs."""
    sources = [source for topic in mapped.values() for source in topic.sources]
    found = [
        measure_delays(one.frame, other.frame.filter(other.frame["kind"] == kind))
        for one in sources
        for other in sources
        if one.role == "predictions" and other.role == "labels"
        for kind in config.labels
    ]
    return max(filter(None, found), key=lambda delays: delays.pairs, default=None)


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
        use = uses.get(path) or [target for group, found in uses.items() if _is_in(path, group) for target in found]
        what = values_text(field, 1.0) if path not in topic.time_formats else _time_text(topic, path)
        rows.append(FieldRow(path, what, 1 - topic.share(field), field.distinct, ", ".join(use)))
    return rows


def _is_in(path: str, group: str) -> bool:
    return group.endswith("*") and path.startswith(group.removesuffix("*"))


def _time_text(topic: TopicProfile, path: str) -> str:
    time_format = topic.time_formats[path]
    if time_format.unit:
        return f"time in {time_format.unit}"
    return "day" if time_format.is_day else "time without zone" if time_format.is_naive else "time with zone"
