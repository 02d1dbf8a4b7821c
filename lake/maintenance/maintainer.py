"""Does what is due to the tables of one lake, one step after the other. Reads and writes; what is due is planned.

Between any two writes the process may be killed: a new file that no commit names is an orphan, which a later sweep
removes, and everything else is either done or due again.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from lake.append import TableWriter
from lake.maintenance.commit import Replacement, commit_replacement
from lake.maintenance.expiry import ORPHAN_AFTER_MS, Expired
from lake.maintenance.history import HISTORY_TABLES, REJECTS, STEP, files_of_history, old_rejects
from lake.maintenance.plan import ActiveFile, Group, plan_groups
from lake.maintenance.rewrite import NullsPart, write_sorted
from lake.maintenance.status import TableStatus, table_status
from lake.maintenance.sweep import ClockAheadError, LogTimes, TableFiles, check_clock, read_files
from lake.maintenance.table_state import TableState
from lake.marker import Marker
from lake.present import tables_in
from lake.scan import files_of
from lake.storage.location import storage_at
from lake.table import DAY_TABLES
from schemas.base.location import Location
from schemas.errors import LakeConflict

__all__ = ["Maintainer", "Rewritten", "Swept"]

PLANNED_EVERY_MS = 600_000
"""A table without commits becomes due only by a day that ends."""

log = logging.getLogger("truthloop.lake")


@dataclass(frozen=True)
class Rewritten:
    """A rewrite that is due or done.

    Attributes:
        table: name of the table.
        group: files that become one.
    """

    table: str
    group: Group


@dataclass(frozen=True)
class Swept:
    """What was deleted of a table, or may be.

    Attributes:
        table: name of the table.
        files: data files of no readable version, and files of the log.
        size: their bytes.
    """

    table: str
    files: int
    size: int


class Maintainer:
    """Maintenance of the lake in `path`; one thread at a time may use it.

    Args:
        keep_readable_ms: for so long a reader may use what was current when it began.
        crash: called with the name of each step; tests end the process there.

    Raises:
        LakeError: there is no lake.
        LakeTooNew: the lake has a newer format.
    """

    def __init__(
        self, path: Location, keep_readable_ms: int, crash: Callable[[str], None] = lambda _step: None
    ) -> None:
        Marker.read(path)
        self._keep_readable_ms = keep_readable_ms
        self._tables = [_Table(path / table, crash) for table in tables_in(path)]
        self._rejects = next(table for table in self._tables if table.name == REJECTS)

    def due(self, now_ms: int) -> list[Rewritten]:
        """Return the rewrites that are due, those of the table with the most files first; they may make more due.

        Raises:
            LakeError: a table cannot be read.
        """
        found = [(table, table.due(now_ms)) for table in self._tables]
        found.sort(key=lambda one: -sum(len(group.files) for group in one[1]))
        return [Rewritten(table.name, group) for table, groups in found for group in groups]

    def expired(self, now_ms: int) -> list[Swept]:
        """Return what may be deleted of each table now; after another Delta checkpoint it may be more.

        Raises:
            ClockAheadError: the clock is far ahead of the newest commit.
            LakeError: a table cannot be read.
        """
        found = ((table, files.expired) for table, files in self._files(now_ms, _Table.times))
        return [
            Swept(table.name, len(one.data) + len(one.log), one.size) for table, one in found if one.data or one.log
        ]

    def sweep(self, now_ms: int) -> Iterator[Swept]:
        """Delete what no reader may need any more, and give what it was, table by table.

        Raises:
            ClockAheadError: the clock is far ahead of the newest commit; nothing was deleted.
            LakeError: a table cannot be read, or a file not be deleted; what was given is done.
        """
        for table, files in self._files(now_ms, _Table.times_of_a_short_log):
            one = files.expired
            table.delete(one)
            table.abandon(now_ms - ORPHAN_AFTER_MS)
            if one.data or one.log:
                yield Swept(table.name, len(one.data) + len(one.log), one.size)

    def history(self, before_ms: int) -> list[Rewritten]:
        """Return the files of which all rows leave, by table and day (`lake.maintenance.history`).

        Args:
            before_ms: rows of records from then on stay.

        Raises:
            LakeError: a table cannot be read.
        """
        tables = {table.name: table.active() for table in self._tables if table.name in HISTORY_TABLES}
        found = files_of_history(tables, before_ms)
        return [Rewritten(table, group) for table, groups in found.items() for group in groups]

    def drop_history(self, before_ms: int, now_ms: Callable[[], int]) -> Iterator[Rewritten]:
        """Take these files out of their tables, and give each step after it is done.

        Args:
            before_ms: as of `history`.
            now_ms: the wall clock, ms UTC.

        Raises:
            LakeError: a table cannot be read or written; what was given is done.
        """
        tables = {table.name: table for table in self._tables}
        for step in self.history(before_ms):
            try:
                tables[step.table].drop(step.group, now_ms())
            except LakeConflict as conflict:
                log.info("history leaves %s later: %s", step.table, conflict)
            else:
                yield step

    def old_rejects(self, before: date) -> list[Rewritten]:
        """Return the rejects of the mapping that leave, by day (`lake.maintenance.history.OldRejects.leaving`).

        Args:
            before: those that were recorded on this day and later stay.

        Raises:
            LakeError: the table cannot be read.
        """
        return [Rewritten(REJECTS, one.leaving) for one in old_rejects(self._rejects.active(), before)]

    def drop_rejects(self, before: date, now_ms: Callable[[], int]) -> Iterator[Rewritten]:
        """Take these rejects out of their table, and give each day after it is done.

        Args:
            before: as of `old_rejects`.
            now_ms: the wall clock, ms UTC.

        Raises:
            LakeError: the table cannot be read or written; what was given is done.
        """
        try:
            for one in old_rejects(self._rejects.active(), before):
                if one.mixed is not None:
                    self._rejects.split_by_step(one.mixed, now_ms)
            for one in old_rejects(self._rejects.active(), before):
                if one.alone is not None:
                    self._rejects.drop(one.alone, now_ms())
                    yield Rewritten(REJECTS, one.alone)
        except LakeConflict as conflict:
            log.info("old rejects leave later: %s", conflict)

    def status(self, now_ms: int) -> list[TableStatus]:
        """Return the status of each table.

        Raises:
            LakeError: a table cannot be read.
        """
        try:
            files = dict(self._files(now_ms, _Table.times))
        except ClockAheadError:
            # nothing may be deleted, so nothing is due
            files = {table: table.files(table.times(), 0, 0) for table in self._tables}
        return [table.status(found, now_ms) for table, found in files.items()]

    def _files(self, now_ms: int, read: Callable[["_Table"], LogTimes]) -> Iterator[tuple["_Table", TableFiles]]:
        """Give the files of each table, read when it is its turn."""
        all_times = [(table, read(table)) for table in self._tables]
        newest_ms = max((at for _, times in all_times if (at := times.newest_ms()) is not None), default=None)
        check_clock(now_ms, newest_ms)
        for table, times in all_times:
            yield table, table.files(times, now_ms - self._keep_readable_ms, newest_ms or now_ms)

    def steps(self, now_ms: Callable[[], int]) -> Iterator[Rewritten]:
        """Do all that is due, and give each step after it is done. Where another writer was first, go on elsewhere.

        Args:
            now_ms: the wall clock, ms UTC.

        Raises:
            LakeError: a table cannot be read or written; what was given is done.
        """
        for table in self._tables:
            for group in table.compact(now_ms):
                yield Rewritten(table.name, group)


class _Table:
    """Maintenance of one table."""

    def __init__(self, folder: Location, crash: Callable[[str], None]) -> None:
        self.name = folder.name
        self._writer = TableWriter(folder)
        self._storage = storage_at(folder)
        self._crash = crash
        self._settled: tuple[int, int] | None = None
        """Version and minute at which nothing was due: a table at rest is not planned again before the next."""

    def due(self, now_ms: int) -> list[Group]:
        """Return the rewrites that are due."""
        handle = self._writer.handle
        at = (handle.version(), now_ms // PLANNED_EVERY_MS)
        if at == self._settled:
            return []
        groups = self._planned(TableState.of(handle, self.name).files, now_ms)
        if not groups:
            self._settled = at
        return groups

    def compact(self, now_ms: Callable[[], int]) -> Iterator[Group]:
        """Do the rewrites that are due and give each after it is done; then write a Delta checkpoint."""
        is_changed = False
        try:
            while groups := self.due(now_ms()):
                for group in groups:
                    self._replace(group, now_ms)
                    is_changed = True
                    yield group
        except LakeConflict as conflict:
            log.info("maintenance of %s goes on later: %s", self.name, conflict)
        if is_changed:
            self._writer.checkpoint()
            self._crash(f"{self.name} checkpointed")

    def active(self) -> Sequence[ActiveFile]:
        """Return the files of the current version."""
        return TableState.of(self._writer.handle, self.name).files

    def drop(self, group: Group, now_ms: int) -> None:
        """Take files out of the table.

        Raises:
            LakeConflict: another maintainer was first; nothing has changed.
        """
        state = self._state_with(group)
        commit_replacement(self._storage, Replacement(self.name, state.version, state.position, group, ()), now_ms)
        self._crash(f"{self.name} dropped")

    def _state_with(self, group: Group) -> TableState:
        """Return the current version, which has the files of a group.

        Raises:
            LakeConflict: it has not.
        """
        state = TableState.of(self._writer.handle, self.name)
        if not {file.path for file in group.files} <= {file.path for file in state.files}:
            raise LakeConflict("files were rewritten meanwhile", where=f"table {self.name}")
        return state

    def times(self) -> LogTimes:
        """Return the times of the commits."""
        return LogTimes(self._storage)

    def times_of_a_short_log(self) -> LogTimes:
        """Return the same; where the log could not be shortened later, write a Delta checkpoint first."""
        times = self.times()
        if not times.needs_checkpoint():
            return times
        self._writer.checkpoint()
        return self.times()

    def files(self, times: LogTimes, horizon_ms: int, newest_ms: int) -> TableFiles:
        """Return all files, and which of them may go."""
        active = files_of(self._writer.handle)["path"]
        return read_files(self._storage, times, active.to_list(), horizon_ms, newest_ms)

    def status(self, files: TableFiles, now_ms: int) -> TableStatus:
        """Return the table's status."""
        active = self.active()
        return table_status(self.name, active, files, self._planned(active, now_ms))

    def _planned(self, active: Sequence[ActiveFile], now_ms: int) -> list[Group]:
        return [] if self.name in DAY_TABLES else plan_groups(active, now_ms)

    def delete(self, one: Expired) -> None:
        """Delete files; the data files first, so that the log names them until they are gone."""
        for file in (*one.data, *one.log):
            self._storage.delete(file.path)

    def abandon(self, before_ms: int) -> None:
        """Give up uploads that began before a time and were never finished."""
        self._storage.abandon(before_ms)

    def split_by_step(self, group: Group, now_ms: Callable[[], int]) -> None:
        """Rewrite a group as two files: of the rows that no step of a join has made, and of the others.

        Raises:
            LakeConflict: another maintainer or a writer that removes rows was first; nothing has changed.
            LakeError: it cannot be done; nothing has changed.
        """
        without = sum(file.without_step or 0 for file in group.files)
        others = NullsPart(STEP, is_null=False, rows=group.rows - without)
        self._replace(group, now_ms, NullsPart(STEP, is_null=True, rows=without), others)

    def _replace(self, group: Group, now_ms: Callable[[], int], *parts: NullsPart) -> None:
        """Rewrite a group as one file, or as one for each part, and commit it.

        Raises:
            LakeConflict: another maintainer or a writer that removes rows was first; nothing has changed.
            LakeError: it cannot be done; nothing has changed.
        """
        state = self._state_with(group)
        added = [write_sorted(self._storage, self.name, group, state.statistics, part) for part in parts or (None,)]
        self._crash(f"{self.name} rewritten")
        try:
            commit_replacement(
                self._storage, Replacement(self.name, state.version, state.position, group, added), now_ms()
            )
        except LakeConflict:
            for file in added:
                self._storage.delete(file.path)
            raise
        self._crash(f"{self.name} replaced")
