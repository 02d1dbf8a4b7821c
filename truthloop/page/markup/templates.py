"""The page's Jinja environment: all templates, autoescaped and strict, with the filters and constants they share."""

from functools import cache
from importlib import resources

from jinja2 import DictLoader, Environment, StrictUndefined

from monitor.backfill.time_shift import shift_text
from schemas.base import figures
from schemas.events.backfill_diff import NO_LABEL, OTHER_LABEL
from truthloop.page.markup.chart import COHORTS_MAX as CURVES_MAX
from truthloop.page.markup.chart import SERIES_MAX, maturity_chart, metric_chart
from truthloop.page.markup.heatmap import COHORTS_MAX, coverage_rows
from truthloop.page.panels.download import sql_command
from truthloop.page.panels.model import DriftCell, DriftLane
from truthloop.page.panels.selection import REFRESH_S
from truthloop.page.panels.tables import PANELS
from truthloop.page.panels.words import DRIFT_SIGNS, STATUS_TEXTS, URGENCY_TEXTS, VERDICT_SIGNS
from truthloop.text.format import name, prose
from truthloop.text.rulings import SCOPE_TITLES

__all__ = ["render"]

DRIFT_DAYS_MAX = 60
"""Days that a lane shows; the CSV has all."""

POINTS_MAX = 60
"""Days in the table below the metric's chart; the CSV has all."""

ROWS_MAX = 100
"""Rows of any other table."""

_P_VALUE_MIN = 1e-12
"""A smaller p-value is shown as smaller than this."""


def render(template: str, **values: object) -> str:
    """Return a template as HTML, filled with values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    folder = resources.files("truthloop.page.markup").joinpath("templates")
    sources = {file.name: file.read_text("utf-8") for file in folder.iterdir()}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        name=name,
        prose=prose,
        bounded=figures.bounded,
        number=figures.number,
        signed=figures.signed,
        difference=_difference,
        p_value=lambda value: f"<{_P_VALUE_MIN:g}" if value < _P_VALUE_MIN else f"{value:.2g}",
        share=_per_cent,
        count=figures.count,
        age=figures.age,
        label=_label,
        command=sql_command,
        shift=shift_text,
        shifts=_shifts,
        known=lambda value: figures.finite(value) is not None,
    )
    environment.globals.update(
        PANELS=PANELS,
        STATUS_TEXTS=STATUS_TEXTS,
        URGENCY_TEXTS=URGENCY_TEXTS,
        SCOPE_TITLES=SCOPE_TITLES,
        VERDICT_SIGNS=VERDICT_SIGNS,
        DRIFT_SIGNS=DRIFT_SIGNS,
        REFRESH_S=REFRESH_S,
        SERIES_MAX=SERIES_MAX,
        CURVES_MAX=CURVES_MAX,
        COHORTS_MAX=COHORTS_MAX,
        DRIFT_DAYS_MAX=DRIFT_DAYS_MAX,
        POINTS_MAX=POINTS_MAX,
        ROWS_MAX=ROWS_MAX,
        metric_chart=metric_chart,
        maturity_chart=maturity_chart,
        coverage_rows=coverage_rows,
    )
    return environment


def _per_cent(value: float | None) -> str:
    """Return a share with its sign; a narrow space keeps the two together."""
    return figures.share(value).replace(" ", "\N{NARROW NO-BREAK SPACE}")


def _difference(after: float | None, before: float | None) -> str:
    return figures.signed(None if after is None or before is None else after - before)


def _label(label: str) -> str:
    """Return a label of a backfill's matrix."""
    return {NO_LABEL: "no label", OTHER_LABEL: "other"}.get(label, name(label))


def _shifts(lanes: tuple[DriftLane, ...], start: int) -> list[tuple[str, int, DriftCell]]:
    """Return the warnings and alarms since a day, newest first: lane, index of the day, cell."""
    found = [
        (lane.name, day, cell)
        for lane in lanes
        for day, cell in enumerate(lane.cells)
        if day >= start and cell.state in ("warn", "critical", "alarm")
    ]
    return sorted(found, key=lambda one: -one[1])
