"""The storage that reaches a place, and what other libraries need to reach it."""

from pathlib import Path
from typing import Any

from lake.storage.folder import FolderStorage
from lake.storage.interface import Storage
from schemas.base.location import Location

__all__ = ["delta_options", "polars_options", "storage_at"]


def storage_at(place: Location) -> Storage:
    """Return the files in a place."""
    if isinstance(place, Path):
        return FolderStorage(place)
    from lake.storage.bucket import BucketStorage  # noqa: PLC0415 - a loop on a disk never loads the client

    return BucketStorage(place.bucket, place.key)


def delta_options(place: Location) -> dict[str, str] | None:
    """Return the options by which the Delta library reaches a place; it finds credentials itself, and renews them."""
    if isinstance(place, Path):
        return None
    from lake.storage import client  # noqa: PLC0415 - as above

    return client.delta_options()


def polars_options(place: Location) -> dict[str, Any]:
    """Return the arguments by which a scan of Polars reaches a place; it renews credentials, too."""
    if isinstance(place, Path):
        return {}
    from lake.storage import client  # noqa: PLC0415 - as above

    return client.polars_options()
