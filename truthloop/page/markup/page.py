"""From a view to HTML: pure, without JavaScript, and without a word that data could make the browser obey.

Templates escape all they are given. The numbers of a panel are written by `text`, its drawings by `chart` and
`heat`. Must not read anything but its own templates, and must not decide what is good or bad.
"""

from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from truthloop.page.markup.chart import COHORTS_MAX as CURVES_MAX
from truthloop.page.markup.chart import SERIES_MAX, maturity_chart, metric_chart
from truthloop.page.markup.heatmap import COHORTS_MAX, heat_body
from truthloop.page.panels.download import sql_command
from truthloop.page.panels.model import DriftCell, Lane
from truthloop.page.panels.selection import REFRESH_S
from truthloop.page.panels.tables import PANELS
from truthloop.page.panels.view import Selection, View
from truthloop.page.panels.words import DRIFT_SIGNS, STATUS_WORDS, TITLES, URGENCY_WORDS, VERDICT_SIGNS
from truthloop.text import format as text

__all__ = ["Spot", "asset", "query_of", "render_error", "render_page"]


DRIFT_DAYS_MAX = 60
"""Days that a lane shows; the CSV has all."""

POINTS_MAX = 60
"""Days in the table below the metric's chart; the same."""

ROWS_MAX = 100
"""Rows of any other table."""

_TEMPLATES = ("page.html", "trouble.html", "macros.html", *(f"{panel}.html" for panel in PANELS))


def render_page(view: View, refresh_s: int = 0) -> str:
    """Return the whole page.

    Args:
        view: what it shows.
        refresh_s: after how many seconds the page loads itself again; 0: never.
    """
    zone = text.zone_of(view.loop.timezone)
    shown: dict[str, Any] = {
        "view": view,
        "refresh_s": refresh_s,
        "query": query_of(view.selection),
        "moment": lambda at_ms: text.moment(at_ms, zone),
        "hidden_cohorts": max(0, len(view.coverage.cohorts) - COHORTS_MAX),
        "metric_chart": metric_chart(view.metric),
        "maturity_chart": maturity_chart(view.maturity),
    }
    return _environment().get_template("page.html").render(shown)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a page that could not be shown stands, and what is said first.

    Attributes:
        root: address of the page, relative to where this one stands.
        again: address of what the reader can go back to, the same.
        heading: in two or three words.
    """

    root: str = "./"
    again: str = "./"
    heading: str = "No page"


def render_error(what: str, where: str, hint: str, title: str, spot: Spot | None = None) -> str:
    """Return the page that stands in for a page: what is wrong, where, and what to do."""
    shown = {"what": what, "where": where, "hint": hint, "title": title, "spot": spot or Spot()}
    return _environment().get_template("trouble.html").render(shown)


def query_of(selection: Selection, **changed: str | int) -> str:
    """Return the query string that selects the same again, with some values changed."""
    return urlencode(asdict(selection) | changed)


@cache
def asset(file: str) -> bytes:
    """Return a file that the page loads: `style.css` or `icon.svg`."""
    return resources.files("truthloop.page.markup").joinpath("static", file).read_bytes()


@cache
def _environment() -> Environment:
    folder = resources.files("truthloop.page.markup").joinpath("templates")
    sources = {file: folder.joinpath(file).read_text("utf-8") for file in _TEMPLATES}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        name=text.name,
        prose=text.prose,
        number=text.number,
        signed=text.signed,
        share=_per_cent,
        count=text.count,
        age=text.age,
        command=sql_command,
        shifts=_shifts,
        known=lambda value: text.finite(value) is not None,
    )
    environment.globals.update(
        PANELS=PANELS,
        TITLES=TITLES,
        STATUS_WORDS=STATUS_WORDS,
        URGENCY_WORDS=URGENCY_WORDS,
        VERDICT_SIGNS=VERDICT_SIGNS,
        DRIFT_SIGNS=DRIFT_SIGNS,
        REFRESH_S=REFRESH_S,
        SERIES_MAX=SERIES_MAX,
        CURVES_MAX=CURVES_MAX,
        DRIFT_DAYS_MAX=DRIFT_DAYS_MAX,
        POINTS_MAX=POINTS_MAX,
        ROWS_MAX=ROWS_MAX,
        query_of=query_of,
        heat_body=heat_body,
    )
    return environment


def _shifts(lanes: tuple[Lane, ...], start: int) -> list[tuple[str, int, DriftCell]]:
    """Return what was found from a day on, the newest first: lane, place of the day, cell."""
    found = [
        (lane.name, day, cell)
        for lane in lanes
        for day, cell in enumerate(lane.cells)
        if day >= start and cell.state in ("warn", "critical", "alarm")
    ]
    return sorted(found, key=lambda one: -one[1])


def _per_cent(value: float | None) -> Markup:
    """Return a share with its sign; a narrow space keeps the two together."""
    shown = text.share(value)
    return Markup("{}").format(shown if shown == text.NOTHING else f"{shown}\N{NARROW NO-BREAK SPACE}%")
