"""Regression metrics from exact sums of errors and truths."""

import polars as pl

from monitor.cells.exact_sum import ONE, ratio, root_of_ratio
from monitor.cells.measure import whole_sums
from monitor.cells.scoring import WEIGHT, by_weight

__all__ = ["regression_values"]

_METRICS = ("mae", "mse", "rmse", "r2")
_SUMS = ("absolute_error", "squared_error", "truth", "squared_truth")


def regression_values(rows: pl.DataFrame, keys: list[str], *, is_by_weight: bool = False) -> pl.DataFrame:
    """Return one column per metric, null where a group has no labelled rows.

    Sums are exact, so that no magnitude is lost beside another, and R2 keeps its precision where truths are large and
    differ little. R2 is null below two rows; where all truths are equal it is 0.0, as in River. A metric beyond the
    largest float is null.

    Args:
        rows: cells of regression kinds as `read_measures` returns them, with the columns `keys`.
        keys: columns to group by.
        is_by_weight: each label counts by its weight.

    Returns:
        One row per group: `keys`, `n` and one column per metric.

    >>> amounts = {"labelled_scored": 4, "absolute_error:0": 6, "squared_error:0": 16}
    >>> from monitor.cells.measure import read_measures
    >>> cells = pl.DataFrame({"version": "v1", "measure": list(amounts), "amount": list(amounts.values())})
    >>> regression_values(read_measures(cells), ["version"]).select("n", "mae", "mse", "rmse").row(0)
    (4, 1.5, 4.0, 2.0)
    """
    count = pl.col("amount").filter(pl.col("name") == "labelled_scored").sum().alias("n")
    groups = rows.group_by(keys, maintain_order=True).agg(count)
    names = [by_weight(name) for name in _SUMS] if is_by_weight else _SUMS
    sums = whole_sums(rows, keys, [*names, WEIGHT])
    found = []
    for *group, n in groups.iter_rows():
        parts = [sums[name].get(tuple(group), 0) for name in names]
        weight = sums[WEIGHT].get(tuple(group), 0) if is_by_weight else n * ONE
        found.append(_values(n, weight, *parts))
    return groups.with_columns(
        pl.Series(name, [values.get(name) for values in found], dtype=pl.Float64) for name in _METRICS
    )


def _values(n: int, rows: int, absolute: int, squared: int, truth: int, squared_truth: int) -> dict[str, float | None]:
    """Return the metrics of a group from its sums, in units of 1 / `ONE`; `rows` is the sum of the weights."""
    if n <= 0 or rows <= 0:
        return {}
    values = {"mae": ratio(absolute, rows), "mse": ratio(squared, rows), "rmse": root_of_ratio(squared, rows)}
    if n > 1:
        spread = rows * squared_truth - truth * truth
        values["r2"] = ratio(spread - rows * squared, spread) if spread else 0.0
    return values
