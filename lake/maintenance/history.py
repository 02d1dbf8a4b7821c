"""Which files hold nothing but history: records so old that they leave the lake. Pure.

A record leaves with all that was recorded about it: days of recording leave whole, from the oldest on, in all tables.
So a rejected prediction never comes back because its reject has gone.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Final

from lake.maintenance.plan import ActiveFile, Group

__all__ = ["HISTORY_TABLES", "TIME_OF", "files_of_history"]

TIME_OF: Final[Mapping[str, str]] = {
    "predictions": "predicted_at",
    "labels": "known_at",
    "outcomes": "predicted_at",
}
"""By table, the column that says how old a row is."""

HISTORY_TABLES: Final = (*TIME_OF, "rejects")
"""Tables whose rows leave; a reject is as old as the record that it is about."""

_BEYOND_MIDNIGHT: Final = timedelta(days=1)
"""The tables are written one after the other: the rejects of a record may be of the day after, or of that before."""


def files_of_history(tables: Mapping[str, Sequence[ActiveFile]], before_ms: int) -> dict[str, list[Group]]:
    """Return the files that leave, by table and day of recording.

    Args:
        tables: all files of `HISTORY_TABLES`.
        before_ms: rows of records from then on stay, and so does what was recorded on the same day or later.
    """
    stays = [
        file.day for table in TIME_OF for file in tables[table] if file.latest_ms is None or file.latest_ms >= before_ms
    ]
    end = min(stays, default=date.min + _BEYOND_MIDNIGHT) - _BEYOND_MIDNIGHT
    found = {table: sorted((file for file in files if file.day < end), key=_day) for table, files in tables.items()}
    return {
        table: [Group(day, tuple(of_day)) for day, of_day in groupby(files, key=_day)] for table, files in found.items()
    }


def _day(file: ActiveFile) -> date:
    return file.day
