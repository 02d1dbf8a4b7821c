"""What the lake needs of a place where files are kept. Nothing here knows what a file means.

Paths are relative to the place, with `/`. `put_if_absent` is the one promise that plain files do not make: it creates a
whole file or none, and of several callers exactly one succeeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO, Protocol

from duckdb import DuckDBPyConnection

__all__ = ["DRAFT_SUFFIX", "Storage", "StoredFile"]

DRAFT_SUFFIX = ".draft"
"""Of files that are being written; one that a killed process leaves behind is an orphan."""


@dataclass(frozen=True)
class StoredFile:
    """A file.

    Attributes:
        size: in bytes.
        modified_ms: when its content was last written, ms UTC.
    """

    path: str
    size: int
    modified_ms: int


class Storage(Protocol):
    """Files in one place."""

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """Give all files below a folder, in no order; files that vanish meanwhile are left out.

        Raises:
            LakeError: they cannot be listed.
        """

    def identities(self, paths: Sequence[str]) -> Sequence[str | None]:
        """Return what tells each file from any other of its name, None for one that is not there.

        Args:
            paths: of one folder, in order and next to each other: a store looks at all of them at once.

        Raises:
            LakeError: they cannot be looked at.
        """

    def exists(self) -> bool:
        """Tell whether the place itself is there; a prefix is with the first file.

        Raises:
            LakeError: it cannot be looked at.
        """

    def has(self, path: str) -> bool:
        """Tell whether there is such a file.

        Raises:
            LakeError: it cannot be looked at.
        """

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is none.
            LakeError: it cannot be read.
        """

    def fetch(self, path: str, file: str) -> None:
        """Copy a file to a local one.

        Raises:
            FileNotFoundError: there is none.
            LakeError: it cannot be read.
            OSError: the local file cannot be written.
        """

    def put(self, path: str, content: bytes) -> None:
        """Create or replace a file durably: a reader sees the old content or the new one.

        Raises:
            LakeError: it cannot be written.
        """

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Create a file durably, whole or not at all; return False if there is one.

        Raises:
            LakeError: it cannot be written.
        """

    def stage(self, path: str, write: Callable[[str], object]) -> StoredFile:
        """Create a file durably whose name nobody else uses, and return it.

        Args:
            path: of the new file.
            write: writes its content to a local file, of which it gets the name; what it raises is raised.

        Raises:
            LakeError: it cannot be stored.
        """

    def open(self, path: str) -> BinaryIO | RawIOBase:
        """Open a file, to be read in parts.

        Raises:
            FileNotFoundError: there is none.
            OSError, LakeError: it cannot be read.
        """

    def serve(self, session: DuckDBPyConnection) -> None:
        """Let a session of DuckDB read the files by their `location`."""

    def make(self) -> None:
        """Make the place itself, where there is something to make.

        Raises:
            OSError: the disk refuses.
        """

    def delete(self, path: str) -> None:
        """Delete a file, if it is there.

        Raises:
            LakeError: it cannot be deleted.
        """

    def abandon(self, before_ms: int) -> None:
        """Give up what writers have begun before a time, ms UTC, and never finished, as far as no file shows it.

        Raises:
            LakeError: it cannot be given up.
        """

    def location(self, path: str) -> str:
        """Return where other libraries read a file."""
