"""Model versions by how many predictions each made: which exist, which one runs, and since when."""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

__all__ = ["Rollout", "current_rollout", "running_on", "running_version", "versions_in"]

_SHADOW_SHARE = 0.9
"""Share of the busiest version's predictions. The newest version with this share runs; an older one with as many
predictions is its shadow."""


@dataclass(frozen=True)
class Rollout:
    """The rollout of the version that runs now.

    Attributes:
        version: the running one.
        since: first of the consecutive days on which it has been the running version.
        first: day of its first prediction, which may have been made as a shadow.
        former: the version that ran before `since`; None if there was none.
    """

    version: str
    since: date
    first: date
    former: str | None


def versions_in(predictions: pl.DataFrame) -> list[str]:
    """Return the versions of predictions counted by version and day, in order of their first day, then name.

    >>> versions_in(pl.DataFrame({"version": ["v2", "v1", "v2"], "day": [2, 1, 3]}))
    ['v1', 'v2']
    """
    rows = predictions.group_by("version").agg(first=pl.col("day").min())
    return rows.sort("first", "version").get_column("version").to_list()


def running_version(predictions: pl.DataFrame) -> str | None:
    """Return the version that runs on the last day with predictions; None before the first prediction.

    It is the newest of the versions that made at least nine in ten as many predictions on that day as the busiest.

    Args:
        predictions: as `monitor.cells.summary.CellSummary.predictions` returns them.

    >>> running_version(pl.DataFrame({"version": ["v1", "v1", "v2"], "day": [1, 2, 2], "amount": [100, 100, 90]}))
    'v2'
    """
    if predictions.is_empty():
        return None
    busy = predictions.filter(pl.col("day") == pl.col("day").max())
    most = busy.filter(pl.col("amount") >= _SHADOW_SHARE * pl.col("amount").max())
    firsts = predictions.group_by("version").agg(first=pl.col("day").min())
    newest = most.join(firsts, on="version").sort("first", "version", descending=[True, False])
    return str(newest["version"][0])


def current_rollout(predictions: pl.DataFrame) -> Rollout | None:
    """Return the rollout of the version that `running_version` returns; None before the first prediction.

    Args:
        predictions: as `monitor.cells.summary.CellSummary.predictions` returns them.

    >>> days = [date(2013, 3, day) for day in (11, 12, 12, 13)]
    >>> made = pl.DataFrame({"version": ["v1", "v1", "v2", "v2"], "day": days, "amount": [100, 100, 10, 100]})
    >>> current_rollout(made)
    Rollout(version='v2', since=datetime.date(2013, 3, 13), first=datetime.date(2013, 3, 12), former='v1')
    """
    if predictions.is_empty():
        return None
    most = _SHADOW_SHARE * pl.col("amount").max().over("day")
    rows = predictions.with_columns(first=pl.col("day").min().over("version")).filter(pl.col("amount") >= most)
    order = {"day": True, "first": True, "version": False}
    rows = rows.sort(*order, descending=list(order.values())).unique("day", keep="first", maintain_order=True)
    newest = rows.row(0, named=True)
    others = rows.with_row_index("days").filter(pl.col("version") != newest["version"])
    days = rows.height if others.is_empty() else int(others["days"][0])
    former = None if others.is_empty() else str(others["version"][0])
    return Rollout(newest["version"], rows["day"][days - 1], newest["first"], former)


def running_on(predictions: pl.DataFrame, days: tuple[date, date]) -> tuple[set[str], set[str]]:
    """Return the versions that run at the end of any of some days, and the others that ran before these.

    Args:
        predictions: as `running_version` takes them.
        days: the first and the last day.

    >>> days = [date(2013, 3, day) for day in (10, 11, 12)]
    >>> made = pl.DataFrame({"version": ["v1", "v2", "v3"], "day": days, "amount": 100})
    >>> running_on(made, (days[2], days[2]))
    ({'v3'}, {'v2'})
    >>> running, former = running_on(made, (days[1], days[2]))
    >>> sorted(running), sorted(former)
    (['v2', 'v3'], ['v1'])
    """
    running: set[str] = set()
    former: set[str] = set()
    for number in range((days[1] - days[0]).days + 1):
        rollout = current_rollout(predictions.filter(pl.col("day") <= days[0] + timedelta(days=number)))
        if rollout is not None:
            running.add(rollout.version)
            former |= set() if rollout.former is None else {rollout.former}
    return running, former - running
