"""Shift of one model version's features, output and labels, with labels judged separately.

Labels come later than the other inputs of their day. Judged together, they would change the verdicts on those.
"""

from collections.abc import Sequence

import polars as pl

from monitor.cells.histogram import Histogram
from monitor.cells.inputs import LABEL
from monitor.drift.shift import ShiftMemory, judge_shift

__all__ = ["InputShift"]


class InputShift:
    """Judges each day of one version once; a new instance gives the same verdicts."""

    def __init__(self) -> None:
        self._inputs, self._labels = ShiftMemory(), ShiftMemory()

    def for_restated_cells(self) -> "InputShift":
        """Return a copy that keeps the verdicts on inputs and judges all labels again, as restated cells need it."""
        other = InputShift()
        other._inputs = self._inputs
        return other

    def judge(self, counts: pl.DataFrame, histograms: Sequence[Histogram]) -> pl.DataFrame:
        """Return the verdicts on every day so far.

        Args:
            counts: as `monitor.cells.inputs.input_counts` returns them.
            histograms: as `monitor.cells.inputs.input_histograms` returns them, the same every time.

        Returns:
            Rows of `monitor.drift.shift.SHIFT_SCHEMA`.
        """
        parts = []
        for is_label, memory in ((False, self._inputs), (True, self._labels)):
            group = [histogram for histogram in histograms if (histogram.name == LABEL) is is_label]
            own = counts.filter((pl.col("input") == LABEL) == is_label)
            parts.append(judge_shift(own, group, memory))
        return pl.concat(parts)
