"""Turns an error of Delta, DuckDB or the file system into a `LakeError`: one line, and the hint that fits its cause.

A process that runs out of file descriptors, room or rights has a sound lake: its hint never sends to the backup.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deltalake.exceptions import DeltaError

from schemas.errors import LakeError

__all__ = ["is_of_storage", "is_refused_by_system", "lake_error", "store_error", "store_errors_told"]

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_BRANCH: Final = re.compile(r"\s*↳\s*")

_OF_A_STORE: Final = re.compile(r"object-store error: (?P<polars>.*)|LakeError: (?P<duckdb>s3://.*)", re.DOTALL)
"""How Polars gives what the store says, and DuckDB, after a traceback, what our file system says of it."""

_CAUSES: Final = (
    (
        re.compile(r"too many open files|os error (?:23|24)\b|errno (?:23|24)\b", re.IGNORECASE),
        "The lake is sound: raise this process's limit of open files (ulimit -n, LimitNOFILE=) to 1,024 or more.",
    ),
    (
        re.compile(r"no space left|disk quota|os error (?:28|122)\b|errno (?:28|122)\b", re.IGNORECASE),
        "The lake is sound: make room on its disk, then run the same command again; it goes on where the lake stands.",
    ),
    (
        re.compile(r"permission denied|read-only file system|os error (?:13|30)\b|errno (?:13|30)\b", re.IGNORECASE),
        "Let this process's user read and write the folder, then run the same command again.",
    ),
    (
        re.compile(
            r"expiredtoken|invalidtoken|token (?:has|is) expired|invalidaccesskeyid|signaturedoesnotmatch"
            r"|no credentials|unable to locate credentials|error when retrieving credentials",
            re.IGNORECASE,
        ),
        "The lake is sound: renew this process's credentials for the store; docs/operations.md says from where.",
    ),
    (
        re.compile(r"accessdenied|access denied|403 forbidden", re.IGNORECASE),
        "Let this process's credentials list the bucket, and read, write and delete below lake.uri.",
    ),
    (
        re.compile(r"nosuchbucket|bucket does not exist", re.IGNORECASE),
        "The bucket is gone, or lake.uri or the endpoint is wrong: nothing can be read or written until it is back.",
    ),
    (
        re.compile(r"cannot allocate memory|resource temporarily unavailable|os error (?:11|12)\b", re.IGNORECASE),
        "The lake is sound: this process has reached a limit of memory or threads.",
    ),
)
"""What the operating system refuses, and what to do. Libraries give it as text alone."""


def lake_error(what: str, error: BaseException, where: object, hint: str) -> LakeError:
    """Return the error to raise.

    Args:
        what: what was tried.
        error: why it failed.
        where: file or folder.
        hint: what to do if the system refused nothing.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        is_about_another = isinstance(error.filename, str) and error.filename != str(where)
        text = f"{error.strerror}: {Path(error.filename).name}" if is_about_another else error.strerror
    reason = " ".join(_BRANCH.sub(": ", _COLOURS.sub("", text)).split())
    return LakeError(f"{what}: {reason}", where=str(where), hint=_system_hint(reason) or hint)


def store_error(error: Exception) -> LakeError | None:
    """Return the error to raise for what Polars or DuckDB could not read of an object store, None for any other.

    Both read late: a frame where it is collected, a view where it is queried.
    """
    found = _OF_A_STORE.search(str(error))
    if found is None or isinstance(error, LakeError):
        return None
    reason = " ".join((found["polars"] or found["duckdb"]).split())
    hint = _system_hint(reason) or "See that the store answers and lets this process read, then try again."
    return LakeError(f"the lake cannot be read: {reason}", hint=hint)


@contextmanager
def store_errors_told() -> Iterator[None]:
    """Raise what `store_error` knows as a `LakeError`, which roles wait for and commands report."""
    try:
        yield
    except Exception as error:
        if (told := store_error(error)) is None:
            raise
        raise told from error


def is_refused_by_system(error: BaseException) -> bool:
    """Tell whether the system has refused a resource: then nothing is known about the files."""
    return bool(_system_hint(str(error)))


def is_of_storage(error: BaseException | None) -> bool:
    """Tell whether Delta, the file system or the object store has failed.

    Delta's Rust code panics where it cannot have a thread or a file descriptor; the exception has no public class.
    """
    kind = type(error)
    return isinstance(error, (DeltaError, OSError)) or kind.__name__ == "PanicException" or _is_of_client(kind)


def _is_of_client(kind: type) -> bool:
    """Tell whether the client of object stores has raised it; a loop on a disk never loads that."""
    return any(one.__module__ == "botocore.exceptions" for one in kind.__mro__)


def _system_hint(reason: str) -> str:
    return next((hint for pattern, hint in _CAUSES if pattern.search(reason)), "")
