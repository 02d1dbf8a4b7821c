"""Draws charts as inline SVG: a plot area with axes, lines, bands and markers.

Colours and font sizes are classes of the style sheet. Texts are escaped here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

__all__ = ["HEIGHT", "WIDTH", "Plot", "Point", "nice_ticks"]

WIDTH = 640
HEIGHT = 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 16, 34

Point = tuple[float, float]
"""x and y in units of the data."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from low to high, at most about `wanted`; none for an empty range.

    >>> nice_ticks(0.0, 100.0)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    raw = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in _STEPS if unit * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


@dataclass
class Plot:
    """One chart: draw in any order, then take `markup`.

    Args:
        x_range: least and greatest x.
        y_range: least and greatest y; values outside are drawn at the edge.
        description: for readers who cannot see the chart.
        ident: prefix of the chart's element ids, unique on the page.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    title: str
    description: str
    ident: str
    _parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return the horizontal position of a value, in pixels."""
        return LEFT + _portion(value, self.x_range) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the vertical position of a value, in pixels."""
        return HEIGHT - BOTTOM - _portion(value, self.y_range) * (HEIGHT - TOP - BOTTOM)

    def y_axis(self, ticks: Iterable[tuple[float, str]]) -> None:
        """Draw horizontal lines with labels on the left."""
        for value, label in ticks:
            height = f"{self.y(value):.1f}"
            self._parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}"/>')
            self._text(LEFT - 7, self.y(value) + 4, label, "tick end")

    def x_axis(self, ticks: Sequence[tuple[float, str]]) -> None:
        """Draw ticks with labels below; the first and last label are kept inside."""
        base = HEIGHT - BOTTOM
        self._parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
        for value, label in ticks:
            x = self.x(value)
            self._parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
            side = " start" if x < LEFT + 30 else " end" if x > WIDTH - RIGHT - 40 else ""
            self._text(x, base + 19, label, f"tick{side}")

    def line(self, points: Sequence[Point], classes: str) -> None:
        """Draw a line through the points."""
        if len(points) > 1:
            pairs = " ".join(self._pair(point) for point in points)
            self._parts.append(f'<polyline class="{escape(classes)}" points="{pairs}"/>')

    def band(self, lower: Sequence[Point], upper: Sequence[Point], classes: str) -> None:
        """Fill the area between two lines."""
        if len(lower) > 1:
            pairs = " ".join(self._pair(point) for point in [*lower, *reversed(upper)])
            self._parts.append(f'<polygon class="{escape(classes)}" points="{pairs}"/>')

    def whisker(self, x: float, low: float, high: float, classes: str) -> None:
        """Draw a vertical line from low to high; an end outside the plot has no cap."""
        at, bottom, top = self.x(x), self.y(low), self.y(high)
        caps = [
            f"M{at - 3:.1f} {end:.1f}h6"
            for value, end in ((low, bottom), (high, top))
            if self.y_range[0] <= value <= self.y_range[1]
        ]
        path = f"M{at:.1f} {bottom:.1f}V{top:.1f}" + "".join(caps)
        self._parts.append(f'<path class="{escape(classes)}" d="{path}"/>')

    def dot(self, point: Point, classes: str, radius: float = 3) -> None:
        """Draw a round marker."""
        cx, cy = self._pair(point).split(",")
        self._parts.append(f'<circle class="{escape(classes)}" cx="{cx}" cy="{cy}" r="{radius:g}"/>')

    def diamond(self, point: Point, classes: str) -> None:
        """Draw a diamond-shaped marker."""
        at = self._pair(point).replace(",", " ")
        self._parts.append(f'<path class="{escape(classes)}" d="M{at}m0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z"/>')

    def label(self, point: Point, text: str, classes: str, rise: float = -8) -> None:
        """Write a text next to a point, inside the plot."""
        x = self.x(point[0])
        side = "end" if x > WIDTH / 2 else "start"
        self._text(x, min(max(self.y(point[1]) + rise, TOP - 3), HEIGHT - BOTTOM - 4), text, f"{classes} {side}")

    def markup(self) -> Markup:
        """Return the drawing."""
        title, described = f"{self.ident}-title", f"{self.ident}-desc"
        # all parts are numbers or escaped texts
        return Markup(  # noqa: S704
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{title} {described}">'
            f'<title id="{title}">{escape(self.title)}</title><desc id="{described}">{escape(self.description)}</desc>'
            f"{''.join(self._parts)}</svg>"
        )

    def _text(self, x: float, y: float, text: str, classes: str) -> None:
        self._parts.append(f'<text class="{escape(classes)}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def _pair(self, point: Point) -> str:
        return f"{self.x(point[0]):.1f},{self.y(point[1]):.1f}"


def _portion(value: float, span: tuple[float, float]) -> float:
    """Return the position of a value within a span, from 0 to 1; values outside are moved to the edge."""
    low, high = span
    if not math.isfinite(value) or high <= low:
        return 0.5
    return min(max((value - low) / (high - low), 0.0), 1.0)
