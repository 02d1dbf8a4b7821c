"""Where files are, and the storage that reaches them."""

from pathlib import Path

from lake.storage.folder import FolderStorage
from lake.storage.interface import Storage

__all__ = ["storage_at"]


def storage_at(place: Path) -> Storage:
    """Return the files in a place."""
    return FolderStorage(place)
