"""Evidence from outcomes: cells, coverage, maturity, metrics. Pure functions over frames.

This package must not read the lake, a clock or the network, and decides nothing.
"""

from monitor.cell import CELL_SCHEMA, fold, merge
from monitor.coverage import coverage, expected_curve, judge_goals
from monitor.metric import metrics, settled_until_ms
from monitor.plan import CellPlan, KindPlan

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
