"""Predictions whose outcomes a backfill's labels revised."""

from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl

from lake import Lake
from monitor.cells.of_record import is_member
from schemas.events.backfill import Cause, Episode
from truthloop.evidence.outcomes import OUTCOME, with_backfill_columns

__all__ = ["known_within", "outcomes_of_definition", "revised_outcomes", "revisions_of"]

_COLUMNS = (
    *("partition", "prediction_offset", "kind", "definition", "label_offset"),
    *("known_at", "predicted_at", "reason", "sequence"),
)


def revised_outcomes(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of every outcome that a label of the episode has revised."""
    return revisions_of(lake, episode, steps).select(OUTCOME).unique()


def revisions_of(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return the columns `OUTCOME` and label_offset of every revision that a label of the episode has made.

    Args:
        episode: of labels; an episode of resent predictions revises no outcome.
        steps: by partition, how many of its first steps to read.
    """
    columns = [*OUTCOME, "label_offset"]
    if episode.causes == [Cause.RESENT]:
        return pl.DataFrame(schema={name: lake.schema("outcomes")[name] for name in columns})
    known_ms = pl.col("known_at").dt.epoch("ms")
    of_time = known_ms.is_between(episode.since, episode.until)
    rows = _revisions(lake, episode, steps, known_within(episode)).filter(of_time).collect()
    return with_backfill_columns(lake, rows).filter(is_member(episode)).select(columns)


def outcomes_of_definition(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return the same of every outcome that has a label of the episode's definition, whenever it became known."""
    return _revisions(lake, episode, steps).select(OUTCOME).unique().collect()


def known_within(episode: Episode) -> Mapping[str, tuple[datetime, datetime]]:
    """Return the bounds by which a scan leaves out files without a row of an episode's time; to the millisecond."""
    since, until = (datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms in (episode.since, episode.until + 1))
    return {"known_at": (since, until)}


def _revisions(
    lake: Lake,
    episode: Episode,
    steps: Mapping[int, int],
    within: Mapping[str, tuple[datetime, datetime]] | None = None,
) -> pl.LazyFrame:
    before = pl.DataFrame(
        {"partition": list(steps), "before": list(steps.values())},
        schema={"partition": pl.Int32, "before": pl.Int64},
    )
    return (
        lake.scan("outcomes", within)
        .filter(pl.col("kind") == episode.kind, pl.col("definition") == episode.definition)
        .select(_COLUMNS)
        .join(before.lazy(), on="partition")
        .filter(pl.col("sequence") < pl.col("before"))
        .drop("before")
    )
