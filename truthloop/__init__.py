"""The assembled product: command line, settings, demo, and `truthloop.open` for notebooks.

The other packages (`joins`, `lake`, `monitor`, `retrain`, `schemas`, `streams`) have common names, so importing
`truthloop` first checks that Python would import ours under each of them.
"""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = ["PACKAGES", "open"]

PACKAGES = ("joins", "lake", "monitor", "retrain", "schemas", "streams")
_HOME = Path(__file__).resolve().parent.parent
_ADVICE = "Truthloop is a service: install it in an environment of its own, and do not put other code on its path."


def _check_packages() -> None:
    """Raise ImportError if another package of the same name would be imported, or has overwritten ours."""
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(f"`import {name}` finds nothing; Truthloop's own is {_HOME / name}. {_ADVICE}")
        found = Path(spec.origin).resolve()
        if found.parent != _HOME / name:
            raise ImportError(f"`import {name}` finds {found}; Truthloop's own is {_HOME / name}. {_ADVICE}")
    for owner, name in _other_owners():
        raise ImportError(f"{owner} also installs a package named `{name}`. {_ADVICE}")


def _other_owners() -> Iterator[tuple[str, str]]:
    """Yield (distribution, name) for each other distribution that installs one of our names, over our files.

    Searches their RECORD files as bytes; `packages_distributions` would take longer than all of `--help`.
    """
    for folder in map(Path, sys.path):
        for record in folder.glob("*.dist-info/RECORD"):
            owner = record.parent.name.partition("-")[0]
            if owner != "truthloop":
                content = b"\n" + record.read_bytes()
                yield from ((owner, name) for name in PACKAGES if f"\n{name}/__init__.py,".encode() in content)


def open(path: str | Path = "lake") -> "duckdb.DuckDBPyConnection":  # noqa: A001 - `truthloop.open(...)` reads as it should
    """Open a lake for queries in a notebook: `truthloop.open("lake").sql("FROM scored").pl()`.

    The views show the lake as of now; open it again to see later records. The connection is in memory, in UTC.

    Args:
        path: the lake's folder, or s3://BUCKET/KEY; `~` is the home folder.

    Raises:
        LakeError: there is no lake, or its views cannot be loaded.
    """
    from lake.session import connect  # noqa: PLC0415 - keeps `import truthloop` light
    from schemas.base.location import BucketUri  # noqa: PLC0415 - the same

    place = BucketUri.parse(str(path)) if str(path).startswith("s3://") else Path(path).expanduser()
    return connect(place)


_check_packages()
