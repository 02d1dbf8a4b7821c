"""The contract of predictions that a topic's records suggest: groups to look at, features, what is personal.

Must not decide what the key, the time or the output is: it is told, and leaves them out.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from truthloop.onboarding.draft.suggestions import PRESENT
from truthloop.onboarding.draft.config_draft import FeatureLine, MapLine
from truthloop.onboarding.profiles.describe import values_text
from truthloop.onboarding.profiles.field import CATEGORIES_MAX, FieldProfile
from truthloop.onboarding.profiles.names import last_name_parts, column_name
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["TYPES", "Contract", "suggest_contract", "feature_line"]

SLICES_MAX: Final = 3
"""Every slice multiplies the groups that are counted."""

FEATURES_MAX: Final = 60
"""More would be a list that nobody reads; a group of features takes the rest."""

ONE_GROUP: Final = 0.98
"""A field of which so many records have the same value divides nothing."""

_SAYS_LITTLE: Final = frozenset({"value", "id", "name", "code", "type", "text", "count"})
_NAMES_OF_IDS: Final = frozenset({"id", "uuid", "guid"})

UNIQUE: Final = 0.5
"""A text with more different values than this share of the records identifies something and is no feature."""

_SLICE_WORDS: Final = frozenset(
    {"country", "region", "market", "segment", "channel", "device", "platform", "carrier", "tier", "role", "category"}
    | {"type", "product", "brand", "origin", "source", "language", "currency"}
)
TYPES: Final[dict[str, Literal["float", "int", "string", "bool"]]] = {
    "text": "string",
    "whole number": "int",
    "number": "float",
    "true or false": "bool",
}


@dataclass
class Contract:
    """What is proposed.

    Attributes:
        slices: name -> field.
        features: lines of the contract.
        lines: of the map, slices and features.
        has_personal: something is dropped that tells of a person.
    """

    slices: dict[str, FieldProfile] = field(default_factory=dict)
    features: list[FeatureLine] = field(default_factory=list)
    lines: list[MapLine] = field(default_factory=list)
    has_personal: bool = False


def suggest_contract(topic: TopicProfile, taken: Collection[str]) -> Contract:
    """Return slices and features.

    Args:
        topic: of predictions.
        taken: paths that are something else.
    """
    contract = Contract()
    names = _Names()
    rest = [one for one in topic.own() if one.path not in taken and one.path not in topic.moments]
    for one in _slices(topic, rest):
        name = names.give(topic, one.path)
        contract.slices[name] = one
        contract.lines.append(MapLine(f"slices.{name}", one.path, remark=values_text(one, topic.share(one))))
    chosen = [one for one in rest if _is_feature(one)][:FEATURES_MAX]
    group = _group(topic, chosen)
    names = _Names()
    for one in chosen:
        inside = group is not None and one.path.startswith(group) and "." not in one.path.removeprefix(group)
        own_name = one.path.removeprefix(group or "")
        if inside and own_name != column_name([own_name]):
            continue  # the group takes it under its own name, which no column can have
        name = names.take(own_name) or "" if inside else names.give(topic, one.path)
        if not name:
            continue
        contract.features.append(feature_line(topic, one, name))
        contract.has_personal |= one.looks_personal
        if not inside:
            contract.lines.append(MapLine(f"features.{name}", one.path))
    if group is not None:
        contract.lines.append(MapLine("features", f"{group}*", remark="all fields below"))
    return contract


def _slices(topic: TopicProfile, fields: Iterable[FieldProfile]) -> list[FieldProfile]:
    found = []
    for one in fields:
        if one.categories and topic.share(one) >= PRESENT:
            ((_, most),) = one.counts.most_common(1)
            if most <= ONE_GROUP * one.present:
                found.append((-bool(last_name_parts(one.path) & _SLICE_WORDS), one.distinct, one))
    found.sort(key=lambda entry: entry[:2])
    return [one for *_, one in found[:SLICES_MAX]]


def _is_feature(one: FieldProfile) -> bool:
    if one.kind not in TYPES or (one.distinct < 2 and one.present > 1):  # noqa: PLR2004 - what never changes says nothing
        return False
    if one.looks_personal:
        return True
    if last_name_parts(one.path) & _NAMES_OF_IDS and one.distinct > CATEGORIES_MAX:
        return False
    return one.kind != "text" or not (one.is_prose or one.distinct > UNIQUE * one.present)


def _group(topic: TopicProfile, fields: list[FieldProfile]) -> str | None:
    """Return the object, with a dot behind, that is named like one of features and has two of them or more."""
    counts: dict[str, int] = {}
    for one in fields:
        parent = one.path.rpartition(".")[0]
        if parent and topic.is_feature(one.path):
            counts[f"{parent}."] = counts.get(f"{parent}.", 0) + 1
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] > 1 else None


def feature_line(topic: TopicProfile, one: FieldProfile, name: str) -> FeatureLine:
    """Return the line of the contract for a field."""
    options: dict[str, object] = {}
    remark = values_text(one, topic.share(one))
    if one.looks_personal:
        return FeatureLine(name, TYPES[one.kind], {"pii": "drop"}, "DECIDE: looks personal; pii: hash, drop or keep")
    if one.categories:
        options["categories"] = sorted(one.categories)
        remark = remark.partition(":")[0] if ":" in remark else remark
    return FeatureLine(name, TYPES[one.kind], options, remark)


class _Names:
    """Gives every path a plain name that no other has, in any case of letters."""

    def __init__(self) -> None:
        self._given: set[str] = {"version"}

    def take(self, name: str) -> str | None:
        """Return the name if it is free."""
        if name.lower() in self._given:
            return None
        self._given.add(name.lower())
        return name

    def give(self, topic: TopicProfile, path: str) -> str:
        """Return the last name of a path, with as many of those above as it takes."""
        parts = topic.short(path).split(".")
        for count in range(min(2 if parts[-1].lower() in _SAYS_LITTLE else 1, len(parts)), len(parts) + 1):
            if (name := self.take(column_name(parts[-count:]))) is not None:
                return name
        number = 2
        while (name := self.take(f"{column_name(parts)[:58]}_{number}")) is None:
            number += 1
        return name
