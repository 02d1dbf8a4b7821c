"""What every storage has to do, whatever is behind it."""

import threading
from pathlib import Path

import pytest

from lake.storage.interface import Storage

__all__ = ["check_staging", "created_at_once"]

_WRITERS = 8


def created_at_once(storage: Storage, path: str) -> list[bytes]:
    """Let several create a file at once; return the contents of those who were told that they did."""
    barrier = threading.Barrier(_WRITERS)
    made: list[bytes] = []

    def create(content: bytes) -> None:
        barrier.wait()
        if storage.put_if_absent(path, content):
            made.append(content)

    contents = [str(number).encode() * 10_000 for number in range(_WRITERS)]
    threads = [threading.Thread(target=create, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def check_staging(storage: Storage) -> None:
    """Stage a file, and one whose writer fails: what it raises is raised, and nothing of it is left."""
    staged = storage.stage("a/x", lambda file: Path(file).write_bytes(b"12345"))
    assert (staged.path, staged.size) == ("a/x", 5)
    assert staged == next(iter(storage.list()))

    def fail(file: str) -> None:
        Path(file).write_bytes(b"half")
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        storage.stage("a/y", fail)
    assert [file.path for file in storage.list()] == ["a/x"]
