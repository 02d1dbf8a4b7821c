"""The labels of a backfill episode: where each is, and how far its time is from that of the label it tells again."""

from collections.abc import Mapping

import polars as pl

from lake import Lake
from monitor.backfill.time_shift import time_shift
from schemas.base.status import NEVER_KEPT, RejectReason
from schemas.events.backfill import Cause, Episode
from schemas.events.backfill_diff import TimeShift
from truthloop.evidence.again import is_live, offsets_of, stale_labels
from truthloop.evidence.outcomes import OUTCOME
from truthloop.evidence.touched import known_within, revisions_of

__all__ = ["labels_of", "outcomes_told_again", "time_shift_of"]

_POSITION = ["partition", "offset"]
_TOLD = ("label_time", "value", "value_class")
_LEFT = (RejectReason.UNKNOWN_PREDICTION, RejectReason.TOO_LATE, RejectReason.WAITING_LIMIT)
_NOT_IN_STATE = [reason.value for reason in (*NEVER_KEPT, *_LEFT)]
"""Reasons of the join for which a label is not in its state, so that nothing can be withdrawn of it."""


def labels_of(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return partition, offset, key and known_ms of an episode's labels, each once, in order of position.

    Declared labels and those of another definition are known by their own fields, whatever the join made of them;
    detected ones by the revisions that they made, or, in an episode of retimed labels, by being stale.

    Args:
        episode: of labels; one of resent predictions has none.
        steps: by partition, how many of its first steps to read.
    """
    known_ms = pl.col("known_at").dt.epoch("ms")
    rows = _of_episode(lake, episode).select(*_POSITION, "key", known_ms=known_ms).unique(_POSITION).collect()
    if {Cause.DECLARED, Cause.REDEFINED}.isdisjoint(episode.causes):
        revised = revisions_of(lake, episode, steps).select("partition", offset="label_offset")
        members = pl.concat([revised, _stale(lake, episode, steps, rows)]).unique()
        rows = rows.join(members, on=_POSITION, how="semi")
    else:
        refused = lake.scan("rejects", {"input": ("labels", "labels"), "offset": offsets_of(rows)})
        gone = refused.filter(pl.col("reason").is_in(_NOT_IN_STATE)).select(_POSITION).collect()
        rows = rows.join(gone, on=_POSITION, how="anti")
    return rows.sort(_POSITION)


def outcomes_told_again(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return the columns `OUTCOME` of predictions whose label an episode told again and the join refused as stale."""
    nothing = pl.DataFrame(schema={name: lake.schema("outcomes")[name] for name in OUTCOME})
    if Cause.RETIMED not in episode.causes:
        return nothing
    rows = _of_episode(lake, episode).select(*_POSITION, "key").collect()
    stale = _stale(lake, episode, steps, rows)
    if stale.is_empty():
        return nothing
    keys = rows.join(stale, on=_POSITION, how="semi").select("partition", "key").unique()
    return (
        lake.scan("outcomes", {"kind": (episode.kind, episode.kind)})
        .filter(pl.col("definition") == episode.definition)
        .join(keys.lazy(), on=["partition", "key"], how="semi")
        .select(OUTCOME)
        .unique()
        .collect()
    )


def time_shift_of(lake: Lake, episode: Episode, steps: Mapping[int, int]) -> TimeShift | None:
    """Return how far the times of an episode's labels are from those of the labels that they tell again.

    A label tells again the greatest in time among those of its key, kind and definition that were read before it. None
    for an episode that was not opened for this.
    """
    if Cause.RETIMED not in episode.causes:
        return None
    members = labels_of(lake, episode, steps)
    told = (
        lake.scan("labels")
        .filter(is_live(episode.kind, episode.definition))
        .join(members.lazy().select("partition", "key").unique(), on=["partition", "key"], how="semi")
        .select(*_POSITION, "key", *_TOLD)
        .collect()
        .unique(_POSITION)
    )
    again = told.join(members, on=_POSITION, how="semi")
    earlier = told.join(members, on=_POSITION, how="anti").select(
        "partition", "key", *(pl.col(name).alias(f"earlier_{name}") for name in ("offset", *_TOLD))
    )
    pairs = again.join(earlier, on=["partition", "key"]).filter(pl.col("earlier_offset") < pl.col("offset"))
    repeated = pairs.sort("earlier_label_time", "earlier_offset").group_by(_POSITION).last()
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"earlier_{name}")) for name in _TOLD[1:])
    shift_ms = (pl.col("label_time") - pl.col("earlier_label_time")).dt.total_milliseconds()
    return time_shift(repeated.select(shift_ms=shift_ms, is_same=is_same))


def _of_episode(lake: Lake, episode: Episode) -> pl.LazyFrame:
    """Return the rows of the lake's labels that fit an episode by their own fields."""
    rows = lake.scan("labels", known_within(episode)).filter(
        pl.col("kind") == episode.kind,
        pl.col("definition") == episode.definition,
        pl.col("op") != "heartbeat",
        pl.col("known_at").dt.epoch("ms").is_between(episode.since, episode.until),
    )
    if Cause.DECLARED in episode.causes:
        batch = pl.lit(episode.batch, dtype=pl.String)
        return rows.filter(pl.col("origin") == "backfill", pl.col("batch_id").eq_missing(batch))
    return rows.filter(pl.col("origin") != "backfill")


def _stale(lake: Lake, episode: Episode, steps: Mapping[int, int], labels: pl.DataFrame) -> pl.DataFrame:
    """Return the positions of the stale labels that an episode may have.

    Args:
        labels: of its times; the caller limits the result to them.
    """
    schema = {"partition": pl.Int32(), "offset": pl.Int64()}
    if Cause.RETIMED not in episode.causes:
        return pl.DataFrame(schema=schema)
    columns = {"partition": list(steps), "before": list(steps.values())}
    before = pl.LazyFrame(columns, schema={"partition": pl.Int32, "before": pl.Int64})
    found = stale_labels(lake, episode.kind, offsets_of(labels)).join(before, on="partition")
    return found.filter(pl.col("sequence") < pl.col("before")).select(_POSITION).collect()
