"""Opens a loop's backfills: the approvals that people rule through, and the diffs that they read."""

from collections.abc import Callable

from lake import Lake
from retrain.approval import Approvals
from retrain.decision_log import DecisionLog
from retrain.episode_status import EpisodeStatus
from retrain.log_entries import EntryOrigin
from schemas.errors import LakeError
from schemas.events.backfill_diff import BackfillDiff
from truthloop.config.settings import Settings
from truthloop.evidence.diff_log import DiffLog

__all__ = ["find_diff", "open_approvals"]


def open_approvals(settings: Settings, now_ms: Callable[[], int]) -> Approvals:
    """Return the approvals of all label kinds, on a lake handle of their own.

    Raises:
        LakeError: there is no lake.
    """
    config, lake = settings.config, Lake.open(settings.lake)
    logs = [(origin, DecisionLog(lake, origin.kind)) for origin in EntryOrigin.all_of(config)]
    return Approvals(logs, now_ms)


def find_diff(diffs: DiffLog, status: EpisodeStatus) -> BackfillDiff:
    """Return the diff that a backfill's newest log entry refers to.

    Raises:
        LakeError: it is missing, or the lake cannot be read.
    """
    diff = diffs.find(status.episode.id, status.diff_sha256)
    if diff is None:
        raise LakeError(
            f"the log refers to a diff that is missing: {status.diff_sha256 or 'none'}",
            where=status.episode.id,
            hint="Restore the lake's table diffs from its backup.",
        )
    return diff
