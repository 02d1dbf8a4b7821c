"""The distribution of label age, estimated from panes of which some are too young to have all their labels."""

import numpy as np
import numpy.typing as npt

__all__ = ["kaplan_meier"]


def kaplan_meier(
    labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64], reached: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return the share of predictions that have a label by each age: one minus the Kaplan-Meier curve.

    F(a) = 1 - prod over i <= a of (1 - d_i / n_i), where of the panes that have reached age edge i, d_i is the number
    of labels first known in that age bin, and n_i the predictions without a label before it. A pane is censored at the
    greatest edge that it has reached. Source: Kaplan and Meier (1958).

    Args:
        labels: shape (panes, ages): labels by the age edge at which they were first known.
        predictions: shape (panes,): eligible predictions.
        reached: shape (panes, ages): whether all predictions of a pane have reached the age.

    Returns:
        Shares from 0 to 1, increasing, shape (ages,); NaN where no pane with predictions has reached the age.

    >>> labels, predictions = np.array([[1, 1], [2, 0]]), np.array([4, 4])
    >>> kaplan_meier(labels, predictions, np.array([[True, True], [True, False]]))
    array([0.375     , 0.58333333])
    """
    before = np.cumsum(labels, axis=1) - labels
    at_risk = np.where(reached, predictions[:, np.newaxis] - before, 0).sum(axis=0)
    events = np.where(reached, labels, 0).sum(axis=0)
    survival = np.divide(at_risk - events, at_risk, out=np.ones(labels.shape[1]), where=at_risk > 0)
    shares: npt.NDArray[np.float64] = 1 - np.cumprod(survival)
    shares[~(reached & (predictions > 0)[:, np.newaxis]).any(axis=0)] = np.nan
    return shares
