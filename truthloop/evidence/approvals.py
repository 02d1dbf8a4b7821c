"""The backfills of a loop, opened: what people may rule about, and the diffs that they read. Wiring only."""

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

__all__ = ["approvals_of", "diff_of"]


def approvals_of(settings: Settings, now_ms: Callable[[], int]) -> Approvals:
    """Return what people may rule about, on an opened lake of its own.

    Raises:
        LakeError: there is no lake.
    """
    config, lake = settings.config, Lake.open(settings.lake)
    logs = [(origin, DecisionLog(lake, origin.kind)) for origin in EntryOrigin.all_of(config)]
    return Approvals(logs, now_ms)


def diff_of(diffs: DiffLog, standing: EpisodeStatus) -> BackfillDiff:
    """Return the diff that a backfill's newest entry speaks of.

    Raises:
        LakeError: it is not there, or the lake cannot be read.
    """
    diff = diffs.find(standing.episode.id, standing.diff_sha256)
    if diff is None:
        raise LakeError(
            f"the log speaks of a diff that is not there: {standing.diff_sha256 or 'none'}",
            where=standing.episode.id,
            hint="Bring the table diffs of the lake back from its backup.",
        )
    return diff
