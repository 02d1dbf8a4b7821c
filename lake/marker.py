"""Marker file of a lake, which names its loop and the format of its layout."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lake.disk import write_atomically
from lake.failure import lake_error
from schemas.errors import LakeError, LakeTooNew

__all__ = ["FORMAT", "Marker", "check_path", "make_folder"]

FORMAT = 1
"""Version of the layout; it increases if a Truthloop for the previous one could not read or continue a lake."""

_NAME = "truthloop.json"
_FOLDER_MODE = 0o750
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\|^\[\]]|%[0-9A-Fa-f]{2}")
"""Characters that delta-rs 1.6 decodes or refuses in a path; all others are tested to work."""


def check_path(path: Path) -> None:
    """Refuse a path that the Delta library would read as another one.

    Raises:
        LakeError: it has such characters.
    """
    if found := _UNFIT.search(str(path)):
        raise LakeError(
            f"a lake cannot be in a folder with {found.group()!r} in its path: the Delta library reads it "
            "as something else",
            where=str(path),
            hint="Choose another folder: lake.uri in the config.",
        )


@dataclass(frozen=True)
class Marker:
    """Content of the marker file.

    Attributes:
        loop: name of the loop.
        format: version of the layout.
    """

    loop: str
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> "Marker":
        """Read the marker of the lake in `path`.

        Raises:
            LakeError: there is no lake, or the marker cannot be read.
            LakeTooNew: the lake has a newer format.
        """
        file = path / _NAME
        if not file.exists():
            raise LakeError(
                "there is no lake here",
                where=str(path),
                hint="`truthloop replay` makes one from files; or give the config with --config.",
            )
        try:
            document = json.loads(file.read_text("utf-8"))
            marker = cls(loop=str(document["loop"]), format=int(document["format"]))
        except OSError as error:
            raise lake_error("cannot be read", error, file, "See the folder's disk and rights.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                "is not a valid marker of a lake",
                where=str(file),
                hint='Its content is {"format": 1, "loop": "NAME"}; restore it from a backup.',
            ) from error
        if marker.format > FORMAT:
            raise LakeTooNew(
                f"the lake has format {marker.format}, and this Truthloop supports up to {FORMAT}",
                where=str(path),
                hint="Upgrade Truthloop; nothing was changed.",
            )
        return marker

    @classmethod
    def claim(cls, path: Path, loop: str) -> "Marker":
        """Make `path` the lake of `loop`, unless it is already.

        Raises:
            LakeError: the folder holds something else, or another loop's lake.
            LakeTooNew: the lake has a newer format.
        """
        check_path(path)
        if (path / _NAME).exists():
            marker = cls.read(path)
            if marker.loop != loop:
                raise LakeError(
                    f"this is the lake of loop {marker.loop!r}, not of {loop!r}",
                    where=str(path),
                    hint="Give every loop a folder of its own: lake.uri in the config.",
                )
            return marker
        if path.exists() and not path.is_dir():
            raise LakeError("is a file, not a folder", where=str(path))
        names = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        if others := [name for name in names if not name.startswith(_NAME)]:
            raise LakeError(
                f"the folder holds other files, for instance {others[0]!r}",
                where=str(path),
                hint="A lake needs an empty or new folder: lake.uri in the config.",
            )
        if not path.exists():
            make_folder(path)
        marker = cls(loop=loop)
        marker.write(path)
        return marker

    def write(self, path: Path) -> None:
        """Make `path` a lake with this marker.

        Raises:
            LakeError: it cannot be written.
        """
        write_atomically(path / _NAME, json.dumps({"format": self.format, "loop": self.loop}) + "\n")


def make_folder(path: Path) -> None:
    """Make a folder that its owner can write and its group can read, whatever the umask."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(_FOLDER_MODE)
