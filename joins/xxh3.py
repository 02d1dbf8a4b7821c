"""Sums of XXH3 digests of many rows of integers at once, for fingerprints.

It is the algorithm of https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md for inputs of 17 to 128 bytes with
seed 0 and its default secret, for the lengths that `joins.state` packs: 24 and 40 bytes.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

__all__ = ["Integers", "sum_of_digests"]

Integers = npt.NDArray[np.int64]

_Words = npt.NDArray[np.uint64]

_SECRET: Final = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
)
_KEYS: Final = np.frombuffer(_SECRET, "<u8")
_PRIME: Final = 0x9E3779B185EBCA87
_AVALANCHE: Final = np.uint64(0x165667919E3779F9)
_LOW: Final = np.uint64(0xFFFF_FFFF)
_HALF, _SHIFT = np.uint64(32), np.uint64(37)
_WORD_BYTES: Final = 8
_LONG: Final = 5
_FEW: Final = 128
"""Fewer rows are taken one by one by the library."""

_MODULUS_MASK: Final = (1 << 64) - 1


def sum_of_digests(*columns: Integers) -> int:
    """Return the sum, modulo 2**64, of the XXH3-64 digests of rows of three or of five little-endian 64-bit integers.

    Example:
        >>> from xxhash import xxh3_64_intdigest
        >>> sum_of_digests(*np.array([[1], [2], [3]])) == xxh3_64_intdigest(np.array([1, 2, 3]).tobytes())
        True

    Args:
        columns: three or five, of one length.
    """
    if len(columns[0]) < _FEW:
        rows, width = np.stack(columns, axis=1).astype("<i8").tobytes(), _WORD_BYTES * len(columns)
        digests = (xxh3_64_intdigest(rows[at : at + width]) for at in range(0, len(rows), width))
        return sum(digests) & _MODULUS_MASK
    words = [np.ascontiguousarray(column, np.int64).view(np.uint64) for column in columns]
    start = len(words) * _WORD_BYTES * _PRIME % (1 << 64)
    mixed = _mix(words[0], words[1], 0) + _mix(words[-2], words[-1], 2) + np.uint64(start)
    if len(words) == _LONG:
        mixed += _mix(words[2], words[3], 4) + _mix(words[1], words[2], 6)
    mixed ^= mixed >> _SHIFT
    mixed *= _AVALANCHE
    mixed ^= mixed >> _HALF
    return int(mixed.sum(dtype=np.uint64))


def _mix(one: _Words, other: _Words, key: int) -> _Words:
    """Return the two halves of the 128-bit products of two columns, each xored with its part of the secret, xored."""
    one, other = one ^ _KEYS[key], other ^ _KEYS[key + 1]
    low, high, other_low, other_high = one & _LOW, one >> _HALF, other & _LOW, other >> _HALF
    cross, other_cross = low * other_high, high * other_low
    carried = ((low * other_low) >> _HALF) + (cross & _LOW) + (other_cross & _LOW)
    upper = high * other_high + (cross >> _HALF) + (other_cross >> _HALF) + (carried >> _HALF)
    found: _Words = (one * other) ^ upper
    return found
