"""When a drift of the error is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from monitor.drift.detection import Detection
from schemas.events.memory import OpenErrorChange

__all__ = ["OpenDrift", "RatedDay", "still_open"]

_RECOVERED = 0.5
"""A drift stays open until the error of a week has returned by this part of the change."""
_RECOVERY_DAYS = 7
_REFERENCE = timedelta(days=28)

RatedDay = tuple[date, float, int]
"""Day, number of errors and of labels."""


@dataclass(frozen=True)
class OpenDrift:
    """A drift that is reported.

    Attributes:
        found: the drift.
        wrong: number of errors of the four weeks before it.
        labels: number of labels of these weeks.
    """

    found: Detection
    wrong: float
    labels: int

    @classmethod
    def of(cls, found: Detection, days: Sequence[RatedDay]) -> "OpenDrift":
        """Return a drift that was just found.

        Args:
            days: those of the four weeks before it, at least.
        """
        before = [one for one in days if found.since - _REFERENCE <= one[0] < found.since]
        return cls(found, sum(wrong for _, wrong, _ in before), sum(n for _, _, n in before))

    @classmethod
    def of_remembered(cls, known: OpenErrorChange) -> "OpenDrift":
        """Return a drift that is remembered."""
        return cls(Detection.of(known.found), known.wrong, known.labels)

    def remembered(self) -> OpenErrorChange:
        """Return it as it is remembered."""
        return OpenErrorChange(found=self.found.remembered(), wrong=self.wrong, labels=self.labels)


def still_open(drift: OpenDrift | None, days: Sequence[RatedDay]) -> OpenDrift | None:
    """Return the drift, unless the error of a whole week after it is closer to the error before the drift.

    Args:
        drift: that was open before the last of the days.
        days: those of the last week at least, oldest first.
    """
    recent = days[-_RECOVERY_DAYS:]
    if drift is None or recent[0][0] <= drift.found.day:
        return drift
    labels = sum(n for _, _, n in recent)
    if not labels or not drift.labels:
        return drift
    now, before = sum(wrong for _, wrong, _ in recent) / labels, drift.wrong / drift.labels
    return None if abs(now - before) < _RECOVERED * abs(drift.found.change) else drift
