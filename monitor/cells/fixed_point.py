"""Numbers as whole multiples of 2^-32, and their sums in parts that never overflow.

A number between -2^30 and 2^30 becomes a whole number of 63 bits; its square has up to 126. A cell's amount has 64,
so a sum is kept in parts of 32 bits, and two thousand million rows can be added up before one is full. This module
must not know what the numbers mean.
"""

from collections.abc import Mapping

import polars as pl

__all__ = ["LIMIT", "LINEAR_PARTS", "SQUARE_PARTS", "UNIT", "parts", "parts_of", "sum_of", "units", "units_of"]

UNIT = 2**32
LIMIT = 2.0**30
"""Numbers as large as this, about a thousand million, do not fit."""

LINEAR_PARTS = {"": 32, "_part": 0}
"""Endings of the parts of a number, and the power of two that each is counted in, above 2^-32."""
SQUARE_PARTS = {"_high": 96, "": 64, "_part": 32, "_rest": 0}
"""The same of a square, above 2^-64. Only the first part can be negative, in both."""


def units(value: pl.Expr) -> pl.Expr:
    """Return the value in units of 2^-32, as Int64. The value must be smaller than `LIMIT`, on either side of 0."""
    return (value * UNIT).round(mode="half_to_even").cast(pl.Int64)


def units_of(value: float) -> int:
    """Do for one number what `units` does for a column."""
    return round(value * UNIT)


def parts(name: str, number: pl.Expr, powers: Mapping[str, int]) -> dict[str, pl.Expr]:
    """Return the parts of a column of whole numbers, as Int64, by name.

    Args:
        name: what the parts' names begin with.
        number: Int64 or Int128.
        powers: `LINEAR_PARTS` or `SQUARE_PARTS`; the greatest comes first.
    """
    found, rest = {}, number
    for ending, _ in reversed(list(powers.items())[1:]):
        found[name + ending] = (rest % UNIT).cast(pl.Int64)
        rest = rest // UNIT
    return {name + next(iter(powers)): rest.cast(pl.Int64)} | found


def parts_of(name: str, number: int, powers: Mapping[str, int]) -> dict[str, int]:
    """Do for one number what `parts` does for a column."""
    found = {}
    for ending, _ in reversed(list(powers.items())[1:]):
        number, found[name + ending] = divmod(number, UNIT)
    return {name + next(iter(powers)): number} | found


def sum_of(name: str, amounts: Mapping[str, int], powers: Mapping[str, int]) -> int:
    """Return the whole number whose parts have been summed: exact, and of any size."""
    return sum(amounts.get(name + ending, 0) << power for ending, power in powers.items())
