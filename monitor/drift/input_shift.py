"""Shift of what the model was given, said and was told, of one version. Labels are judged apart from the rest.

They come later than the other inputs of their day, and would change what was said of those. This module must not count.
"""

from collections.abc import Sequence

import polars as pl

from monitor.cells.histogram import Histogram
from monitor.cells.inputs import LABEL
from monitor.drift.shift import ShiftMemory, judge_shift

__all__ = ["InputShift"]


class InputShift:
    """Judges the days of one version, each once; a fresh one gives the same verdicts."""

    def __init__(self) -> None:
        self._inputs, self._labels = ShiftMemory(), ShiftMemory()

    def restated(self) -> "InputShift":
        """Return one that knows what this one does of inputs, and nothing of labels: those count otherwise now."""
        other = InputShift()
        other._inputs = self._inputs
        return other

    def judge(self, counts: pl.DataFrame, histograms: Sequence[Histogram]) -> pl.DataFrame:
        """Return the verdicts about every day so far.

        Args:
            counts: as `monitor.cells.inputs.input_counts` returns them.
            histograms: as `monitor.cells.inputs.input_histograms` returns them, the same every time.

        Returns:
            Rows of `monitor.drift.shift.SHIFT_SCHEMA`.
        """
        parts = []
        for is_label, memory in ((False, self._inputs), (True, self._labels)):
            group = [one for one in histograms if (one.name == LABEL) is is_label]
            own = counts.filter((pl.col("input") == LABEL) == is_label)
            parts.append(judge_shift(own, group, memory))
        return pl.concat(parts)
