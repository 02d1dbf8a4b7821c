"""Metrics of multiclass kinds, from counts of pairs of true and said class.

This module must not know about cohorts, ages or maturity.
"""

import polars as pl

from monitor.cells.class_name import read_confusion

__all__ = ["multiclass_values"]


def multiclass_values(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one column per metric, null where nothing is known.

    Averages over classes are over those that were seen or said, as River's and scikit-learn's are, and balanced
    accuracy is over those that were seen. A ratio with nothing below the line is 0.0, as theirs; so is Cohen's kappa
    where one class is all there was, as River's. MCC is Gorodkin's R_K, as scikit-learn's. The classes beyond the
    first fifty count as one, though not as hit when they differ.

    Args:
        rows: cells of multiclass kinds with the columns `keys`.
        keys: what one value is of.

    Returns:
        One row per group that has any cell: `keys`, `n` and one column per metric.
    """
    classes = _by_class(rows, keys)
    hits, seen, said = (pl.col(name).cast(pl.Float64) for name in ("hits", "seen", "said"))
    precision, recall, f1 = (pl.col(name) for name in ("precision", "recall", "f1"))
    n, hit = seen.sum(), hits.sum()
    by_chance = (seen * said).sum()
    margins = (n * n - (said * said).sum()).sqrt() * (n * n - (seen * seen).sum()).sqrt()
    found = (
        classes.with_columns(precision=_ratio(hits, said), recall=_ratio(hits, seen), f1=_ratio(2 * hits, seen + said))
        .group_by(keys)
        .agg(
            n=pl.col("seen").sum(),
            accuracy=hit / n,
            balanced_accuracy=recall.filter(seen > 0).mean(),
            macro_f1=f1.mean(),
            weighted_f1=(f1 * seen).sum() / n,
            macro_precision=precision.mean(),
            macro_recall=recall.mean(),
            mcc=_ratio(hit * n - by_chance, margins),
            cohen_kappa=_ratio(hit * n - by_chance, n * n - by_chance),
        )
    )
    every = rows.select(keys).unique(maintain_order=True)
    return every.join(found, on=keys, how="left", nulls_equal=True).with_columns(pl.col("n").fill_null(0))


def _by_class(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return per group and class: how often it was seen, said, and both at once; without classes that were neither."""
    names = rows.get_column("measure").unique()
    pairs = [(name, *pair) for name in names if (pair := read_confusion(name)) is not None]
    schema = {"measure": pl.String, "truth": pl.String, "answer": pl.String}
    counted = rows.join(pl.DataFrame(pairs, schema=schema, orient="row"), on="measure")
    is_hit = (pl.col("truth") == pl.col("answer")) & (pl.col("bin") == 0)
    none, amount = pl.lit(0, dtype=pl.Int64), pl.col("amount")
    by_truth = counted.select(
        *keys, pl.col("truth").alias("class"), amount.alias("seen"), none.alias("said"), _where(is_hit).alias("hits")
    )
    by_answer = counted.select(
        *keys, pl.col("answer").alias("class"), none.alias("seen"), amount.alias("said"), none.alias("hits")
    )
    sums = pl.concat([by_truth, by_answer]).group_by(*keys, "class").agg(pl.col("seen", "said", "hits").sum())
    return sums.filter((pl.col("seen") > 0) | (pl.col("said") > 0)).sort("class")


def _where(condition: pl.Expr) -> pl.Expr:
    return pl.when(condition).then("amount").otherwise(0)


def _ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return pl.when(below > 0).then(above / below).otherwise(0.0)
