"""Fixed-point numbers: whole multiples of 2^-32, summed in parts of 32 bits that never overflow.

A number between -2^30 and 2^30 becomes an integer of 63 bits; its square has up to 126. A cell's amount is an Int64, so
sums are kept in parts of 32 bits (the limbs of big-integer arithmetic): two thousand million rows can be added before a
part overflows.
"""

from collections.abc import Mapping

import polars as pl

__all__ = ["LIMIT", "LINEAR_PARTS", "SQUARE_PARTS", "UNIT", "join_parts", "split_parts", "to_units"]

UNIT = 2**32
LIMIT = 2.0**30
"""Numbers of this size or larger, about a thousand million, do not fit."""

LINEAR_PARTS = {"": 32, "_part": 0}
"""Parts of a number: name suffix, and the power of two the part counts, in units of 2^-32."""
SQUARE_PARTS = {"_high": 96, "": 64, "_part": 32, "_rest": 0}
"""Parts of a square, in units of 2^-64. As in `LINEAR_PARTS`, only the first part can be negative."""


def to_units(value: pl.Expr) -> pl.Expr:
    """Return a value in units of 2^-32, as Int64. Its absolute value must be below `LIMIT`.

    >>> pl.select(to_units(pl.lit(0.75))).item() / UNIT
    0.75
    """
    return (value * UNIT).round(mode="half_to_even").cast(pl.Int64)


def split_parts(name: str, number: pl.Expr, powers: Mapping[str, int]) -> dict[str, pl.Expr]:
    """Return the parts of a column of integers, as Int64, by name.

    Args:
        name: prefix of the parts' names.
        number: Int64 or Int128.
        powers: `LINEAR_PARTS` or `SQUARE_PARTS`; the greatest power comes first.

    >>> parts = split_parts("error", pl.lit(-1), LINEAR_PARTS)
    >>> pl.select(**parts).row(0, named=True)
    {'error': -1, 'error_part': 4294967295}
    """
    found, rest = {}, number
    for suffix, _ in reversed(list(powers.items())[1:]):
        found[name + suffix] = (rest % UNIT).cast(pl.Int64)
        rest = rest // UNIT
    return {name + next(iter(powers)): rest.cast(pl.Int64)} | found


def join_parts(name: str, amounts: Mapping[str, int], powers: Mapping[str, int]) -> int:
    """Return the integer of which `amounts` holds the summed parts, exactly; the inverse of `split_parts`.

    >>> join_parts("error", {"error": -1, "error_part": 4294967295}, LINEAR_PARTS)
    -1
    """
    return sum(amounts.get(name + suffix, 0) << power for suffix, power in powers.items())
