"""The panel of coverage: cohorts by label age, with missed goals of the config and alerts of the label pipeline."""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from monitor.cells.cohort import ALL
from monitor.coverage.lookback import lookback_days
from monitor.coverage.table import coverage, expected_curve, judge_goals
from schemas.events.evidence import FindingKind, Level
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import coverage_query
from truthloop.page.panels.model import CoverageCell, CoverageCohort, CoveragePanel

__all__ = ["coverage_panel", "expected_shares", "pool_versions"]

_COUNTS = pl.col("measure").is_in(["predictions", "labels"])
_HISTORY_DAYS = 42
"""Days of whose predictions every label has come that the usual share at the greatest age is of."""


def coverage_panel(scope: Scope, expected: Mapping[int, float]) -> CoveragePanel:
    """Return the panel.

    Args:
        expected: result of `expected_shares`.
    """
    kind = scope.kind
    cells = scope.shown(_COUNTS)
    rows = coverage(cells, scope.plan, scope.observed, scope.matured).filter(pl.col("kind") == kind.name)
    verdicts = judge_goals(rows, scope.plan).filter(pl.col("verdict") == "missed")
    missed = set(verdicts.select("version", "day", "age_ms").iter_rows())
    alerts = _alert_days(scope)
    order = {version: index for index, version in enumerate(scope.versions)}
    cohorts = []
    parts = rows.partition_by("version", "day", as_dict=True)
    for (version, day), part in sorted(parts.items(), key=lambda item: (item[0][1], order.get(str(item[0][0]), 0))):
        found = part.sort("age_ms").to_dicts()
        oldest_due = max((row["age_ms"] for row in found if row["due"]), default=None)
        cells_of_day = tuple(
            CoverageCell(
                row["coverage"],
                row["due"],
                expected.get(row["age_ms"]),
                (version, day, row["age_ms"]) in missed,
                day in alerts and row["age_ms"] == oldest_due,
            )
            for row in found
        )
        one = found[0]
        cohorts.append(
            CoverageCohort(str(day), str(version), one["predictions"], one["so_far"], one["is_mature"], cells_of_day)
        )
    note = "" if scope.is_of_all else "Expected shares and alerts are of all predictions, not of the slice."
    return CoveragePanel(kind.ages_ms, tuple(cohorts), kind.goals, coverage_query(scope), note if cohorts else "")


def pool_versions(scope: Scope, days: tuple[date, date] | None, *conditions: pl.Expr) -> pl.DataFrame:
    """Return the cells of all versions, summed to one: label delay does not depend on the version."""
    cells = scope.cells(days, *conditions, slice_=ALL)
    keys = [name for name in cells.columns if name not in ("version", "amount")]
    summed = cells.group_by(keys).agg(pl.col("amount").sum())
    return summed.with_columns(version=pl.lit(ALL))


def expected_shares(scope: Scope) -> dict[int, float]:
    """Return by age the share of labels that is usually known, on the shown days and those that are looked back on."""
    days = scope.days
    if days is not None:
        back = timedelta(days=lookback_days(scope.kind.horizon_ms) + _HISTORY_DAYS)
        days = min(days[0], days[1] - back), days[1]
    curve = expected_curve(pool_versions(scope, days, _COUNTS), scope.plan, scope.observed)
    return {age: share for age, share in curve.select("age_ms", "expected").iter_rows() if share is not None}


def _alert_days(scope: Scope) -> set[date]:
    """Return the days whose evaluation found missing labels."""
    found = scope.snapshot.findings.filter(
        pl.col("kind") == scope.kind.name,
        pl.col("name") == FindingKind.COVERAGE.value,
        pl.col("level").is_in([Level.ALARM.value, Level.WARN.value]),
        pl.col("value").is_not_null(),
    )
    return set(found["day"])
