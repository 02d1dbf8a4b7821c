"""The panel of a metric: what labels say, day by day, and where days that are young will end.

Must not call a day final that `truthloop metrics` calls provisional.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

import polars as pl

from monitor.metrics.table import metrics
from monitor.nowcast.estimator import Estimate
from monitor.nowcast.expected import EXPECTED_METRICS
from schemas.base.metric_name import METRICS, RARE_METRICS
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.snapshot import Snapshot
from truthloop.page.gather.sql import metric_query
from truthloop.page.panels.model import Metric, MetricStatus, NowcastSeries, Point, Series

__all__ = ["metric_of", "offered_metrics"]

_LESS_IS_BETTER: Final = frozenset({"log_loss", "brier", "mae", "mse", "rmse"})
_ASIDE: Final = r"^(pane_|input:|output$|score$)"
_AT_AGE: Final = r"^[a-z_0-9]+@"
_RUNNING: Final = "The running day is told of the predictions made so far."
_WORKING: Final = "Estimates of the newest days are being worked out: load the page again in a moment."

Estimates = Mapping[str, Mapping[date, Estimate] | None]
"""By version; None where they are still being worked out."""


def metric_of(scope: Scope, estimates: Estimates) -> Metric:
    """Return the panel of the chosen metric.

    Args:
        scope: what is chosen.
        estimates: of days that are not final; versions without any are missing.
    """
    name = scope.selection.metric
    if not name:
        return Metric("", ())
    rows = _rows(scope, name)
    series, running = [], []
    for version in reversed(scope.versions):
        young = estimates.get(version) or {}
        points = tuple(_point(row, name, young) for row in rows if row["version"] == version)
        if points:
            series.append(Series(version, points))
        if (now := _running(scope, version, name, young)) is not None:
            running.append(now)
    notes = [_WORKING] if any(one is None for one in estimates.values()) else []
    notes += [_RUNNING] if running else []
    if scope.kind.task == "binary" and name not in EXPECTED_METRICS and any(_is_young(one) for one in series):
        notes.append("This metric has no estimate: until a day is final it is that of the labels that are in.")
    if scope.kind.task != "binary" and any(_is_young(one) for one in series):
        notes.append("Until a day is final its value is that of the labels that are in, and labels may come unevenly.")
    return Metric(
        name, tuple(series), tuple(running), name not in _LESS_IS_BETTER, metric_query(scope), " ".join(notes)
    )


def offered_metrics(snapshot: Snapshot) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return by kind its metrics, the usual one first."""
    evidence = snapshot.evidence
    cells = evidence.cells.filter(
        pl.col("slice") == "", ~pl.col("measure").str.contains(_ASIDE), ~pl.col("measure").str.contains(_AT_AGE)
    )
    names = metrics(cells, evidence.plan, "version", {}).select("kind", "name").unique(maintain_order=True)
    found = []
    for kind in evidence.plan.kinds:
        own = tuple(names.filter(pl.col("kind") == kind.name)["name"])
        usual = RARE_METRICS if kind.task == "binary" else METRICS[kind.task]
        found.append((kind.name, own or kind.metrics or tuple(usual)))
    return tuple(found)


def _rows(scope: Scope, name: str) -> list[dict[str, Any]]:
    """Return the metric's rows of the shown days."""
    plan = replace(scope.plan, kinds=(replace(scope.kind, metrics=(name,)),))
    is_counted = ~pl.col("measure").str.contains(_ASIDE) & ~pl.col("measure").str.contains(_AT_AGE)
    rows = metrics(scope.cells(is_counted, scope.shown()), plan, ["version", "slice", "day"], scope.matured)
    is_own = (pl.col("definition") == scope.kind.definition) & (pl.col("predictions") > 0)
    return rows.filter(is_own).sort("day").to_dicts()


def _point(row: Mapping[str, Any], name: str, young: Mapping[date, Estimate]) -> Point:
    day, value, status = row["day"], row["value"], row["status"]
    labelled, predictions = row["labelled"], row["predictions"]
    plain = Point(
        str(day),
        _status(status),
        value,
        labelled=labelled,
        predictions=predictions,
    )
    found = young.get(day)
    if found is None or plain.status in ("mature", "revised") or name not in found.status:
        return plain
    interval, bounds, estimate = found.intervals[name], found.found.bounds[name], found.found.values[name]
    low, high = (None, None) if interval is None or interval.is_hard else (interval.low, interval.high)
    least, most = (None, None) if bounds is None else bounds
    point = replace(plain, low=low, high=high, least=least, most=most)
    if estimate is None:
        return point
    # what the day's number will be is good enough to be trusted before it is final, and is not final
    status = "estimated" if found.status[name] == "estimated" else "provisional"
    return replace(point, value=estimate, status=_status(status))


def _running(scope: Scope, version: str, name: str, young: Mapping[date, Estimate]) -> NowcastSeries | None:
    """Return the line about the day that runs."""
    day = scope.last
    if day is None or day not in young or scope.observed_ms is None or scope.day_end_ms(day) <= scope.observed_ms:
        return None
    found = young[day]
    if name not in found.status:
        return None
    interval = found.intervals[name]
    low, high = (None, None) if interval is None or interval.is_hard else (interval.low, interval.high)
    return NowcastSeries(str(day), version, found.found.values[name], low, high, found.arrived[name])


def _is_young(series: Series) -> bool:
    return any(point.status not in ("mature", "revised") for point in series.points)


def _status(text: object) -> MetricStatus:
    known: dict[object, MetricStatus] = {
        "estimated": "estimated",
        "provisional": "provisional",
        "mature": "mature",
        "revised": "revised",
    }
    return known.get(text, "no_data")
