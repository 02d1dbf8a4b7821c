"""Files in a folder."""

from pathlib import Path

import pytest
from storage_case import check_staging, created_at_once

from lake.storage.folder import FolderStorage
from lake.storage.interface import DRAFT_SUFFIX
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
    (tmp_path / "log").mkdir()
    (winner,) = created_at_once(storage, "log/1")
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
    (tmp_path / "file").write_bytes(b"")
    for call in (storage.put, storage.put_if_absent):
        with pytest.raises(LakeError, match="file"):
            call("file/x", b"")


def test_a_staged_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """Its size and time are those of the file; what its writer raises is raised, and leaves nothing."""
    check_staging(FolderStorage(tmp_path))


def test_another_file_of_the_same_name_has_another_identity(tmp_path: Path) -> None:
    """None where there is no file."""
    storage = FolderStorage(tmp_path)
    storage.put("log/1", b"1")
    first = storage.identities(["log/1", "log/2"])
    assert first == storage.identities(["log/1", "log/2"])
    storage.put("log/1", b"1")
    assert (storage.identities(["log/1"])[0] != first[0], first[1]) == (True, None)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """And no draft is left; folders on the way are made."""
    storage = FolderStorage(tmp_path)
    for content in (b"one", b"two"):
        storage.put("views/x", content)
        assert storage.read("views/x") == content
    storage.fetch("views/x", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"two"
    assert not [file.path for file in storage.list() if file.path.endswith(DRAFT_SUFFIX)]
