"""Reads what some steps told again: labels that restate the past, labels with another time, and predictions sent anew.

A label sent again in another time zone has another time. A later one makes a revision, mostly to the same value; an
earlier one is refused as stale. Declared backfills and other definitions are found by their own fields instead.
"""

import polars as pl

from lake import Lake
from monitor.cells.count_again import AGAIN, RESTATED, SENT_AGAIN, TOLD_AGAIN
from monitor.cells.plan import CellPlan
from schemas.base.status import Reason

__all__ = ["REFUSED_AGAIN", "came_again", "is_backfill", "is_live", "offsets_of", "predictions_at", "stale_labels"]

REFUSED_AGAIN = ("conflict", "stale")
"""The join's reasons for refusing what comes again: a prediction, and a label."""

_POSITION = ["partition", "offset"]


def came_again(
    lake: Lake, plan: CellPlan, outcomes: pl.DataFrame, labels: pl.LazyFrame, refused: pl.DataFrame
) -> pl.DataFrame:
    """Return what some steps told again, in the columns of `monitor.cells.count_again.AGAIN`.

    Args:
        plan: with the kinds.
        outcomes: the revisions that these steps made, also with `is_declared`.
        labels: those that these steps read, in the lake's columns.
        refused: input, reason, partition and offset of what the join refused in these steps, for `REFUSED_AGAIN`.
    """
    repeats = pl.col("value").eq_missing(pl.col("previous"))
    repeats &= pl.col("value_class").eq_missing(pl.col("previous_class"))
    is_live_revision = pl.col("reason").eq(Reason.CORRECTION.value) & ~pl.col("is_declared").fill_null(value=False)
    is_own = pl.col("definition") == pl.col("kind").replace_strict(plan.definitions, default=None)
    later = outcomes.filter(is_live_revision, repeats, is_own).select(
        "partition", "kind", "known_at", offset="label_offset"
    )
    stale = refused.filter(input="labels", reason="stale").select(_POSITION)
    is_own_live = pl.any_horizontal(is_live(kind, own) for kind, own in plan.definitions.items())
    is_restated = pl.any_horizontal(is_backfill(kind, own) for kind, own in plan.definitions.items())
    earlier, restated = pl.collect_all(  # one reading serves both
        [
            labels.filter(is_own_live).join(stale.lazy(), on=_POSITION, how="semi").select(later.columns),
            labels.filter(is_restated).select("kind", "known_at"),
        ]
    )
    retold = pl.concat([later, earlier]).unique(_POSITION)
    predictions = predictions_at(lake, refused.filter(input="predictions", reason="conflict").select(_POSITION))
    return pl.concat(
        [
            AGAIN.to_frame(),
            retold.select(measure=pl.lit(TOLD_AGAIN), kind="kind", predicted_at="known_at"),
            restated.select(measure=pl.lit(RESTATED), kind="kind", predicted_at="known_at"),
            predictions.select(measure=pl.lit(SENT_AGAIN), kind=pl.lit(None, pl.String), predicted_at="came_at"),
        ]
    )


def offsets_of(positions: pl.DataFrame) -> tuple[int, int]:
    """Return the least and the greatest offset of some positions, by which a scan leaves out files."""
    return (
        (0, -1)
        if positions.is_empty()
        else positions.select(pl.col("offset").min(), last=pl.col("offset").max()).row(0)
    )


def predictions_at(lake: Lake, positions: pl.DataFrame) -> pl.DataFrame:
    """Return partition, offset, key, id and came_at, a time, of the predictions at some positions."""
    rows = lake.scan("predictions", {"offset": offsets_of(positions)}).join(positions.lazy(), on=_POSITION, how="semi")
    return rows.select(*_POSITION, "key", "id", came_at=pl.coalesce("arrived_at", "predicted_at")).collect()


def is_backfill(kind: str, definition: str) -> pl.Expr:
    """Return the condition that a label of this kind is declared as a backfill, or of another definition than this."""
    is_of_kind = (pl.col("kind") == kind) & (pl.col("op") != "heartbeat")
    return is_of_kind & ((pl.col("definition") != definition) | (pl.col("origin") == "backfill"))


def is_live(kind: str, definition: str) -> pl.Expr:
    """Return the condition that a label has this kind and definition, and is not declared as a backfill."""
    is_of_kind = (pl.col("kind") == kind) & (pl.col("definition") == definition)
    return is_of_kind & (pl.col("op") != "heartbeat") & (pl.col("origin") != "backfill")


def stale_labels(lake: Lake, kind: str, offsets: tuple[int, int]) -> pl.LazyFrame:
    """Return partition, offset and sequence of the labels of a kind that the join refused as stale.

    Args:
        offsets: the least and the greatest that are wanted.
    """
    rows = lake.scan("rejects", {"input": ("labels", "labels"), "reason": ("stale", "stale"), "offset": offsets})
    return rows.filter(stage="join", kind=kind).select(*_POSITION, "sequence")
