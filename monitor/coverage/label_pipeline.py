"""Sums the panes of all versions for the alert on lost labels (`monitor.coverage.alert`)."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from monitor.cells.cohort import day_at
from monitor.cells.pane import Panes
from monitor.coverage.alert import CoverageAlert, CoveragePanes, judge_panes
from monitor.coverage.lookback import lookback_days
from monitor.coverage.source import LabelMemory

__all__ = ["first_day_of_alert", "label_pipeline"]


def first_day_of_alert(day: date, horizon_ms: int, memory: LabelMemory, timezone: str) -> date:
    """Return the first day that the alert reads at the end of a day.

    How far it looks back scales with the horizon. Labels of a source that a person has retired since are no history of
    what is usual now.

    >>> memory = LabelMemory(retired_ms={"desk": 0})
    >>> str(first_day_of_alert(date(1970, 1, 20), 3_600_000, memory, "UTC"))
    '1970-01-02'
    """
    first = day - timedelta(days=lookback_days(horizon_ms) - 1)
    retired = [day_at(at_ms, timezone) for at_ms in memory.retired_ms.values()]
    return max([first, *(one + timedelta(days=1) for one in retired)])


def label_pipeline(parts: Sequence[Panes], days: tuple[date, date], at_ms: int) -> CoverageAlert:
    """Return the state of the label pipeline as of a time, for all versions together.

    One label is true for every version, and a new version has no history of its own.

    Args:
        parts: panes of the same kind, one for each version.
        days: the first and the last cohort day to include.
        at_ms: the watermark of the labels.
    """
    predictions: dict[int, int] = {}
    labels: dict[int, npt.NDArray[np.int64]] = {}
    for panes in parts:
        chosen = [index for index, day in enumerate(panes.days) if days[0] <= day <= days[1]]
        if not chosen:
            continue
        span = slice(chosen[0], chosen[-1] + 1)
        ends = panes.end_ms[span].ravel().tolist()
        made = panes.predictions[span].ravel()
        known = panes.labels[span].reshape(len(ends), -1).cumsum(axis=-1)
        # the 25th pane of a day of 24 hours is empty, and ends with the first pane of the next day
        for end, count, by_age in zip(ends, made.tolist(), known, strict=True):
            predictions[end] = predictions.get(end, 0) + count
            labels[end] = by_age if end not in labels else labels[end] + by_age
    if not predictions:
        return CoverageAlert("no_predictions", None, None, 0, 0, (), None)
    order = sorted(predictions)
    return judge_panes(
        CoveragePanes(
            np.asarray([predictions[end] for end in order], dtype=np.int64),
            np.stack([labels[end] for end in order]),
            np.asarray(order, dtype=np.int64),
            np.asarray(parts[0].kind.age_edges_ms, dtype=np.int64),
        ),
        at_ms,
    )
