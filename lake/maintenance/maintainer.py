"""Does what is due to the tables of one lake, one step after the other. Reads and writes; what is due is planned.

Between any two writes the process may be killed: a new file that no commit names is an orphan, which a later sweep
removes, and everything else is either done or due again.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lake.append import TableWriter
from lake.maintenance.commit import Replacement, commit_replacement
from lake.maintenance.plan import Group, plan_groups
from lake.maintenance.rewrite import write_sorted
from lake.maintenance.storage import FolderStorage, Storage
from lake.maintenance.table_state import TableState
from lake.marker import Marker
from lake.table import TABLES
from schemas.errors import LakeConflict

__all__ = ["Maintainer", "Rewritten"]

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


class Maintainer:
    """Maintenance of the lake in `path`; one thread at a time may use it.

    Args:
        crash: called with the name of each step; tests end the process there.

    Raises:
        LakeError: there is no lake.
        LakeTooNew: the lake has a newer format.
    """

    def __init__(self, path: Path, crash: Callable[[str], None] = lambda _step: None) -> None:
        Marker.read(path)
        self._tables = [_Table(path / table, crash) for table in TABLES]

    def due(self, now_ms: int) -> list[Rewritten]:
        """Return the rewrites that are due, those of the table with the most files first; they may make more due.

        Raises:
            LakeError: a table cannot be read.
        """
        found = [(table, table.due(now_ms)) for table in self._tables]
        found.sort(key=lambda one: -sum(len(group.files) for group in one[1]))
        return [Rewritten(table.name, group) for table, groups in found for group in groups]

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

    def __init__(self, folder: Path, crash: Callable[[str], None]) -> None:
        self.name = folder.name
        self._writer = TableWriter(folder)
        self._storage: Storage = FolderStorage(folder)
        self._crash = crash
        self._settled: tuple[int, int] | None = None
        """Version and minute at which nothing was due: a table at rest is not planned again before the next."""

    def due(self, now_ms: int) -> list[Group]:
        """Return the rewrites that are due."""
        handle = self._writer.handle
        at = (handle.version(), now_ms // PLANNED_EVERY_MS)
        if at == self._settled:
            return []
        groups = plan_groups(TableState.of(handle, self.name).files, now_ms)
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

    def _replace(self, group: Group, now_ms: Callable[[], int]) -> None:
        """Rewrite a group and commit it.

        Raises:
            LakeConflict: another maintainer or a writer that removes rows was first; nothing has changed.
            LakeError: it cannot be done; nothing has changed.
        """
        state = TableState.of(self._writer.handle, self.name)
        if not {file.path for file in group.files} <= {file.path for file in state.files}:
            raise LakeConflict("files were rewritten meanwhile", where=f"table {self.name}")
        added = write_sorted(self._storage, self.name, group, state.statistics)
        self._crash(f"{self.name} rewritten")
        try:
            commit_replacement(
                self._storage, Replacement(self.name, state.version, state.position, group, added), now_ms()
            )
        except LakeConflict:
            self._storage.delete(added.path)
            raise
        self._crash(f"{self.name} replaced")
