"""Which files hold nothing but history: records so old that they leave the lake. Pure.

A record leaves with all that was recorded about it: days of recording leave whole, from the oldest on, in all tables.
Days that share a file leave together, when the last of them does.
So a rejected prediction never comes back because its reject has gone. What the mapping has rejected never became a
record, so its rejects may leave earlier, on their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from typing import Final

from lake.maintenance.plan import ActiveFile, Group

__all__ = ["HISTORY_TABLES", "REJECTS", "STEP", "TIME_OF", "OldRejects", "files_of_history", "old_rejects"]

TIME_OF: Final[Mapping[str, str]] = {
    "predictions": "predicted_at",
    "labels": "known_at",
    "outcomes": "predicted_at",
}
"""By table, the column that says how old a row is."""

REJECTS: Final = "rejects"
HISTORY_TABLES: Final = (*TIME_OF, REJECTS)
"""Tables whose rows leave; a reject is as old as the record that it is about."""

STEP: Final = "sequence"
"""The column of rejects that only those of the join have: the step that has made them."""

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
    found = {table: sorted((file for file in files if file.until < end), key=_day) for table, files in tables.items()}
    return {
        table: [Group(day, tuple(of_day)) for day, of_day in groupby(files, key=_day)] for table, files in found.items()
    }


@dataclass(frozen=True)
class OldRejects:
    """A day's files that hold rejects of the mapping.

    Attributes:
        mixed: those that also hold rejects of the join; None: there are none.
        alone: those that hold nothing else; None: there are none.
    """

    mixed: Group | None
    alone: Group | None

    @property
    def leaving(self) -> Group:
        """The files, with the number of rows that leave; their bytes are those of all rows."""
        files = [file for group in (self.mixed, self.alone) if group is not None for file in group.files]
        return Group(files[0].day, tuple(replace(file, rows=file.without_step or 0) for file in files))


def old_rejects(files: Sequence[ActiveFile], before: date) -> list[OldRejects]:
    """Return the files of rejects that the mapping has made, by day of recording.

    Args:
        files: of the table of rejects.
        before: those that were recorded on this day and later stay.
    """
    old = sorted((file for file in files if file.until < before and file.without_step), key=_day)
    found = []
    for day, of_day in groupby(old, key=_day):
        mixed, alone = list[ActiveFile](), list[ActiveFile]()
        for file in of_day:
            (alone if file.without_step == file.rows else mixed).append(file)
        found.append(OldRejects(*(Group(day, tuple(some)) if some else None for some in (mixed, alone))))
    return found


def _day(file: ActiveFile) -> date:
    return file.day
