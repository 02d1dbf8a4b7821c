"""Multiclass metrics from counts of pairs of true and predicted class."""

import polars as pl

from monitor.cells.class_name import read_confusion

__all__ = ["multiclass_values"]


def multiclass_values(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one column per metric, null where a group has no labelled rows.

    As in River and scikit-learn, averages are over the classes that occur as truth or prediction, balanced accuracy is
    over those that occur as truth, and a ratio with a denominator of zero is 0.0. Cohen's kappa is 0.0 where a single
    class occurs, as in River. MCC is Gorodkin's R_K (2004), as in scikit-learn. Classes beyond the first fifty are
    pooled as one, but two different ones are no hit.

    Args:
        rows: cells of multiclass kinds as `read_measures` returns them, with the columns `keys`.
        keys: columns to group by.

    Returns:
        One row per group: `keys`, `n` and one column per metric.

    >>> measures = ['confusion ["late","late"]', 'confusion ["late","landed"]', 'confusion ["landed","landed"]']
    >>> from monitor.cells.measure import read_measures
    >>> cells = read_measures(pl.DataFrame({"version": "v1", "measure": measures, "bin": 0, "amount": [1, 1, 2]}))
    >>> multiclass_values(cells, ["version"]).select("n", "accuracy", "macro_precision", "cohen_kappa").row(0)
    (4, 0.75, 0.8333333333333333, 0.5)
    """
    classes = _by_class(rows, keys)
    hits, true, predicted = (pl.col(name).cast(pl.Float64) for name in ("hits", "true", "predicted"))
    precision, recall, f1 = (pl.col(name) for name in ("precision", "recall", "f1"))
    n, hit = true.sum(), hits.sum()
    by_chance = (true * predicted).sum()
    margins = (n * n - (predicted * predicted).sum()).sqrt() * (n * n - (true * true).sum()).sqrt()
    found = (
        classes.with_columns(
            precision=_ratio(hits, predicted), recall=_ratio(hits, true), f1=_ratio(2 * hits, true + predicted)
        )
        .group_by(keys)
        .agg(
            n=pl.col("true").sum(),
            accuracy=hit / n,
            balanced_accuracy=recall.filter(true > 0).mean(),
            macro_f1=f1.mean(),
            weighted_f1=(f1 * true).sum() / n,
            macro_precision=precision.mean(),
            macro_recall=recall.mean(),
            mcc=_ratio(hit * n - by_chance, margins),
            cohen_kappa=_ratio(hit * n - by_chance, n * n - by_chance),
        )
    )
    every = rows.select(keys).unique(maintain_order=True)
    return every.join(found, on=keys, how="left", nulls_equal=True).with_columns(pl.col("n").fill_null(0))


def _by_class(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return by group and class how often it was true, predicted, and both at once (hits); without unused classes."""
    names = rows.get_column("measure").unique()
    pairs = [(name, *pair) for name in names if (pair := read_confusion(name)) is not None]
    schema = {"measure": pl.String, "truth": pl.String, "prediction": pl.String}
    counted = rows.join(pl.DataFrame(pairs, schema=schema, orient="row"), on="measure")
    is_hit = (pl.col("truth") == pl.col("prediction")) & (pl.col("bin") == 0)
    zero, amount = pl.lit(0, dtype=pl.Int64), pl.col("amount")
    hits = pl.when(is_hit).then(amount).otherwise(0)
    by_truth = counted.select(*keys, pl.col("truth").alias("class"), true=amount, predicted=zero, hits=hits)
    by_prediction = counted.select(*keys, pl.col("prediction").alias("class"), true=zero, predicted=amount, hits=zero)
    sums = pl.concat([by_truth, by_prediction]).group_by(*keys, "class").agg(pl.col("true", "predicted", "hits").sum())
    return sums.filter((pl.col("true") > 0) | (pl.col("predicted") > 0)).sort("class")


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator > 0).then(numerator / denominator).otherwise(0.0)
