"""Paired comparison of two model versions on the labels they share, with a confidence interval clustered by day.

Days are the independent observations, because the rows of one day share weather, prices and faults. The caller pairs
the rows: both losses belong to the same prediction instant and the same label.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import stdtrit

__all__ = ["Comparison", "ComparisonVerdict", "compare"]

ComparisonVerdict = Literal["better", "not_worse", "worse", "undecided", "not_enough"]

_DAYS_MIN = 8
"""With fewer days the variance between days is a guess, and so would be any interval."""

_MARGIN = 0.02
"""Share of A's mean loss that B may lose more and still be `not_worse`."""


@dataclass(frozen=True)
class Comparison:
    """Difference of the losses of version B and version A, with a verdict on B.

    Attributes:
        n: shared labels.
        days: days that have any.
        loss_a: mean loss of A; None without labels.
        difference: mean of loss_b - loss_a over labels; below zero B is better; None without labels.
        standard_error: of the difference, clustered by day; None with fewer than two days.
        interval: of the difference, by Student's t with days - 1 degrees of freedom; None with fewer than 8 days.
        verdict: `better`: the whole interval is below zero; `not_worse`: its upper end is below 2 % of A's mean
            loss; `worse`: the whole interval is above zero (and reaches beyond those 2 %); `undecided`: none of
            these; `not_enough`: fewer than 8 days.
    """

    n: int
    days: int
    loss_a: float | None
    difference: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    verdict: ComparisonVerdict


def compare(losses: pl.DataFrame, level: float = 0.95) -> Comparison:
    """Compare version B with version A by their losses on the same labels.

    The difference is the mean over rows; with u_g the sum of its residuals on day g, its variance is
    G / (G - 1) * sum of u_g^2 / n^2 (Liang and Zeger, 1986, with the usual small-sample factor). The order of rows
    does not matter.

    Args:
        losses: one row per shared label: `day` (Date), `loss_a` and `loss_b` (Float64); less is better.
        level: confidence level of the interval, between 0 and 1.

    Raises:
        ValueError: a day is null, or a loss is null or not finite, or level is not between 0 and 1.

    >>> days = pl.date_range(pl.date(2013, 3, 1), pl.date(2013, 3, 10), eager=True)
    >>> found = compare(pl.DataFrame({"day": days, "loss_a": 0.5, "loss_b": [0.375, 0.4375] * 5}))
    >>> found.difference, found.verdict
    (-0.09375, 'better')
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    rows = losses.select("day", "loss_a", "loss_b").sort("day", "loss_a", "loss_b")
    finite = pl.all_horizontal(
        pl.col("day").is_not_null(), pl.col("loss_a", "loss_b").is_finite().fill_null(value=False)
    )
    if not rows.select(finite.all()).item():
        raise ValueError("every row needs a day and two finite losses; leave out those that have none")
    if rows.is_empty():
        return Comparison(0, 0, None, None, None, None, "not_enough")
    loss_a = rows.get_column("loss_a").to_numpy()
    delta = rows.get_column("loss_b").to_numpy() - loss_a
    mean, mean_a = float(delta.mean()), float(loss_a.mean())
    starts = np.flatnonzero(rows.get_column("day").rle_id().diff().fill_null(1).to_numpy())
    error = _clustered_error(delta - mean, starts)
    if error is None or len(starts) < _DAYS_MIN:
        return Comparison(len(delta), len(starts), mean_a, mean, error, None, "not_enough")
    half = float(stdtrit(len(starts) - 1, (1 + level) / 2)) * error
    low, high = mean - half, mean + half
    verdict = _verdict(low, high, _MARGIN * abs(mean_a))
    return Comparison(len(delta), len(starts), mean_a, mean, error, (low, high), verdict)


def _clustered_error(residuals: npt.NDArray[np.float64], starts: npt.NDArray[np.int64]) -> float | None:
    """Return the standard error of a mean whose rows are clustered; None for one cluster."""
    clusters = len(starts)
    if clusters == 1:
        return None
    sums = np.add.reduceat(residuals, starts)
    return float(np.sqrt(clusters / (clusters - 1) * (sums @ sums))) / len(residuals)


def _verdict(low: float, high: float, margin: float) -> ComparisonVerdict:
    if high < 0:
        return "better"
    if high < margin or high <= 0:  # two versions without any loss have a margin of zero
        return "not_worse"
    return "worse" if low > 0 else "undecided"
