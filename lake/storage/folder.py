"""Files in a local folder, durable against power loss."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from duckdb import DuckDBPyConnection

from lake.failure import lake_error
from lake.storage.interface import DRAFT_SUFFIX, StoredFile

__all__ = ["FolderStorage", "make_folder", "sync"]

_FOLDER_MODE = 0o750


class FolderStorage:
    """A folder. It is made with the first file; see `Storage` for the methods."""

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

    def identities(self, paths: Sequence[str]) -> Sequence[str | None]:
        """See `Storage.identities`: the file's number in the file system, and its time."""
        return [self._identity(path) for path in paths]

    def _identity(self, path: str) -> str | None:
        try:
            found = (self._folder / path).stat()
        except FileNotFoundError:
            return None
        return f"{found.st_ino}:{found.st_mtime_ns}"

    def exists(self) -> bool:
        """See `Storage.exists`."""
        return self._folder.exists()

    def has(self, path: str) -> bool:
        """See `Storage.has`."""
        return (self._folder / path).exists()

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise lake_error("cannot be read", error, self._folder / path, "See its disk and rights.") from error

    def fetch(self, path: str, file: str) -> None:
        """See `Storage.fetch`."""
        shutil.copyfile(self._folder / path, file)

    def put(self, path: str, content: bytes) -> None:
        """See `Storage.put`."""
        target = self._folder / path
        with self._draft_of(target) as draft:
            draft.write_bytes(content)
            sync(draft)
            draft.replace(target)
            sync(target.parent)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """See `Storage.put_if_absent`. A hard link either makes the name or fails, as in the Delta library."""
        target = self._folder / path
        with self._draft_of(target) as draft:
            draft.write_bytes(content)
            sync(draft)
            try:
                os.link(draft, target)
            except FileExistsError:
                return False
            sync(target.parent)
        return True

    def stage(self, path: str, write: Callable[[str], object]) -> StoredFile:
        """See `Storage.stage`."""
        target = self._folder / path
        _make_parent(target)
        try:
            write(str(target))
            sync(target)
            sync(target.parent)
            sync(self._folder)
            found = target.stat()
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return StoredFile(path, found.st_size, found.st_mtime_ns // 1_000_000)

    def open(self, path: str) -> BinaryIO:
        """See `Storage.open`."""
        return (self._folder / path).open("rb")

    def serve(self, session: DuckDBPyConnection) -> None:
        """See `Storage.serve`: DuckDB reads local files itself."""

    def make(self) -> None:
        """See `Storage.make`."""
        make_folder(self._folder)

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        try:
            (self._folder / path).unlink(missing_ok=True)
        except OSError as error:
            raise lake_error("could not be deleted", error, self._folder / path, "") from error

    def abandon(self, before_ms: int) -> None:
        """See `Storage.abandon`: drafts are files."""

    def location(self, path: str) -> str:
        """See `Storage.location`."""
        return str(self._folder / path)

    @contextmanager
    def _draft_of(self, target: Path) -> Iterator[Path]:
        """Give a file to write first; it is gone afterwards.

        Raises:
            LakeError: the folder or its disk refuses.
        """
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}{DRAFT_SUFFIX}")
        try:
            _make_parent(target)
            try:
                yield draft
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            hint = "Check that the disk has room and the folder is writable, then run the same command again."
            raise lake_error("could not be written", error, target, hint) from error


def _make_parent(target: Path) -> None:
    for folder in [one for one in reversed(target.parents) if not one.exists()]:
        make_folder(folder)


def make_folder(path: Path) -> None:
    """Make a folder that its owner can write and its group can read, whatever the umask."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(_FOLDER_MODE)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive power loss.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
