"""Deletes what of a table nobody may need any more, and says what that is. Decides nothing: `expiry` does.

The Delta library's own vacuum is not used: its light form misses files that no commit names and what a checkpoint has
forgotten, its full form takes the files of commits under way. Ages are those of commits, not of this machine alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from lake.log_path import LOG
from lake.maintenance.delta_log import Actions, LogFiles, list_log, read_actions, read_checkpoint
from lake.maintenance.expiry import CLOCK_AHEAD_MAX_MS, Expired, LogHistory, expired, is_checkpoint_due
from lake.storage.interface import Storage, StoredFile
from schemas.errors import LakeError

__all__ = ["ClockAheadError", "LogTimes", "TableFiles", "check_clock", "read_files"]

LOOKED_BACK_MAX = 1_000
"""Log entries that are read to find the newest one that changed rows."""

_DATA_SUFFIX = ".parquet"


class ClockAheadError(LakeError):
    """This machine's clock is far ahead of the newest commit, so that ages cannot be judged by it."""


@dataclass(frozen=True)
class TableFiles:
    """All files of a table, and which of them may go.

    Attributes:
        data: data files, those that no reader may need included.
        log: of the table.
        expired: what may go.
        oldest_ms: time of the oldest version that is readable as yet, ms UTC.
    """

    data: tuple[StoredFile, ...]
    log: LogFiles
    expired: Expired
    oldest_ms: int


class LogTimes:
    """Times of a table's commits, read once each.

    Raises:
        LakeError: an entry cannot be read.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.log = list_log(storage)
        self._known: dict[int, Actions] = {}

    def actions(self, version: int) -> Actions | None:
        """Return what a commit did; None if its entry is gone."""
        if version not in self._known:
            try:
                self._known[version] = read_actions(self._storage, version)
            except FileNotFoundError:
                return None
        return self._known[version]

    def time_ms(self, version: int) -> int:
        """Return when a version was made: by its entry, else by the files' own times, which are never earlier."""
        actions = self.actions(version)
        if actions is not None and actions.time_ms is not None:
            return actions.time_ms
        found = [files[version] for files in (self.log.commits, self.log.checkpoints) if version in files]
        return min(file.modified_ms for file in found)

    def newest_ms(self) -> int | None:
        """Return the time of the newest commit of a writer; None if there is none among the newest entries."""
        for version in sorted(self.log.commits, reverse=True)[:LOOKED_BACK_MAX]:
            actions = self.actions(version)
            if actions is not None and not actions.is_maintenance:
                return self.time_ms(version)
        return None

    def base(self, horizon_ms: int) -> int | None:
        """Return the version of the Delta checkpoint from which on everything that was current since is readable.

        It is the newest one that is older than the horizon; else the one with which a shortened log begins; else None.
        """
        for version in sorted(self.log.checkpoints, reverse=True):
            if self.time_ms(version) <= horizon_ms:
                return version
        is_shortened = bool(self.log.checkpoints) and 0 not in self.log.commits
        return min(self.log.checkpoints) if is_shortened else None

    def needs_checkpoint(self) -> bool:
        """Tell whether the table's log can only be shortened after another Delta checkpoint."""
        newest, covered = max(self.log.commits, default=None), max(self.log.checkpoints, default=None)
        if newest is None:
            return False
        return is_checkpoint_due(self.log, self.time_ms(newest), None if covered is None else self.time_ms(covered))


def check_clock(now_ms: int, newest_ms: int | None) -> None:
    """Refuse to judge ages by a clock that is far ahead of the newest commit.

    Args:
        newest_ms: time of the lake's newest commit that changed rows; None if there is none.

    Raises:
        ClockAheadError: it is.
    """
    ahead_ms = now_ms - (newest_ms or 0)
    if ahead_ms > CLOCK_AHEAD_MAX_MS:
        since = (
            "the lake has no commit" if newest_ms is None else f"the newest commit is {ahead_ms / 3_600_000:,.0f} h old"
        )
        raise ClockAheadError(
            f"nothing is removed: by this machine's clock {since}",
            hint="If the clock is right, nothing was written since then, and the next commit lets it go on. If it is "
            "wrong, set it: files that readers still need would look old.",
        )


def read_files(storage: Storage, times: LogTimes, active: Iterable[str], horizon_ms: int, newest_ms: int) -> TableFiles:
    """Return a table's files and which of them may go.

    Args:
        active: paths of the data files of the current version; they never go, whatever else the log says.
        horizon_ms: what was current at this time, or later, stays readable.
        newest_ms: time of the lake's newest commit that changed rows.

    Raises:
        LakeError: a file of the log cannot be read, or the log does not say which files may be needed.
    """
    data = tuple(_data_files(storage))
    log, base = times.log, times.base(horizon_ms)
    _check_complete(storage, log, base)
    named: set[str] = set(active)
    gone: set[str] = set()
    if base is not None:
        named |= read_checkpoint(storage, base)
    for version in log.commits:
        actions = times.actions(version)
        if actions is None:  # another maintainer sweeps, too
            continue
        is_over = base is not None and (version < base or (version == base and actions.is_rewrite))
        if is_over:  # a follower that begins with the base itself reads nothing of a rewrite
            gone |= actions.removed | actions.changes
        else:
            named |= actions.named
    history = LogHistory(base, _paths(named), _paths(gone), newest_ms)
    oldest = 0 if 0 in log.commits else min(log.checkpoints)
    return TableFiles(data, log, expired(data, log, history), times.time_ms(oldest))


def _check_complete(storage: Storage, log: LogFiles, base: int | None) -> None:
    """Check that every version from the base on has its entry; without one, files that it needs would look forgotten.

    Raises:
        LakeError: one is missing.
    """
    newest = max(log.commits, default=-1)
    first = 0 if base is None else base + 1
    missing = next((version for version in range(first, newest + 1) if version not in log.commits), None)
    if missing is not None or newest < 0:
        raise LakeError(
            f"the log has no entry of version {missing or 0}, so nothing is removed",
            where=storage.location(LOG),
            hint="Another tool has shortened the log, or made a Delta checkpoint of another form; "
            "`truthloop lake maintain` goes on when the log reaches back to a checkpoint of Truthloop's.",
        )


def _data_files(storage: Storage) -> Iterator[StoredFile]:
    return (file for file in storage.list() if file.path.endswith(_DATA_SUFFIX) and not file.path.startswith(f"{LOG}/"))


def _paths(of_log: set[str]) -> frozenset[str]:
    """Return paths as the folder has them; the log escapes some characters."""
    return frozenset(unquote(path) for path in of_log)
