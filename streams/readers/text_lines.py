"""Reads text files, plain or gzipped, as lists of lines of bounded length.

A file of any size and with lines of any length takes a few blocks of memory.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from schemas.errors import InputError

__all__ = ["MAX_LINE_BYTES", "read_lines"]

MAX_LINE_BYTES: Final = 1024 * 1024
"""Kafka's default maximum size of a message; a larger record is no prediction or label."""
BLOCK_BYTES: Final = 4 * 1024 * 1024
"""About 20,000 records: enough for columnar work to pay off, few enough for their objects to take little memory."""
_BOM: Final = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[list[bytes]]:
    """Yield the file's lines in order, without their newline, in lists of about one block.

    A line longer than `MAX_LINE_BYTES` is cut to `MAX_LINE_BYTES + 1` bytes, so that its length shows it.

    Raises:
        InputError: the file cannot be read to its end (a torn gzip file, a failing disk).
    """
    with _opened(path) as file:
        carry = b""
        is_skipping = False
        is_first = True
        while block := file.read(BLOCK_BYTES):
            if is_first:
                block = block.removeprefix(_BOM)
                is_first = False
            if is_skipping:
                end = block.find(b"\n")
                if end < 0:
                    continue
                block = block[end + 1 :]
                is_skipping = False
            lines = (carry + block).split(b"\n")
            carry = lines.pop()
            if len(carry) > MAX_LINE_BYTES:
                lines.append(carry)
                carry = b""
                is_skipping = True
            yield [line if len(line) <= MAX_LINE_BYTES else line[: MAX_LINE_BYTES + 1] for line in lines]
        if carry:
            yield [carry]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            yield cast("IO[bytes]", file)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"cannot be read to its end ({type(error).__name__})",
            where=str(path),
            hint="The file is truncated or does not have the format of its suffix; copy it again from its source.",
        ) from error
