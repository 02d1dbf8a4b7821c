"""A lasting change of the error, and how small a change can be found."""

import math
from dataclasses import dataclass
from datetime import date
from typing import Literal

from schemas.events.memory import ErrorChange

__all__ = ["Detection", "Resolution"]


@dataclass(frozen=True)
class Resolution:
    """What the test can tell, given how much days differ.

    Attributes:
        days_differ: standard deviation between days, beyond what the number of their rows explains.
        smallest: change that has to last a week to be found in half of all cases.
        lost: how many times as great as without `days_differ` that is.
    """

    days_differ: float
    smallest: float
    lost: float


@dataclass(frozen=True)
class Detection:
    """A lasting change of the error.

    Attributes:
        day: the day on which it was found.
        since: the first day of the window after the change, which reaches to the end of `day`.
        direction: `worse` where the error has grown.
        error_before: mean of the 56 days before `since`, at the window's hours of the week.
        error_after: mean of the window.
        change: error_after - error_before.
        relative_change: change / error_before; infinite where there were no errors before.
        n: rows of the window.
    """

    day: date
    since: date
    direction: Literal["worse", "better"]
    error_before: float
    error_after: float
    change: float
    relative_change: float
    n: int

    @classmethod
    def of(cls, found: ErrorChange) -> "Detection":
        """Return a remembered change with what follows from it.

        >>> found = ErrorChange(day=date(2013, 6, 4), since=date(2013, 6, 2), error_before=0.1, error_after=0.4, n=900)
        >>> Detection.of(found).direction
        'worse'
        """
        before, after = found.error_before, found.error_after
        return cls(
            day=found.day,
            since=found.since,
            direction="worse" if after > before else "better",
            error_before=before,
            error_after=after,
            change=after - before,
            relative_change=(after - before) / before if before > 0 else math.inf,
            n=found.n,
        )

    def remembered(self) -> ErrorChange:
        """Return it as it is remembered."""
        before, after = self.error_before, self.error_after
        return ErrorChange(day=self.day, since=self.since, error_before=before, error_after=after, n=self.n)
