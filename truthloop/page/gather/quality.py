"""The panel of data quality: values with a problem on the newest day that has ended."""

from typing import Final

import polars as pl

from monitor.cells.inputs import LABEL, input_histograms
from monitor.drift.quality import judge_quality
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import quality_query
from truthloop.page.panels.model import QualityCount, QualityPanel

__all__ = ["quality_panel"]

_WORDS: Final = {
    "missing": "missing",
    "unseen": "not a category of the contract",
    "out_of_range": "outside its limits",
    "not_finite": "not a finite number",
    "stuck": "constant",
    "stale": "no values",
}
_ONLY_FLAGGED: Final = ("stuck", "stale")
"""Checks whose count is not 0 on healthy days, too: they are shown only if they are flagged."""


def quality_panel(scope: Scope, counts: pl.DataFrame | None) -> QualityPanel:
    """Return the panel.

    Args:
        counts: result of `truthloop.page.gather.drift.count_inputs`.
    """
    sql = quality_query(scope)
    if counts is None or scope.whole is None:
        return QualityPanel((), sql)
    histograms = [one for one in input_histograms(scope.config, scope.kind.name, scope.plan) if one.name != LABEL]
    checks = judge_quality(counts, histograms, scope.whole, is_over=True)
    is_fault = ~pl.col("check").is_in(_ONLY_FLAGGED) & (pl.col("share") > 0)
    found = checks.filter(pl.col("flagged") | is_fault).with_columns(
        amount=pl.when(pl.col("check") == "stale").then(0).otherwise((pl.col("share") * pl.col("n")).round())
    )
    rows = found.sort("flagged", "amount", "input", "check", descending=[True, True, False, False])
    problems = tuple(
        QualityCount(
            row["input"],
            _WORDS[row["check"]],
            int(row["amount"] or 0),
            row["share"],
            "alarm" if row["flagged"] else "ok",
        )
        for row in rows.iter_rows(named=True)
    )
    return QualityPanel(problems, sql, f"Values of {scope.whole}, version {scope.running}.")
