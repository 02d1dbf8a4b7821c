"""The prior: what a score meant on mature days, before a young day has said anything about itself.

This module must not look at waiting rows or at delays.
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
    """What the mature past says about each hour of the day and score bin.

    Attributes:
        share: P(label is 1) of a row in each pane and bin, strictly between 0 and 1, shape (panes, bins).
        labels: number of labels it was learned from.
    """

    share: Floats
    labels: int


def learn_prior(ones: Counts, zeros: Counts, scores: Floats) -> Prior | None:
    """Return what the labels of mature days say about each pane and score bin, or None where they are too few.

    The scores are recalibrated by a straight line in the logit (Platt 1999), which leans on the identity as
    if ten labels spoke for it; each bin leans on the line as if it had a hundred labels more; and each pane
    is shifted by what its own labels say beyond that, which is normal with a standard deviation of 0.3.

    Args:
        ones: labels of class 1, summed over mature days, shape (panes, bins).
        zeros: the same of class 0.
        scores: mean score of each bin, shape (bins,).
    """
    total = ones + zeros
    if total.sum() < _LABELS_LEAST or not ones.sum() or not zeros.sum():
        return None
    by_bin = total.sum(axis=0)
    line = _line(ones.sum(axis=0), by_bin, scores)
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


def _line(ones: Counts, total: Counts, scores: Floats) -> Floats:
    """Return the recalibrated scores."""
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
    """Return ln(p / (1 - p)) for p strictly between 0 and 1."""
    odds: Floats = np.log(share) - np.log1p(-share)
    return odds


def sigmoid(logits: Floats) -> Floats:
    """Return the share whose logit is given."""
    share: Floats = 1 / (1 + np.exp(-logits))
    return share
