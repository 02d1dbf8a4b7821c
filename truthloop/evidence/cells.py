"""Brings a lake's cells up to date, and reads from the ledger how far the inputs have been read.

Cells are a materialized view: they can be recreated from predictions and outcomes at any time, and are whenever the
config would count differently. The commit that writes cells also stores two positions, as applications of the table:
`cells:PARTITION`, the number of ledger steps that they count, and `rulings:KIND`, the number of log entries whose
rulings about backfills they follow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from joins import Checkpoint
from joins.watermark import PREDICTIONS
from lake import Claim, Lake
from monitor.cells.fold import fold, restate
from monitor.cells.of_record import changed_rulings
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of
from schemas.errors import LakeConflict, LakeError
from schemas.events.backfill import Ruling
from streams.ledger.lake_kind import complete_rows
from streams.ledger.row import LedgerRow
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.evidence.outcomes import read_outcomes_of
from truthloop.evidence.proof import read_cursors
from truthloop.evidence.spans import Span, new_spans, read_new_rows
from truthloop.evidence.touched import outcomes_of_definition, revised_outcomes

__all__ = ["Evidence", "Reach", "folded_steps", "read_evidence"]

APP = "cells"
"""Application whose position counts the table's commits, so that no two are made from the same cells."""

Logs = Mapping[str, DecisionLog]

SURPLUS_ROWS_MAX = 100_000
"""Every refresh appends rows; with so many more rows than merged cells the table is rewritten with the merged ones."""


@dataclass(frozen=True)
class Reach:
    """How far the inputs have been read in every partition, by label kind; None before a watermark exists.

    Attributes:
        observed_until_ms: predictions and labels have been read up to this time.
        matured_until_ms: every outcome of predictions made before this time is final.
        labels_seen_ms: labels as late as this have been read; earlier ones may still come, within `disorder`.
    """

    observed_until_ms: Mapping[str, int | None]
    matured_until_ms: Mapping[str, int | None]
    labels_seen_ms: Mapping[str, int | None]


@dataclass(frozen=True)
class Evidence:
    """The input of coverage, metrics and the gate.

    Attributes:
        plan: what the cells count.
        cells: all of them, merged.
        version: of the Delta table that the cells were read from.
        surplus_rows: how many more rows the table has than `cells`.
        rulings: about backfills; the cells follow them.
        logs: the gates' logs by kind, each with a cache of the entries read.
        lake: that all of this was read from; it stays open for the next look.
    """

    plan: CellPlan
    cells: pl.DataFrame
    reach: Reach
    version: int
    surplus_rows: int
    rulings: Sequence[Ruling]
    logs: Logs
    lake: Lake

    def follows(self, kind: str, rulings: Sequence[Ruling]) -> bool:
        """Return whether the cells follow exactly these rulings about a kind."""
        return [one for one in self.rulings if one.episode.kind == kind] == [*rulings]


def read_evidence(settings: Settings, before: Evidence | None = None) -> Evidence:
    """Return the loop's cells, brought up to date, and how far the inputs have been read.

    Args:
        before: the result of this process's last call; its cells are reused if no other process has written any since.

    Raises:
        LakeError: there is no lake yet, or it cannot be read or written.
    """
    lake = Lake.open(settings.lake) if before is None else before.lake
    # read before the cells: every row up to these checkpoints must be counted
    checkpoints = [row.checkpoint for row in complete_rows(lake).values()]
    plan = CellPlan.from_config(settings.config)
    logs = before.logs if before is not None else {kind.name: DecisionLog(lake, kind.name) for kind in plan.kinds}
    cells = _known_cells(lake, plan, before)
    while (grown := _fold_new_steps(lake, plan, cells, logs)) is None:
        cells = _known_cells(lake, plan, None)
    while (ruled := _restate(lake, plan, grown, logs)) is None:
        grown = _known_cells(lake, plan, None)
    known, rulings = ruled
    reach = _reach(checkpoints, plan)
    return Evidence(
        plan.with_admitted(known.cells), known.cells, reach, known.version, known.surplus_rows, rulings, logs, lake
    )


def folded_steps(lake: Lake) -> dict[int, int]:
    """Return by partition how many of its steps the cells hold."""
    return {number: lake.applied("cells", _app(number)) for number in complete_rows(lake)}


@dataclass(frozen=True)
class _Cells:
    """The merged cells of a version of the table; `is_other_plan`: they count by another plan and must be recreated."""

    cells: pl.DataFrame
    version: int
    surplus_rows: int
    is_other_plan: bool = False


def _known_cells(lake: Lake, plan: CellPlan, before: Evidence | None) -> _Cells:
    version = lake.version("cells")
    if before is not None and before.version == version and before.plan.digest == plan.digest:
        return _Cells(before.cells, version, before.surplus_rows)
    rows = lake.scan("cells").collect()
    if rows["plan"].unique().to_list() not in ([], [plan.digest]):
        return _Cells(merge(), version, 0, is_other_plan=True)
    merged = merge(rows)
    return _Cells(merged, version, rows.height - merged.height)


def _fold_new_steps(lake: Lake, plan: CellPlan, known: _Cells, logs: Logs) -> _Cells | None:
    """Fold the new steps; return None if another process wrote cells meanwhile, so that it has to be done again."""
    commits = lake.applied("cells", APP)  # read first: any later commit is a conflict
    newest = complete_rows(lake)
    if lake.version("cells") != known.version:
        return None
    if not newest:
        return known
    folded = {number: lake.applied("cells", _app(number)) for number in newest}
    spans = None if known.is_other_plan else new_spans(lake, newest, folded)
    if spans == []:
        return known
    is_recreated = spans is None
    if spans is None:
        spans = _all_spans(lake, newest, folded)
        known = replace(known, cells=known.cells.clear(), is_other_plan=True)
    rulings, following = _rulings(lake, logs, is_newest=is_recreated)
    new = read_new_rows(lake, spans, plan, rulings)
    rows = fold(plan.with_admitted(known.cells), new.predictions, new.outcomes, new.earlier, rulings, new.proof)
    claims = [Claim(APP, commits, commits + 1)]
    claims += [Claim(_app(span.partition), folded[span.partition], span.steps[1]) for span in spans]
    return _write(lake, plan, known, rows, [*claims, *(following if is_recreated else ())])


def _restate(lake: Lake, plan: CellPlan, known: _Cells, logs: Logs) -> tuple[_Cells, Sequence[Ruling]] | None:
    """Make cells follow the newest rulings about backfills; return None if another process wrote cells meanwhile."""
    commits = lake.applied("cells", APP)
    if lake.version("cells") != known.version:
        return None
    before, _ = _rulings(lake, logs, is_newest=False)
    after, following = _rulings(lake, logs, is_newest=True)
    changed = changed_rulings(before, after)
    if not changed:
        return known, after
    steps = folded_steps(lake)
    touched = [revised_outcomes(lake, one.episode, steps) for one in changed]
    others = [one for one in changed if one.episode.definition != plan.definitions[one.episode.kind]]
    touched += [outcomes_of_definition(lake, one.episode, steps) for one in others]
    outcomes = read_outcomes_of(lake, pl.concat(touched).unique(), steps)
    rows = restate(plan.with_admitted(known.cells), outcomes, before, after, read_cursors(lake, steps))
    written = _write(lake, plan, known, rows, [Claim(APP, commits, commits + 1), *following])
    return None if written is None else (written, after)


def _rulings(lake: Lake, logs: Logs, *, is_newest: bool) -> tuple[list[Ruling], list[Claim]]:
    """Return the rulings that the cells follow, or the newest; and the claims of a commit that follows the newest."""
    found: list[Ruling] = []
    claims = []
    for kind, log in logs.items():
        entries = log.entries()
        followed = lake.applied("cells", f"rulings:{kind}")
        found += rulings_of(entries if is_newest else entries[:followed])
        claims.append(Claim(f"rulings:{kind}", followed, len(entries)))
    return found, claims


def _write(lake: Lake, plan: CellPlan, known: _Cells, rows: pl.DataFrame, claims: Sequence[Claim]) -> _Cells | None:
    """Append rows to the table, or rewrite it; return None if another process wrote cells meanwhile."""
    merged = merge(known.cells, rows)
    must_replace = known.is_other_plan or known.surplus_rows > SURPLUS_ROWS_MAX
    write, written = (lake.replace, merged) if must_replace else (lake.append, rows)
    try:
        if not write(
            "cells",
            written.with_columns(pl.lit(plan.digest).alias("plan")),
            claims,
            recorded_at=datetime.fromtimestamp(now_ms() / 1000, UTC),
        ):
            return None
    except LakeConflict:
        if lake.applied("cells", APP) == claims[0].first:
            raise
        return None
    table_rows = known.cells.height + known.surplus_rows + rows.height
    return _Cells(merged, known.version + 1, 0 if must_replace else table_rows - merged.height)


def _all_spans(lake: Lake, newest: Mapping[int, LedgerRow], folded: Mapping[int, int]) -> list[Span]:
    """Return spans of everything that the lake has.

    Raises:
        LakeError: the cells count steps that the ledger no longer has, or does not have again yet.
    """
    if ahead := [number for number, row in newest.items() if folded[number] > row.sequence + 1]:
        raise LakeError(
            f"counts more steps of partition {ahead[0]} than the ledger has, so it cannot be recreated",
            where=f"table cells of {lake.path}",
            hint="If the lake is being filled again from its source, try again when that is done. "
            "Otherwise only the ledger was restored from a backup: restore the whole lake.",
        )
    return [Span(number, (0, row.sequence + 1), (0, row.predictions[1])) for number, row in newest.items()]


def _app(partition: int) -> str:
    return f"{APP}:{partition}"


def _reach(checkpoints: Iterable[Checkpoint], plan: CellPlan) -> Reach:
    """Return the minimum over all partitions that have read a prediction."""
    active = [checkpoint for checkpoint in checkpoints if checkpoint.counters.predictions.consumed]
    observed: dict[str, int | None] = {}
    matured: dict[str, int | None] = {}
    seen: dict[str, int | None] = {}
    for kind in plan.kinds:
        watermarks = [
            checkpoint.watermarks[name].reached_ms for checkpoint in active for name in (PREDICTIONS, kind.name)
        ]
        observed[kind.name] = _minimum(watermarks)
        seen[kind.name] = _minimum([checkpoint.watermarks[kind.name].seen_ms for checkpoint in active])
        cursors = [checkpoint.cursors.get(kind.name) for checkpoint in active]
        matured[kind.name] = _minimum([None if cursor is None else cursor[0] + 1 for cursor in cursors])
    return Reach(observed, matured, seen)


def _minimum(times_ms: list[int | None]) -> int | None:
    """Return the least time; None if any is unknown, or there is none."""
    known = [time_ms for time_ms in times_ms if time_ms is not None]
    return min(known) if known and len(known) == len(times_ms) else None
