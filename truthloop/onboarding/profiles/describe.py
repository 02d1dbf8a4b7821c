"""What may be said of a field in a file that others will read: shares, forms, rounded ranges, names of categories.

Law: no value of a record, unless it is the name of one of few categories. Must not decide anything.
"""

import math
from typing import Final

from truthloop.onboarding.profiles.field import FieldProfile

__all__ = ["missing_text", "percent", "range_text", "shape_text"]

SHOWN: Final = 6
"""Names of categories in one remark."""

_PLAIN_FORMS: Final = frozenset({"", "a", "A", "Aa", "a a", "Aa a", "Aa Aa"})
_FORMS: Final = {"whole number": "whole numbers", "UUID": "UUIDs", "hexadecimal": "hexadecimal"}
_SMALL: Final = 0.001
LARGEST: Final = 1e15
"""Of what is written out."""

TINY: Final = 1e-12
"""Logarithms of powers of ten are not exact."""


def percent(share: float) -> str:
    """Write a share; what is there is never written as nothing.

    >>> percent(0.05), percent(0.00001), percent(1.0), percent(0.9999)
    ('5.0 %', 'less than 0.1 %', '100 %', '99.9 %')
    """
    if 0 < share < _SMALL:
        return "less than 0.1 %"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{min(100 * share, 99.9):.1f} %"


def range_text(low: float, high: float) -> str:
    """Write a range outward to powers of ten: its ends are somebody's values.

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


def missing_text(share: float) -> str:
    """Say how many records lack a field; empty where none does."""
    return "" if share >= 1 else f"{percent(1 - share)} lack it"


def shape_text(field: FieldProfile, share: float) -> str:
    """Say what the values of a field look like.

    Args:
        field: the field.
        share: of the records that have it.
    """
    if field.categories:
        names = ", ".join(field.categories[:SHOWN])
        said = f"{field.distinct} values: {names}{', ...' if field.distinct > SHOWN else ''}"
    elif field.is_number:
        said = f"{field.kind}, {range_text(*field.limits)}"
    elif field.kind == "text" and not field.looks_personal:
        said = "text" if field.form in _PLAIN_FORMS else f"text, {_FORMS.get(field.form, f'like {field.form}')}"
    else:
        said = field.kind or " or ".join(field.types)
    return ", ".join(part for part in (said, missing_text(share)) if part)
