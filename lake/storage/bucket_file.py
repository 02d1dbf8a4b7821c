"""A file in a bucket as Python has files: read in ranges, its end first, where Parquet has its index."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["BucketFile", "Part"]

TAIL_BYTES: Final = 1 << 18
"""The first request brings so much: an index, or the whole of a small file."""


@dataclass(frozen=True)
class Part:
    """A part of a file.

    Attributes:
        start: offset of its first byte.
        size: of the whole file, in bytes.
        modified_ms: when the file was written, ms UTC.
    """

    content: bytes
    start: int
    size: int
    modified_ms: int


class BucketFile(io.RawIOBase):
    """A file of which each range is one request, but those of its end.

    Args:
        read_part: returns a part, from an offset on or, without one, the end.
        tail: the end, if it is known.
    """

    def __init__(self, read_part: Callable[[int | None, int], Part], tail: Part | None = None) -> None:
        self._read_part = read_part
        self.tail = read_part(None, TAIL_BYTES) if tail is None else tail
        self._at = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the offset of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the offset of the next read."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.tail.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer at the end of the file."""
        end = self.tail.size if size is None or size < 0 else min(self._at + size, self.tail.size)
        if self._at >= end:
            return b""
        held = self.tail if self._at >= self.tail.start else self._read_part(self._at, end - self._at)
        content = held.content[self._at - held.start : end - held.start]
        self._at += len(content)
        return content
