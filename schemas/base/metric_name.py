"""Names of metrics by task, as in River, and the defaults that are shown if the config names none.

`monitor.metrics` computes them.
"""

from typing import Literal

__all__ = [
    "BINARY_METRICS",
    "COMMON_METRICS",
    "METRICS",
    "MULTICLASS_METRICS",
    "RARE_METRICS",
    "REGRESSION_METRICS",
    "Metric",
    "Task",
    "is_by_weight",
    "plain_name",
    "weighted_name",
]

Task = Literal["binary", "multiclass", "regression"]

Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "brier",
    "cohen_kappa",
    "f1",
    "log_loss",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "mae",
    "mcc",
    "mse",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "weighted_f1",
]

BINARY_METRICS: tuple[Metric, ...] = (
    "accuracy",
    "balanced_accuracy",
    "brier",
    "f1",
    "log_loss",
    "mcc",
    "precision",
    "recall",
    "roc_auc",
)
COMMON_METRICS: tuple[Metric, ...] = ("accuracy", "f1", "roc_auc", "log_loss", "brier")
"""Default of a binary kind whose classes are both common."""

RARE_METRICS: tuple[Metric, ...] = ("roc_auc", "log_loss", "precision", "recall", "brier")
"""Default of a binary kind with a rare class, where always predicting the other one has a high accuracy."""

MULTICLASS_METRICS: tuple[Metric, ...] = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "weighted_f1",
    "macro_precision",
    "macro_recall",
    "mcc",
    "cohen_kappa",
)
REGRESSION_METRICS: tuple[Metric, ...] = ("mae", "rmse", "mse", "r2")

METRICS: dict[Task, tuple[Metric, ...]] = {
    "binary": BINARY_METRICS,
    "multiclass": MULTICLASS_METRICS,
    "regression": REGRESSION_METRICS,
}
"""Metrics of each task. Except for binary kinds they are also the defaults, in this order."""

_BY_WEIGHT = " (by weight)"


def weighted_name(metric: str) -> str:
    """Return the name of a metric in which each prediction counts by its weight.

    >>> weighted_name("accuracy")
    'accuracy (by weight)'
    """
    return metric + _BY_WEIGHT


def is_by_weight(name: str) -> bool:
    """Return whether a name is one of `weighted_name`."""
    return name.endswith(_BY_WEIGHT)


def plain_name(name: str) -> str:
    """Return the metric's name without the weight.

    >>> plain_name("accuracy (by weight)"), plain_name("weighted_f1")
    ('accuracy', 'weighted_f1')
    """
    return name.removesuffix(_BY_WEIGHT)
