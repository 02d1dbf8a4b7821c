"""Estimates of the young days of one version, made from a snapshot's panes.

Must not be called by two threads at once for the same memory.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.fold import LOSS_UNIT
from monitor.cells.pane import read_panes
from monitor.nowcast.estimator import Estimate, Estimator, Memory, days_needed
from monitor.nowcast.expected import Losses
from truthloop.page.gather.scope import Scope

__all__ = ["can_estimate", "estimates_of", "young_days"]


def can_estimate(scope: Scope) -> bool:
    """Return whether there are panes: of binary kinds, of all predictions or of a value of `delay_by`."""
    by = scope.kind.delay_by
    is_stratum = by is not None and scope.selection.slice.startswith(f"{by}=")
    return scope.kind.task == "binary" and (scope.is_of_all or is_stratum) and scope.observed_ms is not None


def young_days(scope: Scope, version: str) -> list[date]:
    """Return the shown days of a version on which outcomes may still change, the oldest first."""
    if scope.first is None:
        return []
    mine = scope.predictions.filter(pl.col("version") == version, pl.col("day") >= scope.first)
    until_ms = scope.matured_ms
    return [day for day in sorted(mine["day"]) if until_ms is None or scope.day_end_ms(day) > until_ms]


def estimates_of(scope: Scope, version: str, memory: Memory) -> Mapping[date, Estimate]:
    """Return by day where the young days of a version will end."""
    days = young_days(scope, version)
    if not days or scope.observed_ms is None:
        return {}
    made = scope.predictions.filter(pl.col("version") == version)["day"]
    first = max(min(made), days[0] - timedelta(days=days_needed(scope.kind.horizon_ms)))
    mine = scope.snapshot.evidence.cells.filter(
        pl.col("kind") == scope.kind.name,
        pl.col("version") == version,
        pl.col("day").is_between(first, days[-1]),
        pl.col("measure").str.starts_with("pane_"),
    )
    panes = [
        read_panes(mine, scope.plan, scope.kind.name, version, one, (first, days[-1])) for one in _strata(scope, mine)
    ]
    estimator = Estimator(panes, memory)
    losses = _losses(scope, version, days)
    return {
        day: estimator.estimate(day, scope.observed_ms, scope.matured_ms, losses.get(day, Losses(0.0, 0.0)))
        for day in days
    }


def _strata(scope: Scope, cells: pl.DataFrame) -> list[str]:
    """Return the slices by which label delays are told apart."""
    if not scope.is_of_all:
        return [scope.selection.slice]
    if scope.kind.delay_by is None:
        return [ALL]
    known = cells["slice"].unique().sort().to_list()
    return [one for one in known if one.startswith(f"{scope.kind.delay_by}=")] or [ALL]


def _losses(scope: Scope, version: str, days: list[date]) -> dict[date, Losses]:
    """Return by day the exact losses of labelled rows."""
    rows = scope.cells(
        pl.col("version") == version,
        pl.col("day").is_in(days),
        pl.col("definition") == scope.kind.definition,
        pl.col("measure").is_in(["log_loss", "brier"]),
    )
    found: dict[date, dict[str, float]] = {}
    for day, measure, amount in rows.select("day", "measure", "amount").iter_rows():
        sums = found.setdefault(day, {"log_loss": 0.0, "brier": 0.0})
        sums[measure] += amount / LOSS_UNIT
    return {day: Losses(sums["log_loss"], sums["brier"]) for day, sums in found.items()}
