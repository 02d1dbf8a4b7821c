"""Buckets as a file system of DuckDB, read-only, so that it needs no extension that has to be downloaded."""

import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from fsspec import AbstractFileSystem

from lake.storage.bucket import BucketStorage
from lake.storage.bucket_file import BucketFile, Part

__all__ = ["BucketFiles"]

KEPT_BYTES_MAX: Final = 1 << 26

_LITERAL: Final = re.compile(r"\[([\[*?])\]")
"""A character that would be a pattern, written as one that is none."""


class BucketFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """The files of all buckets, by `s3://BUCKET/KEY`; of each, size, time and end are asked for once in a session."""

    protocol = "s3"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._tails: dict[str, Part] = {}

    def glob(self, path: str, **_options: object) -> list[str]:
        """Return the files of a pattern, which may be in the last name; one without a pattern is not looked for."""
        folder, _, name = path.rpartition("/")
        folder, plain = _LITERAL.sub(r"\1", folder), _LITERAL.sub(r"\1", name)
        if not set("*?[") & set(_LITERAL.sub("", name)):
            return [f"{folder}/{plain}"]
        names = (file.path for file in _storage(folder).list())
        return sorted(f"{folder}/{found}" for found in names if "/" not in found and fnmatchcase(found, name))

    def open(self, path: str, *_modes: object, **_options: object) -> BucketFile:
        """Open a file."""
        folder, _, name = path.rpartition("/")
        known = self._tails.get(path)
        file = _storage(folder).open(name, known)
        if known is None:
            if sum(len(one.content) for one in self._tails.values()) > KEPT_BYTES_MAX:
                self._tails.clear()
            self._tails[path] = file.tail
        return file

    def info(self, path: str, **_options: object) -> dict[str, Any]:
        """Return the size of a file, in bytes, and when it was written."""
        tail = self.open(path).tail
        mtime = datetime.fromtimestamp(tail.modified_ms / 1_000, UTC)
        return {"name": path, "type": "file", "size": tail.size, "mtime": mtime}

    def modified(self, path: str) -> datetime:
        """Return when a file was written."""
        at: datetime = self.info(path)["mtime"]
        return at


def _storage(folder: str) -> BucketStorage:
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    return BucketStorage(bucket, prefix)
