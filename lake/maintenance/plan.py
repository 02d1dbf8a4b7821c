"""Which files of a table become one. Pure: from the files that the log names to groups of them.

A day that goes on is kept in tiers: `TIER_FILES` files of one level become one of the next, so each row is rewritten
once for every level, and few files are there at any moment. A day that has ended becomes one file. What comes to such a
day afterwards, from a slow writer, is rewritten without its large file.

Small days of a month that is long over share files. What readers pay for each file of a table would otherwise grow with
the lake's age, however few rows a day has.
"""

import re
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

__all__ = [
    "MONTH_ENDS_AFTER",
    "MONTH_FILE_ROWS_MAX",
    "PAST_FILES_MAX",
    "TODAY_FILES_MAX",
    "ActiveFile",
    "Group",
    "level_of",
    "plan_groups",
]

TODAY_FILES_MAX = 200
PAST_FILES_MAX = 3
"""Active files of one day of a table."""

TIER_FILES: Mapping[int, int] = {0: 64}
TIER_FILES_ABOVE = 16
"""So many files of a level become one: with one commit in 10 s, 8,640 files of a day become 135, and these 8. At any
moment there are fewer than 64 + 3 x 16, and what comes during one round of maintenance."""

URGENT_FILES = TODAY_FILES_MAX * 3 // 4

FILES_PER_GROUP_MAX = 1_000
"""Limits the time of one step, and the descriptors and memory that it needs, however long nobody has compacted."""

DAY_ENDS_AFTER = timedelta(minutes=10)
"""Writers whose round began before midnight have committed by then; a slow one costs a small rewrite."""

MONTH_ENDS_AFTER = timedelta(days=7)
"""So long after its end a month is over: hardly anything comes to its days any more."""

MONTH_FILE_ROWS_MAX = 500_000
"""A file of several days has at most so many rows; a day with more has files of its own."""

_LEVEL = re.compile(r"(?:^|/)level-(\d+)-[0-9a-f]{32}\.parquet$")


@dataclass(frozen=True)
class ActiveFile:
    """A data file of the current version.

    Attributes:
        path: as the log writes it.
        day: on which its rows were recorded; of several days the first.
        size: in bytes.
        rows: their number.
        modified_ms: when it was written, ms UTC.
        latest_ms: the greatest time of its rows (`lake.maintenance.history.TIME_OF`), ms UTC; None: it is not known.
        without_step: rows that no step of a join has made, in the table of rejects; None: it is not known.
        last_day: the last day on which its rows were recorded; None: it is not known, and all of one day.
    """

    path: str
    day: date
    size: int
    rows: int
    modified_ms: int
    latest_ms: int | None = None
    without_step: int | None = None
    last_day: date | None = None

    @property
    def until(self) -> date:
        """The last day on which its rows were recorded."""
        return self.day if self.last_day is None else max(self.day, self.last_day)

    @property
    def level(self) -> int:
        """How often its rows have been rewritten."""
        return level_of(self.path)


@dataclass(frozen=True)
class Group:
    """Files of one day, or of days of one month, that become one.

    Attributes:
        day: the first of them.
        is_urgent: the day goes on, and has so many files that a reader would soon notice.
    """

    day: date
    files: tuple[ActiveFile, ...]
    is_urgent: bool = False

    def file_name(self, unique: str) -> str:
        """Return the name of the file that replaces them.

        Args:
            unique: 32 hex digits.
        """
        return f"level-{1 + max(file.level for file in self.files)}-{unique}.parquet"

    @property
    def rows(self) -> int:
        """Number of their rows."""
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(file.size for file in self.files)


def level_of(path: str) -> int:
    """Return how often the rows of a file have been rewritten, by its name; 0 if a writer wrote it.

    >>> level_of("recorded_on=2026-03-01/level-2-0123456789abcdef0123456789abcdef.parquet")
    2
    >>> level_of("recorded_on=2026-03-01/part-00000-c000.zstd.parquet")
    0
    """
    match = _LEVEL.search(path)
    return int(match[1]) if match else 0


def plan_groups(files: Iterable[ActiveFile], now_ms: int) -> list[Group]:
    """Return what is due, the day or month with the most files first; groups have no file in common.

    After a group is rewritten, more may be due: plan again.

    Args:
        now_ms: a day before the one of this time has ended.
    """
    today = (datetime.fromtimestamp(now_ms / 1000, UTC) - DAY_ENDS_AFTER).date()
    together: dict[tuple[date, date], list[ActiveFile]] = defaultdict(list)
    for file in files:
        month = _month_of(file.day)
        together[month if month[1] < today - MONTH_ENDS_AFTER else (file.day, file.day)].append(file)
    found: list[Group] = []
    for (first, last), some in sorted(together.items(), key=lambda item: (-len(item[1]), item[0])):
        oldest_first = sorted(some, key=lambda file: (file.day, file.modified_ms, file.path))
        if first < last:
            found += _of_past_month(oldest_first)
        else:
            found += _of_past_day(oldest_first) if first < today else _of_today(oldest_first)
    return found


def _month_of(day: date) -> tuple[date, date]:
    """Return the first and the last day of a day's month."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def _of_past_month(files: Sequence[ActiveFile]) -> Iterator[Group]:
    """Yield groups of files that follow each other in time, as many in each as have room in one file.

    Once they are rewritten, no two that follow each other have, so nothing is due.
    """
    group: list[ActiveFile] = []
    for file in files:
        if sum(one.rows for one in group) + file.rows > MONTH_FILE_ROWS_MAX or len(group) == FILES_PER_GROUP_MAX:
            yield from _if_several(group)
            group = []
        group.append(file)
    yield from _if_several(group)


def _if_several(files: Sequence[ActiveFile]) -> Iterator[Group]:
    if len(files) > 1:
        yield Group(files[0].day, tuple(files))


def _of_today(files: Sequence[ActiveFile]) -> list[Group]:
    """Return full tiers, the lowest first."""
    levels: dict[int, list[ActiveFile]] = defaultdict(list)
    for file in files:
        levels[file.level].append(file)
    return [
        Group(group[0].day, group, is_urgent=len(files) > URGENT_FILES)
        for level, of_level in sorted(levels.items())
        if len(of_level) >= TIER_FILES.get(level, TIER_FILES_ABOVE)
        for group in _portions(of_level)
        if len(group) > 1
    ]


def _of_past_day(files: Sequence[ActiveFile]) -> list[Group]:
    """Return one group of a day with too many files, or portions of it if there are very many."""
    if len(files) <= PAST_FILES_MAX:
        return []
    rows = sum(file.rows for file in files)
    largest = max(files, key=lambda file: (file.rows, file.path))
    is_settled = largest.level > 0 and 2 * largest.rows > rows
    due = [file for file in files if file is not largest] if is_settled else list(files)
    if len(due) > FILES_PER_GROUP_MAX:
        due.sort(key=lambda file: file.level)  # stable: the smallest first, and of these the oldest
        return [Group(group[0].day, group) for group in _portions(due) if len(group) > 1]
    return [Group(due[0].day, tuple(due))]


def _portions(files: Sequence[ActiveFile]) -> list[tuple[ActiveFile, ...]]:
    return [tuple(files[at : at + FILES_PER_GROUP_MAX]) for at in range(0, len(files), FILES_PER_GROUP_MAX)]
