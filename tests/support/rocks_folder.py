"""A folder for a test's databases, in memory where there is such a place: opening one waits for the disk many times."""

import os
import tempfile
from pathlib import Path

__all__ = ["rocks_folder"]

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - nothing secret, and a folder of its own in it
"""Where Linux keeps files in memory."""


def rocks_folder() -> Path:
    """Return a new empty folder; the caller removes it."""
    usable = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="truthloop-rocks-", dir=IN_MEMORY if usable else None))
