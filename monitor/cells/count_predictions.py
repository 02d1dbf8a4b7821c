"""Counts predictions: their number, their scores, their panes, and histograms of the model's inputs and outputs."""

from collections.abc import Iterator

import polars as pl

from monitor.cells.bins import SCORE_BINS
from monitor.cells.codebook import Codebook
from monitor.cells.histogram import Histogram
from monitor.cells.label_flow import count_predicted_blocks
from monitor.cells.packing import sum_by
from monitor.cells.pane import PANES_MAX
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.scoring import is_probability, score_bin

__all__ = ["count_predictions"]

_INELIGIBLE, _UNSCORED, _SCORED = 0, 1, 2
_COUNTERS = SCORE_BINS + 2
_BINS_MAX = 2**20
_SPECIAL_BINS = 8
"""Special bins have negative numbers, above -8."""


def count_predictions(plan: CellPlan, codebook: Codebook, predictions: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Yield encoded cells of predictions for every kind, and of their inputs.

    Args:
        plan: with the admitted slice values.
        codebook: the one that the rows are encoded with.
        predictions: encoded rows in the lake's columns.
    """
    for kind in plan.kinds:
        columns = ["version", "day", "pane", *(f"slice_{name}" for name in plan.slices)]
        rows = predictions.select(*columns, counter=_counter(kind))
        yield from _by_cohort(plan, codebook, kind, rows)
        eligible = rows.filter(pl.col("counter") > _INELIGIBLE)
        yield from _by_pane(codebook, kind, eligible)
        yield from count_predicted_blocks(plan, codebook, kind, eligible)
        if kind.output is not None:
            counts = _histogram(codebook, predictions, f"output_{kind.name}", kind.output)
            outputs = counts.with_columns(measure=codebook.measure("output"))
            yield codebook.encoded_cells(outputs, kind.name, kind.definition)
    for histogram in plan.inputs:
        counts = _histogram(codebook, predictions, f"feature_{histogram.name}", histogram)
        inputs = counts.with_columns(measure=codebook.measure(f"input:{histogram.name}"))
        yield codebook.encoded_cells(inputs, "", "")


def _counter(kind: KindPlan) -> pl.Expr:
    """Return the counter that a prediction increments: ineligible, unscored, or (from `_SCORED` on) its score bin."""
    counter = pl.lit(_UNSCORED, dtype=pl.Int64)
    if kind.task == "binary":
        output = pl.col(f"output_{kind.name}")
        counter = pl.when(is_probability(output)).then(_SCORED + score_bin(kind, output)).otherwise(counter)
    return pl.when("eligible").then(counter).otherwise(_INELIGIBLE)


def _by_cohort(plan: CellPlan, codebook: Codebook, kind: KindPlan, rows: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    table = codebook.sum_by_slices(rows, _days(codebook) | {"counter": _COUNTERS}, [], plan.slices)
    names = pl.lit(pl.Series([codebook.measure("ineligible"), codebook.measure("predictions")], dtype=pl.Int64))
    eligible = table.with_columns(counter=(pl.col("counter") > _INELIGIBLE).cast(pl.Int64))
    counts = sum_by(eligible, _days(codebook) | {"slice": len(codebook.slices), "counter": 2}, ["amount"])
    by_eligibility = counts.with_columns(measure=names.gather(pl.col("counter")))
    yield codebook.encoded_cells(by_eligibility, kind.name, kind.definition)
    scored = table.filter(pl.col("counter") >= _SCORED).with_columns(bin=pl.col("counter") - _SCORED)
    yield codebook.encoded_cells(scored.with_columns(measure=codebook.measure("score")), kind.name, kind.definition)


def _by_pane(codebook: Codebook, kind: KindPlan, eligible: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    panes = PANES_MAX if kind.has_hourly_panes else 1
    if panes == 1:
        eligible = eligible.with_columns(pane=pl.lit(0, dtype=pl.Int64))
    keys = _days(codebook) | {"pane": panes, "counter": _COUNTERS}
    table = codebook.sum_by_slice(eligible, keys, [], kind.delay_by)
    pane = pl.col("pane")
    counts = sum_by(table, _days(codebook) | {"slice": len(codebook.slices), "pane": panes}, ["amount"])
    by_pane = counts.with_columns(bin=pane, measure=codebook.measure("pane_predictions"))
    yield codebook.encoded_cells(by_pane, kind.name, kind.definition)
    scored = table.filter(pl.col("counter") >= _SCORED).with_columns(
        bin=pane * SCORE_BINS + pl.col("counter") - _SCORED, measure=codebook.measure("pane_score")
    )
    yield codebook.encoded_cells(scored, kind.name, kind.definition)


def _histogram(codebook: Codebook, predictions: pl.DataFrame, column: str, histogram: Histogram) -> pl.LazyFrame:
    rows = predictions.select("version", "day", bin_order=histogram.bin_expr(column) + _SPECIAL_BINS)
    counts = sum_by(rows, _days(codebook) | {"bin_order": _BINS_MAX}, [])
    return counts.with_columns(bin=pl.col("bin_order") - _SPECIAL_BINS)


def _days(codebook: Codebook) -> dict[str, int]:
    sizes = codebook.sizes
    return {"version": sizes["version"], "day": sizes["day"]}
