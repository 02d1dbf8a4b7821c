"""The panel of drift: lanes by day of the error and of every input.

Shifts are computed from cells for every day; error drift is read from the findings of the evaluations.
"""

from datetime import date, timedelta
from typing import Any, Final, Literal

import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.inputs import LABEL, OUTPUT, input_counts, input_histograms
from monitor.drift.input_shift import InputShift
from monitor.evaluation import Evaluator
from schemas.events.evidence import Event, FindingKind, Level
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import drift_query
from truthloop.page.panels.model import DriftCell, DriftLane, DriftPanel, DriftState

__all__ = ["count_inputs", "drift_panel", "judge_shift"]

_STATES: Final[dict[str, DriftState]] = {
    "calibrating": "calibrating",
    "ok": "ok",
    "warn": "warn",
    "critical": "critical",
    "alarm": "alarm",
}
_PANES: Final = "^(pane|arrived)_"
_PENDING: Final = "Shifts are being computed: reload the page in a moment."


def count_inputs(scope: Scope) -> pl.DataFrame | None:
    """Return the number of values by input, bin and day of the running version; None before any day has ended."""
    if scope.running is None or scope.whole is None:
        return None
    evaluator = Evaluator(scope.config, scope.kind.name)
    judged = evaluator.judged_day(scope.whole)
    first = min(scope.predictions.filter(pl.col("version") == scope.running)["day"])
    is_its = (pl.col("version") == scope.running) & (pl.col("slice") == ALL)
    mine = scope.snapshot.evidence.cells.of_days(first, scope.whole, is_its, ~pl.col("measure").str.contains(_PANES))
    return input_counts(mine, scope.kind, scope.running, scope.whole, judged, evaluator.at_age_ms)


def judge_shift(scope: Scope, counts: pl.DataFrame) -> pl.DataFrame:
    """Judge every day of every input."""
    return InputShift().judge(counts, input_histograms(scope.config, scope.kind.name, scope.plan))


def drift_panel(scope: Scope, counts: pl.DataFrame | None, verdicts: pl.DataFrame | None) -> DriftPanel:
    """Return the panel.

    Args:
        counts: result of `count_inputs`.
        verdicts: result of `judge_shift`; None while it is being computed.
    """
    sql = drift_query(scope)
    if scope.first is None or scope.whole is None or counts is None:
        return DriftPanel((), (), sql)
    first = max(scope.first, min(scope.predictions.filter(pl.col("version") == scope.running)["day"]))
    days = [first + timedelta(days=number) for number in range((scope.whole - first).days + 1)]
    lanes = [*_error_lanes(scope, days), *([] if verdicts is None else _shift_lanes(scope, days, verdicts))]
    notes = [_PENDING] if verdicts is None else []
    if len(scope.versions) > 1:
        notes.append(f"Of version {scope.running}; select another one above.")
    if not scope.is_of_all:
        notes.append("Of all predictions, not of the slice.")
    return DriftPanel(tuple(map(str, days)), tuple(lanes), sql, " ".join(notes))


def _error_lanes(scope: Scope, days: list[date]) -> list[DriftLane]:
    """Return the lane of the error, as the evaluations found it."""
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
    return [DriftLane("error", "error", tuple(cells))]


def _shift_lanes(scope: Scope, days: list[date], verdicts: pl.DataFrame) -> list[DriftLane]:
    index_of = {day: index for index, day in enumerate(days)}
    recent = verdicts.filter(
        pl.col("reference") == "trailing", pl.col("day") >= days[0] if days else pl.lit(value=False)
    )
    lanes = []
    names = [histogram.name for histogram in input_histograms(scope.config, scope.kind.name, scope.plan)]
    for name in sorted(names, key=lambda name: ({OUTPUT: 0, LABEL: 1}.get(name, 2), name)):
        cells = [DriftCell("no_data")] * len(days)
        for row in recent.filter(pl.col("input") == name).iter_rows(named=True):
            found = DriftCell(_STATES.get(row["level"], "no_data"), _detail(row))
            day = max(row["since"], days[0])
            while day <= row["day"]:
                if day in index_of:
                    cells[index_of[day]] = found
                day += timedelta(days=1)
        lanes.append(DriftLane(name, _group(name), tuple(cells)))
    return lanes


def _group(name: str) -> Literal["output", "label", "feature"]:
    return "output" if name == OUTPUT else "label" if name == LABEL else "feature"


def _detail(row: dict[str, Any]) -> str:
    """Return the measure that exceeds its threshold most, and the threshold."""
    figures = [("PSI", row["psi"], row["threshold"]), ("W1/sd", row["w1"], row["w1_threshold"])]
    known = [(name, value, limit) for name, value, limit in figures if value is not None and limit is not None]
    if not known or row["level"] in ("ok", "calibrating"):
        return ""
    name, value, limit = max(known, key=lambda one: one[1] / one[2] if one[2] > 0 else 0.0)
    return f"{name} {value:.2f}, usually below {limit:.2f}"
