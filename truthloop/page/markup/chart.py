"""The page's two charts: a metric by day, and the share of labels known by age.

Final values are drawn solid, all others dashed and hollow, with their prediction interval, or with their bounds if
there is no interval.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from markupsafe import Markup

from schemas.base.figures import age, finite, number, share
from truthloop.page.markup.svg import Plot, Point, nice_ticks
from truthloop.page.panels.model import MaturityCurve, MaturityPanel, MetricPanel, MetricPoint, MetricSeries
from truthloop.text.format import name

__all__ = ["COHORTS_MAX", "SERIES_MAX", "maturity_chart", "metric_chart"]

SERIES_MAX = 4
"""Number of lines that a reader can distinguish."""

COHORTS_MAX = 4
"""Number of newest cohorts that are drawn on top of the usual curve."""

MARKED_POINTS_MAX = 120
"""With more days than this the markers of final days would touch, so only the line is drawn."""

_FINAL = ("mature", "revised")
_TICKS = 6
_YEAR = 4
_MARGIN = 0.08


def metric_chart(metric: MetricPanel) -> Markup | None:
    """Return the chart of a metric; None if no point has a value."""
    shown = metric.series[:SERIES_MAX]
    days = sorted({point.day for series in shown for point in series.points})
    span = _span(shown)
    if span is None:
        return None
    x_of = {day: float(index) for index, day in enumerate(days)}
    plot = Plot(
        x_range=(0.0, max(1.0, len(days) - 1.0)),
        y_range=span,
        title=f"{name(metric.name)} by day",
        description=_describe_metric(shown),
        ident="metric-chart",
    )
    plot.y_axis([(tick, f"{tick:.4g}") for tick in nice_ticks(*span)])
    plot.x_axis(_day_ticks(days))
    for index, series in enumerate(shown):
        _draw_ranges(plot, series, x_of, f"series-{index}")
        _draw_values(plot, series, x_of, f"series-{index}")
    return plot.markup()


def maturity_chart(maturity: MaturityPanel) -> Markup | None:
    """Return the chart of label age: the usual curve, and the newest cohorts on top; None if no share is known."""
    expected = _points_of(maturity.expected)
    cohorts = [(curve, _points_of(curve)) for curve in maturity.cohorts[:COHORTS_MAX]]
    ages = [x for points in (expected, *(points for _, points in cohorts)) for x, _ in points]
    if not ages:
        return None
    oldest = max(*ages, 1.0)
    plot = Plot(
        x_range=(0.0, oldest),
        y_range=(0.0, 1.0),
        title="Share of labels known by age",
        description=_describe_maturity(maturity),
        ident="maturity-chart",
    )
    plot.y_axis([(tick / 4, f"{25 * tick} %") for tick in range(5)])
    plot.x_axis(_age_ticks(oldest))
    plot.line([(0.0, 0.0), *expected] if expected else [], "usual")
    for index, (curve, points) in enumerate(cohorts):
        plot.line([(0.0, 0.0), *points] if points else [], f"series series-{index}")
        for point in points[-1:]:
            plot.dot(point, f"mark series-{index}")
            plot.label(point, name(curve.name), f"series-label series-{index}", 16)
    return plot.markup()


def _draw_ranges(plot: Plot, series: MetricSeries, x_of: dict[str, float], color: str) -> None:
    """Draw intervals of consecutive days as a band, that of a single day as a whisker, and bounds as whiskers."""
    for known, run in groupby(series.points, lambda point: _pair(point.low, point.high) is not None):
        points = list(run)
        if not known:
            for point in points:
                if (bounds := _pair(point.least, point.most)) is not None:
                    plot.whisker(x_of[point.day], *bounds, f"whisker bounds {color}")
            continue
        ranges = [(x_of[point.day], *pair) for point in points if (pair := _pair(point.low, point.high))]
        plot.band([(x, low) for x, low, _ in ranges], [(x, high) for x, _, high in ranges], f"band {color}")
        if len(ranges) == 1:
            plot.whisker(*ranges[0], f"whisker {color}")


def _draw_values(plot: Plot, series: MetricSeries, x_of: dict[str, float], color: str) -> None:
    """Draw the line, solid between final days and dashed elsewhere, and a marker by status on each day."""
    for is_final, points in _strokes(series.points, x_of):
        plot.line(points, f"series {color}" if is_final else f"series dashed {color}")
    last: Point | None = None
    for point in series.points:
        if (value := finite(point.value)) is None:
            continue
        last = (x_of[point.day], value)
        if point.status == "revised":
            plot.diamond(last, f"mark {color}")
        elif point.status != "mature":
            plot.dot(last, f"mark hollow {color}")
        elif len(x_of) <= MARKED_POINTS_MAX:
            plot.dot(last, f"mark {color}", 2.2)
    if last is not None:
        plot.label(last, name(series.name), f"series-label {color}", -10)


def _strokes(points: Sequence[MetricPoint], x_of: dict[str, float]) -> Iterator[tuple[bool, list[Point]]]:
    """Yield (is final, points) of each part of the line; a day without a value is a gap."""
    steps = []
    for before, after in pairwise(points):
        values = _pair(before.value, after.value)
        is_final = before.status in _FINAL and after.status in _FINAL
        steps.append((values is not None, is_final, before, after))
    for (is_known, is_final), run in groupby(steps, lambda step: step[:2]):
        if is_known:
            pieces = list(run)
            ends = [pieces[0][2], *(after for *_, after in pieces)]
            yield is_final, [(x_of[point.day], float(point.value or 0.0)) for point in ends]


def _span(shown: Sequence[MetricSeries]) -> tuple[float, float] | None:
    """Return the range of values and intervals with a margin; bounds may be outside."""
    points = [point for series in shown for point in series.points]
    known = [v for p in points for value in (p.value, p.low, p.high) if (v := finite(value)) is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    margin = (high - low) * _MARGIN or max(abs(high) * _MARGIN, 0.01)
    return low - margin, high + margin


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    known = finite(low), finite(high)
    return None if known[0] is None or known[1] is None else (known[0], known[1])


def _points_of(curve: MaturityCurve) -> list[Point]:
    return [(float(at), known) for at, value in curve.points if (known := finite(value)) is not None]


def _day_ticks(days: Sequence[str]) -> list[tuple[float, str]]:
    """Return ticks at equal steps; their labels have a year only on the first one and after a change of the year."""
    ticks, year = [], ""
    for index in range(0, len(days), max(1, -(-len(days) // _TICKS))):
        day = days[index]
        ticks.append((float(index), name(day if day[:_YEAR] != year else day[_YEAR + 1 :])))
        year = day[:_YEAR]
    return ticks


def _age_ticks(oldest_ms: float) -> list[tuple[float, str]]:
    """Return ticks at multiples of the largest unit that fits at least twice."""
    unit = next((ms for ms in (86_400_000, 3_600_000, 60_000, 1_000) if oldest_ms >= 2 * ms), 1)
    return [
        (tick * unit, age(round(tick * unit)) if tick else "0") for tick in nice_ticks(0.0, oldest_ms / unit, _TICKS)
    ]


def _describe_metric(shown: Sequence[MetricSeries]) -> str:
    """Return the newest value of each line as text."""
    parts = []
    for series in shown:
        known = [point for point in series.points if finite(point.value) is not None]
        if known:
            parts.append(f"{name(series.name)}: {number(known[-1].value)} on {known[-1].day} ({known[-1].status})")
    return "; ".join(parts) + ". All values are in the table below the chart."


def _describe_maturity(maturity: MaturityPanel) -> str:
    ends = [(name(curve.name), _points_of(curve)) for curve in (maturity.expected, *maturity.cohorts[:COHORTS_MAX])]
    parts = [f"{title}: {share(points[-1][1])} by {age(round(points[-1][0]))}" for title, points in ends if points]
    return "; ".join(parts) + "."
