"""scikit-learn's metrics under the names of the product: the oracle of plain and of weighted metrics."""

from collections.abc import Callable
from typing import Any

from sklearn import metrics as sklearn

__all__ = ["SKLEARN"]


def _averaged(of: Any, average: str) -> Callable[..., float]:
    """Return a metric of scikit-learn with an average over classes."""
    return lambda truths, predicted, **options: of(truths, predicted, average=average, zero_division=0, **options)


SKLEARN: dict[str, dict[str, Callable[..., float]]] = {
    "binary": {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "f1": sklearn.f1_score,
        "mcc": sklearn.matthews_corrcoef,
        "precision": sklearn.precision_score,
        "recall": sklearn.recall_score,
    },
    "multiclass": {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "macro_f1": _averaged(sklearn.f1_score, "macro"),
        "weighted_f1": _averaged(sklearn.f1_score, "weighted"),
        "macro_precision": _averaged(sklearn.precision_score, "macro"),
        "macro_recall": _averaged(sklearn.recall_score, "macro"),
        "mcc": sklearn.matthews_corrcoef,
        "cohen_kappa": sklearn.cohen_kappa_score,
    },
    "regression": {
        "mae": sklearn.mean_absolute_error,
        "mse": sklearn.mean_squared_error,
        "rmse": sklearn.root_mean_squared_error,
        "r2": sklearn.r2_score,
    },
}
"""By task and metric: called with truths, predictions and, by weight, `sample_weight`."""
