"""What approving a backfill brings into the data set of a retrain: rows, and what is left out of it, by reason."""

from lake import Lake
from lake.dataset_selection import DatasetOrder, count_rows
from retrain.decision_log import DecisionLog
from retrain.episode_status import EpisodeStatus
from retrain.gate import gate_of
from schemas.config.retrain import RetrainConfig
from schemas.events.backfill import Verdict
from schemas.events.dataset_rows import BackfillRows
from truthloop.config.settings import Settings

__all__ = ["approved_rows_now", "order_of"]


def order_of(retrain: RetrainConfig, kind: str, as_of_ms: int, name: str = "") -> DatasetOrder:
    """Return the order of the data set of a retrain.

    Args:
        retrain: section of the config.
        kind: label kind whose values are the target.
        as_of_ms: what became known later is left out.
        name: id of the retrain; '' for a data set whose rows are only counted.
    """
    dataset = retrain.dataset
    return DatasetOrder(name, kind, as_of_ms, dataset.maturity.at_age, dataset.holdout)


def approved_rows_now(settings: Settings, status: EpisodeStatus) -> BackfillRows | None:
    """Return what has become of a backfill's predictions in a data set of now, approved or as if it were.

    It reads the whole lake, as writing the data set does.

    Args:
        status: of a backfill that waits for a person or is approved.

    Returns:
        None if no retrain is ever requested, the backfill does not count, or its labels have met no prediction.

    Raises:
        LakeError: the lake cannot be read.
    """
    retrain, episode = settings.config.retrain, status.episode
    if retrain is None or not (status.is_waiting or status.verdict is Verdict.APPROVED):
        return None
    lake = Lake.open(settings.lake)
    gate = gate_of(DecisionLog(lake, episode.kind).entries())
    order = order_of(retrain, episode.kind, max(gate.at_ms or 0, episode.until))
    counts = count_rows(lake, settings.config, order, episode.id if status.is_waiting else None)
    return next((one for one in counts.backfills if one.episode == episode.id), None)
