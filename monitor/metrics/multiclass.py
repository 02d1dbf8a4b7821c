"""Multiclass metrics from counts of each class as truth, as prediction, and as both."""

import polars as pl

from monitor.cells.class_name import HITS, OTHER, PREDICTED, TRUE

__all__ = ["multiclass_values"]


def multiclass_values(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one column per metric, null where a group has no labelled rows.

    As in River and scikit-learn, averages are over the classes that occur as truth or prediction, balanced accuracy is
    over those that occur as truth, and a ratio with a denominator of zero is 0.0. Cohen's kappa is 0.0 where a single
    class occurs, as in River. MCC is Gorodkin's R_K (2004), as in scikit-learn. Where a group has a class that cells do
    not count separately (`monitor.cells.class_name.CLASSES_MAX`), only accuracy is known; the rest is null.

    Args:
        rows: cells of multiclass kinds as `read_measures` returns them, with the columns `keys`.
        keys: columns to group by.

    Returns:
        One row per group: `keys`, `n` and one column per metric.

    >>> counts = {"class_true late": 2, "class_true landed": 2, "class_predicted late": 1, "class_predicted landed": 3}
    >>> counts |= {"class_hit late": 1, "class_hit landed": 2}
    >>> from monitor.cells.measure import read_measures
    >>> cells = pl.DataFrame({"version": "v1", "measure": list(counts), "amount": list(counts.values())})
    >>> found = multiclass_values(read_measures(cells), ["version"])
    >>> found.select("n", "accuracy", "macro_precision", "cohen_kappa").row(0)
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
            has_other=(pl.col("class") == OTHER).any(),
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
    by_class = [name for name in found.columns if name not in (*keys, "n", "has_other", "accuracy")]
    known = found.with_columns(pl.when(~pl.col("has_other")).then(name).alias(name) for name in by_class)
    every = rows.select(keys).unique(maintain_order=True)
    return every.join(known.drop("has_other"), on=keys, how="left", nulls_equal=True).with_columns(
        pl.col("n").fill_null(0)
    )


def _by_class(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return by group and class how often it was true, predicted, and both at once (hits); without unused classes."""

    def total(name: str) -> pl.Expr:
        return pl.col("amount").filter(pl.col("name") == name).sum()

    counted = rows.filter(pl.col("name").is_in([TRUE, PREDICTED, HITS])).group_by(*keys, "class")
    sums = counted.agg(true=total(TRUE), predicted=total(PREDICTED), hits=total(HITS))
    return sums.filter((pl.col("true") > 0) | (pl.col("predicted") > 0)).sort("class")


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator > 0).then(numerator / denominator).otherwise(0.0)
