"""A version's first days: does it keep the contract, told until it has done so and a week has passed.

A function of the cells: whoever reads the days again, in order, tells the same. This module must not judge a version
by its labels, and must not hold back a deployment itself.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from monitor.contract import CONTRACT_DAYS, cell_tally, judge_contract
from monitor.input_count import OUTPUT
from monitor.succession import Reign
from schemas.evidence import Finding, Level
from schemas.metric_name import Task

__all__ = ["Newcomer", "Record"]

_ROWS = 500
"""So many predictions make a day; where there are fewer, the days before count too."""
_FORMER_DAYS = timedelta(days=28)


@dataclass(frozen=True)
class Record:
    """What is known of one version's predictions.

    Attributes:
        counts: `monitor.input_count.input_counts`.
        predictions: its rows of `monitor.version.prediction_counts`.
    """

    counts: pl.DataFrame
    predictions: pl.DataFrame


class Newcomer:
    """Follows one version through its first days.

    Args:
        task: of the label kind.
    """

    def __init__(self, task: Task) -> None:
        self._task: Task = task
        self._looked: date | None = None
        self._kept: date | None = None

    def findings(self, reign: Reign, day: date, own: Record, former: Record | None) -> list[Finding]:
        """Return how the version breaks the contract as of a day; nothing once it has kept it and a week has passed.

        Args:
            reign: of the version, which runs.
            day: not before a day that was asked for already.
            own: of the version.
            former: of the version that ran before it, if there was one.
        """
        if self._kept is not None and day - reign.first >= timedelta(days=CONTRACT_DAYS):
            return []
        begin = reign.first if self._looked is None else self._looked + timedelta(days=1)
        while self._kept is None and begin < day:
            self._look(reign, begin, own, former)
            begin += timedelta(days=1)
        if self._kept is not None and day - reign.first >= timedelta(days=CONTRACT_DAYS):
            return []
        return self._look(reign, day, own, former)

    def _look(self, reign: Reign, day: date, own: Record, former: Record | None) -> list[Finding]:
        """Judge one day, and remember whether the contract was kept on it."""
        self._looked = day
        made = own.predictions.filter(pl.col("day").is_between(reign.first, day)).sort("day", descending=True)
        enough = made.filter(pl.col("amount").cum_sum() >= _ROWS)
        days = (reign.first if enough.is_empty() else enough["day"][0], day)
        before, known = None, None
        if former is not None:
            span = (day - _FORMER_DAYS, day)
            before, known = cell_tally(former.counts, former.predictions, self._task, span), _filled(former)
        found = judge_contract(cell_tally(own.counts, own.predictions, self._task, days, known), before)
        is_kept = not made.is_empty() and all(one.level is not Level.ALARM for one in found)
        if is_kept and self._kept is None:
            self._kept = day
        return found


def _filled(former: Record) -> Collection[int]:
    return former.counts.filter(pl.col("input") == OUTPUT)["bin"].unique().to_list()
