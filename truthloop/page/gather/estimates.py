"""Nowcasts of the days of one version whose outcomes may still change, from a snapshot's panes."""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.measure import read_measures, sums_by
from monitor.cells.pane import read_panes
from monitor.nowcast.estimator import Estimate, EstimateCache, Estimator, days_needed
from monitor.nowcast.expected import Losses
from truthloop.page.gather.scope import Scope

__all__ = ["can_estimate", "estimate_days", "young_days"]


def can_estimate(scope: Scope) -> bool:
    """Return whether the cells have panes: those of a binary kind, for all predictions or a value of `delay_by`."""
    by = scope.kind.delay_by
    is_stratum = by is not None and scope.selection.slice.startswith(f"{by}=")
    return scope.kind.task == "binary" and (scope.is_of_all or is_stratum) and scope.observed_ms is not None


def young_days(scope: Scope, version: str) -> list[date]:
    """Return the shown days of a version whose outcomes may still change, oldest first."""
    if scope.first is None:
        return []
    mine = scope.predictions.filter(pl.col("version") == version, pl.col("day") >= scope.first)
    until_ms = scope.matured_ms
    return [day for day in sorted(mine["day"]) if until_ms is None or scope.day_end_ms(day) > until_ms]


def estimate_days(scope: Scope, version: str, cache: EstimateCache) -> Mapping[date, Estimate]:
    """Return the estimate of each young day of a version; `cache` must not be used by two threads at once."""
    days = young_days(scope, version)
    if not days or scope.observed_ms is None:
        return {}
    predicted = scope.predictions.filter(pl.col("version") == version)["day"]
    first = max(min(predicted), days[0] - timedelta(days=days_needed(scope.kind.horizon_ms)))
    mine = scope.snapshot.evidence.cells.of_days(
        first,
        days[-1],
        pl.col("kind") == scope.kind.name,
        pl.col("version") == version,
        pl.col("measure").str.starts_with("pane_"),
    )
    panes = [
        read_panes(mine, scope.plan, scope.kind.name, version, slice_, (first, days[-1]))
        for slice_ in _strata(scope, mine)
    ]
    estimator = Estimator(panes, cache)
    losses = _losses(scope, version, days)
    return {
        day: estimator.estimate(day, scope.observed_ms, scope.matured_ms, losses.get(day, Losses(0.0, 0.0)))
        for day in days
    }


def _strata(scope: Scope, cells: pl.DataFrame) -> list[str]:
    """Return the slices whose label delays are modelled separately."""
    if not scope.is_of_all:
        return [scope.selection.slice]
    if scope.kind.delay_by is None:
        return [ALL]
    known = cells["slice"].unique().sort().to_list()
    return [one for one in known if one.startswith(f"{scope.kind.delay_by}=")] or [ALL]


def _losses(scope: Scope, version: str, days: list[date]) -> dict[date, Losses]:
    """Return by day the exact losses of labelled rows."""
    rows = scope.cells(
        (days[0], days[-1]),
        pl.col("version") == version,
        pl.col("day").is_in(days),
        pl.col("measure").str.contains("^(log_loss|brier):"),
    )
    of_all = read_measures(rows).filter(pl.col("age_ms").is_null())
    return {day: Losses(*losses) for day, *losses in sums_by(of_all, ["day"], Losses._fields).iter_rows()}
