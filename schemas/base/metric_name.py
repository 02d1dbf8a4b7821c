"""The names of metrics by task, as River has them, and which are shown when the config names none.

This module must not compute anything.
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
"""Shown for a binary kind when the config names none, where both classes are common."""

RARE_METRICS: tuple[Metric, ...] = ("roc_auc", "log_loss", "precision", "recall", "brier")
"""The same where one class is rare: always saying "no" would score well in accuracy."""

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
"""What each task has; also, but for binary kinds, what is shown when the config names none, in this order."""
