"""Which model version decided from which day on, and which one before it: read from how many predictions each made.

This module must not judge a version.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from monitor.version import SHADOW_SHARE

__all__ = ["Reign", "reign_of"]


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
        predictions: as `monitor.version.prediction_counts` returns them.
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
