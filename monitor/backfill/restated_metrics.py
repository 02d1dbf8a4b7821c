"""Metrics and label delays before and after an episode, and the drop of accuracy that random flips would explain."""

from typing import Any, Final

import polars as pl

from monitor.backfill.restatement import SIDES, Restatement
from monitor.cells.measure import read_measures
from monitor.metrics.binary import binary_values
from monitor.metrics.multiclass import multiclass_values
from monitor.metrics.regression import regression_values
from schemas.base.metric_name import METRICS, is_by_weight
from schemas.events.backfill_diff import DelayChange, MetricChange, RandomFlips, Scope

__all__ = ["delays_of", "expected_drop", "metrics_of", "random_flips_of"]

_CORE: Final = {
    "binary": ("accuracy", "roc_auc", "log_loss", "brier"),
    "multiclass": ("accuracy", "balanced_accuracy", "macro_f1"),
    "regression": METRICS["regression"],
}
"""Metrics that are always reported; those that the config lists follow."""
_VALUES: Final = {"binary": binary_values, "multiclass": multiclass_values, "regression": regression_values}
_SCOPES: Final[tuple[Scope, ...]] = ("touched", "paired", "cohorts")
_MEDIAN, _P95 = 50, 95


def metrics_of(restatement: Restatement) -> list[MetricChange]:
    """Return metrics before and after, by scope, equal to those of `monitor.metrics.table` for the same labels.

    `roc_auc` is computed from rank bins on both sides; its bound is the greater one of the two.
    """
    kind = restatement.kind
    counts = read_measures(restatement.counts.with_columns(positive_from=pl.lit(kind.positive_rank)))
    values = _VALUES[kind.task](counts, ["scope", "side"])
    found = {(row["scope"], row["side"]): row for row in values.iter_rows(named=True)}
    scopes = [scope for scope in _SCOPES if restatement.is_whole or scope == "touched"]
    names = dict.fromkeys([*_CORE[kind.task], *(name for name in kind.metrics if not is_by_weight(name))])
    return [
        _metric(scope, name, *(found.get((scope, side), {}) for side in SIDES)) for scope in scopes for name in names
    ]


def random_flips_of(restatement: Restatement, metrics: list[MetricChange], flips: int, both: int) -> RandomFlips | None:
    """Return the change of accuracy (regression: mean absolute error), and that of as many random flips.

    Where the cells of the cohorts are not known, the accuracy before is that of the episode's own predictions. The
    change is that of the cohorts in any case, as other predictions do not change.

    Args:
        metrics: those of `metrics_of`.
        flips: labels that change.
        both: labels of the cohorts touched that exist before and after.
    """
    name: Any = "mae" if restatement.kind.task == "regression" else "accuracy"
    scope: Scope = "paired" if restatement.is_whole else "touched"
    one = next(one for one in metrics if (one.scope, one.name) == (scope, name))
    if one.before is None or one.after is None or both <= 0:
        return None
    difference, share = one.after - one.before, flips / both
    if name == "mae":
        change = difference / one.before if one.before > 0 else float(one.after > 0)
        drop = 0.0
    else:
        change = difference if restatement.is_whole else difference * one.n_before / both
        drop = expected_drop(one.before, share, restatement.classes)
    return RandomFlips(
        metric=name,
        scope=scope,
        before=one.before,
        change=change,
        flip_share=share,
        classes=restatement.classes,
        expected_drop=drop,
    )


def expected_drop(accuracy: float, flip_share: float, classes: int) -> float:
    """Return by how much random flips lower an accuracy; below zero, they raise it.

    Let a share f of the labels flip, chosen at random, each to one of the other K - 1 classes at random. A prediction
    that was right (a of them) still is if its label stays: a (1 - f). One that was wrong becomes right if its label
    flips to the predicted class: (1 - a) f / (K - 1). The sum less a is -f (a - (1 - a) / (K - 1)), so that the drop
    is f (K a - 1) / (K - 1): with two classes (2 a - 1) f, which is 0.8 f where a is 0.9.

    Args:
        accuracy: a, before the flips, from 0 to 1.
        flip_share: f, from 0 to 1.
        classes: K, at least 2.

    Raises:
        ValueError: there are fewer than two classes.

    >>> round(expected_drop(0.9, 0.01, 2), 6)
    0.008
    """
    if classes < 2:  # noqa: PLR2004 - a label flips to another class
        raise ValueError(f"a label that flips needs at least two classes, not {classes}")
    return flip_share * (classes * accuracy - 1) / (classes - 1)


def delays_of(restatement: Restatement) -> DelayChange:
    """Return the ages by which half and 95 % of first labels are known, as upper edges of the plan's age grid."""
    scope = restatement.widest
    without, with_ = (_ages(restatement.of(scope, side)) for side in SIDES)
    return DelayChange(
        scope=scope,
        median_without_ms=without[0],
        p95_without_ms=without[1],
        median_with_ms=with_[0],
        p95_with_ms=with_[1],
    )


def _ages(counts: pl.DataFrame) -> tuple[int | None, int | None]:
    # where labels came again after a retraction, cells may count another age than the first; such edges have no labels
    labels = counts.filter(pl.col("measure") == "labels", pl.col("amount") > 0).sort("bin")
    if labels.is_empty():
        return None, None
    reached, total = pl.col("amount").cum_sum(), pl.col("amount").sum()
    median, p95 = (labels.filter(100 * reached >= per_cent * total).item(0, "bin") for per_cent in (_MEDIAN, _P95))
    return median, p95


def _metric(scope: Scope, name: str, before: dict[str, Any], after: dict[str, Any]) -> MetricChange:
    bounds = [bound for row in (before, after) if (bound := row.get("bound")) is not None]
    return MetricChange(
        scope=scope,
        name=name,
        before=before.get(name),
        after=after.get(name),
        n_before=before.get("n") or 0,
        n_after=after.get("n") or 0,
        bound=max(bounds) if bounds and name == "roc_auc" else None,
    )
