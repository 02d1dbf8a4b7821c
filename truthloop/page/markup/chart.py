"""The page's two charts: a metric day by day, and how labels come in with age.

A number that is final is drawn solid, one that will still move dashed and hollow, with the interval around it,
or with the bounds that hold in any case where no interval is known. Must not judge: it draws what it is given.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from markupsafe import Markup

from truthloop.page.markup.svg import Plot, Spot, nice_ticks
from truthloop.page.panels.model import Curve, Maturity, Metric, Point, Series
from truthloop.text.format import age, finite, name, number, share

__all__ = ["COHORTS_MAX", "SERIES_MAX", "maturity_chart", "metric_chart"]

SERIES_MAX = 4
"""So many lines can be told apart; the table below the chart has all versions."""

COHORTS_MAX = 4
"""The newest cohorts that are drawn on top of what is usual."""

MARKED_POINTS_MAX = 120
"""With more days than this the marks of final days would touch each other, and the line alone says it."""

_SETTLED = ("mature", "revised")
_TICKS = 6
_YEAR = 4
_AIR = 0.08


def metric_chart(metric: Metric) -> Markup | None:
    """Return the chart of a metric, None where no point has a value."""
    shown = metric.series[:SERIES_MAX]
    days = sorted({point.day for series in shown for point in series.points})
    span = _span(shown)
    if span is None:
        return None
    place = {day: float(index) for index, day in enumerate(days)}
    plot = Plot(
        x_range=(0.0, max(1.0, len(days) - 1.0)),
        y_range=span,
        title=f"{name(metric.name)} by day",
        description=_told(shown),
        ident="metric-chart",
    )
    plot.y_axis([(tick, f"{tick:.4g}") for tick in nice_ticks(*span)])
    plot.x_axis(_day_ticks(days))
    for index, series in enumerate(shown):
        _draw_ranges(plot, series, place, f"series-{index}")
        _draw_values(plot, series, place, f"series-{index}")
    return plot.markup()


def maturity_chart(maturity: Maturity) -> Markup | None:
    """Return the chart of label age: the usual curve, and the newest cohorts on top; None without any share."""
    expected = _spots(maturity.expected)
    cohorts = [(curve, _spots(curve)) for curve in maturity.cohorts[:COHORTS_MAX]]
    ages = [x for spots in (expected, *(found for _, found in cohorts)) for x, _ in spots]
    if not ages:
        return None
    oldest = max(*ages, 1.0)
    plot = Plot(
        x_range=(0.0, oldest),
        y_range=(0.0, 1.0),
        title="Share of labels known by age",
        description=_told_of_ages(maturity),
        ident="maturity-chart",
    )
    plot.y_axis([(tick / 4, f"{25 * tick} %") for tick in range(5)])
    plot.x_axis(_age_ticks(oldest))
    plot.line([(0.0, 0.0), *expected] if expected else [], "usual")
    for index, (curve, spots) in enumerate(cohorts):
        plot.line([(0.0, 0.0), *spots] if spots else [], f"series series-{index}")
        for spot in spots[-1:]:
            plot.dot(spot, f"mark series-{index}")
            plot.label(spot, name(curve.name), f"series-label series-{index}", 16)
    return plot.markup()


def _draw_ranges(plot: Plot, series: Series, place: dict[str, float], own: str) -> None:
    """Draw the intervals of days that follow each other as a band, and whiskers where there is no neighbour."""
    for known, run in groupby(series.points, lambda point: _pair(point.low, point.high) is not None):
        points = list(run)
        if not known:
            for point in points:
                if (bounds := _pair(point.least, point.most)) is not None:
                    plot.whisker(place[point.day], *bounds, f"whisker bounds {own}")
            continue
        ranges = [(place[point.day], *pair) for point in points if (pair := _pair(point.low, point.high))]
        plot.band([(x, low) for x, low, _ in ranges], [(x, high) for x, _, high in ranges], f"band {own}")
        if len(ranges) == 1:
            plot.whisker(*ranges[0], f"whisker {own}")


def _draw_values(plot: Plot, series: Series, place: dict[str, float], own: str) -> None:
    """Draw the line, solid between final days and dashed elsewhere, and a mark by status on each day."""
    for is_settled, spots in _strokes(series.points, place):
        plot.line(spots, f"series {own}" if is_settled else f"series dashed {own}")
    last: Spot | None = None
    for point in series.points:
        if (value := finite(point.value)) is None:
            continue
        last = (place[point.day], value)
        if point.status == "revised":
            plot.diamond(last, f"mark {own}")
        elif point.status != "mature":
            plot.dot(last, f"mark hollow {own}")
        elif len(place) <= MARKED_POINTS_MAX:
            plot.dot(last, f"mark {own}", 2.2)
    if last is not None:
        plot.label(last, name(series.version), f"series-label {own}", -10)


def _strokes(points: Sequence[Point], place: dict[str, float]) -> Iterator[tuple[bool, list[Spot]]]:
    """Yield (is settled, spots) of each part of the line; a day without a value is a gap and no bridge."""
    steps = []
    for before, after in pairwise(points):
        values = _pair(before.value, after.value)
        is_settled = before.status in _SETTLED and after.status in _SETTLED
        steps.append((values is not None, is_settled, before, after))
    for (is_known, is_settled), run in groupby(steps, lambda step: step[:2]):
        if is_known:
            pieces = list(run)
            ends = [pieces[0][2], *(after for *_, after in pieces)]
            yield is_settled, [(place[point.day], float(point.value or 0.0)) for point in ends]


def _span(shown: Sequence[Series]) -> tuple[float, float] | None:
    """Return the range of values and intervals with some air; bounds may lie beyond it."""
    points = [point for series in shown for point in series.points]
    known = [v for p in points for value in (p.value, p.low, p.high) if (v := finite(value)) is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    air = (high - low) * _AIR or max(abs(high) * _AIR, 0.01)
    return low - air, high + air


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    known = finite(low), finite(high)
    return None if known[0] is None or known[1] is None else (known[0], known[1])


def _spots(curve: Curve) -> list[Spot]:
    return [(float(at), known) for at, value in curve.points if (known := finite(value)) is not None]


def _day_ticks(days: Sequence[str]) -> list[tuple[float, str]]:
    """Return days at equal steps: the first whole, the others without the year, unless it has changed."""
    chosen = range(0, len(days), max(1, -(-len(days) // _TICKS)))
    years = [days[index][:_YEAR] for index in chosen]
    return [
        (float(index), name(days[index] if not place or years[place] != years[place - 1] else days[index][_YEAR + 1 :]))
        for place, index in enumerate(chosen)
    ]


def _age_ticks(oldest_ms: float) -> list[tuple[float, str]]:
    """Return ticks at whole units: the largest unit of which some fit."""
    unit = next((ms for ms in (86_400_000, 3_600_000, 60_000, 1_000) if oldest_ms >= 2 * ms), 1)
    return [
        (tick * unit, age(round(tick * unit)) if tick else "0") for tick in nice_ticks(0.0, oldest_ms / unit, _TICKS)
    ]


def _told(shown: Sequence[Series]) -> str:
    """Return the newest value of each version in words."""
    told = []
    for series in shown:
        known = [point for point in series.points if finite(point.value) is not None]
        if known:
            told.append(f"{name(series.version)}: {number(known[-1].value)} on {known[-1].day} ({known[-1].status})")
    return "; ".join(told) + ". All numbers stand in the table below the chart."


def _told_of_ages(maturity: Maturity) -> str:
    ends = [(name(curve.name), _spots(curve)) for curve in (maturity.expected, *maturity.cohorts[:COHORTS_MAX])]
    told = [f"{title}: {share(spots[-1][1])} % by {age(round(spots[-1][0]))}" for title, spots in ends if spots]
    return "; ".join(told) + "."
