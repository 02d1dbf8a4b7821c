"""A DuckDB session over a lake: the views of its `views.sql`, in memory.

Must not write, and needs no Delta library.
"""

from pathlib import Path

import duckdb

from lake.marker import Marker
from lake.view import VIEWS_FILE
from schemas.errors import LakeError

__all__ = ["connect"]


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the lake's views, as the lake stands now; its time zone is UTC.

    The views are found where the lake is now, even if it has moved since `views.sql` was written.

    Raises:
        LakeError: there is no lake, or its views cannot be loaded.
        LakeTooNew: the lake is of a newer format.
    """
    path = path.absolute()
    Marker.read(path)
    views = path / VIEWS_FILE
    try:
        text = views.read_text("utf-8")
    except OSError as error:
        raise LakeError(
            f"the lake has no readable {VIEWS_FILE}: {error.strerror}",
            where=str(path),
            hint="The next `truthloop replay` writes it again.",
        ) from error
    # nothing is downloaded unasked: everything the views need is part of DuckDB
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        _, *statements = connection.extract_statements(text)
        connection.execute("SET VARIABLE truthloop_lake = ?", [str(path)])
        for statement in statements:
            connection.execute(statement)
    except duckdb.Error as error:
        connection.close()
        raise LakeError(
            f"the views cannot be loaded: {error}",
            where=str(views),
            hint="If a replay was at work, try again; else files are missing: bring back the backup.",
        ) from error
    return connection
