"""Counts what came again by the hour: labels that restate the past or have another time, predictions sent anew.

They are about a key, not about one prediction, so their cells have no version. A label belongs to the hour in which it
became known, a prediction to that in which it came again, or, in a file without times of arrival, was made. Like all
measures of arrivals they begin with `arrived`: they are no cohorts.
"""

from dataclasses import replace
from typing import Final

import polars as pl

from monitor.cells.codebook import DAY_PANES, Codebook
from monitor.cells.packing import sum_by
from monitor.cells.plan import CellPlan

__all__ = ["AGAIN", "CAME_AGAIN", "RESTATED", "SENT_AGAIN", "TOLD_AGAIN", "count_again"]

TOLD_AGAIN: Final = "arrived_again"
"""Live labels of a kind's own definition that told a known one again with another time; each once."""

SENT_AGAIN: Final = "arrived_conflict"
"""Predictions that the join rejected as a conflict with the first copy."""

RESTATED: Final = "arrived_restated"
"""Labels that are a backfill by their own fields: declared as one, or of another definition than the kind's own."""

CAME_AGAIN: Final = (TOLD_AGAIN, SENT_AGAIN, RESTATED)

AGAIN: Final = pl.Schema({"measure": pl.String(), "kind": pl.String(), "predicted_at": pl.Datetime("us", "UTC")})
"""What came again: a measure, a kind (none: it counts for all), and in `predicted_at` when it came."""


def count_again(plan: CellPlan, again: pl.DataFrame) -> pl.DataFrame:
    """Return the cells of what came again, by kind and day; `bin` is the hour of the day, from its first instant.

    Args:
        plan: with the kinds.
        again: in the columns of `AGAIN`.

    >>> from schemas.config.loop import LoopConfig
    >>> outputs, labels = {"late": {"task": "binary"}}, {"late": {"definition": "d", "horizon": "1d", "retain": "2d"}}
    >>> predictions = {"outputs": outputs}
    >>> config = {"version": 1, "loop": "flights", "predictions": predictions, "labels": labels}
    >>> plan = CellPlan.from_config(LoopConfig.model_validate(config))
    >>> at_us = 1_363_060_800_000_000
    >>> rows = pl.DataFrame({"measure": TOLD_AGAIN, "kind": "late", "predicted_at": [at_us, at_us + 1]}, schema=AGAIN)
    >>> count_again(plan, rows).select("day", "measure", "bin", "amount").rows()
    [(datetime.date(2013, 3, 12), 'arrived_again', 4, 2)]
    """
    cohorts = again.select(pl.lit("").alias("version"), pl.lit("").alias("definition"), "predicted_at")
    codebook = replace(Codebook.of(plan, cohorts.clear(), cohorts), admitted={})
    coded = codebook.encode(again.with_columns(cohorts.get_column("version"), cohorts.get_column("definition")))
    sizes = {name: codebook.sizes[name] for name in ("version", "day")} | {"pane": DAY_PANES}
    parts: list[pl.LazyFrame] = []
    for kind in plan.kinds:
        for measure in CAME_AGAIN:
            rows = coded.filter(pl.col("measure") == measure, pl.col("kind").fill_null(kind.name) == kind.name)
            hours = sum_by(rows, sizes, []).with_columns(bin=pl.col("pane"), measure=codebook.measure(measure))
            parts.append(codebook.encoded_cells(hours, kind.name, kind.definition))
    return codebook.decode(parts).filter(pl.col("day") >= plan.since)
