"""Sampled records as mapped, with the path of each field, for a person to recognise.

For the terminal only. Personal fields are not shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from schemas.config.loop import LoopConfig
from schemas.config.mapping import HOOK_TARGET, FieldMap
from truthloop.config.summary import origin_text
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic
from truthloop.onboarding.trial.spellings import Spellings

__all__ = ["Example", "examples_of", "shown_spellings"]

LENGTH: Final = 60
HIDDEN: Final = "(personal: not shown)"

_COLUMNS: Final = {
    "time": "time_ms",
    "arrived_at": "arrived_at_ms",
    "happened_at": "happened_at_ms",
    "source": "label_source",
    "retract": "op",
    "heartbeat": "op",
}
_GROUPS: Final = {"outputs": "output", "slices": "slice", "features": "feature"}


@dataclass(frozen=True)
class Example:
    """One record.

    Attributes:
        fields: of each canonical field: its name, the path that it comes from, its value as text.
    """

    partition: int
    offset: int
    fields: list[tuple[str, str, str]]


def examples_of(topic: MappedTopic, source: MappedSource, config: LoopConfig) -> list[Example]:
    """Return the newest mapped record, and one from the middle of the sample."""
    height, messages = source.frame.height, topic.sample.messages
    examples = []
    for number in sorted({height // 2, height - 1} if height else set(), reverse=True):
        row = source.frame.row(number, named=True)
        partition, offset = messages.partitions[row["index"]], messages.offsets[row["index"]]
        examples.append(Example(partition, offset, list(_fields(source, row, config))))
    return examples


def shown_spellings(source: MappedSource, config: LoopConfig) -> list[Spellings]:
    """Return the spellings of the values that a source compares, cut to a line; not at paths of personal features."""
    if source.source is None:
        return []
    personal = {name for name, feature in config.predictions.features.items() if feature.pii is not None}
    hidden = {path for name in personal if (how := source.source.map.get(f"features.{name}")) for path in how.paths}
    return [
        replace(found, seen=[replace(one, text=_cut(one.text)) for one in found.seen])
        for found in source.spellings
        if found.path not in hidden
    ]


def _fields(source: MappedSource, row: dict[str, Any], config: LoopConfig) -> Iterator[tuple[str, str, str]]:
    personal = {name for name, feature in config.predictions.features.items() if feature.pii is not None}
    if source.source is None or source.source.is_canonical:
        origin = "canonical" if source.source is None or HOOK_TARGET not in source.source.map else "the function"
        for target in _canonical_targets(source, config):
            if (text := _value_text(target, row, personal)) is not None:
                yield target, origin, text
        return
    hidden = {path for name in personal if (how := source.source.map.get(f"features.{name}")) for path in how.paths}
    for target, how in source.source.map.items():
        if target == "features":
            for name in config.predictions.features:
                inner = f"features.{name}"
                if inner not in source.source.map and (text := _value_text(inner, row, personal)) is not None:
                    yield inner, f"{str(how.path).removesuffix('*')}{name}", text
            continue
        text = _value_text(target, row, personal)
        if hidden.intersection(how.paths) and target.partition(".")[0] in ("key", "id"):
            text = HIDDEN
        yield target, _origin(how), "(none)" if text is None else text


def _origin(how: FieldMap) -> str:
    return origin_text(how).replace("always ", "")


def _canonical_targets(source: MappedSource, config: LoopConfig) -> list[str]:
    if source.role == "labels":
        return ["key", "kind", "value", "op", "time", "definition"]
    contract = config.predictions
    names = [f"outputs.{kind}" for kind in contract.outputs] + [f"slices.{name}" for name in contract.slices]
    return ["key", "id", "time", "version", *names, *(f"features.{name}" for name in contract.features)]


def _value_text(target: str, row: dict[str, Any], personal: set[str]) -> str | None:
    """Return the value of a field as text; None if it has none."""
    group, _, name = target.partition(".")
    if group == "features" and name in personal:
        return HIDDEN
    column = f"{_GROUPS[group]}_{name}" if name else _COLUMNS.get(target, target)
    value = row.get(column)
    if target == "value" and value is None:
        value = row.get("value_class")
    if value is None:
        return None
    if target in ("retract", "heartbeat"):
        return "yes" if value == target else "no"
    if column.endswith("_ms"):
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 3]}..."
