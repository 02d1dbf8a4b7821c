"""Lakes that are kept as archives, because older versions of Truthloop wrote them."""

import tarfile
from pathlib import Path

__all__ = ["unpack_lake"]


def unpack_lake(path: Path, folder: Path) -> None:
    """Unpack an archive into a folder; on every Python 3.11, of which the first ones have no filter."""
    with tarfile.open(path) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)  # noqa: S202 - our own
