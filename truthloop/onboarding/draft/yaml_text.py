"""A draft as the text of a config, with its remarks as comments.

Law: whatever names and values the records have, the text is a config that can be read. Must not decide anything.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Final

from schemas.base.duration import format_duration
from truthloop.config.yaml_source import is_plain_text
from truthloop.onboarding.draft.config_draft import ConfigDraft, KindDraft, MapLine, SourceDraft
from truthloop.onboarding.trial.delays import SuggestedAges

__all__ = ["DraftOrigin", "config_text", "yaml_value"]

WIDTH: Final = 108
"""Longer lines do not fit an editor."""

REMARK_AT: Final = 52
"""Column at which remarks stand at most, if the line leaves room for them."""

LISTED: Final = 70
"""Characters of a list of categories in one line of the contract; longer ones are left to a person."""

_SAFE: Final = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_.$/*-]*")
_CLOCKS: Final = {"arrival": "once it has arrived", "event": "at its own time"}


@dataclass(frozen=True)
class DraftOrigin:
    """Where a draft comes from.

    Attributes:
        bootstrap_servers: of the cluster.
        client: properties that somebody gave, as they are written.
        at: when the records were read, as text.
    """

    bootstrap_servers: str
    client: Mapping[str, str]
    at: str


def config_text(draft: ConfigDraft, ages: SuggestedAges, origin: DraftOrigin) -> str:
    """Return the text of the config.

    Args:
        draft: what is proposed.
        ages: of the labels.
        origin: of the records.
    """
    topics = f"{len(draft.sources)} topic{'s' if len(draft.sources) > 1 else ''}"
    lines = [
        *_comment(
            f"The feedback loop of one deployed model, drafted from records of {topics} on {origin.at}. What stands "
            "behind DECIDE no record can say, or these leave it open. `truthloop check --live` shows what this file "
            "makes of the records that are there."
        ),
        "version: 1",
        f"loop: {yaml_value(draft.loop)}",
        "",
        "# DECIDE: the time zone of days; predictions of one day are looked at together.",
        "timezone: UTC",
        "",
        f"# When a label is known: {_CLOCKS[draft.clock]}.",
        *_aligned([(f"clock: {draft.clock}", draft.clock_remark)]),
        "",
        *_cluster(draft, origin),
        "",
        *_predictions(draft),
        "",
        *_labels(draft, ages),
        "",
        *_sources(draft),
        "",
        "# Which predictions form a group, and at which ages to look how many of their labels are there.",
        "cohorts:",
        f"  by: [{', '.join(['version', *map(yaml_value, draft.slices)])}]",
        f"  ages: [{', '.join(map(format_duration, ages.cohorts))}]",
        "",
        "# DECIDE: how many labels are wanted by which age.",
        "coverage:",
        *(
            f"  - {{label: {yaml_value(kind.name)}, age: {format_duration(ages.expected_delay)}, min: 0.5}}"
            for kind in draft.kinds
        ),
        *_metrics(draft),
    ]
    return "\n".join(lines) + "\n"


def _cluster(draft: ConfigDraft, origin: DraftOrigin) -> Iterator[str]:
    yield "# The cluster. Passwords come from the environment: TRUTHLOOP_KAFKA_SASL_PASSWORD, or its file in ..._FILE."
    yield "kafka:"
    yield f"  bootstrap_servers: {yaml_value(origin.bootstrap_servers)}"
    if origin.client:
        yield "  client:"
        yield from (f"    {yaml_value(name)}: {value}" for name, value in origin.client.items())
    yield ""
    yield "# Where results are kept, and the join's state: folders, relative to this file."
    yield "lake: {uri: ./lake}"
    yield "state: {dir: ./state}"
    yield ""
    yield "# Keys are spread over so many partitions; so many workers can share the work. Fixed for the loop's life."
    yield from _aligned([(f"partitions: {draft.partitions}", draft.partitions_remark)])


def _predictions(draft: ConfigDraft) -> Iterator[str]:
    yield "# What a prediction holds: the model's output for each kind of label, groups to look at, features."
    yield "predictions:"
    yield "  outputs:"
    yield from _aligned([(_output(kind), kind.remark or _threshold(kind)) for kind in draft.kinds])
    yield f"  slices: [{', '.join(map(yaml_value, draft.slices))}]"
    if not draft.keeps_unknown:
        yield from _aligned(
            [("  unknown_features: drop", "some look personal, so what is not listed here is not kept")]
        )
    if not draft.features:
        yield "  features: {}"
        return
    yield "  features:"
    lines = []
    for feature in draft.features:
        options = dict(feature.options)
        categories = options.get("categories")
        if isinstance(categories, list) and len(_flow(categories)) > LISTED:
            del options["categories"]
        lines.append((f"    {feature.name}: {_flow({'type': feature.type, **options})}", feature.remark))
    yield from _aligned(lines)


def _output(kind: KindDraft) -> str:
    options: dict[str, object] = {"task": kind.task}
    if kind.task == "binary":
        options["threshold"] = 0.5
    return f"    {kind.name}: {_flow(options)}"


def _threshold(kind: KindDraft) -> str:
    return "DECIDE: scores from here on count as a yes" if kind.task == "binary" else ""


def _labels(draft: ConfigDraft, ages: SuggestedAges) -> Iterator[str]:
    yield "# What is expected of the labels, for each kind."
    yield from _comment(f"SuggestedAges: {ages.remark}.")
    yield "labels:"
    for kind in draft.kinds:
        yield f"  {kind.name}:"
        timeout = "expire" if kind.imply is None else f"{{imply: {kind.imply}}}"
        name = kind.name if len(kind.name) <= 190 else kind.name[:190]  # noqa: PLR2004 - a definition has 200 at most
        yield from _aligned(
            [
                (f"    definition: {name}-v1", "DECIDE: what exactly the value means; a new name when that changes"),
                (f"    expected_delay: {format_duration(ages.expected_delay)}", "most labels are in by then"),
                (
                    f"    horizon: {format_duration(ages.horizon)}",
                    "DECIDE: a prediction without a label is final at this age",
                ),
                (
                    f"    retain: {format_duration(ages.retain)}",
                    "DECIDE: later labels still join or correct until this age; the state holds all of it",
                ),
                (f"    early: {format_duration(ages.early)}", "a label may wait so long for its prediction unreported"),
                (f"    on_timeout: {timeout}", _timeout(kind)),
            ]
        )


def _timeout(kind: KindDraft) -> str:
    if kind.imply is not None:
        return "every record is a yes, so no record has to be a no in the end"
    return "at the horizon; {imply: 0} gives a value instead" if kind.task == "binary" else "at the horizon"


def _sources(draft: ConfigDraft) -> Iterator[str]:
    mapped = [source for source in draft.sources if not source.is_own]
    for source in draft.sources:
        if source.is_own:
            yield f"# {source.topic} is the loop's own topic: its records are in the canonical form, no map is needed."
            yield from (line for note in source.notes for line in _comment(note))
    if not mapped:
        return
    yield "# The topics, and which of their fields are what. Left Truthloop's name, right theirs."
    yield "ingest:"
    for source in mapped:
        yield from _source(source)
    if draft.missing:
        yield f"  # DECIDE: {draft.missing} are not given. With their topic, --from-topic drafts them, too."


def _source(source: SourceDraft) -> Iterator[str]:
    yield from (line for note in source.notes for line in _comment(note, "  "))
    yield f"  - topic: {yaml_value(source.topic)}"
    yield f"    as: {source.role}"
    if source.kind:
        yield f"    kind: {yaml_value(source.kind)}"
    if source.where:
        yield from _aligned([(f"    where: {_flow(source.where)}", "the others lack what is needed")])
    if not source.lines:
        yield "    # The records are in the canonical form: no map is needed."
        return
    yield "    map:"
    yield from _aligned([(f"      {yaml_value(line.target)}: {_origin(line)}", line.remark) for line in source.lines])


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
    """Return a text or number as YAML that is read as the same again."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    text = str(value)
    if _SAFE.fullmatch(text) and is_plain_text(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{yaml_value(name)}: {_flow(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return yaml_value(value)


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"{indent}# {line}" for line in wrap(text, WIDTH - len(indent) - 2, break_on_hyphens=False)]


def _aligned(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Write lines with their remarks in one column; a remark that does not fit stands above its line."""
    lines = list(lines)
    column = min(max((len(text) for text, _ in lines), default=0), REMARK_AT)
    for text, remark in lines:
        beside = f"{text.ljust(column)}  # {remark}"
        if not remark:
            yield text
        elif len(beside) <= WIDTH:
            yield beside
        else:
            yield from _comment(remark, " " * (len(text) - len(text.lstrip())))
            yield text
