"""Keys of a config that are values, as those of `values` in a mapping: unquoted, a key is a number or boolean.

Everywhere else a key is a name, whose text alone counts.
"""

from typing import Self

__all__ = ["ScalarKey", "typed_key"]


class ScalarKey(str):
    """A key that was written without quotes and reads as a number or boolean, its `value`."""

    __slots__ = ("value",)

    value: bool | float

    def __new__(cls, text: str, value: bool | float) -> Self:  # noqa: FBT001 - a value, not a switch
        """Return a key with this text, as it was written, and value."""
        key = super().__new__(cls, text)
        key.value = value
        return key


def typed_key(key: object) -> object:
    """Return the value of a `ScalarKey`, and any other key as it is."""
    return key.value if isinstance(key, ScalarKey) else key
