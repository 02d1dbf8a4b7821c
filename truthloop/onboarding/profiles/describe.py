"""Text about a field that is safe in files that others read: shares, patterns, rounded ranges, category names.

No text contains a value of a record, except the names of a field's few categories.
"""

import math
from collections.abc import Sequence
from typing import Final

from schemas.base.figures import share as as_share
from truthloop.onboarding.profiles.field import FieldProfile

__all__ = ["list_text", "missing_text", "range_text", "values_text"]

CATEGORIES_SHOWN: Final = 6
DOC_LENGTH: Final = 60
LARGEST: Final = 1e15
"""Larger numbers are shown as this one."""

TINY: Final = 1e-12
"""Tolerance: logarithms of powers of ten are not exact."""

_PLAIN_PATTERNS: Final = frozenset({"", "a", "A", "Aa", "a a", "Aa a", "Aa Aa"})
_PATTERN_NAMES: Final = {"whole number": "whole numbers", "UUID": "UUIDs", "hexadecimal": "hexadecimal"}


def range_text(low: float, high: float) -> str:
    """Format a range, widened to powers of ten so that it shows no value of a record.

    >>> range_text(0.013, 8731.5), range_text(-42, -3), range_text(0, 1)
    ('0 to 10,000', '-100 to 0', '0 to 1')
    """
    return f"{_power(min(low, 0))} to {_power(max(high, 0))}"


def _power(value: float) -> str:
    if value == 0:
        return "0"
    size = 10.0 ** math.ceil(math.log10(min(abs(value), LARGEST)) - TINY)
    sign = "-" if value < 0 else ""
    return f"{sign}{size:,.0f}" if size >= 1 else f"{sign}{size:g}"


def list_text(names: Sequence[str], limit: int) -> str:
    """Join at most `limit` names; three dots stand for the others.

    >>> list_text(["a", "b", "c"], 2)
    'a, b, ...'
    """
    return ", ".join([*names[:limit], "..."] if len(names) > limit else names)


def missing_text(share: float) -> str:
    """Say how many records lack a field that `share` of them have; empty if all have it."""
    return "" if share >= 1 else f"{as_share(1 - share)} lack it"


def values_text(field: FieldProfile, share: float) -> str:
    """Describe the values of a field that `share` of the records have."""
    if field.categories:
        text = f"{len(field.categories)} values: {list_text(field.categories, CATEGORIES_SHOWN)}"
    elif field.is_number:
        text = f"{field.kind}, {range_text(*field.limits)}"
    elif field.kind == "text" and not field.looks_personal:
        pattern = field.pattern
        text = "text" if pattern in _PLAIN_PATTERNS else f"text, {_PATTERN_NAMES.get(pattern, f'like {pattern}')}"
    else:
        text = field.kind or " or ".join(field.types)
    return ", ".join(part for part in (text, missing_text(share), _doc(field)) if part)


def _doc(field: FieldProfile) -> str:
    """Return what a schema says of the field, if it can stand in one line."""
    doc = "" if field.declared is None else field.declared.doc
    cut = doc if len(doc) <= DOC_LENGTH else f"{doc[:DOC_LENGTH]}..."
    return f'"{cut}"' if doc.isprintable() and doc else ""
