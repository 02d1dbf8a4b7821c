"""What of a table's files may go. Pure: from the files there are, and from what the log says of them.

A reader may use what was current when it began, for `keep_readable`. So everything goes that was replaced or removed
longer ago, and the log entries before that time. What no retained log entry names was never committed, or is what an
older version of Truthloop or another tool has forgotten: it goes when it is too old to be a commit under way.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lake.maintenance.delta_log import LogFiles
from lake.storage.interface import DRAFT_SUFFIX, StoredFile

__all__ = ["CLOCK_AHEAD_MAX_MS", "ORPHAN_AFTER_MS", "Expired", "LogHistory", "expired", "is_checkpoint_due"]

DAY_MS = 86_400_000

ORPHAN_AFTER_MS = 7 * DAY_MS
"""No writer takes so long from its file to its commit."""

CLOCK_AHEAD_MAX_MS = DAY_MS
"""A clock that is further ahead of the newest commit is wrong, or nothing was written: there is no haste either way."""

CHECKPOINT_EVERY_MS = DAY_MS
"""Of a table with few commits, so that its log can be shortened, too."""


@dataclass(frozen=True)
class LogHistory:
    """What the log says of files.

    Attributes:
        base: version of the Delta checkpoint from which on everything stays readable; None: nothing may go of the log.
        named: paths of all data files that the checkpoint or a later log entry names.
        gone: paths that an earlier log entry has removed, and those of its change feed.
        newest_ms: time of the newest commit that changed rows in any table, ms UTC.
    """

    base: int | None
    named: frozenset[str]
    gone: frozenset[str]
    newest_ms: int


@dataclass(frozen=True)
class Expired:
    """Files to delete, in this order: a process that is killed leaves a log that still names what is left.

    Attributes:
        data: data files.
        log: log entries from the oldest on, Delta checkpoints, drafts.
    """

    data: tuple[StoredFile, ...]
    log: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(file.size for file in (*self.data, *self.log))


def expired(files: Iterable[StoredFile], log: LogFiles, history: LogHistory) -> Expired:
    """Return what may go.

    Args:
        files: all data files of the table's folder.
    """
    orphaned_ms = history.newest_ms - ORPHAN_AFTER_MS
    data = [
        file
        for file in files
        if file.path not in history.named and (file.path in history.gone or file.modified_ms < orphaned_ms)
    ]
    drafts = [file for file in log.others if _is_draft(file) and file.modified_ms < orphaned_ms]
    before = history.base if history.base is not None else 0
    entries = [log.commits[version] for version in sorted(log.commits) if version < before]
    checkpoints = [log.checkpoints[version] for version in sorted(log.checkpoints) if version < before]
    return Expired(tuple(data), (*entries, *checkpoints, *drafts))


def is_checkpoint_due(log: LogFiles, newest_ms: int, checkpoint_ms: int | None) -> bool:
    """Tell whether a table needs a Delta checkpoint, so that its log can be shortened later.

    Args:
        newest_ms: time of its newest commit.
        checkpoint_ms: time of the commit of its newest Delta checkpoint; None if it has none.
    """
    newest, covered = max(log.commits, default=0), max(log.checkpoints, default=0)
    if newest <= covered:
        return False
    return checkpoint_ms is None or newest_ms - checkpoint_ms >= CHECKPOINT_EVERY_MS


def _is_draft(file: StoredFile) -> bool:
    """Tell whether a file of the log's folder is one that its writer did not finish: ours, or the Delta library's."""
    name = file.path.rpartition("/")[2]
    return name.endswith((DRAFT_SUFFIX, ".tmp")) or "#" in name
