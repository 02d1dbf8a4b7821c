"""Prior of the nowcast: P(label is 1) by hour of the day and score bin, learned from mature days.

Waiting rows and label delays play no part here; see `em` and `delay`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Prior", "learn_prior", "logit", "sigmoid"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_LABELS_LEAST = 100
_RIDGE = 10.0
_BIN_LABELS = 100.0
_PANE_SD = 0.3
_SHARE_LEAST = 1e-6
_ITERATIONS = 50
_TOLERANCE = 1e-9
_STEP_MOST = 1.0


@dataclass(frozen=True, slots=True)
class Prior:
    """P(label is 1) on mature days.

    Attributes:
        share: P(label is 1) by pane and score bin, strictly between 0 and 1, shape (panes, bins).
        labels: number of labels it was learned from.
    """

    share: Floats
    labels: int


def learn_prior(ones: Counts, zeros: Counts, scores: Floats) -> Prior | None:
    """Learn the prior from the labels of mature days; None with fewer than 100 labels, or with a single class.

    Scores are recalibrated by a straight line in the logit (Platt 1999), shrunk towards the identity with the weight
    of ten labels. Each bin is shrunk towards that line with the weight of a hundred labels. Each pane is then shifted
    by its own labels, with a normal prior of standard deviation 0.3 on the shift.

    Args:
        ones: labels of class 1, summed over mature days, shape (panes, bins).
        zeros: labels of class 0, same shape.
        scores: mean score of each bin, shape (bins,).

    >>> prior = learn_prior(np.array([[100, 300]]), np.array([[300, 100]]), np.array([0.2, 0.8]))
    >>> prior.share.round(2).tolist()
    [[0.25, 0.75]]
    """
    total = ones + zeros
    if total.sum() < _LABELS_LEAST or not ones.sum() or not zeros.sum():
        return None
    by_bin = total.sum(axis=0)
    line = _recalibrated(ones.sum(axis=0), by_bin, scores)
    bins = logit((ones.sum(axis=0) + _BIN_LABELS * line) / (by_bin + _BIN_LABELS))
    shift = np.zeros(len(ones))
    for _ in range(_ITERATIONS):
        share = sigmoid(bins + shift[:, None])
        gradient = (ones - total * share).sum(axis=1) - shift / _PANE_SD**2
        step = gradient / ((total * share * (1 - share)).sum(axis=1) + 1 / _PANE_SD**2)
        shift = shift + np.clip(step, -_STEP_MOST, _STEP_MOST)
        if np.abs(step).max() < _TOLERANCE:
            break
    share = np.clip(sigmoid(bins + shift[:, None]), _SHARE_LEAST, 1 - _SHARE_LEAST)
    return Prior(share, int(total.sum()))


def _recalibrated(ones: Counts, total: Counts, scores: Floats) -> Floats:
    """Return the scores recalibrated by a straight line in the logit."""
    design = np.stack([np.ones(len(scores)), logit(scores)])
    line = np.array([0.0, 1.0])
    ridge = np.diag([_RIDGE * 1e-6, _RIDGE])
    for _ in range(_ITERATIONS):
        share = sigmoid(line @ design)
        gradient = design @ (ones - total * share) - ridge @ (line - [0.0, 1.0])
        step = np.linalg.solve((design * (total * share * (1 - share))) @ design.T + ridge, gradient)
        line = line + np.clip(step, -_STEP_MOST, _STEP_MOST)
        if np.abs(step).max() < _TOLERANCE:
            break
    return np.clip(sigmoid(line @ design), _SHARE_LEAST, 1 - _SHARE_LEAST)


def logit(share: Floats) -> Floats:
    """Return ln(p / (1 - p)) for p strictly between 0 and 1.

    >>> logit(np.array([0.5, 0.75])).round(2).tolist()
    [0.0, 1.1]
    """
    odds: Floats = np.log(share) - np.log1p(-share)
    return odds


def sigmoid(logits: Floats) -> Floats:
    """Return the probability of each logit: 1 / (1 + exp(-x)).

    >>> sigmoid(np.array([0.0, 1.1])).round(2).tolist()
    [0.5, 0.75]
    """
    share: Floats = 1 / (1 + np.exp(-logits))
    return share
