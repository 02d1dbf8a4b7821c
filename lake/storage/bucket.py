"""Files under a prefix of a bucket. What was answered is durable and whole, so there is nothing to sync."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from duckdb import DuckDBPyConnection

from lake.storage.bucket_file import BucketFile, Part
from lake.storage.client import client, code_of, told
from lake.storage.interface import StoredFile
from schemas.errors import LakeError

__all__ = ["BucketStorage"]

_ABSENT: Final = "NoSuchKey"
"""A bucket that is not there is an error, and no absent file."""

_PRESENT: Final = {"412", "PreconditionFailed"}
_BUSY: Final = {"409", "ConditionalRequestConflict"}

_EMPTY: Final = {"416", "InvalidRange"}
"""An empty file has no range."""

PART_BYTES: Final = 1 << 23

CUT_ATTEMPTS: Final = 4
"""The client repeats a request without an answer, but not one whose answer was cut off."""

NEIGHBOURS_MAX: Final = 4
"""Names between two log entries: a Delta checkpoint is one, and some tools write others."""

BUSY_ATTEMPTS: Final = 5
"""A store that sees two creations of one name at once may refuse both."""


class BucketStorage:
    """A prefix of a bucket; see `Storage` for the methods.

    The answer of a request that was carried out may be lost, and the client repeats it. `put_if_absent` therefore
    counts a file with exactly its content as its own: what must have one winner needs a content of its own.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """See `Storage.list`."""
        folder = self._key(f"{prefix}/" if prefix else "")
        with told("cannot be listed", self.location(prefix)):
            for page in client().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder):
                for found in page.get("Contents", []):
                    modified_ms = int(found["LastModified"].timestamp() * 1_000)
                    yield StoredFile(found["Key"].removeprefix(self._prefix), found["Size"], modified_ms)

    def identities(self, paths: Sequence[str]) -> Sequence[str | None]:
        """See `Storage.identities`: the entity tag and the time, from one list."""
        folder = paths[0].rpartition("/")[0]
        with told("cannot be listed", self.location(folder)):
            page = client().list_objects_v2(
                Bucket=self._bucket,
                Prefix=self._key(f"{folder}/"),
                StartAfter=self._key(paths[0][:-1]),
                MaxKeys=NEIGHBOURS_MAX * len(paths),
            )
        found = {one["Key"]: f"{one['ETag']}:{one['LastModified'].isoformat()}" for one in page.get("Contents", [])}
        return [found.get(self._key(path)) for path in paths]

    def exists(self) -> bool:
        """See `Storage.exists`."""
        with told("cannot be listed", self.location("")):
            return bool(client().list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)["KeyCount"])

    def has(self, path: str) -> bool:
        """See `Storage.has`."""
        try:
            self._head(path)
        except FileNotFoundError:
            return False
        return True

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        return self.read_part(path, 0).content

    def fetch(self, path: str, file: str) -> None:
        """See `Storage.fetch`."""
        with open(file, "wb") as target:  # noqa: PTH123 - by name
            part = self.read_part(path, 0, PART_BYTES)
            target.write(part.content)
            while part.start + len(part.content) < part.size:
                part = self.read_part(path, part.start + len(part.content), PART_BYTES)
                target.write(part.content)

    def _head(self, path: str) -> Part:
        """Return the first byte of a file: the answer to a HEAD would not say why it is refused, or what is absent."""
        return self.read_part(path, 0, 1)

    def read_part(self, path: str, start: int | None, length: int | None = None) -> Part:
        """Return a part of a file.

        Args:
            start: offset of its first byte; None: it is the end of the file.
            length: bytes, fewer where the file ends; None: all from the start on.

        Raises:
            FileNotFoundError: there is no such file.
            LakeError: it cannot be read.
        """
        where = self.location(path)
        wanted: dict[str, str] = {}
        if start is None:
            wanted["Range"] = f"bytes=-{length}"
        elif length is not None:
            wanted["Range"] = f"bytes={start}-{start + length - 1}"
        with told("cannot be read", where):
            for attempt in range(1, CUT_ATTEMPTS + 1):
                try:
                    answer = client().get_object(Bucket=self._bucket, Key=self._key(path), **wanted)
                    content: bytes = answer["Body"].read()
                except ClientError as error:
                    if code_of(error) == _ABSENT:
                        raise FileNotFoundError(2, "No such object", where) from error
                    if code_of(error) not in _EMPTY:
                        raise
                    answer, content = client().head_object(Bucket=self._bucket, Key=self._key(path)), b""
                except HTTPClientError:  # the answer began, and was cut off
                    if attempt == CUT_ATTEMPTS:
                        raise
                    continue
                break
        size = int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else len(content)
        first = size - len(content) if start is None else start
        return Part(content, first, size, int(answer["LastModified"].timestamp() * 1_000))

    def put(self, path: str, content: bytes) -> None:
        """See `Storage.put`."""
        with told("could not be written", self.location(path)):
            client().put_object(Bucket=self._bucket, Key=self._key(path), Body=content)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """See `Storage.put_if_absent`."""
        with told("could not be written", self.location(path)):
            for _ in range(BUSY_ATTEMPTS):
                try:
                    client().put_object(Bucket=self._bucket, Key=self._key(path), Body=content, IfNoneMatch="*")
                except (ClientError, BotoCoreError) as error:
                    found = self._found(path)
                    if found is not None:
                        return found == content
                    if not (isinstance(error, ClientError) and code_of(error) in _BUSY | _PRESENT):
                        raise
                else:
                    return True
        raise LakeError(f"was refused {BUSY_ATTEMPTS} times as present, and is not there", where=self.location(path))

    def _found(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def stage(self, path: str, write: Callable[[str], object]) -> StoredFile:
        """See `Storage.stage`: written to the folder of temporary files, and put from there."""
        handle, draft = tempfile.mkstemp(prefix="truthloop-stage-")
        os.close(handle)
        try:
            write(draft)
            with open(draft, "rb") as content, told("could not be written", self.location(path)):  # noqa: PTH123 - by name
                client().put_object(Bucket=self._bucket, Key=self._key(path), Body=content)
        finally:
            os.unlink(draft)  # noqa: PTH108 - by name
        found = self._head(path)
        return StoredFile(path, found.size, found.modified_ms)

    def open(self, path: str, tail: Part | None = None) -> BucketFile:
        """See `Storage.open`."""
        return BucketFile(lambda start, length: self.read_part(path, start, length), tail)

    def serve(self, session: DuckDBPyConnection) -> None:
        """See `Storage.serve`."""
        from lake.storage.duckdb_files import BucketFiles  # noqa: PLC0415 - it stands on this module

        session.register_filesystem(BucketFiles())

    def make(self) -> None:
        """See `Storage.make`: a prefix needs none."""

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        with told("could not be deleted", self.location(path)):
            client().delete_object(Bucket=self._bucket, Key=self._key(path))

    def abandon(self, before_ms: int) -> None:
        """See `Storage.abandon`: the parts of an upload are kept, and paid for, until it is given up."""
        with told("cannot be given up", self.location("")):
            pages = client().get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
            old = [
                one
                for page in pages
                for one in page.get("Uploads", [])
                if one["Initiated"].timestamp() * 1_000 < before_ms
            ]
            for one in old:
                client().abort_multipart_upload(Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"])

    def location(self, path: str) -> str:
        """See `Storage.location`."""
        return f"s3://{self._bucket}/{self._key(path)}"

    def _key(self, path: str) -> str:
        return f"{self._prefix}{path}"
