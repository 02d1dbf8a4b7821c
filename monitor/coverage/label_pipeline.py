"""Do labels still come as they always did? The panes of all versions together, for the alert of coverage.

This module must not judge: `monitor.coverage.alert` does.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from monitor.cells.pane import Panes
from monitor.coverage.alert import AlertPanes, CoverageAlert, judge_panes

__all__ = ["COVERAGE_DAYS", "label_pipeline"]

COVERAGE_DAYS = 42
"""What the alert looks back on: four weeks of history, and what is judged."""


def label_pipeline(parts: Sequence[Panes], days: tuple[date, date], at_ms: int) -> CoverageAlert:
    """Return whether labels come as they always did, as it could be told at a time.

    All versions together: one label is true for each of them, and a new version has no history of its own.

    Args:
        parts: panes of the same kind, one for each version.
        days: the first and the last cohort day to look at.
        at_ms: the time up to which labels have certainly been read.
    """
    predictions: dict[int, int] = {}
    labels: dict[int, npt.NDArray[np.int64]] = {}
    for one in parts:
        chosen = [place for place, day in enumerate(one.days) if days[0] <= day <= days[1]]
        if not chosen:
            continue
        span = slice(chosen[0], chosen[-1] + 1)
        ends = one.end_ms[span].ravel().tolist()
        made = one.predictions[span].ravel()
        known = one.labels[span].reshape(len(ends), -1).cumsum(axis=-1)
        # the 25th pane of a day of 24 hours is empty, and ends with the first one of the next day
        for end, count, by_age in zip(ends, made.tolist(), known, strict=True):
            predictions[end] = predictions.get(end, 0) + count
            labels[end] = by_age if end not in labels else labels[end] + by_age
    if not predictions:
        return CoverageAlert("no_predictions", None, None, 0, 0, (), None)
    order = sorted(predictions)
    return judge_panes(
        AlertPanes(
            np.asarray([predictions[end] for end in order], dtype=np.int64),
            np.stack([labels[end] for end in order]),
            np.asarray(order, dtype=np.int64),
            np.asarray(parts[0].kind.age_edges_ms, dtype=np.int64),
        ),
        at_ms,
    )
