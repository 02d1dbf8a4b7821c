"""Paths of a Kafka record's metadata in a mapping: `$key`, `$headers.NAME` and so on.

They are for topics only: records of files have no metadata.
"""

from collections.abc import Iterable, Iterator

from schemas.base.problem import Path, Problem, nearest

__all__ = ["HEADERS_PATH", "HEADER_PREFIX", "METADATA_PATHS", "is_metadata_path", "metadata_problems"]

METADATA_PATHS = {
    "$key": "the record's key as text (UTF-8)",
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
    return path in METADATA_PATHS or (path.startswith(HEADER_PREFIX) and path != HEADER_PREFIX)


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
