"""The panel of a metric: its value by day, and nowcasts of days that are not final.

A day is final here if and only if it is final for `truthloop metrics`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from monitor.cells.plan import KindPlan
from monitor.coverage.lookback import lookback_days
from monitor.metrics.table import metrics
from monitor.nowcast.estimator import Estimate
from monitor.nowcast.expected import EXPECTED_METRICS
from schemas.base.metric_name import METRICS, RARE_METRICS, plain_name
from truthloop.evidence.class_warnings import class_warnings
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.snapshot import Snapshot
from truthloop.page.gather.sql import metric_query
from truthloop.page.panels.model import MetricPanel, MetricPoint, MetricSeries, MetricStatus, NowcastSeries

__all__ = ["available_metrics", "metric_panel"]

_LOWER_IS_BETTER: Final = frozenset({"log_loss", "brier", "mae", "mse", "rmse"})
_NOT_METRICS: Final = r"^(pane_|input:|output$|score$)"
_AT_AGE: Final = r"^[a-z_0-9]+@"
_RUNNING: Final = "The value of the running day is of the predictions made so far."
_TIES_MAX: Final = 0.05
"""Greatest error of an estimated area under the curve by its bins."""
_PENDING: Final = "Estimates of the newest days are being computed: reload the page in a moment."

Estimates = Mapping[str, Mapping[date, Estimate] | None]
"""By version; None where they are being computed."""


def metric_panel(scope: Scope, estimates: Estimates) -> MetricPanel:
    """Return the panel of the selected metric.

    Args:
        estimates: of days that are not final; without versions that have none.
    """
    name = scope.selection.metric
    if not name:
        return MetricPanel("", ())
    rows = _rows(scope, name)
    series, running = list[MetricSeries](), list[NowcastSeries]()
    for version in reversed(scope.versions):
        mine = [row for row in rows if row["version"] == version]
        young = _of_own_definition(scope, mine, estimates.get(version) or {})
        series += _series(scope, version, mine, young)
        if (now := _running(scope, version, name, young)) is not None:
            running.append(now)
    notes = [_PENDING] if None in estimates.values() else []
    notes += [_RUNNING] if running else []
    notes += [f"{text[0].upper()}{text[1:]}." for text in class_warnings(scope.snapshot.evidence, scope.kind.name)]
    has_none = name not in EXPECTED_METRICS or any(
        not _has_estimate(found, name) for young in estimates.values() if young for found in young.values()
    )
    if scope.kind.task == "binary" and has_none and any(_is_young(version) for version in series):
        notes.append("This metric has no estimate: until a day is final its value is of the arrived labels.")
    if scope.kind.task != "binary" and any(_is_young(version) for version in series):
        notes.append("Until a day is final its value is of the arrived labels, which may not be a random sample.")
    notes += sorted({f"No value where {row['reason']}." for row in rows if row["reason"] and row["n"]})
    return MetricPanel(
        name,
        tuple(series),
        tuple(running),
        plain_name(name) not in _LOWER_IS_BETTER,
        metric_query(scope),
        " ".join(notes),
    )


def _series(
    scope: Scope, version: str, rows: list[dict[str, Any]], young: Mapping[date, Estimate]
) -> Iterator[MetricSeries]:
    """Yield the metric of a version by definition, the config's first."""
    own = scope.kind.definition
    for definition in sorted({row["definition"] for row in rows}, key=lambda one: (one != own, one)):
        mine = [row for row in rows if row["definition"] == definition]
        points = tuple(_point(row, scope.selection.metric, young) for row in mine)
        yield MetricSeries(version, points, definition, is_own=definition == own)


def _of_own_definition(
    scope: Scope, rows: list[dict[str, Any]], young: Mapping[date, Estimate]
) -> Mapping[date, Estimate]:
    """Return the estimates of days without labels of another definition: an estimate is of all labels of record."""
    mixed = {row["day"] for row in rows if row["definition"] != scope.kind.definition}
    return {day: found for day, found in young.items() if day not in mixed}


def available_metrics(snapshot: Snapshot) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return by kind its metrics, the default first: those that suit the labels of the newest days."""
    cells, found = snapshot.evidence.cells, []
    for kind in snapshot.evidence.plan.kinds:
        days = cells.summary.days(kind.name, kind.definition)
        own = () if days is None else _metrics_of(snapshot, kind, days[1])
        default = RARE_METRICS if kind.task == "binary" else METRICS[kind.task]
        found.append((kind.name, own or kind.metrics or tuple(default)))
    return tuple(found)


def _metrics_of(snapshot: Snapshot, kind: KindPlan, last: date) -> tuple[str, ...]:
    evidence = snapshot.evidence
    first = last - timedelta(days=2 * lookback_days(kind.horizon_ms))
    is_counted = ~pl.col("measure").str.contains(_NOT_METRICS) & ~pl.col("measure").str.contains(_AT_AGE)
    cells = evidence.cells.of_days(first, last, pl.col("kind") == kind.name, pl.col("slice") == "", is_counted)
    names = metrics(cells, replace(evidence.plan, kinds=(kind,)), "version", {})["name"]
    return tuple(names.unique(maintain_order=True))


def _rows(scope: Scope, name: str) -> list[dict[str, Any]]:
    """Return the metric by version, definition and day of the shown days."""
    plan = replace(scope.plan, kinds=(replace(scope.kind, metrics=(name,)),))
    is_counted = ~pl.col("measure").str.contains(_NOT_METRICS) & ~pl.col("measure").str.contains(_AT_AGE)
    rows = metrics(scope.shown(is_counted), plan, ["version", "slice", "day"], scope.matured)
    return rows.filter(pl.col("predictions") > 0).sort("day").to_dicts()


def _point(row: Mapping[str, Any], name: str, young: Mapping[date, Estimate]) -> MetricPoint:
    day, value, status = row["day"], row["value"], row["status"]
    counts = {name: row[name] for name in ("bound", "n", "labelled", "predictions")}
    plain = MetricPoint(str(day), _status(status), value, **counts)
    found = young.get(day)
    if found is None or plain.status in ("mature", "revised") or not _has_estimate(found, name):
        return plain
    interval, bounds, estimate = found.intervals[name], found.nowcast.bounds[name], found.nowcast.values[name]
    low, high = (None, None) if interval is None or interval.is_hard else (interval.low, interval.high)
    least, most = (None, None) if bounds is None else bounds
    point = replace(plain, low=low, high=high, least=least, most=most)
    if estimate is None:
        return point
    # a trusted estimate of the final value, but not the final value
    status = "estimated" if found.status[name] == "estimated" else "provisional"
    return replace(point, value=estimate, bound=None, status=_status(status))


def _running(scope: Scope, version: str, name: str, young: Mapping[date, Estimate]) -> NowcastSeries | None:
    """Return the nowcast of the running day; None if the newest day has ended."""
    day = scope.last
    if day is None or day not in young or scope.observed_ms is None or scope.day_end_ms(day) <= scope.observed_ms:
        return None
    found = young[day]
    if not _has_estimate(found, name):
        return None
    interval = found.intervals[name]
    low, high = (None, None) if interval is None or interval.is_hard else (interval.low, interval.high)
    return NowcastSeries(str(day), version, found.nowcast.values[name], low, high, found.arrived[name])


def _has_estimate(found: Estimate, name: str) -> bool:
    """Return whether a metric is estimated: not an area where most scores share few of the estimate's fixed bins."""
    if name not in found.status or name != "roc_auc":
        return name in found.status
    ones, zeros = found.nowcast.ones, found.nowcast.zeros
    pairs = float(ones.sum() * zeros.sum())
    return pairs <= 0 or float(ones @ zeros) / (2 * pairs) <= _TIES_MAX


def _is_young(series: MetricSeries) -> bool:
    return any(point.status not in ("mature", "revised") for point in series.points)


def _status(text: object) -> MetricStatus:
    known: dict[object, MetricStatus] = {
        "estimated": "estimated",
        "provisional": "provisional",
        "mature": "mature",
        "revised": "revised",
    }
    return known.get(text, "no_data")
