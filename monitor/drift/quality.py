"""Data quality of one model version's inputs on a day: missing, unseen, out-of-range, stuck or stale values.

It works on the counts of a running day, and so reports earlier than drift. Other changes of the distribution are judged
by `monitor.drift.shift`.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import bdtrc

from monitor.cells.histogram import ABOVE, BELOW, MISSING, NOT_FINITE, UNSEEN, Histogram

__all__ = ["QUALITY_SCHEMA", "judge_quality"]

QUALITY_SCHEMA = pl.Schema(
    {
        "input": pl.String(),
        "check": pl.String(),
        "share": pl.Float64(),
        "usual": pl.Float64(),
        "n": pl.Int64(),
        "flagged": pl.Boolean(),
    }
)

_ROWS_LEAST = 50
_REFERENCE = timedelta(days=28)
_CHANCE = 1e-6
_RISE = 0.02
"""Least rise that is flagged; smaller ones are left to people. At a million rows a day any rise is beyond chance."""
_USUAL_QUANTILE = 0.9
"""Share of the reference's days that are usual: the weekends of four weeks are, an incident of two days is not."""

_BINS = {
    "missing": (MISSING,),
    "unseen": (UNSEEN,),
    "out_of_range": (BELOW, ABOVE),
    "not_finite": (NOT_FINITE,),
}
_Numbers = npt.NDArray[np.int64]


def judge_quality(counts: pl.DataFrame, histograms: Sequence[Histogram], day: date, *, is_over: bool) -> pl.DataFrame:
    """Check the values of every input of one model version on one day, which may still be running.

    `usual` is the share in the 28 days before (for `stuck`: that of a bad day among them). A share is flagged if it is
    higher by at least 0.02 and its count has a binomial probability below 1e-6 on a bad day: one whose share nine in
    ten of those days do not exceed. At least 50 rows are needed on the day and in the reference. The checks:

    - `missing`: no value. `not_finite`: NaN or infinite (numbers).
    - `unseen`: a text outside the contract's categories. `out_of_range`: beyond a limit, or no probability.
    - `stuck`: the ordinary bin with most rows. It must also hold more rows than the greatest bin of a whole usual day:
      an input that follows the hour fills few bins early in the day.
    - `stale`: no rows. `share` is today's rows over those of a usual day (the median), `usual` is 1. Flagged if nine
      in ten days had rows, 50 on the median, and today is over or other inputs have 50.

    Args:
        counts: `monitor.cells.histogram.COUNT_SCHEMA`; days after `day` are ignored.
        is_over: the day has ended, so that no more rows will come.

    Returns:
        Rows of `QUALITY_SCHEMA`, sorted by input and check, one for each check that can fail for the input. `share` is
        null without rows, `usual` without a reference.

    >>> rows = [("x", date(2013, 3, n), 0, 990) for n in (1, 2, 3)] + [("x", date(2013, 3, 3), MISSING, 200)]
    >>> counts = pl.DataFrame(rows, ["input", "day", "bin", "amount"], orient="row")
    >>> found = judge_quality(counts, [Histogram("x", "flag")], date(2013, 3, 3), is_over=True)
    >>> found.select("check", pl.col("share").round(2), "usual", "n", "flagged").rows()
    [('missing', 0.17, 0.0, 1190, True), ('stale', 1.2, 1.0, 1190, False), ('stuck', 0.83, 1.0, 1190, False)]
    """
    known = counts.filter(pl.col("day").is_between(day - _REFERENCE, day))
    days = known.filter(pl.col("day") < day).get_column("day")
    span = 0 if days.is_empty() else (day - min(days)).days
    rows_today = known.filter(pl.col("day") == day).group_by("input").agg(pl.col("amount").sum())
    can_be_stale = is_over or any(amount >= _ROWS_LEAST for amount in rows_today.get_column("amount"))
    rows: list[tuple[object, ...]] = []
    daily = _by_day(known, day, span)
    no_rows = {name: np.zeros(span + 1, dtype=np.int64) for name in ("total", "stuck", *_BINS)}
    for histogram in histograms:
        own = daily.get(histogram.name, no_rows)
        rows.append(_stale(histogram.name, own["total"], can_be_stale=can_be_stale))
        for check, bins in _BINS.items():
            if set(bins) & set(histogram.special_bins):
                rows.append(_special(histogram.name, check, own[check], own["total"]))
        rows.append(_stuck(histogram.name, own["stuck"], own["total"]))
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row").sort("input", "check")


def _by_day(counts: pl.DataFrame, day: date, span: int) -> dict[str, dict[str, _Numbers]]:
    """Return by input the number of rows of each day, from `span` days before `day` up to it: total and by check.

    `stuck` is the number of rows in the greatest ordinary bin.
    """
    amount = pl.col("amount")
    checks = {name: amount.filter(pl.col("bin").is_in(bins)).sum() for name, bins in _BINS.items()}
    summed = (
        counts.group_by("input", "day", "bin")
        .agg(amount.sum())
        .group_by("input", index=(pl.col("day") - day).dt.total_days() + span)
        .agg(total=amount.sum(), stuck=amount.filter(pl.col("bin") >= 0).max().fill_null(0), **checks)
    )
    found = {}
    for (name,), own in summed.partition_by("input", as_dict=True).items():
        indexes = own.get_column("index").to_numpy()
        arrays = {column: np.zeros(span + 1, dtype=np.int64) for column in ("total", "stuck", *_BINS)}
        for column, amounts in arrays.items():
            amounts[indexes] = own.get_column(column).to_numpy()
        found[str(name)] = arrays
    return found


def _special(name: str, check: str, counted: _Numbers, totals: _Numbers) -> tuple[object, ...]:
    n, reference = int(totals[-1]), int(totals[:-1].sum())
    share = counted[-1] / n if n else None
    if reference < _ROWS_LEAST:
        return name, check, share, None, n, False
    usual = counted[:-1].sum() / reference
    if share is None or share - usual < _RISE:
        return name, check, share, usual, n, False
    bound = max((counted[:-1].sum() + 0.5) / (reference + 1), _bad_day(counted, totals))
    return name, check, share, usual, n, _is_jump(int(counted[-1]), n, usual, bound)


def _stuck(name: str, tops: _Numbers, totals: _Numbers) -> tuple[object, ...]:
    n = int(totals[-1])
    share = tops[-1] / n if n else None
    if not (totals[:-1] >= _ROWS_LEAST).any():
        return name, "stuck", share, None, n, False
    usual = _bad_day(tops, totals)
    is_more = tops[-1] > np.quantile(tops[:-1][totals[:-1] > 0], _USUAL_QUANTILE)
    return name, "stuck", share, usual, n, bool(is_more) and _is_jump(int(tops[-1]), n, usual, usual)


def _stale(name: str, totals: _Numbers, *, can_be_stale: bool) -> tuple[object, ...]:
    n, before = int(totals[-1]), totals[:-1]
    usual_rows = float(np.median(before)) if len(before) else 0.0
    if usual_rows <= 0:
        return name, "stale", None, None, n, False
    is_steady = usual_rows >= _ROWS_LEAST and float((before > 0).mean()) >= _USUAL_QUANTILE
    return name, "stale", n / usual_rows, 1.0, n, n == 0 and is_steady and can_be_stale


def _bad_day(counted: _Numbers, totals: _Numbers) -> float:
    """Return the share that nine in ten days of the reference do not exceed; 0 where all have too few rows."""
    enough = totals[:-1] >= _ROWS_LEAST
    if not enough.any():
        return 0.0
    return float(np.quantile(counted[:-1][enough] / totals[:-1][enough], _USUAL_QUANTILE))


def _is_jump(counted: int, n: int, usual: float, bound: float) -> bool:
    """Return whether the share is at least 0.02 above usual, and above the bound by more than chance."""
    if n < _ROWS_LEAST or counted / n - usual < _RISE:
        return False
    return bool(bdtrc(counted - 1, n, bound) < _CHANCE)
