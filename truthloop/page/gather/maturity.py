"""The panel of label age: what share is usually known by an age, and how the newest cohorts come along.

Of a day that runs, each age is judged by the hours that have reached it. Must not look at scores.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.pane import Panes, read_panes
from truthloop.page.gather.coverage import pooled
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import maturity_query
from truthloop.page.panels.model import Curve, Maturity

__all__ = ["maturity_of"]

_COHORTS = 3
_ENOUGH = 0.999
"""The curve is drawn until it has this part of its last value, and a little further."""
_FURTHER = 1.25

Floats = npt.NDArray[np.float64]


def maturity_of(scope: Scope, expected: Mapping[int, float]) -> Maturity:
    """Return the panel.

    Args:
        scope: what is chosen.
        expected: as `truthloop.page.gather.coverage.expected_shares` returns them.
    """
    ages = [age for age in scope.kind.age_edges_ms if 0 < age <= _until(expected, scope.kind.horizon_ms)]
    usual = Curve("expected", tuple((age, expected[age]) for age in ages if age in expected))
    sql = maturity_query(scope)
    if scope.last is None or scope.observed_ms is None:
        return Maturity(usual, (), sql=sql)
    panes = _panes(scope, (scope.last - timedelta(days=_COHORTS - 1), scope.last))
    edges = np.asarray(scope.kind.age_edges_ms, dtype=np.int64)
    curves, now = [], None
    for place, day in reversed(list(enumerate(panes.days))):
        shares = _shares(panes, place, edges, scope.observed_ms)
        points = tuple(
            (int(age), float(share))
            for age, share in zip(edges, shares, strict=True)
            if age in ages and not np.isnan(share)
        )
        if points:
            curves.append(Curve(str(day), points))
            now = now or _by_now(panes, place, scope.observed_ms, expected)
    arrived, hoped = now or (None, None)
    note = "" if scope.is_of_all else "How long labels take is told of all predictions, not of the slice."
    return Maturity(usual, tuple(curves), arrived, hoped, sql, note)


def _panes(scope: Scope, days: tuple[date, date]) -> Panes:
    """Return the panes of all versions together."""
    is_pane = pl.col("measure").is_in(["pane_predictions", "pane_labels"])
    near = pl.col("day").is_between(*days)
    by = scope.kind.delay_by
    if by is None:
        cells = pooled(scope, is_pane, near)
    else:
        every = scope.snapshot.evidence.cells.filter(pl.col("kind") == scope.kind.name, is_pane, near)
        cells = every.with_columns(version=pl.lit(ALL))
    return read_panes(cells, scope.plan, scope.kind.name, ALL, ALL, days)


def _shares(panes: Panes, place: int, edges: npt.NDArray[np.int64], now_ms: int) -> Floats:
    """Return the share known by each age (Kaplan-Meier over the panes that have reached it); NaN where none has."""
    labels, made = panes.labels[place], panes.predictions[place]
    reached = panes.end_ms[place][:, np.newaxis] + edges <= now_ms
    before = np.cumsum(labels, axis=1) - labels
    waiting = np.where(reached, made[:, np.newaxis] - before, 0).sum(axis=0)
    arrived = np.where(reached, labels, 0).sum(axis=0)
    stays = np.divide(waiting - arrived, waiting, out=np.ones(len(edges)), where=waiting > 0)
    shares: Floats = 1 - np.cumprod(stays)
    shares[~(reached & (made > 0)[:, np.newaxis]).any(axis=0)] = np.nan
    return shares


def _by_now(panes: Panes, place: int, now_ms: int, expected: Mapping[int, float]) -> tuple[float, float] | None:
    """Return what share of a cohort is labelled by the ages its panes have reached, and what is usual by then."""
    view = panes.as_of(now_ms)
    made, ages = view.predictions[place], view.age[place]
    usual = np.array([expected.get(panes.kind.age_edges_ms[age], np.nan) if age >= 0 else 0.0 for age in ages])
    known = ~np.isnan(usual)
    total = int(made[known].sum())
    if not total:
        return None
    return float(view.labels[place][known].sum() / total), float((made[known] * usual[known]).sum() / total)


def _until(expected: Mapping[int, float], horizon_ms: int) -> float:
    """Return the age up to which the curve is drawn."""
    most = max(expected.values(), default=0.0)
    enough = min((age for age, share in expected.items() if share >= _ENOUGH * most), default=horizon_ms)
    return min(horizon_ms, max(enough * _FURTHER, 1))
