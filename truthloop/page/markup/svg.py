"""Drawing in SVG: a plot area with axes, lines, bands and marks, as text that stands in the page.

Colours and sizes of letters are classes of the style sheet, never attributes. All that is drawn is numbers
of our own and texts that are escaped here. This module must not know what a metric or a cohort is.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

__all__ = ["HEIGHT", "WIDTH", "Plot", "Spot", "nice_ticks"]

WIDTH = 640
HEIGHT = 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 16, 34

Spot = tuple[float, float]
"""A place in units of the data: x, y."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers within low and high, at most about `wanted` of them; empty for a void range."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    raw = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in _STEPS if unit * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


@dataclass
class Plot:
    """One chart: draw in any order, then take `markup`.

    Args:
        x_range: least and greatest x.
        y_range: least and greatest y; what lies beyond is drawn at the edge.
        title: what the chart shows, in a few words.
        description: what a reader who cannot see it has to know.
        ident: unique on the page.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    title: str
    description: str
    ident: str
    _parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return the horizontal place of a value."""
        return LEFT + _portion(value, self.x_range) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the vertical place of a value."""
        return HEIGHT - BOTTOM - _portion(value, self.y_range) * (HEIGHT - TOP - BOTTOM)

    def y_axis(self, ticks: Iterable[tuple[float, str]]) -> None:
        """Draw horizontal lines with their labels at the left."""
        for value, label in ticks:
            height = f"{self.y(value):.1f}"
            self._parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}"/>')
            self._text(LEFT - 7, self.y(value) + 4, label, "tick end")

    def x_axis(self, ticks: Sequence[tuple[float, str]]) -> None:
        """Draw short strokes with their labels below; the first and last are kept inside."""
        base = HEIGHT - BOTTOM
        self._parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
        for value, label in ticks:
            place = self.x(value)
            self._parts.append(f'<line class="axis" x1="{place:.1f}" x2="{place:.1f}" y1="{base}" y2="{base + 4}"/>')
            side = " start" if place < LEFT + 30 else " end" if place > WIDTH - RIGHT - 40 else ""
            self._text(place, base + 19, label, f"tick{side}")

    def line(self, spots: Sequence[Spot], classes: str) -> None:
        """Draw a line through the spots."""
        if len(spots) > 1:
            points = " ".join(self._pair(spot) for spot in spots)
            self._parts.append(f'<polyline class="{escape(classes)}" points="{points}"/>')

    def band(self, lower: Sequence[Spot], upper: Sequence[Spot], classes: str) -> None:
        """Fill what lies between two lines."""
        if len(lower) > 1:
            points = " ".join(self._pair(spot) for spot in [*lower, *reversed(upper)])
            self._parts.append(f'<polygon class="{escape(classes)}" points="{points}"/>')

    def whisker(self, x: float, low: float, high: float, classes: str) -> None:
        """Draw a vertical stroke from low to high; an end beyond the plot has no cap."""
        place, bottom, top = self.x(x), self.y(low), self.y(high)
        caps = [
            f"M{place - 3:.1f} {end:.1f}h6"
            for value, end in ((low, bottom), (high, top))
            if self.y_range[0] <= value <= self.y_range[1]
        ]
        path = f"M{place:.1f} {bottom:.1f}V{top:.1f}" + "".join(caps)
        self._parts.append(f'<path class="{escape(classes)}" d="{path}"/>')

    def dot(self, spot: Spot, classes: str, radius: float = 3) -> None:
        """Draw a round mark."""
        cx, cy = self._pair(spot).split(",")
        self._parts.append(f'<circle class="{escape(classes)}" cx="{cx}" cy="{cy}" r="{radius:g}"/>')

    def diamond(self, spot: Spot, classes: str) -> None:
        """Draw a mark that stands on its corner."""
        at = self._pair(spot).replace(",", " ")
        self._parts.append(f'<path class="{escape(classes)}" d="M{at}m0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z"/>')

    def label(self, spot: Spot, text: str, classes: str, rise: float = -8) -> None:
        """Write beside a spot, inside the plot."""
        place = self.x(spot[0])
        side = "end" if place > WIDTH / 2 else "start"
        self._text(place, min(max(self.y(spot[1]) + rise, TOP - 3), HEIGHT - BOTTOM - 4), text, f"{classes} {side}")

    def markup(self) -> Markup:
        """Return the drawing."""
        title, described = f"{self.ident}-title", f"{self.ident}-desc"
        # what is joined here is numbers of ours and texts that `escape` has seen
        return Markup(  # noqa: S704
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{title} {described}">'
            f'<title id="{title}">{escape(self.title)}</title><desc id="{described}">{escape(self.description)}</desc>'
            f"{''.join(self._parts)}</svg>"
        )

    def _text(self, x: float, y: float, text: str, classes: str) -> None:
        self._parts.append(f'<text class="{escape(classes)}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def _pair(self, spot: Spot) -> str:
        return f"{self.x(spot[0]):.1f},{self.y(spot[1]):.1f}"


def _portion(value: float, span: tuple[float, float]) -> float:
    """Return where a value stands within a span, from 0 to 1; what is beyond stands at the edge."""
    low, high = span
    if not math.isfinite(value) or high <= low:
        return 0.5
    return min(max((value - low) / (high - low), 0.0), 1.0)
