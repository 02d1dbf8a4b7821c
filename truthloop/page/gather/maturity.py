"""The panel of label delay: the share of labels usually known by an age, and that of the newest cohorts.

Of a running day the share at an age counts only the hours that have reached that age.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.pane import Panes, read_panes
from monitor.coverage.label_age import kaplan_meier
from truthloop.page.gather.coverage import pool_versions
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import maturity_query
from truthloop.page.panels.model import MaturityCurve, MaturityPanel

__all__ = ["maturity_panel"]

_COHORTS = 3
_REACHED = 0.999
_BEYOND = 1.25
"""The curve is drawn up to this multiple of the age at which it reaches 99.9 % of its last value."""


def maturity_panel(scope: Scope, expected: Mapping[int, float]) -> MaturityPanel:
    """Return the panel.

    Args:
        expected: result of `truthloop.page.gather.coverage.expected_shares`.
    """
    ages = [age for age in scope.kind.age_edges_ms if 0 < age <= _until(expected, scope.kind.horizon_ms)]
    usual = MaturityCurve("expected", tuple((age, expected[age]) for age in ages if age in expected))
    sql = maturity_query(scope)
    if scope.last is None or scope.observed_ms is None:
        return MaturityPanel(usual, (), sql=sql)
    panes = _panes(scope, (scope.last - timedelta(days=_COHORTS - 1), scope.last))
    edges = np.asarray(scope.kind.age_edges_ms, dtype=np.int64)
    curves, now = [], None
    for index, day in reversed(list(enumerate(panes.days))):
        shares = _shares(panes, index, edges, scope.observed_ms)
        points = tuple(
            (int(age), float(share))
            for age, share in zip(edges, shares, strict=True)
            if age in ages and not np.isnan(share)
        )
        if points:
            curves.append(MaturityCurve(str(day), points))
            now = now or _by_now(panes, index, scope.observed_ms, expected)
    arrived, usual_by_now = now or (None, None)
    note = "" if scope.is_of_all else "Of all predictions, not of the slice."
    return MaturityPanel(usual, tuple(curves), arrived, usual_by_now, sql, note)


def _panes(scope: Scope, days: tuple[date, date]) -> Panes:
    """Return the panes of all versions together."""
    is_pane = pl.col("measure").is_in(["pane_predictions", "pane_labels"])
    by = scope.kind.delay_by
    if by is None:
        cells = pool_versions(scope, days, is_pane)
    else:
        all_cells = scope.snapshot.evidence.cells.of_days(*days, pl.col("kind") == scope.kind.name, is_pane)
        cells = all_cells.with_columns(version=pl.lit(ALL))
    return read_panes(cells, scope.plan, scope.kind.name, ALL, ALL, days)


def _shares(panes: Panes, index: int, edges: npt.NDArray[np.int64], now_ms: int) -> npt.NDArray[np.float64]:
    """Return the share of a day's predictions that has a label by each age; NaN where no pane has reached it."""
    reached = panes.end_ms[index][:, np.newaxis] + edges <= now_ms
    return kaplan_meier(panes.labels[index], panes.predictions[index], reached)


def _by_now(panes: Panes, index: int, now_ms: int, expected: Mapping[int, float]) -> tuple[float, float] | None:
    """Return the share of a day that is labelled by the ages its panes have reached, and the usual share by then."""
    view = panes.as_of(now_ms)
    predictions, ages = view.predictions[index], view.age[index]
    usual = np.array([expected.get(panes.kind.age_edges_ms[age], np.nan) if age >= 0 else 0.0 for age in ages])
    known = ~np.isnan(usual)
    total = int(predictions[known].sum())
    if not total:
        return None
    return float(view.labels[index][known].sum() / total), float((predictions[known] * usual[known]).sum() / total)


def _until(expected: Mapping[int, float], horizon_ms: int) -> float:
    """Return the age up to which the curve is drawn."""
    most = max(expected.values(), default=0.0)
    reached = min((age for age, share in expected.items() if share >= _REACHED * most), default=horizon_ms)
    return min(horizon_ms, max(reached * _BEYOND, 1))
