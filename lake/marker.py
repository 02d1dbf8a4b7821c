"""Marker file of a lake, which names its loop and the format of its layout."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lake.storage.interface import DRAFT_SUFFIX
from lake.storage.location import storage_at
from lake.storage.probe import PROBES
from schemas.base.location import Location
from schemas.errors import LakeError, LakeTooNew

__all__ = ["FORMAT", "Marker", "check_path"]

FORMAT = 1
"""Version of the layout; it increases if a Truthloop for the previous one could not read or continue a lake."""

_NAME = "truthloop.json"
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\|^\[\]]|%[0-9A-Fa-f]{2}")
"""Characters that delta-rs 1.6 decodes or refuses in a path; all others are tested to work."""


def check_path(path: Location) -> None:
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
    def read(cls, path: Location) -> "Marker":
        """Read the marker of the lake in `path`.

        Raises:
            LakeError: there is no lake, or the marker cannot be read.
            LakeTooNew: the lake has a newer format.
        """
        try:
            document = json.loads(storage_at(path).read(_NAME))
            marker = cls(loop=str(document["loop"]), format=int(document["format"]))
        except FileNotFoundError:
            raise LakeError(
                "there is no lake here",
                where=str(path),
                hint="`truthloop replay` makes one from files; or give the config with --config.",
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                "is not a valid marker of a lake",
                where=str(path / _NAME),
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
    def claim(cls, path: Location, loop: str) -> "Marker":
        """Make `path` the lake of `loop`, unless it is already.

        Raises:
            LakeError: the folder holds something else, or another loop's lake.
            LakeTooNew: the lake has a newer format.
        """
        check_path(path)
        storage = storage_at(path)
        if not storage.has(_NAME):
            if isinstance(path, Path) and path.exists() and not path.is_dir():
                raise LakeError("is a file, not a folder", where=str(path))
            others = (file.path for file in storage.list() if not _is_of_a_claim(file.path))
            if other := next(others, ""):
                raise LakeError(
                    f"the folder holds other files, for instance {other!r}",
                    where=str(path),
                    hint="A lake needs an empty or new folder: lake.uri in the config.",
                )
            cls(loop).write(path)
        marker = cls.read(path)
        if marker.loop != loop:
            raise LakeError(
                f"this is the lake of loop {marker.loop!r}, not of {loop!r}",
                where=str(path),
                hint="Give every loop a folder of its own: lake.uri in the config.",
            )
        return marker

    def write(self, path: Location) -> None:
        """Make `path` a lake with this marker, unless it is one.

        Raises:
            LakeError: it cannot be written.
        """
        content = json.dumps({"format": self.format, "loop": self.loop}) + "\n"
        storage_at(path).put_if_absent(_NAME, content.encode())


def _is_of_a_claim(path: str) -> bool:
    return path == _NAME or path.endswith(DRAFT_SUFFIX) or path.startswith(f"{PROBES}/")
