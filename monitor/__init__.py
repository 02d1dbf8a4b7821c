"""Evidence from outcomes: cells, coverage, metrics, nowcast, drift, backfills, versions. Pure functions over frames.

Rows of the lake come in and are counted in `cells`; everything else reads cells. `evaluation` puts a day's evidence
together, `finding` says it in sentences. Nothing here does IO, reads a clock, or decides.
"""

from monitor.cells.fold import CELL_SCHEMA, fold, merge
from monitor.cells.plan import CellPlan, KindPlan
from monitor.coverage.table import coverage, expected_curve, judge_goals
from monitor.metrics.table import metrics, settled_until_ms

__all__ = [
    "CELL_SCHEMA",
    "CellPlan",
    "KindPlan",
    "coverage",
    "expected_curve",
    "fold",
    "judge_goals",
    "merge",
    "metrics",
    "settled_until_ms",
]
