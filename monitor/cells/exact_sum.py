"""Exact sums of floating-point numbers: a number as a few integers, its limbs, which are added one by one.

A finite float is m * 2^q with two integers m and q. Written in base 2^30 with digits at fixed places it has at most
three digits that are not zero. Limb j of a sum counts units of 2^(30 j). Limbs are integers: a sum is exact for numbers
of any magnitude, is the same in any order, and loses exactly what is subtracted (a superaccumulator; Neal 2015). A limb
of a cell holds the sum of eight thousand million rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["FIRST_LIMB", "FIRST_LIMBS", "ONE", "Expansion", "expand", "limb_value", "ratio", "root_of_ratio", "whole"]

_BITS = 30
_MASK = (1 << _BITS) - 1
_SIGNIFICAND_BITS = 53

FIRST_LIMB = -38
"""The least first limb of a float, that of the least number above zero (2^-1074)."""
FIRST_LIMBS = 72
"""How many values the first limb of a float can have: the greatest is that of 2^1023."""
_LEAST_LIMB = 4 * FIRST_LIMB
"""Least limb of a product of up to four floats."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Expansion:
    """Numbers as limbs; all arrays have one entry per number.

    Attributes:
        first: limb at which the number's digits begin.
        sign: -1, 0 or 1.
        digits: from 0 to 2^30 - 1 each, the least significant first.
    """

    first: Ints
    sign: Ints
    digits: tuple[Ints, ...]

    def limbs(self) -> tuple[Ints, ...]:
        """Return what each number adds to the limbs `first`, `first + 1`, ..."""
        return tuple(self.sign * digit for digit in self.digits)

    def magnitude(self) -> "Expansion":
        """Return the absolute values."""
        return Expansion(self.first, np.abs(self.sign), self.digits)

    def times(self, other: "Expansion") -> "Expansion":
        """Return the exact products.

        >>> product = expand(np.array([0.1, 3.0])).times(expand(np.array([0.2, -5.0])))
        >>> whole({int(product.first[1]) + place: int(limb[1]) for place, limb in enumerate(product.limbs())}) / ONE
        -15.0
        """
        size = len(self.digits) + len(other.digits)
        found: list[Ints] = []
        carry = np.zeros(len(self.first), dtype=np.int64)
        for place in range(size - 1):
            pairs = range(max(0, place - len(other.digits) + 1), min(place + 1, len(self.digits)))
            # up to three products of 60 bits and a carry: below 2^63
            column = carry + sum(
                (self.digits[mine] * other.digits[place - mine] for mine in pairs), start=np.zeros_like(carry)
            )
            found.append(column & _MASK)
            carry = column >> _BITS
        return Expansion(self.first + other.first, self.sign * other.sign, (*found, carry))


def expand(values: Floats, doublings: Ints | None = None) -> Expansion:
    """Return finite floats as limbs.

    Args:
        values: shape (n,), finite.
        doublings: shape (n,); each number is the value times two to this power, exactly. None: to the power of 0.

    >>> number = expand(np.array([0.75]))
    >>> [int(limb[0]) for limb in number.limbs()], int(number.first[0])
    ([0, 805306368, 0], -2)
    """
    fraction, exponent = np.frexp(values)
    significand = np.abs(fraction * 2.0**_SIGNIFICAND_BITS).astype(np.int64)
    power = exponent.astype(np.int64) - _SIGNIFICAND_BITS
    if doublings is not None:
        power = power + doublings
    first, shift = np.divmod(power, _BITS)
    kept = _BITS - shift
    rest = significand >> kept
    digits = ((significand & ((np.int64(1) << kept) - 1)) << shift, rest & _MASK, rest >> _BITS)
    return Expansion(first, np.sign(fraction).astype(np.int64), digits)


def limb_value(amount: pl.Expr, limb: pl.Expr) -> pl.Expr:
    """Return the values of limbs as floats: amount * 2^(30 limb). The sum over a group's limbs is the group's sum.

    It is for sums of numbers that are not negative, whose limbs are not negative either and lose nothing when added.

    >>> pl.select(limb_value(pl.lit(3), pl.lit(-1))).item() * 2**30
    3.0
    """
    return amount.cast(pl.Float64) * pl.lit(2.0).pow(_BITS * limb.cast(pl.Float64))


def whole(limbs: Mapping[int, int]) -> int:
    """Return a sum as an exact integer, in units that are the same for all sums: 1 / `ONE`.

    >>> whole({0: 3, -1: 2**29}) / ONE
    3.5
    """
    return sum(amount << _BITS * (limb - _LEAST_LIMB) for limb, amount in limbs.items())


ONE = whole({0: 1})
"""One in the units of `whole`."""


def ratio(numerator: int, denominator: int) -> float | None:
    """Return the quotient, correctly rounded; None beyond the largest float.

    >>> ratio(1, 4), ratio(10**400, 1)
    (0.25, None)
    """
    try:
        return numerator / denominator
    except OverflowError:
        return None


def root_of_ratio(numerator: int, denominator: int) -> float | None:
    """Return the square root of a quotient that may itself be beyond the floats; None beyond the largest one.

    >>> root_of_ratio(9, 4), root_of_ratio(10**400, 1)
    (1.5, 1e+200)
    """
    if not numerator:
        return 0.0
    half = (numerator.bit_length() - denominator.bit_length()) // 2
    scaled = (numerator << max(-2 * half, 0)) / (denominator << max(2 * half, 0))
    try:
        return math.ldexp(math.sqrt(scaled), half)
    except OverflowError:
        return None
