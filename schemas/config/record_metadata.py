"""Paths of a Kafka record's metadata in a mapping: `$key`, `$key.FIELD`, `$headers.NAME` and so on.

They are for topics only: records of files have no metadata.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from schemas.base.problem import Path, Problem, nearest

__all__ = [
    "HEADERS_PATH",
    "HEADER_PREFIX",
    "KEY_PATH",
    "KEY_PREFIX",
    "METADATA_PATHS",
    "KeyFormat",
    "is_key_path",
    "is_metadata_path",
    "key_problems",
    "metadata_problems",
]

KeyFormat = Literal["text", "int32", "int64", "uuid", "json", "registry"]
_WITH_FIELDS = ("json", "registry")

KEY_PATH = "$key"
KEY_PREFIX = "$key."
"""Prefix of a field of a key that is an object."""

METADATA_PATHS = {
    KEY_PATH: "the record's key",
    "$timestamp": "the record's timestamp in ms",
    "$topic": "the topic's name",
    "$partition": "the partition's number",
    "$offset": "the offset in the partition",
}
HEADERS_PATH = "$headers"
"""All headers of a record as a dict. Only a function gets them; a map names single headers."""
HEADER_PREFIX = "$headers."
"""Prefix of a header's name; of several headers with this name the last one counts, as text (UTF-8)."""


def is_metadata_path(path: str) -> bool:
    """Tell whether a path leads to a record's metadata."""
    return path in METADATA_PATHS or any(path.startswith(one) and path != one for one in (HEADER_PREFIX, KEY_PREFIX))


def is_key_path(path: str) -> bool:
    """Tell whether a path leads to a record's key, or into it."""
    return path == KEY_PATH or path.startswith(KEY_PREFIX)


def key_problems(paths: Iterable[tuple[Path, str]], key_format: KeyFormat, topic: str | None) -> Iterator[Problem]:
    """Find a form of keys without effect, and fields of keys that have none.

    Args:
        paths: position in the config, and path.
        topic: of the source.
    """
    if topic is None:
        if key_format != "text":
            yield Problem(("key_format",), "is for topics; records of files have no $key")
        return
    for position, path in paths:
        if path.startswith(KEY_PREFIX) and key_format not in _WITH_FIELDS:
            hint = f"write `key_format: {_WITH_FIELDS[0]}`, or `{_WITH_FIELDS[1]}` for keys with the id of a schema"
            yield Problem(position, f"{path[:80]!r} is a field of the key, which is read as {key_format}; {hint}")


def metadata_problems(paths: Iterable[tuple[Path, str]], topic: str | None, files: str | None) -> Iterator[Problem]:
    """Find `$` paths that do not exist, or are not available.

    Args:
        paths: position in the config, and path.
        topic: of the source.
        files: of the source; if there is no topic, other names may start with `$`, as some columns do.
    """
    for position, path in paths:
        if not path.startswith("$"):
            continue
        if is_metadata_path(path) and files is not None:
            also = ", and history would lack what the topic has" if topic is not None else ""
            yield Problem(position, f"{path!r} is metadata of Kafka records; files have none{also}")
        elif is_metadata_path(path) and position == ("each",):
            yield Problem(position, f"{path!r} is not a list")
        elif topic is not None and not is_metadata_path(path):
            best = nearest(path, [*METADATA_PATHS, f"{HEADER_PREFIX}NAME"])
            hint = (
                f"did you mean {best!r}?" if best else f"there are {', '.join(METADATA_PATHS)} and {HEADER_PREFIX}NAME"
            )
            yield Problem(position, f"{path[:80]!r} is not metadata of a record; {hint}")
