"""Metrics of binary kinds from cells, under River's names, each with how far it can be trusted.

This module must not see rows of predictions or outcomes, and must not import River: it is what the tests
compare with.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from monitor.cell import LOSS_UNIT
from monitor.cohort import ALL, day_ends
from monitor.plan import CellPlan
from schemas.config import BINARY_METRICS, COMMON_METRICS, RARE_METRICS

__all__ = ["Dimension", "metrics"]

Dimension = Literal["version", "slice", "day", "month"]

_DIMENSIONS = ("version", "slice", "day", "month")
_AT_THRESHOLD = ("accuracy", "balanced_accuracy", "f1", "mcc", "precision", "recall")
_RARE_SHARE = 0.2
"""Below this share of the rarer class accuracy is left out: always saying "no" would reach 80 % of it."""


def metrics(
    cells: pl.DataFrame,
    plan: CellPlan,
    by: Dimension | Sequence[Dimension],
    mature_until_ms: Mapping[str, int | None],
) -> pl.DataFrame:
    """Return the metrics of every binary kind and definition, one row per group and metric.

    Which ones: those that the config lists for the kind, in its order; where it lists none, those that suit
    the share of the rarer class among all labels in `cells` (without any label: those for a rare class).

    Values are River's for the same rows (`n` of them), `roc_auc` apart. That includes what River says where
    a ratio has nothing below the line, as long as there are labels: precision is 0.0 where nothing was
    predicted positive, recall and F1 are 0.0 where nothing was positive, MCC is 0.0 where one class is all
    that was seen or predicted, balanced accuracy is the mean over the classes that were seen. River's 0.0
    for no rows at all is null here. Losses are exact to 2^-33 per row.

    `roc_auc` is computed from the score bins, where scores of one bin count as equal. The exact value of
    these rows lies within `value` plus or minus `bound`. It is null while one class is absent.

    Args:
        cells: merged cells.
        plan: the plan the cells were folded with.
        by: what to group by; what is not named is pooled, and without `slice` the slice of all is taken.
            With it there are rows of every slice, and those of all (`''`).
        mature_until_ms: per kind, the prediction time before which every outcome is final; None or left
            out: nothing is.

    Returns:
        Sorted rows of the `by` columns (`month` is its first day), kind, definition, name, value, bound
        (of `roc_auc`), n (labelled with an output), labelled, predictions (eligible), coverage (labelled /
        predictions, so far), status and threshold (of metrics that need a decision). Status is `no_data`
        where the value is null, `mature` where every day of the group is final, else `provisional`. Only
        the kind's own definition matures: no deadline closes the others.

    Raises:
        ValueError: `by` holds something else.
    """
    dimensions = (by,) if isinstance(by, str) else tuple(by)
    if unknown := set(dimensions) - set(_DIMENSIONS):
        raise ValueError(f"cannot group by {sorted(unknown)}; by is one or several of {', '.join(_DIMENSIONS)}")
    rows = _rows_of_binary_kinds(cells, plan, mature_until_ms)
    chosen = _chosen(rows, plan)
    if "slice" not in dimensions:
        rows = rows.filter(pl.col("slice") == ALL)
    groups = _with_values(_groups(rows, [*dimensions]), [*dimensions, "kind", "definition"])
    return _one_row_per_metric(groups, chosen, [*dimensions, "kind", "definition"])


def _rows_of_binary_kinds(
    cells: pl.DataFrame, plan: CellPlan, mature_until_ms: Mapping[str, int | None]
) -> pl.DataFrame:
    """Return the cells of binary kinds with month, positive_from, threshold, is_own and is_mature added."""
    kinds = pl.DataFrame(
        [
            (kind.name, kind.definition, kind.positive_from, kind.threshold, mature_until_ms.get(kind.name))
            for kind in plan.kinds
            if kind.task == "binary"
        ],
        schema={
            "kind": pl.String,
            "own": pl.String,
            "positive_from": pl.Int64,
            "threshold": pl.Float64,
            "mature_until_ms": pl.Int64,
        },
        orient="row",
    )
    rows = cells.join(kinds, on="kind").join(day_ends(cells.get_column("day"), plan.timezone), on="day")
    return rows.with_columns(
        month=pl.col("day").dt.month_start(),
        is_own=pl.col("definition") == pl.col("own"),
        is_mature=(pl.col("day_end_ms") <= pl.col("mature_until_ms")).fill_null(value=False),
    )


def _chosen(rows: pl.DataFrame, plan: CellPlan) -> pl.DataFrame:
    """Return kind, name and place of every metric to be shown."""
    of_all = rows.filter("is_own", pl.col("slice") == ALL)
    classes = {
        name: dict(of_all.filter(pl.col("measure") == name).group_by("kind").agg(pl.col("amount").sum()).iter_rows())
        for name in ("score_0", "score_1")
    }
    chosen: list[tuple[str, str, int]] = []
    for kind in plan.kinds:
        negatives, positives = classes["score_0"].get(kind.name, 0), classes["score_1"].get(kind.name, 0)
        common = min(negatives, positives) > 0 and min(negatives, positives) >= _RARE_SHARE * (negatives + positives)
        names = kind.metrics or (COMMON_METRICS if common else RARE_METRICS)
        chosen.extend((kind.name, name, place) for place, name in enumerate(names))
    return pl.DataFrame(chosen, schema={"kind": pl.String, "name": pl.String, "place": pl.Int64}, orient="row")


def _groups(rows: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Sum the cells of every group: the confusion matrix, losses, and how complete it is."""

    def total(measure: str, *where: pl.Expr) -> pl.Expr:
        return pl.col("amount").filter(pl.col("measure") == measure, *where).sum()

    def loss(measure: str) -> pl.Expr:
        amounts = pl.col("amount").filter(pl.col("measure") == measure)
        return amounts.cast(pl.Int128).sum().cast(pl.Float64) / LOSS_UNIT

    positive = pl.col("bin") >= pl.col("positive_from")
    groups = rows.group_by(*by, "kind", "definition").agg(
        tp=total("score_1", positive),
        fn=total("score_1", ~positive),
        fp=total("score_0", positive),
        tn=total("score_0", ~positive),
        log_loss_sum=loss("log_loss"),
        brier_sum=loss("brier"),
        labelled=total("labels"),
        is_mature=(pl.col("is_mature") & pl.col("is_own")).all(),
        threshold=pl.col("threshold").first(),
    )
    predictions = rows.group_by(*by, "kind").agg(predictions=total("predictions"))
    return groups.join(predictions, on=[*by, "kind"], nulls_equal=True).join(
        _ranked(rows, by), on=[*by, "kind", "definition"], how="left"
    )


def _ranked(rows: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Count per group the (positive, negative) pairs: twice those in right order, and those tied in a bin.

    A tied pair counts as half right, and may be right or wrong in truth: that is the bound.
    """
    keys = [*by, "kind", "definition"]
    classes = {
        name: pl.col("amount").filter(pl.col("measure") == measure).sum().cast(pl.Int128)
        for name, measure in (("negatives", "score_0"), ("positives", "score_1"))
    }
    bins = rows.filter(pl.col("measure").is_in(["score_0", "score_1"])).group_by(*keys, "bin").agg(**classes)
    below = pl.col("negatives").cum_sum().over(keys, order_by="bin") - pl.col("negatives")
    tied = pl.col("positives") * pl.col("negatives")
    return (
        bins.with_columns(tied=tied, right=2 * pl.col("positives") * below + tied)
        .group_by(keys)
        .agg(pl.col("right", "tied").sum().cast(pl.Float64))
    )


def _with_values(groups: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Add one column per metric, null where nothing is known."""
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
        "log_loss": pl.col("log_loss_sum") / n,
        "brier": pl.col("brier_sum") / n,
        "roc_auc": pl.when(positives > 0, negatives > 0).then(pl.col("right") / (2 * positives * negatives)),
    }
    return groups.select(
        *keys,
        "labelled",
        "predictions",
        "threshold",
        "is_mature",
        pl.when(pl.col("predictions") > 0).then(pl.col("labelled") / pl.col("predictions")).alias("coverage"),
        n.cast(pl.Int64).alias("n"),
        (pl.col("tied") / (2 * positives * negatives)).alias("bound"),
        *(pl.when(n > 0).then(value).alias(name) for name, value in values.items()),
    )


def _one_row_per_metric(groups: pl.DataFrame, chosen: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    rest = ["bound", "n", "labelled", "predictions", "coverage", "threshold", "is_mature"]
    long = groups.unpivot(on=BINARY_METRICS, index=[*keys, *rest], variable_name="name", value_name="value")
    trust = pl.when("is_mature").then(pl.lit("mature")).otherwise(pl.lit("provisional"))
    status = pl.when(pl.col("value").is_null()).then(pl.lit("no_data")).otherwise(trust)
    rows = long.join(chosen, on=["kind", "name"]).with_columns(
        status=status,
        bound=pl.when(pl.col("name") == "roc_auc", pl.col("value").is_not_null()).then("bound"),
        threshold=pl.when(pl.col("name").is_in(_AT_THRESHOLD)).then("threshold"),
    )
    columns = ["name", "value", "bound", "n", "labelled", "predictions", "coverage", "status", "threshold"]
    return rows.sort(*keys, "place").select(*keys, *columns)


def _ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return pl.when(below > 0).then(above / below).otherwise(0.0)
