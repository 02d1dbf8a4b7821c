"""Fields of sampled records: a profile for every dotted path that has values.

A profile keeps the values in memory; `profiles.describe` decides what may be shown of them.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from streams.readers.declared_field import DeclaredField
from truthloop.onboarding.profiles.names import PERSONAL_HINTS, last_name_parts

__all__ = ["CATEGORIES_MAX", "CATEGORY_LENGTH", "FieldProfile", "fields_of", "pattern_of"]

DEPTH_MAX: Final = 8
"""Fields that a model uses are not nested deeper."""

NAMES_MAX: Final = 200
"""Maximum number of names in one object; an object with more is a map with values as keys, for instance customers."""

FIELDS_MAX: Final = 1_000
"""Maximum number of fields of a topic; profiling them takes seconds."""

CATEGORIES_MAX: Final = 20
"""A field with more distinct values is not categorical."""

SYMBOLS_MAX: Final = 100
"""An enum with more is no list that a person reads."""

CATEGORY_LENGTH: Final = 40
RECORDS_PER_CATEGORY: Final = 10
"""Mean number of records per category that is needed: in ten records every field has few values."""

PERSONAL_SHARE: Final = 0.05
"""A field looks personal if this share of its texts look like an address or a number of a person, not just a few."""

PROSE_LENGTH: Final = 80
"""Texts with a longer mean are prose that people wrote."""

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
_PHONE: Final = re.compile(r"[+(][0-9][0-9 ()/.-]{7,}[0-9]|[0-9]{3,4}[ ./-][0-9]{3,4}[ ./-][0-9]{3,4}")
_CARD: Final = re.compile(r"(?:[0-9]{4}[ -]){3}[0-9]{1,7}")
_IP: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{12,}|(?=.*[0-9])(?=.*[A-F])[0-9A-F]{12,}")
_WHOLE: Final = re.compile(r"[0-9]+")
_PATTERN_LENGTH: Final = 24
_PATTERN_VALUES: Final = 1_000
_NAMES: Final = {str: "text", int: "whole number", float: "number", bool: "true or false", list: "list", dict: "object"}


@dataclass(frozen=True)
class FieldProfile:
    """Profile of one field.

    Attributes:
        path: dotted path, as in a map of the config.
        values: one per record; None where the field is missing. Lists and objects are kept as they are.
        declared: what a schema says of it; None without one.
    """

    path: str
    values: Sequence[Any]
    declared: DeclaredField | None = None

    @cached_property
    def types(self) -> dict[str, int]:
        """Number of values by type, most frequent first."""
        found = Counter(type(value) for value in self.values if value is not None)
        return {_NAMES.get(kind, kind.__name__): count for kind, count in found.most_common()}

    @cached_property
    def present(self) -> int:
        """Number of records that have the field."""
        return sum(self.types.values())

    @property
    def share(self) -> float:
        """Share of the records that have the field."""
        return self.present / len(self.values) if self.values else 0.0

    @cached_property
    def counts(self) -> Counter[Any]:
        """Number of records by value, without lists and objects."""
        return Counter(value for value in self.values if value is not None and type(value) not in (list, dict))

    @property
    def distinct(self) -> int:
        """Number of different values."""
        return len(self.counts)

    @cached_property
    def kind(self) -> str:
        """`text`, `whole number`, `number` or `true or false`; empty for mixed types, lists and objects."""
        names = set(self.types)
        declared = None if self.declared is None else self.declared.kind
        if declared is not None and names <= ({declared, "whole number"} if declared == "number" else {declared}):
            return declared
        if names == {"whole number", "number"}:
            return "number"
        (name,) = names if len(names) == 1 else ("",)
        return "" if name in ("list", "object") else name

    @property
    def is_number(self) -> bool:
        """Whether all values are numbers."""
        return self.kind in ("whole number", "number")

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest number."""
        return min(self.counts), max(self.counts)

    @cached_property
    def looks_personal(self) -> bool:
        """Whether it may be personal data, by its name or because its texts look like addresses, phones or cards."""
        if self.kind == "text" and self._is_personal_text():
            return True
        return bool(last_name_parts(self.path) & PERSONAL_HINTS) and self.kind in ("text", "number", "whole number")

    def _is_personal_text(self) -> bool:
        texts = list(self.counts)
        found = sum(1 for text in texts if any(regex.fullmatch(text.strip()) for regex in (_EMAIL, _PHONE, _CARD, _IP)))
        found += sum(1 for text in texts if "@" in text and _EMAIL.search(text) and not _EMAIL.fullmatch(text.strip()))
        return found >= max(1, PERSONAL_SHARE * len(texts))

    @cached_property
    def categories(self) -> list[str]:
        """Category names, most frequent first; empty if the field is not categorical, or personal."""
        if self.declared is not None and self.declared.symbols:
            names = [name for name, _ in self.counts.most_common() if isinstance(name, str)]
            names = list(dict.fromkeys([*names, *self.declared.symbols]))
            return names if len(names) <= SYMBOLS_MAX and all(map(_is_category, names)) else []
        if self.kind != "text" or self.looks_personal or not 1 < self.distinct <= CATEGORIES_MAX:
            return []
        if self.present < RECORDS_PER_CATEGORY * self.distinct:
            return []
        names = [name for name, _ in self.counts.most_common()]
        return names if all(_is_category(name) for name in names) else []

    @property
    def is_prose(self) -> bool:
        """Whether its texts are so long that people wrote them."""
        return self.kind == "text" and sum(map(len, self.counts)) > PROSE_LENGTH * self.distinct

    @cached_property
    def pattern(self) -> str:
        """Most frequent pattern of its values, see `pattern_of`."""
        found = Counter(pattern_of(str(value)) for value in list(self.counts)[:_PATTERN_VALUES])
        return found.most_common(1)[0][0] if found else ""


def _is_category(name: str) -> bool:
    return 0 < len(name) <= CATEGORY_LENGTH and name.isprintable() and not _EMAIL.search(name)


def pattern_of(text: str) -> str:
    """Return the pattern of a text: runs of small letters as a, of capitals as A, of digits as 9.

    >>> pattern_of("tx-004711"), pattern_of("4711"), pattern_of("0f8fad5b-d9cb-469f-a165-70867728950e")
    ('a-9', 'whole number', 'UUID')
    """
    for regex, name in ((_UUID, "UUID"), (_WHOLE, "whole number"), (_HEX, "hexadecimal")):
        if regex.fullmatch(text):
            return name
    text = "".join(letter for letter, _ in groupby(map(_letter_class, text)))
    return text if len(text) <= _PATTERN_LENGTH else f"{text[:_PATTERN_LENGTH]}..."


def _letter_class(letter: str) -> str:
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return "9" if letter.isdigit() else letter


def fields_of(objects: Sequence[dict[str, Any]]) -> list[FieldProfile]:
    """Return the fields of JSON objects, at all depths; nested objects themselves are left out."""
    found: dict[str, FieldProfile] = {}
    for path, values in _descend(objects, "", 1):
        if path not in found:  # a name that contains dots wins over a path, as in a map
            found[path] = FieldProfile(path, values)
        if len(found) == FIELDS_MAX:
            break
    return [field for field in found.values() if field.present]


def _is_no_value(value: object) -> bool:
    """Return whether a value is an object, or a number that is not finite, which the mapping reads as none."""
    return type(value) is dict or (type(value) is float and not math.isfinite(value))


def _descend(objects: Sequence[Any], prefix: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    names = dict.fromkeys(name for one in objects if one is not None for name in one)
    if len(names) > NAMES_MAX:
        return
    nested: list[tuple[str, list[Any]]] = []
    for name in names:
        if not name or name.startswith("$") or name.endswith("*") or not name.isprintable():
            continue  # a map cannot refer to it
        values = [None if one is None else one.get(name) for one in objects]
        kinds = set(map(type, values))
        if kinds != {dict, type(None)} and kinds != {dict}:
            yield f"{prefix}{name}", [None if _is_no_value(value) else value for value in values]
        if dict in kinds and depth < DEPTH_MAX:
            nested.append((f"{prefix}{name}.", [value if type(value) is dict else None for value in values]))
    for inner, values in nested:
        yield from _descend(values, inner, depth + 1)
