"""Brings a lake's cells up to date, and reads from the ledger how far time has certainly come.

Cells are a view that is kept: they can be made again from predictions and outcomes at any time, and are,
whenever the config would count otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from joins.mark import PREDICTIONS
from lake import Lake
from monitor import CellPlan, fold, merge
from streams.lake_writer import steps_written
from streams.ledger import Ledger, Step
from truthloop.moments import now_ms
from truthloop.settings import Settings

__all__ = ["Evidence", "Reach", "read_evidence", "refresh_cells"]

APP = "cells"


@dataclass(frozen=True)
class Reach:
    """How far time has certainly come, per label kind; None where nothing is certain yet.

    Attributes:
        observed_until_ms: predictions and labels have been read up to this time.
        matured_until_ms: every outcome of predictions made before this is final.
    """

    observed_until_ms: Mapping[str, int | None]
    matured_until_ms: Mapping[str, int | None]


@dataclass(frozen=True)
class Evidence:
    """What coverage and metrics are computed from."""

    plan: CellPlan
    cells: pl.DataFrame
    reach: Reach


def read_evidence(settings: Settings) -> Evidence:
    """Return the loop's cells, brought up to date, and how far time has come.

    Raises:
        LakeError: there is no lake yet, or it cannot be read.
    """
    plan = refresh_cells(settings)
    lake = Lake.open(settings.lake)
    cells = merge(lake.scan("cells").filter(pl.col("plan") == plan.digest).collect())
    return Evidence(plan.knowing(cells), cells, _reach(Ledger(lake).last, plan))


def refresh_cells(settings: Settings) -> CellPlan:
    """Fold what the lake has gained since the cells were written last; return the plan they follow."""
    lake = Lake.open(settings.lake)
    plan = CellPlan.from_config(settings.config)
    while not _fold_new_steps(lake, plan):
        pass
    return plan


def _fold_new_steps(lake: Lake, plan: CellPlan) -> bool:
    """Fold once; False if another process wrote cells meanwhile, so that it has to be done again."""
    position = lake.applied("cells", APP)
    complete = steps_written(lake)
    cells = lake.scan("cells").collect()
    counted_alike = cells["plan"].unique().to_list() in ([], [plan.digest])
    folded = cells["sequence"].max() if counted_alike and cells.height else None
    first = 0 if folded is None else int(str(folded)) + 1
    if first >= complete:
        return True
    known = cells if counted_alike else cells.clear()
    delta = _delta(lake, plan.knowing(merge(known)), first, complete)
    if delta.is_empty():
        return True
    rows = delta.with_columns(pl.lit(complete - 1, dtype=pl.Int64).alias("sequence"), pl.lit(plan.digest).alias("plan"))
    write = lake.append if counted_alike else lake.replace
    recorded_at = datetime.fromtimestamp(now_ms() / 1000, UTC)
    return write("cells", rows, app=APP, first=position, following=position + 1, recorded_at=recorded_at)


def _delta(lake: Lake, plan: CellPlan, first: int, following: int) -> pl.DataFrame:
    """Return the cells that steps [first, following) add."""
    steps = lake.scan("ledger").filter(
        pl.col("partition") == 0, pl.col("sequence").is_between(first, following, closed="left")
    )
    start, end = steps.select(pl.col("predictions_first").min(), pl.col("predictions_next").max()).collect().row(0)
    position = ["partition", "offset"]
    refused = lake.scan("rejects").filter(pl.col("input") == "predictions", pl.col("stage") == "join")
    predictions = (
        lake.scan("predictions")
        .filter(pl.col("offset").is_between(start, end, closed="left"))
        .join(refused.select(position), on=position, how="anti")
        .collect()
    )
    outcomes = lake.scan("outcomes")
    new = outcomes.filter(pl.col("sequence").is_between(first, following, closed="left")).collect()
    chain = ["key", "id", "kind", "definition"]
    old = outcomes.filter(pl.col("sequence") < first)
    earlier = old.join(new.lazy().select(chain).unique(), on=chain, how="semi").collect() if first else new.clear()
    return fold(plan, predictions, new, earlier)


def _reach(last: Step | None, plan: CellPlan) -> Reach:
    """Take the least of all partitions that have seen a prediction."""
    points = [] if last is None else [p for p in last.points if p.counters.predictions.consumed]
    observed: dict[str, int | None] = {}
    matured: dict[str, int | None] = {}
    for kind in plan.kinds:
        marks = [p.marks[name].reached_ms for p in points for name in (PREDICTIONS, kind.name)]
        observed[kind.name] = _least(marks)
        cursors = [p.cursors.get(kind.name) for p in points]
        matured[kind.name] = _least([None if cursor is None else cursor[0] + 1 for cursor in cursors])
    return Reach(observed, matured)


def _least(times_ms: list[int | None]) -> int | None:
    known = [time for time in times_ms if time is not None]
    return min(known) if known and len(known) == len(times_ms) else None
