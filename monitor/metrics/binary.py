"""Binary metrics from counts by score bin and class, and from summed losses."""

import polars as pl

from monitor.cells.measure import sums_by

__all__ = ["binary_values"]


def binary_values(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one column per metric, null where a group has no labelled rows.

    A ratio with a denominator of zero is 0.0, as in River.

    Args:
        rows: cells of binary kinds as `read_measures` returns them, or their weights (`monitor.metrics.weights`), with
            the columns `keys`, and `positive_from`, the first positive rank bin.
        keys: columns to group by.

    Returns:
        One row per group: `keys`, `n`, one column per metric, and `bound`, the greatest error of `roc_auc`.

    >>> low, high = 2, 7  # an interval, whose scores may be in any order, and a single score
    >>> measures = {"measure": ["score_0", "score_1", "score_1"], "bin": [low, high, low], "amount": [4, 3, 1]}
    >>> from monitor.cells.measure import read_measures
    >>> cells = read_measures(pl.DataFrame({"version": "v1", **measures, "positive_from": 5}))
    >>> binary_values(cells, ["version"]).select("n", "accuracy", "precision", "recall", "roc_auc", "bound").row(0)
    (8, 0.875, 1.0, 0.75, 0.875, 0.125)
    """
    groups = _counts(rows, keys)
    for sums in (_ordered_pairs(rows, keys), sums_by(rows, keys, ["log_loss", "brier"])):
        groups = groups.join(sums, on=keys, how="left", nulls_equal=True)
    tp, fn, fp, tn = (pl.col(name).cast(pl.Float64) for name in ("tp", "fn", "fp", "tn"))
    n, positives, negatives = tp + fn + fp + tn, tp + fn, fp + tn
    classes_seen = (positives > 0).cast(pl.Float64) + (negatives > 0).cast(pl.Float64)
    margins = (tp + fp).sqrt() * positives.sqrt() * negatives.sqrt() * (tn + fn).sqrt()
    values = {
        "accuracy": (tp + tn) / n,
        "balanced_accuracy": (_ratio(tp, positives) + _ratio(tn, negatives)) / classes_seen,
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, positives),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, margins),
        "log_loss": pl.col("log_loss").fill_null(0.0) / n,
        "brier": pl.col("brier").fill_null(0.0) / n,
        "roc_auc": pl.when(positives > 0, negatives > 0).then(pl.col("concordant") / (2 * positives * negatives)),
    }
    bound = pl.when(positives > 0, negatives > 0).then(pl.col("unsure") / (2 * positives * negatives))
    return groups.select(
        *keys,
        n.cast(pl.Int64).alias("n"),
        bound.alias("bound"),
        *(pl.when(n > 0).then(value).alias(name) for name, value in values.items()),
    )


def _counts(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return by group the confusion matrix at the threshold."""

    def total(measure: str, *where: pl.Expr) -> pl.Expr:
        return pl.col("amount").filter(pl.col("name") == measure, *where).sum()

    positive = pl.col("bin") >= pl.col("positive_from")
    return rows.group_by(keys).agg(
        tp=total("score_1", positive),
        fn=total("score_1", ~positive),
        fp=total("score_0", positive),
        tn=total("score_0", ~positive),
    )


def _ordered_pairs(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return by group twice the concordant (positive, negative) pairs, and twice those that may be wrong in it.

    A pair of one bin counts as half concordant. In an interval it may really be concordant or not; with a single score
    it is a tie. Where versions with different grids are pooled, an interval may contain other bins; such a pair counts
    by the middles of its bins, and may be the other way round.
    """
    number = pl.Int128 if rows.schema["amount"].is_integer() else pl.Float64
    classes = {
        name: pl.col("amount").filter(pl.col("name") == measure).sum().cast(number)
        for name, measure in (("negatives", "score_0"), ("positives", "score_1"))
    }
    bins = rows.filter(pl.col("name").is_in(["score_0", "score_1"])).group_by(*keys, "bin").agg(**classes)
    below = pl.col("negatives").cum_sum().over(keys, order_by="bin") - pl.col("negatives")
    same = pl.col("positives") * pl.col("negatives")
    is_interval = pl.col("bin") % 2 == 0
    pairs = bins.with_columns(
        concordant=2 * pl.col("positives") * below + same, unsure=pl.when(is_interval).then(same).otherwise(0)
    )
    found = pairs.group_by(keys).agg(pl.col("concordant", "unsure").sum().cast(pl.Float64))
    if "version" in keys:
        return found  # the bins of one grid do not overlap
    nested = _nested_pairs(bins, keys)
    return found.join(nested, on=keys, how="left", nulls_equal=True).with_columns(
        unsure=pl.col("unsure") + 2 * pl.col("nested").fill_null(0.0)
    )


def _nested_pairs(bins: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return by group the pairs of which one bin is an interval that contains the other."""
    size = pl.col("bin") & -pl.col("bin")
    sized = bins.with_columns(size=size)
    parts = [bins.clear().select(*keys, nested=pl.lit(0, dtype=bins.schema["positives"]))]
    for size_ in sized.filter(pl.col("size") > 1).get_column("size").unique().sort():
        outer = sized.filter(pl.col("size") == size_)
        inner = sized.filter(pl.col("size") < size_).with_columns(
            bin=pl.col("bin") // (2 * size_) * (2 * size_) + size_
        )
        found = outer.join(inner, on=[*keys, "bin"], nulls_equal=True, suffix="_inner")
        nested = pl.col("positives") * pl.col("negatives_inner") + pl.col("negatives") * pl.col("positives_inner")
        parts.append(found.select(*keys, nested=nested))
    return pl.concat(parts).group_by(keys).agg(pl.col("nested").sum().cast(pl.Float64))


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator > 0).then(numerator / denominator).otherwise(0.0)
