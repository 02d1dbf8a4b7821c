"""The panel of values with a problem, on the newest day that has ended. Must not judge."""

from typing import Final

import polars as pl

from monitor.cells.inputs import LABEL, input_histograms
from monitor.drift.quality import judge_quality
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import quality_query
from truthloop.page.panels.model import Quality, QualityCount

__all__ = ["quality_of"]

_WORDS: Final = {
    "missing": "missing",
    "unseen": "not one of the contract's categories",
    "out_of_range": "outside its limits",
    "not_finite": "not a finite number",
    "stuck": "one and the same value",
    "stale": "no values any more",
}
_NO_FAULT: Final = ("stuck", "stale")
"""Checks that count something on every healthy day: they are shown where they are flagged only."""


def quality_of(scope: Scope, counts: pl.DataFrame | None) -> Quality:
    """Return the panel.

    Args:
        scope: what is chosen.
        counts: as `truthloop.page.gather.drift.counts_of` returns them.
    """
    sql = quality_query(scope)
    if counts is None or scope.whole is None:
        return Quality((), sql)
    histograms = [one for one in input_histograms(scope.config, scope.kind.name, scope.plan) if one.name != LABEL]
    checks = judge_quality(counts, histograms, scope.whole, is_over=True)
    is_fault = ~pl.col("check").is_in(_NO_FAULT) & (pl.col("share") > 0)
    found = checks.filter(pl.col("flagged") | is_fault).with_columns(
        amount=pl.when(pl.col("check") == "stale").then(0).otherwise((pl.col("share") * pl.col("n")).round())
    )
    rows = found.sort("flagged", "amount", "input", "check", descending=[True, True, False, False])
    counted = tuple(
        QualityCount(
            row["input"],
            _WORDS[row["check"]],
            int(row["amount"] or 0),
            row["share"],
            "alarm" if row["flagged"] else "ok",
        )
        for row in rows.iter_rows(named=True)
    )
    return Quality(counted, sql, f"On {scope.whole}, of version {scope.running}.")
