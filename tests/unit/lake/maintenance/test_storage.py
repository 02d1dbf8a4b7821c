"""Files of a table in a folder."""

import threading
from pathlib import Path

import pytest

from lake.maintenance.storage import DRAFT_SUFFIX, FolderStorage
from schemas.errors import LakeError


def test_files_are_listed_with_their_sizes_and_times(tmp_path: Path) -> None:
    """At any depth, with paths that begin at the folder."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"")
    storage = FolderStorage(tmp_path)
    found = {file.path: file for file in storage.list()}
    assert {path: file.size for path, file in found.items()} == {"a/b/one": 3, "two": 0}
    assert found["two"].modified_ms == (tmp_path / "two").stat().st_mtime_ns // 1_000_000
    assert [file.path for file in storage.list("a")] == ["a/b/one"]
    assert list(storage.list("none")) == []


def test_of_many_who_create_a_file_one_succeeds(tmp_path: Path) -> None:
    """Its content is whole, and no draft is left."""
    storage = FolderStorage(tmp_path)
    barrier = threading.Barrier(8)
    made: list[bytes] = []

    def create(content: bytes) -> None:
        barrier.wait()
        if storage.put_if_absent("log/1", content):
            made.append(content)

    (tmp_path / "log").mkdir()
    threads = [threading.Thread(target=create, args=(str(number).encode() * 10_000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = made
    assert storage.read("log/1") == winner
    assert not storage.put_if_absent("log/1", b"late")
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["1"]


def test_what_is_gone_is_gone(tmp_path: Path) -> None:
    """To delete it again is no error; to read it is one of its own."""
    storage = FolderStorage(tmp_path)
    assert storage.put_if_absent("x", b"1")
    assert storage.has("x")
    storage.delete("x")
    storage.delete("x")
    assert not storage.has("x")
    with pytest.raises(FileNotFoundError):
        storage.read("x")


def test_what_the_system_refuses_is_named(tmp_path: Path) -> None:
    """With the file."""
    storage = FolderStorage(tmp_path)
    (tmp_path / "folder").mkdir()
    for call in (storage.read, storage.delete):
        with pytest.raises(LakeError, match="folder"):
            call("folder")
    with pytest.raises(LakeError, match="none"):
        storage.put_if_absent("none/x", b"")
    with pytest.raises(LakeError, match="none"):
        storage.keep("none")


def test_a_file_that_another_library_wrote_is_kept(tmp_path: Path) -> None:
    """Its size and time are those of the file."""
    storage = FolderStorage(tmp_path)
    Path(storage.location("x")).write_bytes(b"12345")
    kept = storage.keep("x")
    assert (kept.path, kept.size) == ("x", 5)
    assert kept == next(storage.list())
    assert not kept.path.endswith(DRAFT_SUFFIX)
