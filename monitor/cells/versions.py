"""Which model versions predict, and which of them decides: read from how many predictions each made.

This module must not judge a version.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from monitor.cells.cohort import ALL

__all__ = ["SHADOW_SHARE", "Reign", "prediction_counts", "reign_of", "running_version", "versions_in"]

SHADOW_SHARE = 0.9
"""The newest version that predicts nearly everything is the one that runs: an older one beside it is its shadow."""


def prediction_counts(cells: pl.DataFrame, kind: str, last: date) -> pl.DataFrame:
    """Return version, day and amount of the eligible predictions up to a day."""
    return cells.filter(
        pl.col("kind") == kind,
        pl.col("slice") == ALL,
        pl.col("measure") == "predictions",
        pl.col("day") <= last,
        pl.col("amount") > 0,
    ).select("version", "day", "amount")


def versions_in(predictions: pl.DataFrame) -> list[str]:
    """Return the versions of `prediction_counts`, in order of their first day, then name."""
    rows = predictions.group_by("version").agg(first=pl.col("day").min())
    return rows.sort("first", "version").get_column("version").to_list()


def running_version(predictions: pl.DataFrame) -> str | None:
    """Return the version that decides at the end: the newest of those that predict nearly everything.

    Of the last day with predictions, those versions count that made at least nine in ten as many as the busiest.
    None before the first prediction.

    Args:
        predictions: as `prediction_counts` returns them.
    """
    if predictions.is_empty():
        return None
    busy = predictions.filter(pl.col("day") == pl.col("day").max())
    most = busy.filter(pl.col("amount") >= SHADOW_SHARE * pl.col("amount").max())
    firsts = predictions.group_by("version").agg(first=pl.col("day").min())
    newest = most.join(firsts, on="version").sort("first", "version", descending=[True, False])
    return str(newest["version"][0])


@dataclass(frozen=True)
class Reign:
    """The version that runs now.

    Attributes:
        version: that runs.
        since: the first of the days in a row on which it was the one that runs.
        first: the day of its first prediction, which may have been made beside another version.
        former: the version that ran before `since`; None if there was none.
    """

    version: str
    since: date
    first: date
    former: str | None


def reign_of(predictions: pl.DataFrame) -> Reign | None:
    """Return the version that runs at the end, as `running_version` has it, and since when; None before any prediction.

    Args:
        predictions: as `monitor.cells.versions.prediction_counts` returns them.
    """
    if predictions.is_empty():
        return None
    most = SHADOW_SHARE * pl.col("amount").max().over("day")
    rows = predictions.with_columns(first=pl.col("day").min().over("version")).filter(pl.col("amount") >= most)
    order = {"day": True, "first": True, "version": False}
    rows = rows.sort(*order, descending=list(order.values())).unique("day", keep="first", maintain_order=True)
    newest = rows.row(0, named=True)
    others = rows.with_row_index("place").filter(pl.col("version") != newest["version"])
    place = rows.height if others.is_empty() else int(others["place"][0])
    former = None if others.is_empty() else str(others["version"][0])
    return Reign(newest["version"], rows["day"][place - 1], newest["first"], former)
