"""What a source makes of messages without a value, which compacted topics and Debezium have for deleted rows."""

from collections.abc import Iterator, Sequence
from typing import Literal

from schemas.base.problem import Problem

__all__ = ["Tombstone", "tombstone_problems"]

Tombstone = Literal["skip", "retract", "hook"]


def tombstone_problems(
    tombstone: Tombstone, as_: str, keys: Sequence[Sequence[str]] | None, *, has_hook: bool
) -> Iterator[Problem]:
    """Find why a source cannot use messages without a value as it says.

    Args:
        tombstone: of the source.
        as_: what its records are.
        keys: the paths of the key, and those that are read instead; None if the source fixes no kind or maps no key.
        has_hook: a function maps its records.
    """
    path = ("tombstone",)
    if tombstone == "hook" and not has_hook:
        yield Problem(path, "hook: there is no function under `map.python`")
    if tombstone != "retract":
        return
    if as_ != "labels":
        yield Problem(path, "retract: is for labels; a prediction cannot be retracted")
    elif keys is None:
        yield Problem(path, "retract: needs `kind` and `map.key`; the message has nothing but its key")
    elif not any(all(one.startswith("$") for one in way) for way in keys):
        yield Problem(
            path, "retract: needs the message's own key: key: $key or $key.FIELD, or key: {path: ..., otherwise: $key}"
        )
