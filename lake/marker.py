"""The lake's marker: the small file that says this folder is a lake, of which loop and in which format.

Must not open tables.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lake.disk import write_atomically
from schemas.errors import LakeError, LakeTooNew

__all__ = ["FORMAT", "Marker", "check_path", "make_folder"]

FORMAT = 1
"""Counts up when a Truthloop that knows only the format before could no longer read or continue a lake."""

_NAME = "truthloop.json"
_FOLDER_MODE = 0o750
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\|^\[\]]|%[0-9A-Fa-f]{2}")
"""What delta-rs 1.6 decodes or refuses in a path; everything else is tested to work."""


def check_path(path: Path) -> None:
    """Refuse a folder name that the Delta library would take for another one.

    Raises:
        LakeError: says which characters.
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
    """What the marker says.

    Attributes:
        loop: name of the loop whose lake this is.
        format: layout of the lake.
    """

    loop: str
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> "Marker":
        """Read the marker of the lake in `path`.

        Raises:
            LakeError: there is no lake, or the marker cannot be read.
            LakeTooNew: the lake is of a format after this one.
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
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LakeError(
                "this does not read as the marker of a lake",
                where=str(file),
                hint='It says {"format": 1, "loop": "NAME"}; bring it back from the backup.',
            ) from error
        if marker.format > FORMAT:
            raise LakeTooNew(
                f"the lake has format {marker.format}, and this Truthloop knows up to {FORMAT}",
                where=str(path),
                hint="Upgrade Truthloop; nothing was changed.",
            )
        return marker

    @classmethod
    def claim(cls, path: Path, loop: str) -> "Marker":
        """Make `path` the lake of `loop`, or find that it is.

        Raises:
            LakeError: the folder holds something else, or another loop's lake.
            LakeTooNew: the lake is of a format after this one.
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
        found = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        if others := [name for name in found if not name.startswith(_NAME)]:
            raise LakeError(
                f"the folder holds something else, for instance {others[0]!r}",
                where=str(path),
                hint="A lake wants an empty or a new folder: lake.uri in the config.",
            )
        if not path.exists():
            make_folder(path)
        write_atomically(path / _NAME, json.dumps({"format": FORMAT, "loop": loop}) + "\n")
        return cls(loop=loop)


def make_folder(path: Path) -> None:
    """Make a folder that its owner writes and its group reads, whatever the umask says."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(_FOLDER_MODE)
