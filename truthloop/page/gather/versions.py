"""The panel of versions: the two newest on the labels that they share, pair by pair.

Must not compare versions on different predictions.
"""

import math
from typing import Final

import duckdb
import polars as pl

from lake.session import connect
from monitor.versions.compare import Comparison, compare
from schemas.errors import LakeError
from truthloop.config.settings import Settings
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import comparison_query, shared_days
from truthloop.page.panels.model import VersionComparison, Versions

__all__ = ["compared", "newest_pair", "versions_of"]

_LOSS: Final = {"binary": "log_loss", "multiclass": "share of wrong classes", "regression": "mae"}
_VERDICTS: Final = {
    "better": "{second} does better",
    "not_worse": "{second} does not do worse",
    "worse": "{second} does worse",
    "undecided": "it cannot be told yet which does better",
    "not_enough": "fewer than 8 days have labels of both: too few to tell",
}
_WORKING: Final = "The comparison is being worked out: load the page again in a moment."
_WHAT: Final = "Told of the last days on which both predicted. Less is better; days are what is counted as independent."


def newest_pair(scope: Scope) -> tuple[str, str] | None:
    """Return the two newest versions, if there are days on which both predicted; the chosen one and that before it."""
    firsts = scope.predictions.group_by("version").agg(first=pl.col("day").min()).sort("first", "version")
    order = firsts["version"].to_list()
    if scope.selection.version:
        order = order[: order.index(scope.selection.version) + 1] if scope.selection.version in order else []
    if len(order) < 2:  # noqa: PLR2004 - a pair
        return None
    first, second = order[-2:]
    return (first, second) if shared_days(scope, first, second) else None


def compared(settings: Settings, query: str) -> Comparison:
    """Return how two versions compare on the labels that they share.

    Args:
        settings: of the loop.
        query: as `truthloop.page.gather.sql.comparison_query` writes it.

    Raises:
        LakeError: the lake cannot be read.
    """
    try:
        with connect(settings.lake) as connection:
            losses: pl.DataFrame = connection.sql(query).pl()
    except duckdb.Error as error:
        raise LakeError(f"versions cannot be compared: {error}", where=str(settings.lake)) from error
    return compare(losses.select(pl.col("day").cast(pl.Date), "loss_a", "loss_b"))


def versions_of(scope: Scope, pair: tuple[str, str] | None, found: Comparison | None) -> Versions:
    """Return the panel.

    Args:
        scope: what is chosen.
        pair: as `newest_pair` returns it.
        found: as `compared` returns it; None while it is being worked out.
    """
    if pair is None:
        return Versions(())
    first, second = pair
    sql = comparison_query(scope, first, second)
    if found is None:
        return Versions((), sql, _WORKING)
    if not found.n:
        return Versions((), sql)
    low, high = found.interval or (None, None)
    value = None if found.loss_a is None or found.difference is None else found.loss_a + found.difference
    comparison = VersionComparison(
        _LOSS[scope.kind.task],
        first,
        second,
        found.n,
        found.loss_a,
        None if value is None or not math.isfinite(value) else value,
        found.difference,
        low,
        high,
        _VERDICTS[found.verdict].format(second=second, first=first),
    )
    notes = [_WHAT] if scope.is_of_all else [_WHAT, "Told of all predictions, not of the slice."]
    return Versions((comparison,), sql, " ".join(notes))
