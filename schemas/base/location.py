"""Where files are: a local folder, or a prefix in a bucket of an object store. Both are joined by `/`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

__all__ = ["BucketUri", "Location", "location_of_uri"]

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9!_.*'()=-]+")
"""Of a folder in a key: the characters that Amazon calls safe, and the `=` of partitions."""


@dataclass(frozen=True)
class BucketUri:
    """A prefix in a bucket, or an object.

    Attributes:
        bucket: its name.
        key: names joined by `/`; empty: the whole bucket.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "BucketUri":
        """Return what `s3://BUCKET/KEY` names.

        Raises:
            ValueError: it is none, or its key has characters that some library would read as another.

        >>> str(BucketUri.parse("s3://truth/loops/fraud/") / "labels")
        's3://truth/loops/fraud/labels'
        """
        found = _URI.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no s3://BUCKET/KEY")
        names = (found[2] or "").rstrip("/").split("/")
        if names != [""] and (bad := next((name for name in names if not _NAME.fullmatch(name)), None)) is not None:
            raise ValueError(f"{text!r} has a folder {bad!r}: letters, digits and !-_.*'()= are safe in a key")
        return cls(found[1], "/".join(names))

    def __truediv__(self, name: str) -> "BucketUri":
        return BucketUri(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    def absolute(self) -> "BucketUri":
        """Return itself, as a path does that is absolute."""
        return self

    def as_uri(self) -> str:
        """Return the URI."""
        return str(self)


Location: TypeAlias = Path | BucketUri


def location_of_uri(uri: str) -> Location:
    """Return what a URI of `as_uri` names.

    Raises:
        ValueError: it is none.
    """
    return BucketUri.parse(uri) if uri.startswith("s3://") else Path(unquote(urlsplit(uri).path))
