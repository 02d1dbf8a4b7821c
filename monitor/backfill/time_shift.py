"""How far the times of labels have moved that tell known ones again, and the sentence about it."""

import re

import polars as pl

from schemas.base.duration import format_duration
from schemas.events.backfill_diff import TimeShift

__all__ = ["shift_text", "time_shift"]

_PARTS = re.compile(r"(\d+)([a-z]+)")


def time_shift(told_again: pl.DataFrame) -> TimeShift | None:
    """Return the shift of some labels; None without labels.

    Args:
        told_again: of each label shift_ms, its time minus that of the label that it tells again, and is_same, whether
            both have the same value.

    >>> told = pl.DataFrame({"shift_ms": [18_000_000, 18_000_000, 7_200_000], "is_same": [True, True, False]})
    >>> found = time_shift(told)
    >>> found.median_ms, found.at_median, found.same_value
    (18000000, 2, 2)
    """
    if told_again.is_empty():
        return None
    shifts = told_again.get_column("shift_ms").sort()
    median_ms = int(shifts[(len(shifts) - 1) // 2])
    return TimeShift(
        labels=len(shifts),
        same_value=int(told_again.get_column("is_same").sum()),
        median_ms=median_ms,
        at_median=int((shifts == median_ms).sum()),
        least_ms=int(shifts[0]),
        greatest_ms=int(shifts[-1]),
    )


def shift_text(shift: TimeShift) -> str:
    """Return a shift in words: where all labels have moved alike, by how much.

    >>> same = TimeShift(labels=3, same_value=2, median_ms=-18_000_000, at_median=3, least_ms=-18_000_000,
    ...     greatest_ms=-18_000_000)
    >>> shift_text(same)
    'all 5 h earlier; 1 of 3 with another value'
    >>> shift_text(same.model_copy(update={"at_median": 2, "greatest_ms": 60_000, "same_value": 3}))
    '2 of 3 are 5 h earlier, the others between 5 h earlier and 1 m later; all with the same value'
    """
    moved = _moved(shift.median_ms)
    if shift.at_median == shift.labels:
        text = f"all {moved}"
    else:
        spread = f"between {_moved(shift.least_ms)} and {_moved(shift.greatest_ms)}"
        text = f"{shift.at_median:,} of {shift.labels:,} are {moved}, the others {spread}"
    others = shift.labels - shift.same_value
    return f"{text}; " + (f"{others:,} of {shift.labels:,} with another value" if others else "all with the same value")


def _moved(shift_ms: int) -> str:
    apart = _PARTS.sub(r"\1 \2 ", format_duration(abs(shift_ms))).rstrip()
    return f"{apart} {'earlier' if shift_ms < 0 else 'later'}"
