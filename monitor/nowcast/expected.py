"""Metrics of a binary kind from counts per score bin, whole or expected, and how far they can still move.

The values are those of `metric.metrics` for the same bins. This module must not know where its counts
come from: labels that are there, or labels that are expected.
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
    """Sums over rows.

    Attributes:
        log_loss: of -log(score of the class that came).
        brier: of (score - label)^2.
    """

    log_loss: float
    brier: float

    def plus(self, other: "Losses") -> "Losses":
        """Return the sums over the rows of both."""
        return Losses(self.log_loss + other.log_loss, self.brier + other.brier)


def expected_metrics(ones: Floats, zeros: Floats, positive_from: int, losses: Losses) -> Mapping[str, float | None]:
    """Return `EXPECTED_METRICS` by name.

    All are null without rows, `roc_auc` also while one class is absent. A ratio with nothing below the
    line is 0.0, as River has it. Scores of one bin count as equal.

    Args:
        ones: rows of class 1 by score bin, shape (bins,); expected ones need not be whole.
        zeros: the same of class 0.
        positive_from: the first bin that counts as predicted positive.
        losses: sums over the same rows.
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
            right = float(ones @ (2 * (np.cumsum(zeros) - zeros) + zeros))
            values["roc_auc"] = right / (2 * positives * negatives)
    return MappingProxyType(values)


def hard_bounds(
    ones: Floats, zeros: Floats, waiting: Counts, positive_from: int
) -> Mapping[str, tuple[float, float] | None]:
    """Return the least and the greatest final value, whatever the waiting rows turn out to be (Manski 1989).

    They hold for any mix of classes among them, and if any of them never get a label. Null for the losses
    and the area under the curve, where the extremes are not simple, and for all metrics without rows.

    Args:
        ones: labelled rows of class 1 by score bin, shape (bins,).
        zeros: the same of class 0.
        waiting: rows that may still get a label, by score bin.
        positive_from: the first bin that counts as predicted positive.
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


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else 0.0
