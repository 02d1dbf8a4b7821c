"""Draft of a config as data: the lines proposed for each topic, each with a comment that gives its reason.

Comments describe what was seen without values of records: category names, and numbers as rounded ranges. `builder`
fills a draft; `yaml_text` writes it.
"""

from dataclasses import dataclass, field
from typing import Literal

from schemas.base.metric_name import Task
from schemas.config.mapping import Scalar
from schemas.config.record_metadata import KeyFormat
from streams.columns.schema import Role

__all__ = ["ConfigDraft", "FeatureLine", "KindDraft", "MapLine", "SourceDraft"]


@dataclass(frozen=True)
class MapLine:
    """One line of a source's map.

    Attributes:
        target: canonical field.
        path: path in the record; several make a composite; None for a constant.
        options: other options of the `FieldMap`.
    """

    target: str
    path: str | tuple[str, ...] | None
    options: dict[str, object] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True)
class FeatureLine:
    """One line of the feature contract."""

    name: str
    type: Literal["float", "int", "string", "bool"]
    options: dict[str, object] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True)
class KindDraft:
    """One label kind.

    Attributes:
        comment: for the kind's output.
        imply: value at the horizon, if only one class ever has records; else None.
    """

    name: str
    task: Task
    comment: str = ""
    imply: int | None = None


@dataclass
class SourceDraft:
    """One source of `ingest`.

    Attributes:
        notes: comments above the source, one per line.
        lines: its map; empty for canonical records.
        kind: of labels.
        where: condition that selects records, by path.
        key_format: form of Kafka's keys, if the map reads them.
        is_own: the topic is one of the loop's own topics and needs no source.
    """

    topic: str
    role: Role
    notes: list[str] = field(default_factory=list)
    lines: list[MapLine] = field(default_factory=list)
    kind: str = ""
    where: dict[str, Scalar | list[Scalar]] = field(default_factory=dict)
    key_format: KeyFormat = "text"
    is_own: bool = False


@dataclass
class ConfigDraft:
    """A whole config.

    Attributes:
        keeps_unknown: features outside the contract are kept.
        missing: the role that no topic has; None if both are there.
    """

    loop: str
    clock: Literal["arrival", "event"] = "arrival"
    clock_comment: str = ""
    partitions: int = 8
    partitions_comment: str = ""
    kinds: list[KindDraft] = field(default_factory=list)
    slices: list[str] = field(default_factory=list)
    features: list[FeatureLine] = field(default_factory=list)
    keeps_unknown: bool = True
    sources: list[SourceDraft] = field(default_factory=list)
    missing: Role | None = None
