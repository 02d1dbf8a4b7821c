"""The labels of rejected backfills that the join still has to withdraw, and how far it has come.

The gate's log says which backfills are rejected, and the lake which of their labels the join has withdrawn: what is due
follows from both, so it can be sent or applied again after any interruption.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from joins import Withdrawal
from lake import Lake
from retrain.decision_log import DecisionLog
from schemas.config.loop import LoopConfig
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from streams.ledger.lake_kind import complete_rows
from streams.ledger.row import LedgerRow
from truthloop.evidence.again import offsets_of
from truthloop.evidence.episode_labels import labels_of

__all__ = ["WithdrawalProgress", "due_withdrawals", "progress_of", "rejected_episodes", "withdrawals_of"]

Labels = dict[int, list[Withdrawal]]
"""By partition, in order of position."""

_FATES = ("withdrawn", "not_withdrawn")


@dataclass(frozen=True)
class WithdrawalProgress:
    """What has become of the labels of a rejected backfill.

    Attributes:
        withdrawn: labels that the join has withdrawn.
        due: labels that it has still to withdraw.
        left: labels that had left its state: beyond `retain`, or pushed out by the limit of labels kept for a key.
            What they made stays, out of every number by the ruling.
    """

    withdrawn: int
    due: int
    left: int


def rejected_episodes(rulings: Iterable[Ruling]) -> list[Episode]:
    """Return the backfills of labels that a person has rejected."""
    return [one.episode for one in rulings if one.verdict is Verdict.REJECTED and one.episode.causes != [Cause.RESENT]]


def due_withdrawals(lake: Lake, config: LoopConfig) -> Labels:
    """Return the labels of all rejected backfills that the join still has and has not withdrawn."""
    rows = complete_rows(lake)
    due: Labels = {}
    for kind in config.labels:
        for episode in rejected_episodes(DecisionLog(lake, kind).rulings()):
            for partition, labels in withdrawals_of(lake, episode, rows).items():
                due.setdefault(partition, []).extend(labels)
    return due


def withdrawals_of(lake: Lake, episode: Episode, rows: Mapping[int, LedgerRow]) -> Labels:
    """Return the same of one rejected backfill.

    Args:
        rows: by partition, the newest ledger row whose rows are all in the lake.
    """
    if all(_has_passed(episode, row) for row in rows.values()):
        return {}  # everything that it may hold has left: nothing is read
    found: Labels = {}
    due = _labels(lake, episode, rows).filter(fate="due")
    for partition, offset, known_ms in due.select("partition", "offset", "known_ms").iter_rows():
        found.setdefault(partition, []).append(Withdrawal(episode.kind, known_ms, offset))
    return found


def progress_of(lake: Lake, episode: Episode) -> WithdrawalProgress:
    """Return how far the withdrawal of a rejected backfill has come."""
    fates = dict(_labels(lake, episode, complete_rows(lake))["fate"].value_counts().iter_rows())
    return WithdrawalProgress(*(fates.get(fate, 0) for fate in ("withdrawn", "due", "not_withdrawn")))


def _labels(lake: Lake, episode: Episode, rows: Mapping[int, LedgerRow]) -> pl.DataFrame:
    """Return the labels of an episode with their fate: withdrawn, not_withdrawn (it has left the state), or due."""
    steps = {number: row.sequence + 1 for number, row in rows.items()}
    position = ["partition", "offset"]
    labels = labels_of(lake, episode, steps)
    fates = (
        lake.scan("rejects", {"input": ("labels", "labels"), "offset": offsets_of(labels)})
        .filter(pl.col("stage") == "join", pl.col("reason").is_in(_FATES))
        .group_by(position)
        .agg(fate=pl.col("reason").max())  # `withdrawn`, where a second command found it gone
        .collect()
    )
    reached = [(number, row.checkpoint.reach_ms.get(episode.kind)) for number, row in rows.items()]
    reach = pl.DataFrame(reached, schema={"partition": pl.Int32, "reach_ms": pl.Int64}, orient="row")
    has_left = (pl.col("known_ms") < pl.col("reach_ms")).fill_null(value=False)
    return (
        labels.join(fates, on=position, how="left")
        .join(reach, on="partition", how="left")
        .with_columns(
            pl.col("fate").fill_null(pl.when(has_left).then(pl.lit("not_withdrawn")).otherwise(pl.lit("due")))
        )
    )


def _has_passed(episode: Episode, row: LedgerRow) -> bool:
    reach_ms = row.checkpoint.reach_ms.get(episode.kind)
    return reach_ms is not None and episode.until < reach_ms
