"""The panel of shift: lanes of what the gate watches, day by day.

Shifts are judged again from cells, for every day; errors are as the evaluations found them. Must not judge.
"""

from datetime import date, timedelta
from typing import Any, Final, Literal

import polars as pl

from monitor.cells.inputs import LABEL, OUTPUT, input_counts, input_histograms
from monitor.drift.input_shift import InputShift
from monitor.evaluation import Evaluator
from schemas.events.evidence import Event, FindingKind, Level
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import drift_query
from truthloop.page.panels.model import Drift, DriftCell, DriftState, Lane

__all__ = ["counts_of", "drift_of", "shift_of"]

_STATES: Final[dict[str, DriftState]] = {
    "calibrating": "calibrating",
    "ok": "ok",
    "warn": "warn",
    "critical": "critical",
    "alarm": "alarm",
}
_WORKING: Final = "Shifts are being worked out: load the page again in a moment."


def counts_of(scope: Scope) -> pl.DataFrame | None:
    """Return how many values of each input fell into each bin by day, of the version looked at; None before any."""
    if scope.running is None or scope.whole is None:
        return None
    evaluator = Evaluator(scope.config, scope.kind.name)
    judged = evaluator.judged_day(scope.whole)
    mine = scope.snapshot.evidence.cells.filter(pl.col("version") == scope.running)
    return input_counts(mine, scope.kind, scope.running, scope.whole, judged, evaluator.at_age_ms)


def shift_of(scope: Scope, counts: pl.DataFrame) -> pl.DataFrame:
    """Return the verdicts about every day of every input."""
    return InputShift().judge(counts, input_histograms(scope.config, scope.kind.name, scope.plan))


def drift_of(scope: Scope, counts: pl.DataFrame | None, verdicts: pl.DataFrame | None) -> Drift:
    """Return the panel.

    Args:
        scope: what is chosen.
        counts: as `counts_of` returns them.
        verdicts: as `shift_of` returns them; None while they are being worked out.
    """
    sql = drift_query(scope)
    if scope.first is None or scope.whole is None or counts is None:
        return Drift((), (), sql)
    first = max(scope.first, min(scope.predictions.filter(pl.col("version") == scope.running)["day"]))
    days = [first + timedelta(days=place) for place in range((scope.whole - first).days + 1)]
    lanes = [*_error_lanes(scope, days), *([] if verdicts is None else _shift_lanes(scope, days, verdicts))]
    notes = [_WORKING] if verdicts is None else []
    if len(scope.versions) > 1:
        notes.append(f"Of version {scope.running}; choose another one above.")
    if not scope.is_of_all:
        notes.append("Shift is told of all predictions, not of the slice.")
    return Drift(tuple(map(str, days)), tuple(lanes), sql, " ".join(notes))


def _error_lanes(scope: Scope, days: list[date]) -> list[Lane]:
    """Return the lane of the model's error, as the gate's evaluations have it."""
    if scope.kind.task != "binary":
        return []
    evaluated = {entry.at for entry in scope.log if entry.event is Event.EVALUATED}
    rows = scope.snapshot.findings.filter(
        pl.col("kind") == scope.kind.name,
        pl.col("name") == FindingKind.ERROR_DRIFT.value,
        pl.col("version") == scope.running,
    )
    found = {day: (level, text) for day, level, text in rows.select("day", "level", "text").iter_rows()}
    cells = []
    for day in days:
        level, text = found.get(day, ("", ""))
        if level == Level.ALARM.value:
            cells.append(DriftCell("alarm", text))
        else:
            is_known = bool(level) or scope.day_end_ms(day) in evaluated
            cells.append(DriftCell("ok" if is_known else "no_data", text))
    return [Lane("error", "error", tuple(cells))]


def _shift_lanes(scope: Scope, days: list[date], verdicts: pl.DataFrame) -> list[Lane]:
    place = {day: index for index, day in enumerate(days)}
    near = verdicts.filter(pl.col("reference") == "trailing", pl.col("day") >= days[0] if days else pl.lit(value=False))
    lanes = []
    names = [one.name for one in input_histograms(scope.config, scope.kind.name, scope.plan)]
    for name in sorted(names, key=lambda one: ({OUTPUT: 0, LABEL: 1}.get(one, 2), one)):
        cells = [DriftCell("no_data")] * len(days)
        for row in near.filter(pl.col("input") == name).iter_rows(named=True):
            found = DriftCell(_STATES.get(row["level"], "no_data"), _detail(row))
            day = max(row["since"], days[0])
            while day <= row["day"]:
                if day in place:
                    cells[place[day]] = found
                day += timedelta(days=1)
        lanes.append(Lane(name, _group(name), tuple(cells)))
    return lanes


def _group(name: str) -> Literal["output", "label", "feature"]:
    return "output" if name == OUTPUT else "label" if name == LABEL else "feature"


def _detail(row: dict[str, Any]) -> str:
    """Return the figure that was further off, and what is usual."""
    figures = [("PSI", row["psi"], row["threshold"]), ("W1/sd", row["w1"], row["w1_threshold"])]
    known = [(name, value, limit) for name, value, limit in figures if value is not None and limit is not None]
    if not known or row["level"] in ("ok", "calibrating"):
        return ""
    name, value, limit = max(known, key=lambda one: one[1] / one[2] if one[2] > 0 else 0.0)
    return f"{name} {value:.2f}, usually below {limit:.2f}"
