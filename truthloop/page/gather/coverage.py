"""The panel of coverage: cohorts by label age, with the goals of the config and the alerts of the label pipeline.

Must not judge: the monitor does, and the gate's log says what was found on earlier days.
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from monitor.cells.cohort import ALL
from monitor.coverage.table import coverage, expected_curve, judge_goals
from schemas.events.evidence import FindingKind, Level
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import coverage_query
from truthloop.page.panels.model import Cohort, Coverage, CoverageCell

__all__ = ["coverage_of", "expected_shares", "pooled"]

_COUNTS = pl.col("measure").is_in(["predictions", "labels"])


def coverage_of(scope: Scope, expected: Mapping[int, float]) -> Coverage:
    """Return the panel.

    Args:
        scope: what is chosen.
        expected: as `expected_shares` returns them.
    """
    kind = scope.kind
    cells = scope.cells(_COUNTS, scope.shown())
    rows = coverage(cells, scope.plan, scope.observed, scope.matured).filter(pl.col("kind") == kind.name)
    verdicts = judge_goals(rows, scope.plan).filter(pl.col("verdict") == "missed")
    missed = set(verdicts.select("version", "day", "age_ms").iter_rows())
    alerts = _alert_days(scope)
    order = {version: place for place, version in enumerate(scope.versions)}
    cohorts = []
    parts = rows.partition_by("version", "day", as_dict=True)
    for (version, day), part in sorted(parts.items(), key=lambda one: (one[0][1], order.get(str(one[0][0]), 0))):
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
            Cohort(str(day), str(version), one["predictions"], one["so_far"], one["is_mature"], cells_of_day)
        )
    note = "" if scope.is_of_all else "Expected shares and alerts are those of all predictions, not of the slice."
    return Coverage(kind.ages_ms, tuple(cohorts), kind.goals, coverage_query(scope), note if cohorts else "")


def pooled(scope: Scope, *conditions: pl.Expr) -> pl.DataFrame:
    """Return the cells of all versions as those of one: how long labels take is no matter of who predicts."""
    cells = scope.cells(*conditions, slice_=ALL)
    places = [name for name in cells.columns if name not in ("version", "amount", "plan")]
    summed = cells.group_by(places).agg(pl.col("amount").sum())
    return summed.with_columns(version=pl.lit(ALL))


def expected_shares(scope: Scope) -> dict[int, float]:
    """Return by age what share of labels is usually known."""
    curve = expected_curve(pooled(scope, _COUNTS), scope.plan, scope.observed)
    return {age: share for age, share in curve.select("age_ms", "expected").iter_rows() if share is not None}


def _alert_days(scope: Scope) -> set[date]:
    """Return the days at whose end labels were found to be missing."""
    found = scope.snapshot.findings.filter(
        pl.col("kind") == scope.kind.name,
        pl.col("name") == FindingKind.COVERAGE.value,
        pl.col("level").is_in([Level.ALARM.value, Level.WARN.value]),
        pl.col("value").is_not_null(),
    )
    return set(found["day"])
