"""A folder for a test's databases, in memory where possible: opening a database waits for the disk many times."""

import os
import tempfile
from pathlib import Path

__all__ = ["rocks_folder"]

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - nothing secret, and a folder of its own in it
"""Linux's file system in memory."""


def rocks_folder() -> Path:
    """Return a new empty folder; the caller removes it."""
    usable = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="truthloop-rocks-", dir=IN_MEMORY if usable else None))
