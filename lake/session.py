"""DuckDB session with the views of a lake's `views.sql`, in memory. Read-only, and without the Delta library."""

import re
from typing import Final

import duckdb

from lake.failure import lake_error, store_error
from lake.marker import Marker
from lake.storage.location import storage_at
from lake.view import VIEWS_FILE
from schemas.base.location import Location

__all__ = ["connect"]

_VIEW: Final = re.compile(r"^(CREATE OR REPLACE TEMP VIEW \w+) AS", re.MULTILINE)
_UNBOUND_VIEW: Final = r"\1 WITH (DEFER_BINDING) AS"
"""A view whose columns are found when it is first used. DuckDB before 2.0 has none, so it is not in `views.sql`."""


def connect(path: Location) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the views of the lake in `path`, in its current version; the time zone is UTC.

    The lake may have been moved since `views.sql` was written.

    Raises:
        LakeError: there is no lake, or its views cannot be loaded.
        LakeTooNew: the lake has a newer format.
    """
    path = path.absolute()
    Marker.read(path)
    storage = storage_at(path)
    try:
        text = storage.read(VIEWS_FILE).decode()
    except FileNotFoundError as error:
        what, hint = f"the lake has no readable {VIEWS_FILE}", "The next `truthloop replay` writes it again."
        raise lake_error(what, error, path, hint) from error
    # no downloads: everything that the views need is part of DuckDB
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        storage.serve(connection)
        connection.execute("SET TimeZone = 'UTC'")
        _, *statements = connection.extract_statements(_VIEW.sub(_UNBOUND_VIEW, text))
        connection.execute("SET VARIABLE truthloop_lake = ?", [str(path)])
        for statement in statements:
            connection.execute(statement)
    except duckdb.Error as error:
        connection.close()
        hint = "If a replay is running, try again; otherwise files are missing: restore the lake from a backup."
        raise store_error(error) or lake_error("the views cannot be loaded", error, path / VIEWS_FILE, hint) from error
    return connection
