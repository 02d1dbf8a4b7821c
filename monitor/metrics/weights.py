"""Weights of labels in the place of their numbers, so that metrics by weight have the same formulas."""

import polars as pl

from monitor.cells.exact_sum import limb_value
from monitor.cells.measure import sums_by
from monitor.cells.scoring import WEIGHT, WEIGHT_SQUARED, by_weight

__all__ = ["effective_rows", "weights_of"]

_PREFIX = by_weight("")
_SUMS = ("log_loss", "brier")


def weights_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the weights as cells under the names of the counts; amounts are floats.

    Args:
        rows: as `monitor.cells.measure.read_measures` returns them.
    """
    mine = rows.filter(pl.col("name").str.starts_with(_PREFIX)).with_columns(pl.col("name").str.strip_prefix(_PREFIX))
    is_sum = pl.col("name").is_in(_SUMS)
    amount = pl.col("amount").cast(pl.Float64)
    value = pl.when(is_sum).then(amount).otherwise(limb_value(amount, pl.col("limb")))
    return mine.sort("limb").with_columns(amount=value)


def effective_rows(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return `weight`, the sum of weights, and `n_effective`: how many equal weights are as sure (Kish 1965).

    It is (sum of w)^2 / (sum of w^2).
    """
    sums = sums_by(rows, keys, [WEIGHT, WEIGHT_SQUARED])
    return sums.select(*keys, WEIGHT, n_effective=pl.col(WEIGHT) * (pl.col(WEIGHT) / pl.col(WEIGHT_SQUARED)))
