"""Brings a lake's cells up to date, and reads from the ledger how far time has certainly come.

Cells are a view that is kept: they can be made again from predictions and outcomes at any time, and are,
whenever the config would count otherwise. Up to which step of each partition they count stands in the commit
that wrote them, as a position of the application `cells:PARTITION`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from joins import CommitPoint
from joins.mark import PREDICTIONS
from lake import Claim, Lake
from monitor import CellPlan, fold, merge
from schemas.errors import LakeConflict, LakeError
from streams.lake_kind import whole_points
from streams.ledger import LedgerRow
from truthloop.moments import now_ms
from truthloop.settings import Settings
from truthloop.span import Span, new_spans, read_new_rows

__all__ = ["Evidence", "Reach", "read_evidence", "refresh_cells"]

APP = "cells"
"""Its position counts the commits of the table, so that no two are made from the same cells."""

LOOSE_ROWS_MAX = 100_000
"""Every refresh adds rows to the cells; with so many more than places they are added up and written anew."""


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
    lake = Lake.open(settings.lake)
    # looked at before the cells are: what it promises must be in them
    points = [row.point for row in whole_points(lake).values()]
    plan = refresh_cells(settings)
    cells = merge(lake.scan("cells").filter(pl.col("plan") == plan.digest).collect())
    return Evidence(plan.knowing(cells), cells, _reach(points, plan))


def refresh_cells(settings: Settings) -> CellPlan:
    """Fold what the lake has gained since the cells were written last; return the plan they follow.

    Raises:
        LakeError: there is no lake yet, or it cannot be read or written.
    """
    lake = Lake.open(settings.lake)
    plan = CellPlan.from_config(settings.config)
    while not _fold_new_steps(lake, plan):
        pass
    return plan


def _fold_new_steps(lake: Lake, plan: CellPlan) -> bool:
    """Fold once; False if another process wrote cells meanwhile, so that it has to be done again."""
    commits = lake.applied("cells", APP)  # before all that is read: a commit that comes later is a conflict
    points = whole_points(lake)
    if not points:
        return True
    folded = {number: lake.applied("cells", _app(number)) for number in points}
    cells = lake.scan("cells").collect()
    spans = new_spans(lake, points, folded) if cells["plan"].unique().to_list() in ([], [plan.digest]) else None
    if spans == []:
        return True
    is_anew = spans is None
    if spans is None:
        spans = _all_anew(lake, points, folded)
        cells = cells.clear()
    known = merge(cells)
    new = read_new_rows(lake, spans)
    rows = fold(plan.knowing(known), new.predictions, new.outcomes, new.earlier)
    write = lake.append
    if is_anew or cells.height > known.height + LOOSE_ROWS_MAX:
        write, rows = lake.replace, merge(known, rows)
    claims = [Claim(APP, commits, commits + 1)]
    claims += [Claim(_app(span.partition), folded[span.partition], span.steps[1]) for span in spans]
    try:
        return write(
            "cells",
            rows.with_columns(pl.lit(plan.digest).alias("plan")),
            claims,
            recorded_at=datetime.fromtimestamp(now_ms() / 1000, UTC),
        )
    except LakeConflict:
        if lake.applied("cells", APP) == commits:
            raise
        return False


def _all_anew(lake: Lake, points: Mapping[int, LedgerRow], folded: Mapping[int, int]) -> list[Span]:
    """Return spans of everything that the lake has.

    Raises:
        LakeError: cells were made of steps that the ledger does not have any more, or not yet again.
    """
    if ahead := [number for number, row in points.items() if folded[number] > row.sequence + 1]:
        raise LakeError(
            f"counts more steps of partition {ahead[0]} than the ledger has, so it cannot be made anew",
            where=f"table cells of {lake.path}",
            hint="If the lake is being filled again from its source, try again when that is done. "
            "Else the ledger was put back alone: bring the whole lake back from its backup.",
        )
    return [Span(number, (0, row.sequence + 1), (0, row.predictions[1])) for number, row in points.items()]


def _app(partition: int) -> str:
    return f"{APP}:{partition}"


def _reach(points: Iterable[CommitPoint], plan: CellPlan) -> Reach:
    """Take the least of all partitions that have seen a prediction."""
    seen = [point for point in points if point.counters.predictions.consumed]
    observed: dict[str, int | None] = {}
    matured: dict[str, int | None] = {}
    for kind in plan.kinds:
        marks = [point.marks[name].reached_ms for point in seen for name in (PREDICTIONS, kind.name)]
        observed[kind.name] = _least(marks)
        cursors = [point.cursors.get(kind.name) for point in seen]
        matured[kind.name] = _least([None if cursor is None else cursor[0] + 1 for cursor in cursors])
    return Reach(observed, matured)


def _least(times_ms: list[int | None]) -> int | None:
    known = [time for time in times_ms if time is not None]
    return min(known) if known and len(known) == len(times_ms) else None
