"""Folders of a role's own state: its owner may write, its group read, and nobody else see them."""

import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["make_state_folder"]

_NOT_FOR_OTHERS: Final = 0o027
"""Permissions that are taken away: the group's to write, and all of others."""


def make_state_folder(folder: Path) -> None:
    """Make a folder and the ones above it, and take what is too much from its permissions, whatever the umask.

    Keys of customers are in it. A folder that belongs to somebody else, such as a mounted volume, is left as it is.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & _NOT_FOR_OTHERS:
        with suppress(PermissionError):
            folder.chmod(mode & ~_NOT_FOR_OTHERS)
