"""Writes a `ConfigDraft` as YAML with comments: valid YAML, whatever names and values the records have."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Final

from schemas.base.duration import format_duration
from truthloop.config.yaml_source import is_plain_text
from truthloop.onboarding.draft.config_draft import ConfigDraft, KindDraft, MapLine, SourceDraft
from truthloop.onboarding.trial.delays import SuggestedAges

__all__ = ["DraftOrigin", "config_text", "yaml_value"]

WIDTH: Final = 108
"""Longer lines do not fit an editor."""

COMMENT_COLUMN: Final = 52
"""Rightmost column at which comments are aligned."""

CATEGORIES_LENGTH: Final = 70
"""Longer lists of categories are left out of the contract."""

DEFINITION_LENGTH: Final = 190
"""Kind names are cut to it in names of definitions, which have at most 200 characters."""

_SAFE: Final = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_.$/*-]*")
_CLOCKS: Final = {"arrival": "when it has arrived", "event": "at its own time"}


@dataclass(frozen=True)
class DraftOrigin:
    """The cluster and the time of a draft's samples.

    Attributes:
        client: client properties that the user gave, as YAML.
        at: when the samples were taken, as text.
        registry: section `schema_registry`, as YAML; empty without a registry.
    """

    bootstrap_servers: str
    client: Mapping[str, str]
    at: str
    registry: Mapping[str, str] = field(default_factory=dict)


def config_text(draft: ConfigDraft, ages: SuggestedAges, origin: DraftOrigin) -> str:
    """Return a draft as YAML."""
    topics = f"{len(draft.sources)} topic{'s' if len(draft.sources) > 1 else ''}"
    lines = [
        *_comment(
            f"The feedback loop of one deployed model, drafted from records of {topics} on {origin.at}. DECIDE marks "
            "choices that no record can make, or that these leave open. `truthloop check --live` shows how this file "
            "maps the records."
        ),
        "version: 1",
        f"loop: {yaml_value(draft.loop)}",
        "",
        "# DECIDE: the time zone of days; the predictions of one day form a cohort.",
        "timezone: UTC",
        "",
        f"# When a label is known: {_CLOCKS[draft.clock]}.",
        *_aligned([(f"clock: {draft.clock}", draft.clock_comment)]),
        "",
        *_cluster(draft, origin),
        "",
        *_predictions(draft),
        "",
        *_labels(draft, ages),
        "",
        *_sources(draft),
        "",
        "# Which predictions form a cohort, and the ages at which its coverage is measured.",
        "cohorts:",
        f"  by: [{', '.join(['version', *map(yaml_value, draft.slices)])}]",
        f"  ages: [{', '.join(map(format_duration, ages.cohorts))}]",
        "",
        "# DECIDE: coverage goals: the share of labels expected by an age.",
        "coverage:",
        *(
            f"  - {{label: {yaml_value(kind.name)}, age: {format_duration(ages.expected_delay)}, min: 0.5}}"
            for kind in draft.kinds
        ),
        *_metrics(draft),
    ]
    return "\n".join(lines) + "\n"


def _cluster(draft: ConfigDraft, origin: DraftOrigin) -> Iterator[str]:
    yield "# The cluster. Passwords come from the environment: TRUTHLOOP_KAFKA_SASL_PASSWORD, or a file in ..._FILE."
    yield "kafka:"
    yield f"  bootstrap_servers: {yaml_value(origin.bootstrap_servers)}"
    if origin.client:
        yield "  client:"
        yield from (f"    {yaml_value(name)}: {value}" for name, value in origin.client.items())
    if origin.registry:
        yield ""
        yield "# The schemas of the records. The password comes from the environment, too: see docs/ingest.md."
        yield "schema_registry:"
        yield from (f"  {yaml_value(name)}: {value}" for name, value in origin.registry.items())
    yield ""
    yield "# Where results and the join's state are kept: folders, relative to this file."
    yield "lake: {uri: ./lake}"
    yield "state: {dir: ./state}"
    yield ""
    yield "# Partitions of the loop's topics: at most so many workers share the work. Fixed after the first start."
    yield from _aligned([(f"partitions: {draft.partitions}", draft.partitions_comment)])


def _predictions(draft: ConfigDraft) -> Iterator[str]:
    yield "# What a prediction contains: the model's output for each label kind, slices, features."
    yield "predictions:"
    yield "  outputs:"
    yield from _aligned([(_output(kind), kind.comment or _threshold(kind)) for kind in draft.kinds])
    yield f"  slices: [{', '.join(map(yaml_value, draft.slices))}]"
    if not draft.keeps_unknown:
        comment = "some features look personal, so features that are not listed are dropped"
        yield from _aligned([("  unknown_features: drop", comment)])
    if not draft.features:
        yield "  features: {}"
        return
    yield "  features:"
    lines = []
    for feature in draft.features:
        options = dict(feature.options)
        categories = options.get("categories")
        if isinstance(categories, list) and len(_flow(categories)) > CATEGORIES_LENGTH:
            del options["categories"]
        lines.append((f"    {feature.name}: {_flow({'type': feature.type, **options})}", feature.comment))
    yield from _aligned(lines)


def _output(kind: KindDraft) -> str:
    threshold = {"threshold": 0.5} if kind.task == "binary" else {}
    return f"    {kind.name}: {_flow({'task': kind.task, **threshold})}"


def _threshold(kind: KindDraft) -> str:
    return "DECIDE: scores from this threshold on are positive" if kind.task == "binary" else ""


def _labels(draft: ConfigDraft, ages: SuggestedAges) -> Iterator[str]:
    yield "# When labels are expected, for each kind."
    yield from _comment(f"Ages: {ages.reason}.")
    yield "labels:"
    for kind in draft.kinds:
        yield f"  {kind.name}:"
        timeout = "expire" if kind.imply is None else f"{{imply: {kind.imply}}}"
        retain = "DECIDE: until this age later labels still join or correct; the state holds all predictions until then"
        lines = {
            f"definition: {kind.name[:DEFINITION_LENGTH]}-v1": "DECIDE: what the value means; new meaning, new name",
            f"expected_delay: {format_duration(ages.expected_delay)}": "most labels have arrived by then",
            f"horizon: {format_duration(ages.horizon)}": "DECIDE: a prediction without a label is final at this age",
            f"retain: {format_duration(ages.retain)}": retain,
            f"early: {format_duration(ages.early)}": "a label waits this long for its prediction before it is reported",
            f"on_timeout: {timeout}": _timeout(kind),
        }
        yield from _aligned((f"    {line}", comment) for line, comment in lines.items())


def _timeout(kind: KindDraft) -> str:
    if kind.imply is not None:
        return "every record is a positive label, so a prediction without one is negative in the end"
    return "at the horizon; {imply: 0} assigns a value instead" if kind.task == "binary" else "at the horizon"


def _sources(draft: ConfigDraft) -> Iterator[str]:
    for source in draft.sources:
        if source.is_own:
            yield f"# {source.topic} is the loop's own topic: its records are canonical and need no map."
            yield from (line for note in source.notes for line in _comment(note))
    mapped = [source for source in draft.sources if not source.is_own]
    if not mapped:
        return
    yield "# Your topics, and what their fields mean: Truthloop's name on the left, yours on the right."
    yield "ingest:"
    for source in mapped:
        yield from _source(source)
    if draft.missing:
        yield f"  # DECIDE: {draft.missing} are not given. --from-topic with their topic drafts them, too."


def _source(source: SourceDraft) -> Iterator[str]:
    yield from (line for note in source.notes for line in _comment(note, "  "))
    yield f"  - topic: {yaml_value(source.topic)}"
    yield f"    as: {source.role}"
    if source.kind:
        yield f"    kind: {yaml_value(source.kind)}"
    if source.key_format != "text":
        yield from _aligned([(f"    key_format: {source.key_format}", "how Kafka's keys are written")])
    if source.where:
        yield from _aligned([(f"    where: {_flow(source.where)}", "other records lack fields that are needed")])
    if not source.lines:
        yield "    # The records are canonical and need no map."
        return
    yield "    map:"
    yield from _aligned([(f"      {yaml_value(line.target)}: {_origin(line)}", line.comment) for line in source.lines])


def _origin(line: MapLine) -> str:
    path = list(line.path) if isinstance(line.path, tuple) else line.path
    if path is None:
        return _flow(line.options)
    return _flow({"path": path, **line.options}) if line.options else _flow(path)


def _metrics(draft: ConfigDraft) -> Iterator[str]:
    kinds = [kind for kind in draft.kinds if kind.task == "binary"]
    if kinds:
        yield ""
        yield "# The metrics to show. Leave a kind out to have them chosen by how rare its positives are."
        yield "metrics:"
        yield from (f"  {kind.name}: [accuracy, roc_auc, log_loss, precision, recall]" for kind in kinds)


def yaml_value(value: object) -> str:
    """Return a text, number or bool as YAML that is read as the same value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    text = str(value)
    if _SAFE.fullmatch(text) and is_plain_text(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def _flow(value: object) -> str:
    """Return a value in YAML's flow style, on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{yaml_value(name)}: {_flow(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return yaml_value(value)


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"{indent}# {line}" for line in wrap(text, WIDTH - len(indent) - 2, break_on_hyphens=False)]


def _aligned(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield lines with their comments in one column; a comment that does not fit goes above its line."""
    lines = list(lines)
    column = min(max((len(text) for text, _ in lines), default=0), COMMENT_COLUMN)
    for text, comment in lines:
        commented = f"{text.ljust(column)}  # {comment}"
        if not comment:
            yield text
        elif len(commented) <= WIDTH:
            yield commented
        else:
            yield from _comment(comment, " " * (len(text) - len(text.lstrip())))
            yield text
