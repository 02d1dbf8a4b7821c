"""A config in the making: what is proposed for each topic, with the remark that stands beside each line.

Remarks tell what was seen, never a value of a record: of few categories the names, of numbers a rounded range. Must
not know how a config is written as text.
"""

from dataclasses import dataclass, field
from typing import Literal

from schemas.config.mapping import Scalar
from truthloop.onboarding.draft.suggestions import Role, Task

__all__ = ["ConfigDraft", "FeatureLine", "KindDraft", "MapLine", "SourceDraft"]


@dataclass(frozen=True)
class MapLine:
    """One line of a map.

    Attributes:
        target: canonical field.
        path: where it comes from; several make a composite; None for a constant.
        options: what is done to it, by the config's names.
        remark: beside it.
    """

    target: str
    path: str | tuple[str, ...] | None
    options: dict[str, object] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class FeatureLine:
    """One feature of the contract."""

    name: str
    type: Literal["float", "int", "string", "bool"]
    options: dict[str, object] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class KindDraft:
    """One label kind.

    Attributes:
        name: of the kind.
        task: what the model predicts.
        remark: on the output.
        imply: value at the horizon where only one class ever has a record; else None.
    """

    name: str
    task: Task
    remark: str = ""
    imply: int | None = None


@dataclass
class SourceDraft:
    """What is proposed for a topic.

    Attributes:
        topic: its name.
        role: what it is.
        notes: above it, what was seen; a line each.
        lines: its map; empty where the records are canonical.
        kind: of labels.
        where: records that are taken, by field.
        is_own: the topic is the loop's own, and needs no source.
    """

    topic: str
    role: Role
    notes: list[str] = field(default_factory=list)
    lines: list[MapLine] = field(default_factory=list)
    kind: str = ""
    where: dict[str, Scalar | list[Scalar]] = field(default_factory=dict)
    is_own: bool = False

    def path_of(self, target: str) -> str | None:
        """Return the one path that a field comes from."""
        return next((line.path for line in self.lines if line.target == target and isinstance(line.path, str)), None)


@dataclass
class ConfigDraft:
    """A whole config.

    Attributes:
        loop: its name.
        clock: whether labels are known once they have arrived, or at their own time.
        clock_remark: why.
        partitions: of the canonical topics.
        partitions_remark: why.
        kinds: of labels.
        slices: names.
        features: the contract.
        keeps_unknown: features outside the contract are kept.
        sources: in the order of `ingest`.
        missing: what is not given: `predictions`, `labels`, or empty.
    """

    loop: str
    clock: Literal["arrival", "event"] = "arrival"
    clock_remark: str = ""
    partitions: int = 8
    partitions_remark: str = ""
    kinds: list[KindDraft] = field(default_factory=list)
    slices: list[str] = field(default_factory=list)
    features: list[FeatureLine] = field(default_factory=list)
    keeps_unknown: bool = True
    sources: list[SourceDraft] = field(default_factory=list)
    missing: Role | None = None
