"""How much a version lost, day by day, at one age: what is compared when one asks whether it got worse.

Binary kinds lose by log loss, multiclass kinds by the share of wrong classes, regression by the absolute error.
This module must not judge.
"""

from datetime import date

import polars as pl

from monitor.class_name import read_confusion
from monitor.cohort import ALL
from monitor.fixed_point import UNIT
from monitor.plan import KindPlan
from monitor.scoring import LOSS_UNIT
from schemas.metric_name import Metric, Task

__all__ = ["LOSS_NAME", "day_losses"]

LOSS_NAME: dict[Task, Metric] = {"binary": "log_loss", "multiclass": "accuracy", "regression": "mae"}
"""The metric that the loss is shown under; a share of wrong classes is 1 - accuracy."""

_SCHEMA = pl.Schema(
    {"day": pl.Date(), "n": pl.Int64(), "loss": pl.Float64(), "positives": pl.Int64(), "negatives": pl.Int64()}
)


def day_losses(cells: pl.DataFrame, kind: KindPlan, version: str, last: date, at_age_ms: int | None) -> pl.DataFrame:
    """Return one row per day up to `last` that has labels: n of them, and their summed loss.

    Args:
        cells: merged cells.
        kind: of the plan the cells were folded with; its own definition is looked at.
        version: of the model.
        last: the newest day that is old enough.
        at_age_ms: one of the kind's `evaluate_at_ms`; None: all labels.

    Returns:
        Sorted rows of day, n, loss, and of binary kinds positives and negatives (0 otherwise).
    """
    at = "" if at_age_ms is None else f"@{at_age_ms}"
    mine = cells.filter(
        pl.col("kind") == kind.name,
        pl.col("version") == version,
        pl.col("slice") == ALL,
        pl.col("definition") == kind.definition,
        pl.col("day") <= last,
    )

    def total(measure: str) -> pl.Expr:
        return pl.col("amount").filter(pl.col("measure") == f"{measure}{at}").sum()

    if kind.task == "multiclass":
        return _wrong_classes(mine, at)
    if kind.task == "binary":
        loss = total("log_loss") / LOSS_UNIT
    else:
        loss = total("absolute_error") + total("absolute_error_part") / UNIT
    found = mine.group_by("day").agg(
        n=total("labelled_scored"), loss=loss.cast(pl.Float64), positives=total("score_1"), negatives=total("score_0")
    )
    return found.filter(pl.col("n") > 0).sort("day").select(_SCHEMA.names()).cast(_SCHEMA)


def _wrong_classes(mine: pl.DataFrame, at: str) -> pl.DataFrame:
    """Count wrong classes; of two classes that are both "other", bin 1 says that they differ."""
    pairs = {}
    for measure in mine.get_column("measure").unique():
        pair = read_confusion(measure)
        if pair is not None and measure.partition(" ")[0] == f"confusion{at}":
            pairs[measure] = pair[0] != pair[1]
    rows = mine.filter(pl.col("measure").is_in(list(pairs))).with_columns(
        wrong=pl.col("measure").replace_strict(pairs, default=False, return_dtype=pl.Boolean) | (pl.col("bin") == 1)
    )
    found = rows.group_by("day").agg(
        n=pl.col("amount").sum(),
        loss=pl.col("amount").filter("wrong").sum().cast(pl.Float64),
        positives=pl.lit(0, dtype=pl.Int64).first(),
        negatives=pl.lit(0, dtype=pl.Int64).first(),
    )
    return found.filter(pl.col("n") > 0).sort("day").select(_SCHEMA.names()).cast(_SCHEMA)
