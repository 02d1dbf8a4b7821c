"""Shift of one model version's features, output and labels, with labels judged separately.

Labels come later than the other inputs of their day. Judged together, they would change the verdicts on those.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from monitor.cells.histogram import Histogram
from monitor.cells.inputs import LABEL
from monitor.drift.shift import judge_shift, shift_windows
from schemas.events.memory import ShiftWindow

__all__ = ["judge_inputs"]


def judge_inputs(
    counts: pl.DataFrame,
    histograms: Sequence[Histogram],
    before: Sequence[ShiftWindow] = (),
    after: tuple[date, date] = (date.min, date.min),
) -> list[ShiftWindow]:
    """Return the new windows of every input, in order.

    Args:
        counts: as `monitor.cells.inputs.input_counts` returns them.
        histograms: as `monitor.cells.inputs.input_histograms` returns them.
        before: the windows that are known, of the last year at least.
        after: the day up to which inputs were judged, and that of labels.
    """
    found: list[ShiftWindow] = []
    for is_label, until in zip((False, True), after, strict=True):
        group = [histogram for histogram in histograms if (histogram.name == LABEL) is is_label]
        own = counts.filter((pl.col("input") == LABEL) == is_label)
        known = [window for window in before if (window.input == LABEL) is is_label]
        found += shift_windows(judge_shift(own, group, known, until))
    return sorted(found, key=lambda one: (one.day, one.input))
