"""What a Kafka record has beside its value, and the paths that lead there: `$key`, `$headers.NAME` and so on.

These paths are for topics only: files hold values and nothing beside them. Must not read records.
"""

from collections.abc import Iterable, Iterator

from schemas.base.problem import Path, Problem, nearest

__all__ = ["HEADER_PREFIX", "METADATA_PATHS", "is_metadata_path", "metadata_problems"]

METADATA_PATHS = {
    "$key": "the record's key as text (UTF-8)",
    "$timestamp": "the record's timestamp in ms",
    "$topic": "the topic's name",
    "$partition": "the partition's number",
    "$offset": "the position in the partition",
}
HEADER_PREFIX = "$headers."
"""Then the name of a header; of several with this name the last one counts, as text (UTF-8)."""


def is_metadata_path(path: str) -> bool:
    """Tell whether a path leads to what stands beside a value."""
    return path in METADATA_PATHS or (path.startswith(HEADER_PREFIX) and path != HEADER_PREFIX)


def metadata_problems(paths: Iterable[tuple[Path, str]], topic: str | None, files: str | None) -> Iterator[Problem]:
    """Find `$` paths that do not exist, or cannot be had.

    Args:
        paths: where each is named, and the path itself.
        topic: of the source.
        files: of the source; in them, other names may start with `$`, as columns do at times.
    """
    for place, path in paths:
        if not path.startswith("$"):
            continue
        if is_metadata_path(path) and files is not None:
            also = ", and history would lack what the topic has" if topic is not None else ""
            yield Problem(place, f"{path!r} stands beside Kafka records only; files have no such thing{also}")
        elif is_metadata_path(path) and place == ("each",):
            yield Problem(place, f"{path!r} is no list")
        elif topic is not None and not is_metadata_path(path):
            best = nearest(path, [*METADATA_PATHS, f"{HEADER_PREFIX}NAME"])
            hint = (
                f"did you mean {best!r}?" if best else f"there are {', '.join(METADATA_PATHS)} and {HEADER_PREFIX}NAME"
            )
            yield Problem(place, f"{path[:80]!r} does not exist beside a record; {hint}")
