"""Access to the files of one Delta table, as maintenance needs it: the one place that knows how they are stored.

Paths are relative to the table's folder, with `/`. Nothing here knows what a file means. A store needs one promise that
plain files do not make: `put_if_absent` creates a whole file or none, and of several callers exactly one succeeds.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lake.disk import make_file_durable, sync
from lake.failure import lake_error

__all__ = ["DRAFT_SUFFIX", "FolderStorage", "Storage", "StoredFile"]

DRAFT_SUFFIX = ".draft"
"""Of files that are being written; one that a killed process leaves behind is an orphan."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a table.

    Attributes:
        size: in bytes.
        modified_ms: when its content was last written, ms UTC.
    """

    path: str
    size: int
    modified_ms: int


class Storage(Protocol):
    """Files of one table."""

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """Give all files below a folder, in no order; files that vanish meanwhile are left out."""

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is none.
            LakeError: it cannot be read.
        """

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Create a file durably, whole or not at all; return False if there is one.

        Raises:
            LakeError: it cannot be written.
        """

    def keep(self, path: str) -> StoredFile:
        """Make a file durable that another library has written to `location`, and return it.

        Raises:
            LakeError: it cannot be made durable.
        """

    def delete(self, path: str) -> None:
        """Delete a file, if it is there.

        Raises:
            LakeError: it cannot be deleted.
        """

    def has(self, path: str) -> bool:
        """Tell whether there is such a file."""

    def location(self, path: str) -> str:
        """Return where other libraries read and write a file; its folder exists."""


class FolderStorage:
    """A table in a local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """See `Storage.list`."""
        for folder, _, names in os.walk(self._folder / prefix):
            for name in names:
                path = Path(folder) / name
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                relative = path.relative_to(self._folder).as_posix()
                yield StoredFile(relative, found.st_size, found.st_mtime_ns // 1_000_000)

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise lake_error("cannot be read", error, self._folder / path, "") from error

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """See `Storage.put_if_absent`. A hard link either makes the name or fails, as in the Delta library."""
        target = self._folder / path
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}{DRAFT_SUFFIX}")
        try:
            draft.write_bytes(content)
            sync(draft)
            os.link(draft, target)
            sync(target.parent)
        except FileExistsError:
            return False
        except OSError as error:
            hint = "Check that the disk has room and the folder is writable, then run the same command again."
            raise lake_error("could not be written", error, target, hint) from error
        finally:
            draft.unlink(missing_ok=True)
        return True

    def keep(self, path: str) -> StoredFile:
        """See `Storage.keep`."""
        whole = self._folder / path
        try:
            make_file_durable(whole)
            sync(self._folder)
            found = whole.stat()
        except OSError as error:
            raise lake_error("could not be made durable", error, whole, "") from error
        return StoredFile(path, found.st_size, found.st_mtime_ns // 1_000_000)

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        try:
            (self._folder / path).unlink(missing_ok=True)
        except OSError as error:
            raise lake_error("could not be deleted", error, self._folder / path, "") from error

    def has(self, path: str) -> bool:
        """See `Storage.has`."""
        return (self._folder / path).exists()

    def location(self, path: str) -> str:
        """See `Storage.location`."""
        return str(self._folder / path)
