"""Refuses JSON objects that have a name twice: parsers differ in which of the values they take."""

from typing import Any

__all__ = ["RepeatedNameError", "names_once"]


class RepeatedNameError(Exception):
    """An object of a JSON document has a name twice; the message is the name."""


def names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; the `object_pairs_hook` of `json.loads`.

    Raises:
        RepeatedNameError: a name is there twice.

    >>> names_once([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    raise RepeatedNameError(name)
