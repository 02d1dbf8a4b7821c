"""Opens a loop's backfills: the approvals that people rule through, and the diffs that they read."""

from collections.abc import Callable

from lake import Lake
from retrain.approval import Approvals
from retrain.decision_log import DecisionLog
from retrain.episode_status import EpisodeStatus
from retrain.log_entries import EntryOrigin
from schemas.base.figures import zone_of
from schemas.errors import LakeError
from schemas.events.backfill import Cause, Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.config.settings import Settings
from truthloop.evidence.approved_rows import approved_rows_now
from truthloop.evidence.diff_log import DiffLog
from truthloop.evidence.withdrawals import progress_of
from truthloop.text.rulings import status_text, training_text, withdrawal_text

__all__ = ["find_diff", "open_approvals", "state_text"]


def open_approvals(settings: Settings, now_ms: Callable[[], int]) -> Approvals:
    """Return the approvals of all label kinds, on a lake handle of their own.

    Raises:
        LakeError: there is no lake.
    """
    config, lake = settings.config, Lake.open(settings.lake)
    logs = [(origin, DecisionLog(lake, origin.kind)) for origin in EntryOrigin.all_of(config)]

    def kept_since_ms() -> int:
        begins_ms = lake.history_begins_ms
        return begins_ms + config.greatest_retain_ms if begins_ms else 0

    return Approvals(logs, now_ms, kept_since_ms)


def state_text(settings: Settings, status: EpisodeStatus) -> str:
    """Return the status of a backfill in sentences, and what follows from it.

    Of a rejected one: what has become of its labels. Of one that waits or is approved: what of it is in a data set.

    Raises:
        LakeError: the lake cannot be read.
    """
    text = status_text(status, zone_of(settings.config.timezone))
    if (rows := approved_rows_now(settings, status)) is not None:
        return f"{text} {training_text(rows, is_waiting=status.is_waiting)}"
    if status.verdict is not Verdict.REJECTED or status.episode.causes == [Cause.RESENT]:
        return text
    progress = progress_of(Lake.open(settings.lake), status.episode)
    return f"{text} {withdrawal_text(progress.withdrawn, progress.due, progress.left)}"


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
