"""Whom a backfill touches: the predictions whose outcomes its labels have revised.

Must not judge what changes.
"""

from collections.abc import Mapping

import polars as pl

from lake import Lake
from monitor.cells.of_record import is_member
from schemas.events.backfill import Cause, Episode
from truthloop.evidence.spans import with_backfills

__all__ = ["touched_by", "touched_by_definition"]

_COLUMNS = (
    *("partition", "prediction_offset", "kind", "definition", "label_offset"),
    *("known_at", "predicted_at", "reason", "sequence"),
)
_OUTCOME = ["partition", "prediction_offset", "kind"]


def touched_by(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of every outcome that a label of the episode has revised.

    Args:
        lake: read from.
        episode: of labels; one of re-sent predictions touches no outcome.
        steps: by partition, how many of its first steps are looked at.
    """
    if episode.causes == [Cause.RESENT]:
        return pl.DataFrame(schema={name: lake.schema("outcomes")[name] for name in _OUTCOME})
    known_ms = pl.col("known_at").dt.epoch("ms")
    rows = _revisions(lake, episode, steps).filter(known_ms.is_between(episode.since, episode.until)).collect()
    return with_backfills(lake, rows).filter(is_member(episode)).select(_OUTCOME).unique()


def touched_by_definition(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return the same of every outcome that has a label of the episode's definition, whenever it became known."""
    return _revisions(lake, episode, steps).select(_OUTCOME).unique().collect()


def _revisions(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.LazyFrame:
    before = pl.DataFrame(
        {"partition": list(steps), "before": list(steps.values())},
        schema={"partition": pl.Int32, "before": pl.Int64},
    )
    return (
        lake.scan("outcomes")
        .filter(pl.col("kind") == episode.kind, pl.col("definition") == episode.definition)
        .select(_COLUMNS)
        .join(before.lazy(), on="partition")
        .filter(pl.col("sequence") < pl.col("before"))
        .drop("before")
    )
