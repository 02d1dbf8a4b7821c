"""Metrics of regression kinds, from exact sums of errors and truths.

This module must not know about cohorts, ages or maturity.
"""

import math
from collections.abc import Mapping

import polars as pl

from monitor.cells.fixed_point import LINEAR_PARTS, SQUARE_PARTS, UNIT, sum_of

__all__ = ["regression_values"]

_METRICS = ("mae", "mse", "rmse", "r2")
_SUMS = {
    "absolute_error": LINEAR_PARTS,
    "squared_error": SQUARE_PARTS,
    "truth": LINEAR_PARTS,
    "squared_truth": SQUARE_PARTS,
}


def regression_values(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one column per metric, null where nothing is known.

    Sums are exact, so that nothing is lost where truths are large and differ little. R2 needs two rows; where all
    truths are the same number it is 0.0, as River's.

    Args:
        rows: cells of regression kinds with the columns `keys`.
        keys: what one value is of.

    Returns:
        One row per group that has any cell: `keys`, `n` and one column per metric.
    """
    names = ["labelled_scored", *(name + ending for name, endings in _SUMS.items() for ending in endings)]
    wide = rows.group_by(keys, maintain_order=True).agg(
        pl.col("amount").filter(pl.col("measure") == name).cast(pl.Int128).sum().alias(f"sum {name}") for name in names
    )
    sums = [
        {name: int(row[f"sum {name}"]) for name in names}
        for row in wide.select(f"sum {name}" for name in names).iter_rows(named=True)
    ]
    values = [_values(amounts) for amounts in sums]
    return wide.select(keys).with_columns(
        pl.Series("n", [amounts["labelled_scored"] for amounts in sums], dtype=pl.Int64),
        *(pl.Series(name, [value.get(name) for value in values], dtype=pl.Float64) for name in _METRICS),
    )


def _values(amounts: Mapping[str, int]) -> dict[str, float]:
    n = amounts["labelled_scored"]
    if n <= 0:
        return {}
    absolute, squared, truth, squared_truth = (sum_of(name, amounts, endings) for name, endings in _SUMS.items())
    mse = squared / (n * UNIT**2)
    values = {"mae": absolute / (n * UNIT), "mse": mse, "rmse": math.sqrt(mse)}
    if n > 1:
        spread = n * squared_truth - truth * truth
        values["r2"] = 1 - n * squared / spread if spread else 0.0
    return values
