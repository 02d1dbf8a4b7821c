"""Has the model become worse than it was? A week of mature days against the four weeks before it.

Days are what is counted as independent, because rows of one day share weather, prices and faults. This module must
not look at labels that are not mature, and must not ask for a retrain.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from scipy.special import stdtrit

from monitor.cells.class_name import read_confusion
from monitor.cells.cohort import ALL
from monitor.cells.fixed_point import UNIT
from monitor.cells.plan import KindPlan
from monitor.cells.scoring import LOSS_UNIT
from schemas.base.metric_name import Metric, Task

__all__ = ["LOSS_NAME", "LossCheck", "day_losses", "judge_loss"]

WINDOW_DAYS = 7
REFERENCE_DAYS = 28
REFERENCE_DAYS_MIN = 14
ENTER_SHARE, LEAVE_SHARE = 0.02, 0.01
"""Hysteresis: an increase is told from 2 % on, and stays told until it is below 1 %."""
LEVEL = 0.975
WINDOWS = 2
"""In a row: one odd week is no loss."""


@dataclass(frozen=True)
class LossCheck:
    """The newest week against the weeks before it.

    Attributes:
        state: `worse`, `ok`, or `not_enough` days or labels.
        before: mean loss of the reference; None without enough days.
        after: mean loss of the window.
        increase: (after - before) / before; None where unknown.
        low: lower end of the one-sided 97.5 % interval of after - before.
        n: labels of the window.
    """

    state: Literal["worse", "ok", "not_enough"]
    before: float | None = None
    after: float | None = None
    increase: float | None = None
    low: float | None = None
    n: int = 0


def judge_loss(losses: pl.DataFrame, day: date, *, was_worse: bool = False) -> LossCheck:
    """Return whether the week that ends with `day` lost more than the four weeks before it, and the week before too.

    `worse`: the lower end of the interval of the difference of both means (Welch's t over days, weighted by rows) is
    above zero and the increase is at least 2 %, as of `day` and as of the day before. Once told, it stays until the
    increase is below 1 %.

    Args:
        losses: one row per mature day: `day`, `n` (labels), `loss` (their sum); sorted.
        day: the newest mature day; later rows are not looked at.
        was_worse: what was told before this day.
    """
    today, before = (_compare(losses, day - timedelta(days=back)) for back in range(WINDOWS))
    if today.increase is None:
        return today
    if was_worse:
        return today if today.increase >= LEAVE_SHARE else _with_state(today, "ok")
    if _is_significant(today) and _is_significant(before):
        return _with_state(today, "worse")
    return _with_state(today, "ok")


def _with_state(found: LossCheck, state: Literal["worse", "ok"]) -> LossCheck:
    return LossCheck(state, found.before, found.after, found.increase, found.low, found.n)


def _is_significant(found: LossCheck) -> bool:
    return found.increase is not None and found.low is not None and found.low > 0 and found.increase >= ENTER_SHARE


def _compare(losses: pl.DataFrame, day: date) -> LossCheck:
    first = day - timedelta(days=WINDOW_DAYS - 1)
    window = losses.filter(pl.col("day").is_between(first, day))
    past = losses.filter(pl.col("day").is_between(first - timedelta(days=REFERENCE_DAYS), first - timedelta(days=1)))
    n = int(window.get_column("n").sum())
    if window.height < WINDOW_DAYS or past.height < REFERENCE_DAYS_MIN:
        return LossCheck("not_enough", n=n)
    after, after_error = _mean(window)
    before, before_error = _mean(past)
    if before <= 0:
        return LossCheck("not_enough", before, after, n=n)
    variance = after_error**2 + before_error**2
    freedom = (
        variance**2 / (after_error**4 / (window.height - 1) + before_error**4 / (past.height - 1)) if variance else 1.0
    )
    low = after - before - float(stdtrit(freedom, LEVEL)) * float(np.sqrt(variance))
    return LossCheck("worse", before, after, (after - before) / before, low, n)


def _mean(days: pl.DataFrame) -> tuple[float, float]:
    """Return the mean loss over rows, and its standard error with days as clusters."""
    n = days.get_column("n").to_numpy().astype(np.float64)
    loss = days.get_column("loss").to_numpy()
    mean = loss.sum() / n.sum()
    residuals = loss - mean * n
    count = len(n)
    return float(mean), float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / n.sum())


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
