"""What a backfill would change, prediction by prediction: the outcome of record without its labels, and with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from lake import Lake
from monitor.backfill.diff import COHORT_SCHEMA, PAIR_SCHEMA
from monitor.cells.cohort import ALL, cohort_day
from monitor.cells.fold import restate
from monitor.cells.of_record import approved_definitions
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.plan import CellPlan
from monitor.cells.revisions import states_between
from monitor.cells.scoring import is_probability
from monitor.cells.timeouts import revisions_of_record
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from truthloop.evidence.cells import Evidence, folded_steps
from truthloop.evidence.episode_labels import outcomes_told_again
from truthloop.evidence.outcomes import OUTCOME, read_outcomes_of
from truthloop.evidence.proof import read_cursors
from truthloop.evidence.resent import resent_predictions
from truthloop.evidence.touched import outcomes_of_definition, revised_outcomes

__all__ = ["Pairs", "read_pairs"]

_SIDES = {
    "status": "status",
    "value": "value",
    "class": "value_class",
    "known_at": "known_at",
    "first_known_at": "first_known_at",
}


@dataclass(frozen=True)
class Pairs:
    """The input of `monitor.backfill.diff.diff_of`.

    Attributes:
        pairs: a prediction each, in the columns of `PAIR_SCHEMA` and of slices.
        cohorts: those of the pairs, in the columns of `COHORT_SCHEMA`.
        cells: those of the kind from the first to the last day of the pairs, merged, without the episode.
        plan: what these cells count.
    """

    pairs: pl.DataFrame
    cohorts: pl.DataFrame
    cells: pl.DataFrame
    plan: CellPlan


def read_pairs(
    lake: Lake,
    evidence: Evidence,
    rulings: Sequence[Ruling],
    episode: Episode,
    steps: Mapping[int, int] | None = None,
) -> Pairs:
    """Return the predictions that an episode touches, each with its outcome of record without it and with it.

    Args:
        evidence: its cells must follow `rulings`.
        rulings: those in force.
        episode: new, waiting or decided.
        steps: by partition, how many steps the cells hold; None: as many as the lake's newest cells do.

    Raises:
        LakeError: the lake cannot be read.
    """
    steps = folded_steps(lake) if steps is None else steps
    others = [one for one in rulings if one.episode.id != episode.id]
    without = [*others, Ruling(episode=episode, verdict=Verdict.REJECTED)]
    with_it = [*others, Ruling(episode=episode, verdict=Verdict.APPROVED)]
    is_resent = episode.causes == [Cause.RESENT]
    if is_resent:
        members = resent_predictions(lake, episode)
    else:
        told_again = outcomes_told_again(lake, episode, steps)
        members = pl.concat([revised_outcomes(lake, episode, steps), told_again]).unique()
    is_wider = not is_resent and _makes_of_record(evidence.plan, others, episode)
    touched = outcomes_of_definition(lake, episode, steps) if is_wider else members
    outcomes = read_outcomes_of(lake, touched, steps)
    cursors = read_cursors(lake, steps)
    plan = evidence.cells.admitted(evidence.plan, outcomes.get_column("version").unique())
    days = outcomes.select(cohort_day(plan.timezone)).to_series()
    known = _of_days(evidence, episode.kind, days)
    cells = merge(known, restate(plan, outcomes, rulings, without, cursors))
    sides = [revisions_of_record(plan, outcomes, one, cursors) for one in (without, with_it)]
    pairs = _pairs(plan, outcomes, members, sides)
    return Pairs(pairs, _cohorts(plan, evidence, episode.kind, cells, pairs), cells, plan)


def _of_days(evidence: Evidence, kind: str, days: pl.Series) -> pl.DataFrame:
    """Return the cells of a kind from the first to the last of some days."""
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return CELL_SCHEMA.to_frame()
    return evidence.cells.of_days(first, last, pl.col("kind") == kind)


def _makes_of_record(plan: CellPlan, others: Sequence[Ruling], episode: Episode) -> bool:
    """Return whether an approval makes a new definition of record, and with it all of the definition's live labels."""
    own = {kind.name: kind.definition for kind in plan.kinds}
    if episode.definition == own[episode.kind]:
        return False
    is_known = episode.definition in approved_definitions(own, others).get(episode.kind, [])
    return Cause.DECLARED not in episode.causes or not is_known


def _pairs(
    plan: CellPlan,
    outcomes: pl.DataFrame,
    members: pl.DataFrame,
    sides: Sequence[pl.DataFrame],
) -> pl.DataFrame:
    """Return the outcomes that the episode revises, and those that differ between two lists of revisions of record."""
    every = [rows.with_columns(pl.lit(value=True).alias("eligible")) for rows in sides]  # counted or not
    states = states_between(plan, *every).filter(pl.col("replaced_at").is_null())
    pairs = outcomes.select(
        *OUTCOME,
        *("key", "id", "version", "eligible", "weight", "predicted_at", "output", "output_class"),
        *(name for name in outcomes.columns if name.startswith("slice_")),
        day=cohort_day(plan.timezone),
    ).unique(OUTCOME)
    for side, sign in (("before", -1), ("after", 1)):
        columns = {f"{side}_{name}": column for name, column in _SIDES.items()}
        state = states.filter(pl.col("sign") == sign).select(*OUTCOME, **{a: pl.col(b) for a, b in columns.items()})
        pairs = pairs.join(state, on=OUTCOME, how="left").with_columns(pl.col(f"{side}_status").fill_null("pending"))
    slices = [name for name in pairs.columns if name.startswith("slice_")]
    differs = pl.any_horizontal(
        pl.col(f"before_{name}").ne_missing(pl.col(f"after_{name}")) for name in ("status", "value", "class")
    )
    is_member = pl.col("is_member").fill_null(value=False)
    flagged = members.select(OUTCOME).unique().with_columns(is_member=pl.lit(value=True))
    pairs = pairs.join(flagged, on=OUTCOME, how="left").filter(is_member | differs)
    return pairs.select(*(pl.col(name).cast(dtype) for name, dtype in PAIR_SCHEMA.items()), *slices)


def _cohorts(plan: CellPlan, evidence: Evidence, kind: str, cells: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the cohorts of the pairs, counted without the episode."""
    own = next(one for one in plan.kinds if one.name == kind)
    whole = cells.filter(
        pl.col("kind") == kind,
        pl.col("slice") == ALL,
        pl.col("measure").is_in(["predictions", "labels", "score_1"]),
    )
    sums = {
        name: pl.col("amount").filter(pl.col("measure") == measure).sum()
        for name, measure in (("predictions", "predictions"), ("labelled", "labels"), ("positives", "score_1"))
    }
    matured_ms = evidence.reach.matured_until_ms.get(kind)
    end_ms = (
        (pl.col("day").cast(pl.Datetime("us")) + pl.duration(days=1)).dt.replace_time_zone(plan.timezone).dt.epoch("ms")
    )
    found = (
        pairs.filter("eligible")
        .select("version", "day")
        .unique()
        .join(whole.group_by("version", "day").agg(**sums), on=["version", "day"], how="left")
    )
    is_mature = pl.lit(value=False) if matured_ms is None else end_ms <= matured_ms
    # cells count the class of a label only where the prediction has an output
    unscored = pairs.filter("eligible", ~is_probability(pl.col("output")), pl.col("before_value") == 1)
    found = found.join(unscored.group_by("version", "day").agg(unscored=pl.len()), on=["version", "day"], how="left")
    known = pl.col("positives") + pl.col("unscored").fill_null(0)
    positives = known if own.task == "binary" else pl.lit(None)
    return found.with_columns(is_mature=is_mature, positives=positives).select(
        pl.col(name).cast(dtype) for name, dtype in COHORT_SCHEMA.items()
    )
