"""Which storage a place has."""

from pathlib import Path

from lake.storage.location import storage_at


def test_a_path_is_a_local_folder(tmp_path: Path) -> None:
    """Other libraries read its files by their paths."""
    storage = storage_at(tmp_path)
    storage.put("x", b"1")
    assert Path(storage.location("x")).read_bytes() == b"1"
