"""For notebooks: `truthloop.open("path of the lake")` gives a DuckDB connection with the lake's views."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = ["open_lake"]


def open_lake(path: str | Path) -> "duckdb.DuckDBPyConnection":
    """Open a lake for queries: `truthloop.open("lake").sql("FROM scored").pl()`.

    The views show the lake as it stands now; open it again to see what has come since. The connection is
    in memory and its time zone is UTC.

    Args:
        path: the lake's folder.

    Raises:
        LakeError: there is no lake, or its views cannot be loaded.
    """
    from lake.session import connect  # noqa: PLC0415 - keeps `import truthloop` fast

    return connect(Path(path).expanduser())
