"""Daily histograms of one version's features, outputs and binary labels, read from cells."""

from dataclasses import replace
from datetime import date

import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.histogram import COUNT_SCHEMA, Histogram
from monitor.cells.plan import CellPlan, KindPlan
from schemas.config.loop import LoopConfig

__all__ = ["LABEL", "OUTPUT", "input_counts", "input_histograms"]

OUTPUT = "output"
LABEL = "label"
"""Names of inputs that are not features. A feature of the same name is called `feature output` or `feature label`."""

_RESERVED = frozenset({OUTPUT, LABEL})
_INPUT = "input:"


def input_histograms(config: LoopConfig, kind: str, plan: CellPlan) -> list[Histogram]:
    """Return the bins of every feature, of the kind's output, and of binary labels."""
    features = [_renamed(histogram) for histogram in plan.inputs]
    output = Histogram.from_output(OUTPUT, config.predictions.outputs[kind])
    label = [Histogram(LABEL, "flag")] if config.predictions.outputs[kind].task == "binary" else []
    return [*features, output, *label]


def input_counts(
    cells: pl.DataFrame, kind: KindPlan, version: str, last: date, judged: date, at_age_ms: int | None
) -> pl.DataFrame:
    """Return how many values of each input fell into each bin, by day.

    Args:
        cells: merged cells.
        kind: of the plan the cells were folded with.
        version: of the model.
        last: the newest complete day; later features and outputs are left out.
        judged: the newest day whose labels have reached the age; later labels are left out.
        at_age_ms: count labels first known by this age; None: all labels.

    Returns:
        Rows of `monitor.cells.histogram.COUNT_SCHEMA`.
    """
    at = "" if at_age_ms is None else f"@{at_age_ms}"
    output = "score" if kind.task == "binary" else "output"
    mine = cells.filter(pl.col("version") == version, pl.col("slice") == ALL, pl.col("day") <= last)
    is_kind = pl.col("kind") == kind.name
    features = mine.filter(pl.col("measure").str.starts_with(_INPUT)).with_columns(
        input=pl.col("measure").str.strip_prefix(_INPUT)
    )
    named = features.with_columns(
        input=pl.when(pl.col("input").is_in(sorted(_RESERVED))).then("feature " + pl.col("input")).otherwise("input")
    )
    outputs = mine.filter(is_kind, pl.col("measure") == output).with_columns(input=pl.lit(OUTPUT))
    labels = mine.filter(
        is_kind,
        pl.col("day") <= judged,
        pl.col("measure").is_in([f"score_0{at}", f"score_1{at}"]),
    ).with_columns(input=pl.lit(LABEL), bin=pl.col("measure").str.starts_with("score_1").cast(pl.Int64))
    columns = COUNT_SCHEMA.names()
    rows = pl.concat([part.select(columns) for part in (named, outputs, labels)])
    return rows.group_by("input", "day", "bin").agg(pl.col("amount").sum()).filter(pl.col("amount") > 0).select(columns)


def _renamed(histogram: Histogram) -> Histogram:
    return replace(histogram, name=f"feature {histogram.name}") if histogram.name in _RESERVED else histogram
