"""When a drift of the error is over."""

from collections.abc import Sequence
from datetime import date, timedelta

from monitor.drift.error import Detection

__all__ = ["still_open"]

_RECOVERED = 0.5
"""A drift stays open until the error of a week has returned by this part of the change."""
_RECOVERY_DAYS = 7
_REFERENCE = timedelta(days=28)


def still_open(found: Detection | None, days: Sequence[tuple[date, float, int]]) -> Detection | None:
    """Return the drift, unless the error of a whole week after it is closer to the error before the drift.

    Args:
        found: the drift that was open before the last of the days.
        days: day, number of errors and of labels, oldest first.
    """
    recent = days[-_RECOVERY_DAYS:]
    if found is None or recent[0][0] <= found.day:
        return found
    before = _mean_error([one for one in days if found.since - _REFERENCE <= one[0] < found.since])
    now = _mean_error(recent)
    if before is None or now is None:
        return found
    return None if abs(now - before) < _RECOVERED * abs(found.change) else found


def _mean_error(days: Sequence[tuple[date, float, int]]) -> float | None:
    rows = sum(n for _, _, n in days)
    return sum(wrong for _, wrong, _ in days) / rows if rows else None
