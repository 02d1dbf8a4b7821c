"""Fields of sampled records: every dotted path that holds values, and what its values look like.

Values stay in memory for as long as the sample does, and go nowhere from here: who describes a field to others asks
for what may be told. Must not know what a field means.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from truthloop.onboarding.profiles.names import PERSONAL_WORDS, name_words

__all__ = ["CATEGORIES_MAX", "CATEGORY_LENGTH", "FieldProfile", "fields_of", "form_of"]

DEPTH_MAX: Final = 8
"""Nobody's contract lies deeper."""

NAMES_MAX: Final = 200
"""Names of one object. More are values that became names, such as a dict by customer."""

FIELDS_MAX: Final = 1_000
"""Of one topic; reading them all has to stay a matter of seconds."""

CATEGORIES_MAX: Final = 20
"""More groups than this are no categories that a person names one by one."""

CATEGORY_LENGTH: Final = 40
SEEN_EACH: Final = 10
"""Categories are believed when each was seen so often on average: in ten records everything has few values."""

PERSONAL_SHARE: Final = 0.05
"""Of texts that look like an address or a number of a person: more than a slip of somebody's pen."""

TEXT_LENGTH: Final = 80
"""Texts that are longer on average are written by people."""

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
_PHONE: Final = re.compile(r"[+(][0-9][0-9 ()/.-]{7,}[0-9]|[0-9]{3,4}[ ./-][0-9]{3,4}[ ./-][0-9]{3,4}")
_CARD: Final = re.compile(r"(?:[0-9]{4}[ -]){3}[0-9]{1,7}")
_IP: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{12,}|(?=.*[0-9])(?=.*[A-F])[0-9A-F]{12,}")
_WHOLE: Final = re.compile(r"[0-9]+")
_FORM_LENGTH: Final = 24
_NAMES: Final = {str: "text", int: "whole number", float: "number", bool: "true or false", list: "list", dict: "object"}


@dataclass(frozen=True)
class FieldProfile:
    """One path of a topic's records.

    Attributes:
        path: as a map would name it.
        values: one a record; None where there is nothing. Lists and objects are there as they came.
    """

    path: str
    values: Sequence[Any]

    @cached_property
    def types(self) -> dict[str, int]:
        """How many values are of which type, the most frequent first."""
        found = Counter(type(value) for value in self.values if value is not None)
        return {_NAMES.get(kind, kind.__name__): count for kind, count in found.most_common()}

    @cached_property
    def present(self) -> int:
        """How many records have it."""
        return sum(self.types.values())

    @property
    def share(self) -> float:
        """Of the records that have it."""
        return self.present / len(self.values) if self.values else 0.0

    @cached_property
    def counts(self) -> Counter[Any]:
        """How often each single value is there; lists and objects are none."""
        return Counter(value for value in self.values if value is not None and type(value) not in (list, dict))

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.counts)

    @cached_property
    def kind(self) -> str:
        """`text`, `whole number`, `number`, `true or false`, or empty where types are mixed or no single values."""
        names = set(self.types)
        if names == {"whole number", "number"}:
            return "number"
        (name,) = names if len(names) == 1 else ("",)
        return "" if name in ("list", "object") else name

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.kind in ("whole number", "number")

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest number."""
        return min(self.counts), max(self.counts)

    @cached_property
    def looks_personal(self) -> bool:
        """Whether it may tell of a person: by its name, or because texts look like addresses or long numbers."""
        if self.kind == "text" and self._is_personal_text():
            return True
        return bool(name_words(self.path) & PERSONAL_WORDS) and self.kind in ("text", "number", "whole number")

    def _is_personal_text(self) -> bool:
        texts = list(self.counts)
        found = sum(1 for text in texts if any(form.fullmatch(text.strip()) for form in (_EMAIL, _PHONE, _CARD, _IP)))
        found += sum(1 for text in texts if "@" in text and _EMAIL.search(text) and not _EMAIL.fullmatch(text.strip()))
        return found >= max(1, PERSONAL_SHARE * len(texts))

    @cached_property
    def categories(self) -> list[str]:
        """The names of its groups, most frequent first; empty where it has none, or none that may be told."""
        if self.kind != "text" or self.looks_personal or not 1 < self.distinct <= CATEGORIES_MAX:
            return []
        if self.present < SEEN_EACH * self.distinct:
            return []
        names = [name for name, _ in self.counts.most_common()]
        return names if all(_is_category(name) for name in names) else []

    @property
    def is_prose(self) -> bool:
        """Whether people wrote it, by the length of its texts."""
        return self.kind == "text" and sum(map(len, self.counts)) > TEXT_LENGTH * self.distinct

    @cached_property
    def form(self) -> str:
        """What most of its texts and whole numbers look like."""
        found = Counter(form_of(str(value)) for value in list(self.counts)[:1_000])
        return found.most_common(1)[0][0] if found else ""


def _is_category(name: str) -> bool:
    return 0 < len(name) <= CATEGORY_LENGTH and name.isprintable() and not _EMAIL.search(name)


def form_of(text: str) -> str:
    """Return what a text is made of, without the text: small letters as a, capitals as A, digits as 9.

    >>> form_of("tx-004711"), form_of("4711"), form_of("0f8fad5b-d9cb-469f-a165-70867728950e")
    ('a-9', 'whole number', 'UUID')
    """
    for form, name in ((_UUID, "UUID"), (_WHOLE, "whole number"), (_HEX, "hexadecimal")):
        if form.fullmatch(text):
            return name
    text = "".join(letter for letter, _ in groupby(map(_class_of, text)))
    return text if len(text) <= _FORM_LENGTH else f"{text[:_FORM_LENGTH]}..."


def _class_of(letter: str) -> str:
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return "9" if letter.isdigit() else letter


def fields_of(objects: Sequence[dict[str, Any]]) -> list[FieldProfile]:
    """Return every path of the objects that holds a value anywhere, objects themselves left out."""
    found: dict[str, FieldProfile] = {}
    for path, values in _descend(objects, "", 1):
        if path not in found:  # a literal name with dots comes first, as in a map
            found[path] = FieldProfile(path, values)
        if len(found) == FIELDS_MAX:
            break
    return [field for field in found.values() if field.present]


def _descend(objects: Sequence[Any], prefix: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    names = dict.fromkeys(name for one in objects if one is not None for name in one)
    if len(names) > NAMES_MAX:
        return
    below: list[tuple[str, list[Any]]] = []
    for name in names:
        if not name or name.startswith("$") or name.endswith("*") or not name.isprintable():
            continue  # no map could name it
        values = [None if one is None else one.get(name) for one in objects]
        kinds = set(map(type, values))
        if kinds != {dict, type(None)} and kinds != {dict}:
            yield f"{prefix}{name}", [None if type(value) is dict else value for value in values]
        if dict in kinds and depth < DEPTH_MAX:
            below.append((f"{prefix}{name}.", [value if type(value) is dict else None for value in values]))
    for inner, values in below:
        yield from _descend(values, inner, depth + 1)
