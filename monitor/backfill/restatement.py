"""What the cells of the cohorts touched hold before an episode and after it, as counts.

Before is what the cells hold; after is that, less what the episode's predictions counted for before, plus what they
count for then. All of it is whole numbers, so that both sides are exact. This module must not compute a metric.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from monitor.backfill.flips import RelabelledRows
from monitor.cells.bins import BEYOND_MS
from monitor.cells.class_name import OTHER
from monitor.cells.cohort import ALL
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.scoring import scored
from schemas.events.backfill_diff import Scope

__all__ = ["SIDES", "Restatement", "restated"]

SIDES: Final = ("before", "after")

_NEEDED = r"^(labels$|score_[01]$|log_loss$|brier$|confusion |labelled_scored$|([a-z]+_)?(error|truth)(_[a-z]+)?$)"
_COUNTED = r"^(score_[01]$|confusion |labelled_scored$)"
"""Measures that are never below zero."""
_MEASURES = {"measure": pl.String, "bin": pl.Int64, "amount": pl.Int64}


@dataclass(frozen=True, eq=False)
class Restatement:
    """What is counted before and after an episode.

    Attributes:
        kind: of all counts.
        counts: rows of scope, side (`before` or `after`), measure, bin and amount, to be summed: measures of cells.
        is_whole: whether the cells of the cohorts were known; without them there are the scopes `touched` and
            `episode` only.
        classes: how many classes are told apart; 2 in a binary kind, 0 in regression.
    """

    kind: KindPlan
    counts: pl.DataFrame
    is_whole: bool
    classes: int

    @property
    def widest(self) -> Scope:
        """All labels of the cohorts, or of the episode where no more is known."""
        return "cohorts" if self.is_whole else "episode"

    def of(self, scope: Scope, side: str) -> pl.DataFrame:
        """Return measure, bin and amount of one side, summed and sorted, without zeros."""
        rows = self.counts.filter(pl.col("scope") == scope, pl.col("side") == side)
        summed = rows.group_by("measure", "bin").agg(pl.col("amount").sum())
        return summed.filter(pl.col("amount") != 0).sort("measure", "bin")


def restated(plan: CellPlan, kind: KindPlan, episode: RelabelledRows, cells: pl.DataFrame | None) -> Restatement:
    """Return what is counted before and after an episode.

    Args:
        plan: what the cells were folded with.
        kind: of the episode.
        episode: its predictions.
        cells: merged cells before the episode, of the cohorts touched at least; None if they are not known.

    Raises:
        ValueError: the cells do not hold what the predictions have counted for before.
    """
    sides = {side: _side(episode.rows, side) for side in SIDES}
    if kind.task == "multiclass":
        plan = _with_classes(plan if cells is None else plan.knowing(cells), kind, sides)
    counted = {side: _counted(plan, kind, rows) for side, rows in sides.items()}
    stay = {side: rows.filter("stays") for side, rows in counted.items()}
    parts = [_part("touched", side, rows) for side, rows in stay.items()]
    parts += [_part("episode", side, rows) for side, rows in counted.items()]
    if cells is not None:
        base = _base(kind, episode, cells)
        gone = _less(counted["before"].filter(~pl.col("stays")))
        left = (base, _less(counted["before"]))
        parts += [
            _part("cohorts", "before", base),
            _part("cohorts", "after", *left, counted["after"]),
            _part("paired", "before", base, gone),
            _part("paired", "after", *left, stay["after"]),
        ]
    counts = pl.concat(parts)
    sums = counts.filter(pl.col("measure").str.contains(_COUNTED))
    least = sums.group_by("scope", "side", "measure", "bin").agg(pl.col("amount").sum())
    if not least.select((pl.col("amount") >= 0).all()).item():
        raise ValueError("the cells do not hold what the episode's predictions counted for before")
    told_apart = len(plan.classes.get(kind.name, frozenset()) - {OTHER})
    classes = {"binary": 2, "multiclass": max(2, told_apart), "regression": 0}
    return Restatement(kind, counts, cells is not None, classes[kind.task])


def _side(rows: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return the labelled rows of a side as `scored` reads them, with `stays`: labelled on the other side too."""
    return rows.filter("had" if side == "before" else "has").select(
        *("predicted_at", "output", "output_class"),
        value=f"{side}_value",
        value_class=f"{side}_class",
        first_known_at=f"{side}_first_known_at",
        stays=pl.col("had") & pl.col("has"),
    )


def _with_classes(plan: CellPlan, kind: KindPlan, sides: dict[str, pl.DataFrame]) -> CellPlan:
    columns = ("value_class", "output_class", "predicted_at")
    return plan.admitting_classes(pl.concat(rows.select(*columns, kind=pl.lit(kind.name)) for rows in sides.values()))


def _counted(plan: CellPlan, kind: KindPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return what labelled rows count for: measure, bin, amount, stays."""
    scoring = scored(plan, kind, rows)
    totals = [pl.len().cast(pl.Int64).alias("labelled_scored"), *(pl.col(name).sum() for name in scoring.sums)]
    summed = scoring.rows.group_by("point", "stays").agg(totals)
    measures = pl.lit(pl.Series([measure for measure, _ in scoring.points], dtype=pl.String))
    bins = pl.lit(pl.Series([number for _, number in scoring.points], dtype=pl.Int64))
    place = pl.col("point")
    points = summed.select(
        measure=measures.gather(place), bin=bins.gather(place), amount="labelled_scored", stays="stays"
    )
    sums = summed.unpivot(on=scoring.sums, index="stays", variable_name="measure", value_name="amount").with_columns(
        bin=pl.lit(0)
    )
    parts = (points, sums, _ages(kind, rows))
    columns = [*(pl.col(name).cast(dtype) for name, dtype in _MEASURES.items()), "stays"]
    return pl.concat(part.select(columns) for part in parts)


def _ages(kind: KindPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return how many first labels were known by each edge and not by the one before it, as cells count them."""
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    age_us = (pl.col("first_known_at") - pl.col("predicted_at")).dt.total_microseconds()
    place = (edges * 1_000).search_sorted(age_us.clip(upper_bound=BEYOND_MS * 1_000), side="left").fill_null(0)
    counts = rows.select(place.alias("place"), "stays").group_by("place", "stays").len(name="amount")
    return counts.select("amount", "stays", measure=pl.lit("labels"), bin=edges.gather(pl.col("place")))


def _base(kind: KindPlan, episode: RelabelledRows, cells: pl.DataFrame) -> pl.DataFrame:
    """Return the cells of the cohorts touched: those of the config's own definition, of every slice together."""
    cohorts = episode.rows.select("version", "day").unique()
    own = cells.filter(
        pl.col("slice") == ALL,
        pl.col("kind") == kind.name,
        pl.col("definition") == kind.definition,
        pl.col("measure").str.contains(_NEEDED),
    )
    return own.join(cohorts, on=["version", "day"], how="semi").select(list(_MEASURES))


def _less(counts: pl.DataFrame) -> pl.DataFrame:
    return counts.with_columns(-pl.col("amount"))


def _part(scope: Scope, side: str, *counts: pl.DataFrame) -> pl.DataFrame:
    marks = (pl.lit(scope).alias("scope"), pl.lit(side).alias("side"))
    return pl.concat(part.select(*marks, *_MEASURES) for part in counts)
