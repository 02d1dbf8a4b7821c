"""Restatement: the counts of the cells touched by an episode, before and after it.

Before: the counts in the cells. After: these, less the contribution of the episode's predictions with their labels
before, plus that with their labels after. All are integers, so both sides are exact.
"""

from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from monitor.backfill.flips import LabelPairs
from monitor.cells.bins import OVERFLOW_AGE_MS
from monitor.cells.class_name import OTHER
from monitor.cells.cohort import ALL
from monitor.cells.measure import measure_text
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.rank_states import with_rank_bins
from monitor.cells.scoring import score_labels
from schemas.events.backfill_diff import Scope

__all__ = ["SIDES", "Restatement", "restatement_of"]

SIDES: Final = ("before", "after")

_NEEDED = r"^(labels$|labelled_scored$|score_[01]$|class_[a-z]+ |[a-z_]+:-?\d+$)"
_COUNTED = r"^(score_[01]$|class_[a-z]+ |labelled_scored$)"
"""Measures that are never below zero."""
_MEASURES = {"measure": pl.String, "bin": pl.Int64, "amount": pl.Int64}


@dataclass(frozen=True, eq=False)
class Restatement:
    """Counts before and after an episode.

    Attributes:
        counts: rows of scope, side (`before` or `after`), measure of the cells, bin and amount; amounts are added.
        is_whole: the cells of the cohorts were given; without them there are only the scopes `touched` and `episode`.
        classes: number of distinct classes; 2 in a binary kind, 0 in regression.
    """

    kind: KindPlan
    counts: pl.DataFrame
    is_whole: bool
    classes: int

    @property
    def widest(self) -> Scope:
        """The scope with most labels: `cohorts`, or `episode` where the cells were not given."""
        return "cohorts" if self.is_whole else "episode"

    def of(self, scope: Scope, side: str) -> pl.DataFrame:
        """Return measure, bin and amount of one side, summed and sorted, without zeros."""
        rows = self.counts.filter(pl.col("scope") == scope, pl.col("side") == side)
        summed = rows.group_by("measure", "bin").agg(pl.col("amount").sum())
        return summed.filter(pl.col("amount") != 0).sort("measure", "bin")


def restatement_of(plan: CellPlan, kind: KindPlan, labels: LabelPairs, cells: pl.DataFrame | None) -> Restatement:
    """Return the counts before and after an episode.

    Args:
        plan: the plan the cells were folded with.
        cells: merged cells before the episode, at least those of the cohorts touched; None if they are not known.

    Raises:
        ValueError: the cells hold less than the predictions contributed before.
    """
    sides = {side: _side(labels.rows, side) for side in SIDES}
    if kind.task == "multiclass":
        plan = _with_classes(plan if cells is None else plan.with_admitted(cells), kind, sides)
    counted = {side: _counted(plan, kind, rows) for side, rows in sides.items()}
    paired = {side: rows.filter("is_paired") for side, rows in counted.items()}
    parts = [_part("touched", side, rows) for side, rows in paired.items()]
    parts += [_part("episode", side, rows) for side, rows in counted.items()]
    if cells is not None:
        base = _base(kind, labels, cells)
        unpaired = counted["before"].filter(~pl.col("is_paired"))
        untouched = (base, _negated(counted["before"]))
        parts += [
            _part("cohorts", "before", base),
            _part("cohorts", "after", *untouched, counted["after"]),
            _part("paired", "before", base, _negated(unpaired)),
            _part("paired", "after", *untouched, paired["after"]),
        ]
    counts = pl.concat(parts)
    sums = counts.filter(pl.col("measure").str.contains(_COUNTED))
    least = sums.group_by("scope", "side", "measure", "bin").agg(pl.col("amount").sum())
    if not least.select((pl.col("amount") >= 0).all()).item():
        raise ValueError("the cells hold less than the episode's predictions contributed before")
    class_count = len(plan.classes.get(kind.name, frozenset()) - {OTHER})
    classes = {"binary": 2, "multiclass": max(2, class_count), "regression": 0}
    return Restatement(kind, counts, cells is not None, classes[kind.task])


def _side(rows: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return the labelled rows of a side for `score_labels`, with `is_paired`: labelled on the other side, too."""
    return rows.filter("had_label" if side == "before" else "has_label").select(
        *("version", "predicted_at", "output", "output_class"),
        value=f"{side}_value",
        value_class=f"{side}_class",
        first_known_at=f"{side}_first_known_at",
        is_paired=pl.col("had_label") & pl.col("has_label"),
    )


def _with_classes(plan: CellPlan, kind: KindPlan, sides: dict[str, pl.DataFrame]) -> CellPlan:
    columns = ("value_class", "output_class", "predicted_at")
    return plan.admit_classes(pl.concat(rows.select(*columns, kind=pl.lit(kind.name)) for rows in sides.values()))


def _counted(plan: CellPlan, kind: KindPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return what labelled rows contribute to cells: measure, bin, amount, is_paired."""
    kind = replace(kind, metrics=())  # a diff counts rows, not weights
    scoring = score_labels(plan, kind, with_rank_bins(plan, rows.with_columns(kind=pl.lit(kind.name))))
    summed = scoring.rows.group_by("counter", "is_paired").agg(amount=pl.len().cast(pl.Int64))
    counts, targets = scoring.counts(summed)
    names = [measure_text(name, of_class=of_class) for name, of_class, _ in targets]
    at = pl.col("target")
    points = counts.with_columns(
        measure=pl.lit(pl.Series(names, dtype=pl.String)).gather(at),
        bin=pl.lit(pl.Series([bin_ for _, _, bin_ in targets], dtype=pl.Int64)).gather(at),
    )
    limbs = scoring.rows.group_by("is_paired", *scoring.factors).agg(pl.col(name).sum() for name in scoring.columns)
    sums = [
        one.limbs(limbs, ["is_paired"]).with_columns(
            measure=pl.lit(f"{one.name}:") + (pl.col("limb") + one.first_limb).cast(pl.String), bin=pl.lit(0)
        )
        for one in scoring.sums
    ]
    scored = summed.filter(scoring.is_usable).with_columns(measure=pl.lit("labelled_scored"), bin=pl.lit(0))
    parts = [points, scored, *sums, _ages(kind, rows)]
    columns = [*(pl.col(name).cast(dtype) for name, dtype in _MEASURES.items()), "is_paired"]
    return pl.concat(part.select(columns) for part in parts)


def _ages(kind: KindPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the number of first labels by upper age edge, as cells count them."""
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    age_us = (pl.col("first_known_at") - pl.col("predicted_at")).dt.total_microseconds()
    edge = (edges * 1_000).search_sorted(age_us.clip(upper_bound=OVERFLOW_AGE_MS * 1_000), side="left").fill_null(0)
    counts = rows.select(edge.alias("edge"), "is_paired").group_by("edge", "is_paired").len(name="amount")
    return counts.select("amount", "is_paired", measure=pl.lit("labels"), bin=edges.gather(pl.col("edge")))


def _base(kind: KindPlan, labels: LabelPairs, cells: pl.DataFrame) -> pl.DataFrame:
    """Return the cells of the cohorts touched, of all definitions of record and of all predictions."""
    cohorts = labels.rows.select("version", "day").unique()
    own = cells.filter(
        pl.col("slice") == ALL,
        pl.col("kind") == kind.name,
        pl.col("measure").str.contains(_NEEDED),
    )
    return own.join(cohorts, on=["version", "day"], how="semi").select(list(_MEASURES))


def _negated(counts: pl.DataFrame) -> pl.DataFrame:
    return counts.with_columns(-pl.col("amount"))


def _part(scope: Scope, side: str, *counts: pl.DataFrame) -> pl.DataFrame:
    names = (pl.lit(scope).alias("scope"), pl.lit(side).alias("side"))
    return pl.concat(part.select(*names, *_MEASURES) for part in counts)
