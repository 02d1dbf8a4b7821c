"""Counts predictions: how many, with which scores, in which panes, and the histograms of what the model was given.

This module must not fold, nor look at outcomes.
"""

from collections.abc import Iterator

import polars as pl

from monitor.cells.bins import SCORE_BINS
from monitor.cells.codebook import Codebook
from monitor.cells.histogram import Histogram
from monitor.cells.packing import sums
from monitor.cells.pane import PANES_MAX
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.scoring import is_probability, score_bin

__all__ = ["prediction_parts"]

_INELIGIBLE, _UNSCORED, _SCORED = 0, 1, 2
_POINTS = SCORE_BINS + 2
_BINS_MAX = 2**20
_SPECIAL = 8
"""Bins of special values are negative, and fewer than these."""


def prediction_parts(plan: CellPlan, book: Codebook, predictions: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count predictions for every kind, and their inputs.

    Args:
        plan: with the slices that are told apart.
        book: that the rows are coded with.
        predictions: coded rows in the lake's columns.
    """
    for kind in plan.kinds:
        columns = ["version", "day", "pane", *(f"slice_{name}" for name in plan.slices)]
        rows = predictions.select(*columns, point=_point(kind))
        yield from _by_cohort(plan, book, kind, rows)
        yield from _by_pane(book, kind, rows.filter(pl.col("point") > _INELIGIBLE))
        if kind.output is not None:
            counts = _histogram(book, predictions, f"output_{kind.name}", kind.output)
            yield book.part(counts.with_columns(measure=book.measure("output")), kind.name, kind.definition)
    for one in plan.inputs:
        counts = _histogram(book, predictions, f"feature_{one.name}", one)
        yield book.part(counts.with_columns(measure=book.measure(f"input:{one.name}")), "", "")


def _point(kind: KindPlan) -> pl.Expr:
    """Return a number for what a prediction adds one to: ineligible, without a score, or a score bin."""
    point = pl.lit(_UNSCORED, dtype=pl.Int64)
    if kind.task == "binary":
        output = pl.col(f"output_{kind.name}")
        point = pl.when(is_probability(output)).then(_SCORED + score_bin(kind, output)).otherwise(point)
    return pl.when("eligible").then(point).otherwise(_INELIGIBLE)


def _by_cohort(plan: CellPlan, book: Codebook, kind: KindPlan, rows: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    table = book.table(rows, _days(book) | {"point": _POINTS}, [], plan.slices)
    names = pl.lit(pl.Series([book.measure("ineligible"), book.measure("predictions")], dtype=pl.Int64))
    eligible = table.with_columns(point=(pl.col("point") > _INELIGIBLE).cast(pl.Int64))
    counts = sums(eligible, _days(book) | {"slice": len(book.slices), "point": 2}, ["amount"])
    yield book.part(counts.with_columns(measure=names.gather(pl.col("point"))), kind.name, kind.definition)
    scored = table.filter(pl.col("point") >= _SCORED).with_columns(bin=pl.col("point") - _SCORED)
    yield book.part(scored.with_columns(measure=book.measure("score")), kind.name, kind.definition)


def _by_pane(book: Codebook, kind: KindPlan, eligible: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    panes = PANES_MAX if kind.has_hourly_panes else 1
    if panes == 1:
        eligible = eligible.with_columns(pane=pl.lit(0, dtype=pl.Int64))
    table = book.apart(eligible, _days(book) | {"pane": panes, "point": _POINTS}, [], kind.delay_by)
    pane = pl.col("pane")
    counts = sums(table, _days(book) | {"slice": len(book.slices), "pane": panes}, ["amount"])
    all_ = counts.with_columns(bin=pane, measure=book.measure("pane_predictions"))
    yield book.part(all_, kind.name, kind.definition)
    scored = table.filter(pl.col("point") >= _SCORED)
    scored = scored.with_columns(bin=pane * SCORE_BINS + pl.col("point") - _SCORED, measure=book.measure("pane_score"))
    yield book.part(scored, kind.name, kind.definition)


def _histogram(book: Codebook, predictions: pl.DataFrame, column: str, histogram: Histogram) -> pl.LazyFrame:
    rows = predictions.select("version", "day", order=histogram.bin_expr(column) + _SPECIAL)
    counts = sums(rows, _days(book) | {"order": _BINS_MAX}, [])
    return counts.with_columns(bin=pl.col("order") - _SPECIAL)


def _days(book: Codebook) -> dict[str, int]:
    sizes = book.sizes
    return {"version": sizes["version"], "day": sizes["day"]}
