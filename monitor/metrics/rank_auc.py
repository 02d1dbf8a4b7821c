"""The area under the curve of a stream of labels, with the methods of a River metric.

River's own has a grid of thresholds that is even in the probability, and loses nearly all resolution where positives
are rare.
"""

import numpy as np

from monitor.cells.rank_bin import ATOMS_MAX, bin_numbers, bin_starts, learn_grid, score_integers

__all__ = ["RankAUC"]


class RankAUC:
    """The area under the ROC curve over rank bins (`monitor.cells.rank_bin`): exact while distinct scores are few.

    >>> metric = RankAUC()
    >>> for label, score in [(False, 0.010), (True, 0.011), (False, 0.011), (True, 0.012)]:
    ...     metric.update(label, score)
    >>> metric.get()
    0.875
    """

    def __init__(self) -> None:
        self._weights: dict[int, list[float]] = {}
        self._starts: np.ndarray | None = None

    def update(self, y_true: bool, y_pred: float, w: float = 1.0) -> None:  # noqa: FBT001 - as in River
        """Add a label.

        Args:
            y_true: whether the class is 1.
            y_pred: probability of class 1.
            w: weight.
        """
        number = int(bin_numbers(score_integers(np.array([y_pred])), self._starts)[0])
        self._weights.setdefault(number, [0.0, 0.0])[y_true] += w
        if len(self._weights) > ATOMS_MAX and self._starts is None:
            self._move_into_grid()

    def revert(self, y_true: bool, y_pred: float, w: float = 1.0) -> None:  # noqa: FBT001 - as in River
        """Take a label out again."""
        self.update(y_true, y_pred, -w)

    def get(self) -> float:
        """Return the area; 0.0 while one class is absent."""
        below = concordant = positives = 0.0
        for negative, positive in (self._weights[number] for number in sorted(self._weights)):
            concordant += positive * (below + negative / 2)
            below += negative
            positives += positive
        pairs = below * positives
        return concordant / pairs if pairs > 0 else 0.0

    def _move_into_grid(self) -> None:
        atoms = np.array(sorted(self._weights), dtype=np.int64)
        integers, _ = bin_starts(atoms)
        weights = np.array([sum(self._weights[int(number)]) for number in atoms])
        self._starts = learn_grid(integers, weights, 0.0).fine
        moved: dict[int, list[float]] = {}
        for atom, number in zip(atoms, bin_numbers(integers, self._starts), strict=True):
            sums = moved.setdefault(int(number), [0.0, 0.0])
            for label, weight in enumerate(self._weights[int(atom)]):
                sums[label] += weight
        self._weights = moved
