"""Loss of a model version: its sum on each mature day, and a test of the last week against the four weeks before.

Days are the independent observations, because the rows of one day share weather, prices and faults.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from scipy.special import stdtrit

from monitor.cells.class_name import HITS
from monitor.cells.cohort import ALL
from monitor.cells.measure import NOT_SCORED, read_measures, sums_by
from monitor.cells.plan import KindPlan
from schemas.base.metric_name import Metric, Task

__all__ = ["LOSS_NAME", "LossCheck", "day_losses", "judge_loss"]

LOSS_NAME: dict[Task, Metric] = {"binary": "log_loss", "multiclass": "accuracy", "regression": "mae"}
"""The metric that stands for the loss of each task; the multiclass loss is the share of wrong classes, 1 - accuracy."""

_SCHEMA = pl.Schema(
    {"day": pl.Date(), "n": pl.Int64(), "loss": pl.Float64(), "positives": pl.Int64(), "negatives": pl.Int64()}
)

_WINDOW_DAYS = 7
_REFERENCE_DAYS = 28
_REFERENCE_DAYS_MIN = 14
_ENTER_SHARE, _LEAVE_SHARE = 0.02, 0.01
"""Hysteresis: the state becomes `worse` at an increase of 2 % and stays so until the increase is below 1 %."""
_LEVEL = 0.975
_WINDOWS = 2
"""Windows in a row that have to be worse: one odd week is no loss."""


@dataclass(frozen=True)
class LossCheck:
    """Test of the newest week's loss against the weeks before it.

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


def day_losses(cells: pl.DataFrame, kind: KindPlan, version: str, last: date, at_age_ms: int | None) -> pl.DataFrame:
    """Return one row per day up to `last` that has labels: their number n, and their summed loss.

    Args:
        cells: merged cells.
        kind: of the plan the cells were folded with.
        last: the newest day that is old enough.
        at_age_ms: one of the kind's `evaluate_at_ms`; None: all labels.

    Returns:
        Sorted rows of day, n, loss, and for binary kinds positives and negatives (0 otherwise).
    """
    mine = cells.filter(
        pl.col("kind") == kind.name,
        pl.col("version") == version,
        pl.col("slice") == ALL,
        pl.col("day") <= last,
        ~pl.col("measure").str.contains(NOT_SCORED),
    )
    mine = read_measures(mine).filter(pl.col("age_ms").eq_missing(pl.lit(at_age_ms, dtype=pl.Int64)))

    def total(name: str) -> pl.Expr:
        return pl.col("amount").filter(pl.col("name") == name).sum()

    if kind.task == "multiclass":
        return _wrong_classes(mine)
    loss = "log_loss" if kind.task == "binary" else "absolute_error"
    counts = mine.group_by("day").agg(
        n=total("labelled_scored"), positives=total("score_1"), negatives=total("score_0")
    )
    found = counts.join(sums_by(mine, ["day"], [loss]), on="day", how="left").with_columns(
        loss=pl.col(loss).fill_null(0.0)
    )
    return found.filter(pl.col("n") > 0).sort("day").select(_SCHEMA.names()).cast(_SCHEMA)


def judge_loss(losses: pl.DataFrame, day: date, *, was_worse: bool = False) -> LossCheck:
    """Test whether the week that ends with `day` lost more than the four weeks before it.

    `worse`: the lower end of the interval of the difference of both means (Welch's t over days, weighted by rows) is
    above zero and the increase is at least 2 %, as of `day` and as of the day before. Once `worse`, the state stays
    until the increase is below 1 %.

    Args:
        losses: one row per mature day: `day`, `n` (labels), `loss` (their sum); sorted.
        day: the newest mature day; later rows are ignored.
        was_worse: whether the state of the day before was `worse`.

    >>> days = [date(2013, 1, 7) + timedelta(days=number) for number in range(36)]
    >>> losses = pl.DataFrame({"day": days, "n": 100, "loss": [49.0, 51.0] * 14 + [60.0] * 8})
    >>> found = judge_loss(losses, days[-1])
    >>> found.state, round(found.before, 3), found.after, found.n
    ('worse', 0.504, 0.6, 700)
    """
    today, before = (_compare(losses, day - timedelta(days=back)) for back in range(_WINDOWS))
    if today.increase is None:
        return today
    if was_worse:
        return today if today.increase >= _LEAVE_SHARE else replace(today, state="ok")
    is_worse = _is_significant(today) and _is_significant(before)
    return replace(today, state="worse" if is_worse else "ok")


def _wrong_classes(mine: pl.DataFrame) -> pl.DataFrame:
    """Count wrong classes: scored labels less those whose class was predicted."""
    amount = pl.col("amount")
    labels = amount.filter(pl.col("name") == "labelled_scored").sum()
    found = mine.group_by("day").agg(
        n=labels,
        loss=(labels - amount.filter(pl.col("name") == HITS).sum()).cast(pl.Float64),
        positives=pl.lit(0, dtype=pl.Int64).first(),
        negatives=pl.lit(0, dtype=pl.Int64).first(),
    )
    return found.filter(pl.col("n") > 0).sort("day").select(_SCHEMA.names()).cast(_SCHEMA)


def _is_significant(found: LossCheck) -> bool:
    return found.increase is not None and found.low is not None and found.low > 0 and found.increase >= _ENTER_SHARE


def _compare(losses: pl.DataFrame, day: date) -> LossCheck:
    """Return the figures of the week that ends with a day; the caller decides whether it is `worse` or `ok`."""
    first = day - timedelta(days=_WINDOW_DAYS - 1)
    window = losses.filter(pl.col("day").is_between(first, day))
    past = losses.filter(pl.col("day").is_between(first - timedelta(days=_REFERENCE_DAYS), first - timedelta(days=1)))
    n = int(window.get_column("n").sum())
    if window.height < _WINDOW_DAYS or past.height < _REFERENCE_DAYS_MIN:
        return LossCheck("not_enough", n=n)
    after, after_error = _mean(window)
    before, before_error = _mean(past)
    if before <= 0:
        return LossCheck("not_enough", before, after, n=n)
    variance = after_error**2 + before_error**2
    freedom = (
        variance**2 / (after_error**4 / (window.height - 1) + before_error**4 / (past.height - 1)) if variance else 1.0
    )
    low = after - before - float(stdtrit(freedom, _LEVEL)) * float(np.sqrt(variance))
    return LossCheck("worse", before, after, (after - before) / before, low, n)


def _mean(days: pl.DataFrame) -> tuple[float, float]:
    """Return the mean loss over rows, and its standard error with days as clusters."""
    n = days.get_column("n").to_numpy().astype(np.float64)
    loss = days.get_column("loss").to_numpy()
    mean = loss.sum() / n.sum()
    residuals = loss - mean * n
    count = len(n)
    return float(mean), float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / n.sum())
