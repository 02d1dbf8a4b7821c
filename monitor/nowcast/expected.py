"""Binary metrics from counts per score bin, observed or expected, and the hard bounds of their final values.

The values equal those of `monitor.metrics.table` for the same bins.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["EXPECTED_METRICS", "Losses", "expected_metrics", "hard_bounds"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

EXPECTED_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier", "prevalence")


class Losses(NamedTuple):
    """Losses summed over rows.

    Attributes:
        log_loss: sum of -log(score of the true class).
        brier: sum of (score - label)^2.
    """

    log_loss: float
    brier: float

    def plus(self, other: "Losses") -> "Losses":
        """Return the sums over the rows of both.

        >>> Losses(1.0, 0.5).plus(Losses(2.0, 0.25))
        Losses(log_loss=3.0, brier=0.75)
        """
        return Losses(self.log_loss + other.log_loss, self.brier + other.brier)


def expected_metrics(ones: Floats, zeros: Floats, positive_from: int, losses: Losses) -> Mapping[str, float | None]:
    """Return `EXPECTED_METRICS` by name.

    All are null without rows; `roc_auc` is also null while one class is absent. A ratio with a denominator of zero is
    0.0, as in River. Scores of one bin count as ties.

    Args:
        ones: rows of class 1 by score bin, shape (bins,); expected rows may be fractions.
        zeros: rows of class 0, same shape.
        positive_from: the first bin that counts as predicted positive.
        losses: sums over the same rows.

    >>> found = expected_metrics(np.array([1.0, 3.0]), np.array([4.0, 2.0]), 1, Losses(5.0, 2.0))
    >>> found["accuracy"], found["recall"], found["log_loss"]
    (0.7, 0.75, 0.5)
    """
    tp, fp = float(ones[positive_from:].sum()), float(zeros[positive_from:].sum())
    fn, tn = float(ones[:positive_from].sum()), float(zeros[:positive_from].sum())
    rows, positives, negatives = tp + fp + fn + tn, tp + fn, fp + tn
    values: dict[str, float | None] = dict.fromkeys(EXPECTED_METRICS)
    if rows > 0:
        values |= {
            "accuracy": (tp + tn) / rows,
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, positives),
            "f1": _ratio(2 * tp, 2 * tp + fp + fn),
            "log_loss": losses.log_loss / rows,
            "brier": losses.brier / rows,
            "prevalence": positives / rows,
        }
        if positives > 0 and negatives > 0:
            concordant = float(ones @ (2 * (np.cumsum(zeros) - zeros) + zeros))
            values["roc_auc"] = concordant / (2 * positives * negatives)
    return MappingProxyType(values)


def hard_bounds(
    ones: Floats, zeros: Floats, waiting: Counts, positive_from: int
) -> Mapping[str, tuple[float, float] | None]:
    """Return the least and the greatest possible final value of each metric (Manski 1989).

    The bounds hold for any mix of classes among the waiting rows, and if any of these never get a label. They are null
    for the losses and the area under the curve, whose extremes have no simple form, and for all metrics without rows.

    Args:
        ones: labelled rows of class 1 by score bin, shape (bins,).
        zeros: labelled rows of class 0, same shape.
        waiting: rows that may still get a label, by score bin.
        positive_from: the first bin that counts as predicted positive.

    >>> bounds = hard_bounds(np.array([1.0, 3.0]), np.array([4.0, 2.0]), np.array([5, 5]), 1)
    >>> bounds["accuracy"]
    (0.35, 0.85)
    """
    tp, fp = float(ones[positive_from:].sum()), float(zeros[positive_from:].sum())
    fn, tn = float(ones[:positive_from].sum()), float(zeros[:positive_from].sum())
    above, below = float(waiting[positive_from:].sum()), float(waiting[:positive_from].sum())
    rows, still = tp + fp + fn + tn + above + below, above + below
    bounds: dict[str, tuple[float, float] | None] = dict.fromkeys(EXPECTED_METRICS)
    if rows > 0:
        most_f1 = _ratio(2 * (tp + above), 2 * (tp + above) + fp + fn)
        bounds |= {
            "accuracy": ((tp + tn) / rows, (tp + tn + still) / rows),
            "precision": (_ratio(tp, tp + fp + above), _ratio(tp + above, tp + fp + above)),
            "recall": (_ratio(tp, tp + fn + below), _ratio(tp + above, tp + above + fn)),
            "f1": (_ratio(2 * tp, 2 * tp + fp + fn + still), most_f1),
            "prevalence": ((tp + fn) / rows, (tp + fn + still) / rows),
        }
    return MappingProxyType(bounds)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0
