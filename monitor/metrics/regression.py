"""Regression metrics from exact sums of errors and truths."""

import math
from collections.abc import Mapping

import polars as pl

from monitor.cells.fixed_point import LINEAR_PARTS, SQUARE_PARTS, UNIT, join_parts

__all__ = ["regression_values"]

_METRICS = ("mae", "mse", "rmse", "r2")
_SUMS = {
    "absolute_error": LINEAR_PARTS,
    "squared_error": SQUARE_PARTS,
    "truth": LINEAR_PARTS,
    "squared_truth": SQUARE_PARTS,
}


def regression_values(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one column per metric, null where a group has no labelled rows.

    Sums are exact, so R2 keeps its precision where truths are large and differ little. R2 is null below two rows; where
    all truths are equal it is 0.0, as in River.

    Args:
        rows: cells of regression kinds with the columns `keys`.
        keys: columns to group by.

    Returns:
        One row per group: `keys`, `n` and one column per metric.

    >>> amounts = {"labelled_scored": 4, "absolute_error": 6, "squared_error": 16}  # sums in units of one
    >>> cells = pl.DataFrame({"version": "v1", "measure": list(amounts), "amount": list(amounts.values())})
    >>> regression_values(cells, ["version"]).select("n", "mae", "mse", "rmse").row(0)
    (4, 1.5, 4.0, 2.0)
    """
    names = ["labelled_scored", *(name + suffix for name, suffixes in _SUMS.items() for suffix in suffixes)]
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
    absolute, squared, truth, squared_truth = (join_parts(name, amounts, powers) for name, powers in _SUMS.items())
    mse = squared / (n * UNIT**2)
    values = {"mae": absolute / (n * UNIT), "mse": mse, "rmse": math.sqrt(mse)}
    if n > 1:
        spread = n * squared_truth - truth * truth
        values["r2"] = 1 - n * squared / spread if spread else 0.0
    return values
