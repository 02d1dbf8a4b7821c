"""Errors of one day in event-time order, made from panes: the input of `monitor.drift.error`.

Panes do not keep the order of errors within an hour, so errors are spread evenly over it. The same cells give the same
rows, whatever order labels came in.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.pane import Panes

__all__ = ["ERROR_SCHEMA", "error_rows"]

ERROR_SCHEMA = pl.Schema({"predicted_at": pl.Datetime("us", "UTC"), "error": pl.Float64()})
_MICROSECONDS = 1_000


def error_rows(panes: Panes, index: int, age_ms: int | None) -> pl.DataFrame:
    """Return one row per labelled prediction of a day: its time, to the hour, and whether it was wrong.

    Args:
        panes: of a binary kind.
        index: of the day in `panes.days`.
        age_ms: labels as they were of record at this age, one of the kind's `evaluate_at_ms`; None: as they are now.

    Returns:
        Sorted rows of `ERROR_SCHEMA`; error is 0 or 1.
    """
    right, wrong = panes.errors[age_ms][index].T
    rows = right + wrong
    parts = [
        _spread(int(panes.start_ms[index, pane]), int(panes.end_ms[index, pane]), int(rows[pane]), int(wrong[pane]))
        for pane in np.flatnonzero(rows > 0)
    ]
    if not parts:
        return ERROR_SCHEMA.to_frame()
    times = np.concatenate([part[0] for part in parts])
    errors = np.concatenate([part[1] for part in parts])
    frame = pl.DataFrame({"predicted_at": times, "error": errors.astype(np.float64)})
    return frame.with_columns(pl.from_epoch("predicted_at", "us").dt.replace_time_zone("UTC")).cast(ERROR_SCHEMA)


def _spread(start_ms: int, end_ms: int, rows: int, wrong: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return times spread evenly over a pane, and errors (1, else 0) spread evenly among them."""
    number = np.arange(rows, dtype=np.int64)
    span_us = (end_ms - start_ms) * _MICROSECONDS
    times = start_ms * _MICROSECONDS + (number * span_us) // rows
    return times, (number + 1) * wrong // rows - number * wrong // rows
