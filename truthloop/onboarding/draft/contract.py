"""Contract of the predictions that a topic's records suggest: slices, features, and which are personal."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from truthloop.onboarding.draft.config_draft import FeatureLine, MapLine
from truthloop.onboarding.draft.suggestions import PRESENT
from truthloop.onboarding.profiles.describe import values_text
from truthloop.onboarding.profiles.field import CATEGORIES_MAX, FieldProfile
from truthloop.onboarding.profiles.names import column_name, last_name_parts
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["TYPES", "Contract", "feature_line", "suggest_contract"]

SLICES_MAX: Final = 3
"""Every slice multiplies the number of cohorts."""

FEATURES_MAX: Final = 60
"""Nobody reads a longer list; a group of features (`features: PATH.*`) maps the rest."""

ONE_GROUP: Final = 0.98
"""If this share of a field's records have the same value, it is useless as a slice."""

UNIQUE: Final = 0.5
"""A text with more distinct values than this share of its records is an id, not a feature."""

_VAGUE_NAMES: Final = frozenset({"value", "id", "name", "code", "type", "text", "count"})
_ID_NAMES: Final = frozenset({"id", "uuid", "guid"})
_SLICE_HINTS: Final = frozenset(
    {"country", "region", "market", "segment", "channel", "device", "platform", "carrier", "tier", "role", "category"}
    | {"type", "product", "brand", "origin", "source", "language", "currency"}
)
TYPES: Final[dict[str, Literal["float", "int", "string", "bool"]]] = {
    "text": "string",
    "whole number": "int",
    "number": "float",
    "true or false": "bool",
}
"""Feature types by the kind of a `FieldProfile`."""


@dataclass
class Contract:
    """Suggested contract.

    Attributes:
        features: lines of the contract.
        lines: lines of the map, for slices and features.
        has_personal: some features look personal and are dropped.
    """

    slices: list[str] = field(default_factory=list)
    features: list[FeatureLine] = field(default_factory=list)
    lines: list[MapLine] = field(default_factory=list)
    has_personal: bool = False


def suggest_contract(topic: TopicProfile, used: Collection[str]) -> Contract:
    """Return the contract for a topic of predictions; `used` are paths that are mapped to something else."""
    contract = Contract()
    rest = [one for one in topic.record_fields() if one.path not in used and one.path not in topic.time_formats]
    names = _FreeNames()
    for one in _slices(topic, rest):
        name = names.of_path(topic, one.path)
        contract.slices.append(name)
        contract.lines.append(MapLine(f"slices.{name}", one.path, comment=values_text(one, topic.share(one))))
    features = [one for one in rest if _is_feature(one)][:FEATURES_MAX]
    group = _group(topic, features)
    names = _FreeNames()
    for one in features:
        inside = group is not None and one.path.startswith(group) and "." not in one.path.removeprefix(group)
        name_in_group = one.path.removeprefix(group or "")
        if inside and name_in_group != column_name([name_in_group]):
            continue  # the group maps it under its own name, which is not a valid column name
        name = names.claim(name_in_group) or "" if inside else names.of_path(topic, one.path)
        if not name:
            continue
        contract.features.append(feature_line(topic, one, name))
        contract.has_personal |= one.looks_personal
        if not inside:
            contract.lines.append(MapLine(f"features.{name}", one.path))
    if group is not None:
        contract.lines.append(MapLine("features", f"{group}*", comment="all fields of this object"))
    return contract


def _slices(topic: TopicProfile, fields: Iterable[FieldProfile]) -> list[FieldProfile]:
    found = []
    for one in fields:
        if one.categories and topic.share(one) >= PRESENT:
            ((_, most),) = one.counts.most_common(1)
            if most <= ONE_GROUP * one.present:
                found.append((-bool(last_name_parts(one.path) & _SLICE_HINTS), one.distinct, one))
    found.sort(key=lambda entry: entry[:2])
    return [one for *_, one in found[:SLICES_MAX]]


def _is_feature(one: FieldProfile) -> bool:
    if one.kind not in TYPES or (one.distinct < 2 and one.present > 1):  # noqa: PLR2004 - a constant is no feature
        return False
    if one.looks_personal:
        return True
    if last_name_parts(one.path) & _ID_NAMES and one.distinct > CATEGORIES_MAX:
        return False
    return one.kind != "text" or not (one.is_prose or one.distinct > UNIQUE * one.present)


def _group(topic: TopicProfile, fields: list[FieldProfile]) -> str | None:
    """Return the path prefix of the object with most features, at least two, if its name suggests features."""
    counts: dict[str, int] = {}
    for one in fields:
        parent = one.path.rpartition(".")[0]
        if parent and topic.is_feature(one.path):
            counts[f"{parent}."] = counts.get(f"{parent}.", 0) + 1
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] > 1 else None


def feature_line(topic: TopicProfile, one: FieldProfile, name: str) -> FeatureLine:
    """Return the line of the contract for a field."""
    if one.looks_personal:
        return FeatureLine(name, TYPES[one.kind], {"pii": "drop"}, "DECIDE: looks personal; pii: hash, drop or keep")
    comment = values_text(one, topic.share(one))
    if one.categories:
        return FeatureLine(name, TYPES[one.kind], {"categories": sorted(one.categories)}, comment.partition(":")[0])
    return FeatureLine(name, TYPES[one.kind], {}, comment)


class _FreeNames:
    """Gives every path a column name of its own; names that differ only in case count as the same."""

    def __init__(self) -> None:
        self._taken: set[str] = {"version"}

    def claim(self, name: str) -> str | None:
        """Return the name if it is free; None if it is taken."""
        if name.lower() in self._taken:
            return None
        self._taken.add(name.lower())
        return name

    def of_path(self, topic: TopicProfile, path: str) -> str:
        """Return the last name of a path, with as many of its parents' names as are needed to be unique."""
        parts = topic.inner_path(path).split(".")
        for count in range(min(2 if parts[-1].lower() in _VAGUE_NAMES else 1, len(parts)), len(parts) + 1):
            if (name := self.claim(column_name(parts[-count:]))) is not None:
                return name
        number = 2
        while (name := self.claim(f"{column_name(parts)[:58]}_{number}")) is None:
            number += 1
        return name
