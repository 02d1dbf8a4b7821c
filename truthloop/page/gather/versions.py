"""The panel of versions: the two newest compared on the labels that they share."""

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
from truthloop.page.panels.model import VersionComparison, VersionsPanel

__all__ = ["compare_versions", "newest_pair", "versions_panel"]

_LOSS: Final = {"binary": "log_loss", "multiclass": "share of wrong classes", "regression": "mae"}
_VERDICTS: Final = {
    "better": "{second} is better",
    "not_worse": "{second} is not worse",
    "worse": "{second} is worse",
    "undecided": "no significant difference yet",
    "not_enough": "fewer than 8 days have labels of both: too few to compare",
}
_PENDING: Final = "The comparison is being computed: reload the page in a moment."
_NOTE: Final = "Of the last days on which both predicted. Lower is better; days are the independent units."


def newest_pair(scope: Scope) -> tuple[str, str] | None:
    """Return the two newest versions (up to the selected one); None if they predicted on no common day."""
    firsts = scope.predictions.group_by("version").agg(first=pl.col("day").min()).sort("first", "version")
    order = firsts["version"].to_list()
    if scope.selection.version:
        order = order[: order.index(scope.selection.version) + 1] if scope.selection.version in order else []
    if len(order) < 2:  # noqa: PLR2004 - a pair
        return None
    first, second = order[-2:]
    return (first, second) if shared_days(scope, first, second) else None


def compare_versions(settings: Settings, query: str) -> Comparison:
    """Compare two versions on the labels that they share.

    Args:
        query: result of `truthloop.page.gather.sql.comparison_query`.

    Raises:
        LakeError: the lake cannot be read.
    """
    try:
        with connect(settings.lake) as connection:
            losses: pl.DataFrame = connection.sql(query).pl()
    except duckdb.Error as error:
        raise LakeError(f"versions cannot be compared: {error}", where=str(settings.lake)) from error
    return compare(losses.select(pl.col("day").cast(pl.Date), "loss_a", "loss_b"))


def versions_panel(scope: Scope, pair: tuple[str, str] | None, found: Comparison | None) -> VersionsPanel:
    """Return the panel.

    Args:
        pair: result of `newest_pair`.
        found: result of `compare_versions`; None while it is being computed.
    """
    if pair is None:
        return VersionsPanel(())
    first, second = pair
    sql = comparison_query(scope, first, second)
    if found is None:
        return VersionsPanel((), sql, _PENDING)
    if not found.n:
        return VersionsPanel((), sql)
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
    notes = [_NOTE] if scope.is_of_all else [_NOTE, "Of all predictions, not of the slice."]
    return VersionsPanel((comparison,), sql, " ".join(notes))
