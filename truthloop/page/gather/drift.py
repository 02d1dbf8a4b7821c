"""The panel of drift: lanes by day of the error and of every input.

Both are read from what the evaluations found; the inputs of days that no evaluation has judged, such as those of a
version that has never run, are judged from the cells.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final, Literal

import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.inputs import LABEL, OUTPUT, input_counts, input_histograms
from monitor.drift.input_shift import judge_inputs
from monitor.drift.shift import SHIFT_LOOKBACK
from monitor.evaluation import Evaluator
from schemas.events.evidence import Event, FindingKind, Level
from schemas.events.memory import ShiftWindow
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import drift_query
from truthloop.page.panels.model import DriftCell, DriftLane, DriftPanel

__all__ = ["count_inputs", "drift_panel", "judge_shift"]

_PANES: Final = "^(pane|arrived)_"
_PENDING: Final = "Shifts are being computed: reload the page in a moment."


def count_inputs(scope: Scope) -> pl.DataFrame | None:
    """Return the number of values by input, bin and day of the running version; None before any day has ended.

    They are of the newest whole day and of those before it that shifts and faults are judged from.
    """
    if scope.running is None or scope.whole is None or scope.first is None:
        return None
    evaluator = Evaluator(scope.config, scope.kind.name)
    judged = evaluator.judged_day(scope.whole)
    memory = scope.memory
    known = scope.first if memory is None else min(memory.judged or memory.day, scope.whole)
    is_its = (pl.col("version") == scope.running) & (pl.col("slice") == ALL)
    days = known - SHIFT_LOOKBACK, scope.whole
    mine = scope.snapshot.evidence.cells.of_days(*days, is_its, ~pl.col("measure").str.contains(_PANES))
    return input_counts(mine, scope.kind, scope.running, scope.whole, judged, evaluator.at_age_ms)


def judge_shift(scope: Scope, counts: pl.DataFrame) -> list[ShiftWindow]:
    """Return the windows of every input: those that are known, and those of the days after them."""
    memory = scope.memory
    known = [] if memory is None else memory.windows
    after = (date.min, date.min) if memory is None else (memory.day, memory.judged or date.min)
    return [*known, *judge_inputs(counts, input_histograms(scope.config, scope.kind.name, scope.plan), known, after)]


def drift_panel(scope: Scope, counts: pl.DataFrame | None, windows: Sequence[ShiftWindow] | None) -> DriftPanel:
    """Return the panel.

    Args:
        counts: result of `count_inputs`.
        windows: result of `judge_shift`; None while it is being computed.
    """
    sql = drift_query(scope)
    if scope.first is None or scope.whole is None or counts is None:
        return DriftPanel((), (), sql)
    first = max(scope.first, min(scope.predictions.filter(pl.col("version") == scope.running)["day"]))
    days = [first + timedelta(days=number) for number in range((scope.whole - first).days + 1)]
    lanes = [*_error_lanes(scope, days), *([] if windows is None else _shift_lanes(scope, days, windows))]
    notes = [_PENDING] if windows is None else []
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


def _shift_lanes(scope: Scope, days: list[date], windows: Sequence[ShiftWindow]) -> list[DriftLane]:
    index_of = {day: index for index, day in enumerate(days)}
    lanes = []
    names = [histogram.name for histogram in input_histograms(scope.config, scope.kind.name, scope.plan)]
    for name in sorted(names, key=lambda name: ({OUTPUT: 0, LABEL: 1}.get(name, 2), name)):
        cells = [DriftCell("no_data")] * len(days)
        for window in windows:
            if window.input != name:
                continue
            found = DriftCell(window.level, _detail(window))
            for number in range((window.day - window.since).days + 1):
                if (index := index_of.get(window.since + timedelta(days=number))) is not None:
                    cells[index] = found
        lanes.append(DriftLane(name, _group(name), tuple(cells)))
    return lanes


def _group(name: str) -> Literal["output", "label", "feature"]:
    return "output" if name == OUTPUT else "label" if name == LABEL else "feature"


def _detail(window: ShiftWindow) -> str:
    """Return the measure that exceeds its threshold most, and the threshold."""
    figures = [("PSI", window.psi, window.threshold), ("W1/sd", window.w1, window.w1_threshold)]
    known = [(name, value, limit) for name, value, limit in figures if value is not None and limit is not None]
    if not known or window.level in ("ok", "calibrating"):
        return ""
    name, value, limit = max(known, key=lambda one: one[1] / one[2] if one[2] > 0 else 0.0)
    return f"{name} {value:.2f}, usually below {limit:.2f}"
