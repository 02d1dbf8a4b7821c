"""Brings a lake's cells up to date, and reads from the ledger how far time has certainly come.

Cells are a view that is kept: they can be made again from predictions and outcomes at any time, and are,
whenever the config would count otherwise. Up to which step of each partition they count stands in the commit
that wrote them, as a position of the application `cells:PARTITION`; and which rulings about backfills they follow, as
the number of the log's entries that were looked at (`rulings:KIND`).
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
from streams.ledger.table import LedgerRow
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.evidence.spans import Span, new_spans, read_new_rows, read_outcomes_of
from truthloop.evidence.touched import touched_by, touched_by_definition

__all__ = ["Evidence", "Reach", "folded_steps", "read_evidence", "refresh_cells"]

APP = "cells"
"""Its position counts the commits of the table, so that no two are made from the same cells."""

Logs = Mapping[str, DecisionLog]

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
    """What coverage, metrics and the gate are computed from.

    Attributes:
        plan: what the cells count.
        cells: all of them, merged.
        reach: how far time has come.
        version: of the lake's table of cells, which these are.
        loose: rows that the table has beyond them.
        rulings: about backfills, that the cells follow.
        logs: of the gates, by kind; each remembers what was read of it.
    """

    plan: CellPlan
    cells: pl.DataFrame
    reach: Reach
    version: int
    loose: int
    rulings: Sequence[Ruling]
    logs: Logs

    def follows(self, kind: str, rulings: Sequence[Ruling]) -> bool:
        """Return whether these are the rulings about a kind that the cells follow."""
        return [one for one in self.rulings if one.episode.kind == kind] == [*rulings]


def read_evidence(settings: Settings, before: Evidence | None = None) -> Evidence:
    """Return the loop's cells, brought up to date, and how far time has come.

    Args:
        settings: the loop's.
        before: what was read earlier by this process; if nobody else has written cells since, they are not read again.

    Raises:
        LakeError: there is no lake yet, or it cannot be read or written.
    """
    lake = Lake.open(settings.lake)
    # looked at before the cells are: what it promises must be in them
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
    return Evidence(plan.knowing(known.cells), known.cells, reach, known.version, known.loose, rulings, logs)


def folded_steps(lake: Lake) -> dict[int, int]:
    """Return, by partition, how many of its steps the cells hold."""
    return {number: lake.applied("cells", _app(number)) for number in complete_rows(lake)}


def refresh_cells(settings: Settings) -> None:
    """Fold what the lake has gained since the cells were written last.

    Raises:
        LakeError: there is no lake yet, or it cannot be read or written.
    """
    read_evidence(settings)


@dataclass(frozen=True)
class _Cells:
    """The merged cells of a version of the table; `loose` are its rows beyond them; `is_other`: to be made anew."""

    cells: pl.DataFrame
    version: int
    loose: int
    is_other: bool = False


def _known_cells(lake: Lake, plan: CellPlan, before: Evidence | None) -> _Cells:
    version = lake.version("cells")
    if before is not None and before.version == version and before.plan.digest == plan.digest:
        return _Cells(before.cells, version, before.loose)
    rows = lake.scan("cells").collect()
    if rows["plan"].unique().to_list() not in ([], [plan.digest]):
        return _Cells(merge(), version, 0, is_other=True)
    merged = merge(rows)
    return _Cells(merged, version, rows.height - merged.height)


def _fold_new_steps(lake: Lake, plan: CellPlan, known: _Cells, logs: Logs) -> _Cells | None:
    """Fold once; None if another process wrote cells meanwhile, so that it has to be done again."""
    commits = lake.applied("cells", APP)  # before all that is read: a commit that comes later is a conflict
    newest = complete_rows(lake)
    if lake.version("cells") != known.version:
        return None
    if not newest:
        return known
    folded = {number: lake.applied("cells", _app(number)) for number in newest}
    spans = None if known.is_other else new_spans(lake, newest, folded)
    if spans == []:
        return known
    is_anew = spans is None
    if spans is None:
        spans = _all_anew(lake, newest, folded)
        known = replace(known, cells=known.cells.clear(), is_other=True)
    new = read_new_rows(lake, spans)
    rulings, following = _rulings(lake, logs, is_newest=is_anew)
    rows = fold(plan.knowing(known.cells), new.predictions, new.outcomes, new.earlier, rulings)
    claims = [Claim(APP, commits, commits + 1)]
    claims += [Claim(_app(span.partition), folded[span.partition], span.steps[1]) for span in spans]
    return _write(lake, plan, known, rows, [*claims, *(following if is_anew else ())])


def _restate(lake: Lake, plan: CellPlan, known: _Cells, logs: Logs) -> tuple[_Cells, Sequence[Ruling]] | None:
    """Bring cells up to the newest rulings about backfills; None if another process wrote cells meanwhile."""
    commits = lake.applied("cells", APP)
    if lake.version("cells") != known.version:
        return None
    before, _ = _rulings(lake, logs, is_newest=False)
    after, following = _rulings(lake, logs, is_newest=True)
    changed = changed_rulings(before, after)
    if not changed:
        return known, after
    steps = folded_steps(lake)
    touched = [touched_by(lake, one.episode, steps) for one in changed]
    others = [one for one in changed if one.episode.definition != plan.definitions[one.episode.kind]]
    touched += [touched_by_definition(lake, one.episode, steps) for one in others]
    outcomes = read_outcomes_of(lake, pl.concat(touched).unique(), steps)
    rows = restate(plan.knowing(known.cells), outcomes, before, after)
    written = _write(lake, plan, known, rows, [Claim(APP, commits, commits + 1), *following])
    return None if written is None else (written, after)


def _rulings(lake: Lake, logs: Logs, *, is_newest: bool) -> tuple[list[Ruling], list[Claim]]:
    """Return the rulings that the cells were folded with, or the newest; and what a commit of the newest claims."""
    found: list[Ruling] = []
    claims = []
    for kind, log in logs.items():
        entries = log.entries()
        held = lake.applied("cells", f"rulings:{kind}")
        found += rulings_of(entries if is_newest else entries[:held])
        claims.append(Claim(f"rulings:{kind}", held, len(entries)))
    return found, claims


def _write(lake: Lake, plan: CellPlan, known: _Cells, rows: pl.DataFrame, claims: Sequence[Claim]) -> _Cells | None:
    """Add rows to the cells that are known, or put all anew; None if another process wrote cells meanwhile."""
    merged = merge(known.cells, rows)
    must_replace = known.is_other or known.loose > LOOSE_ROWS_MAX
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
    loose = 0 if must_replace else known.cells.height + known.loose + rows.height - merged.height
    return _Cells(merged, known.version + 1, loose)


def _all_anew(lake: Lake, newest: Mapping[int, LedgerRow], folded: Mapping[int, int]) -> list[Span]:
    """Return spans of everything that the lake has.

    Raises:
        LakeError: cells were made of steps that the ledger does not have any more, or not yet again.
    """
    if ahead := [number for number, row in newest.items() if folded[number] > row.sequence + 1]:
        raise LakeError(
            f"counts more steps of partition {ahead[0]} than the ledger has, so it cannot be made anew",
            where=f"table cells of {lake.path}",
            hint="If the lake is being filled again from its source, try again when that is done. "
            "Else the ledger was put back alone: bring the whole lake back from its backup.",
        )
    return [Span(number, (0, row.sequence + 1), (0, row.predictions[1])) for number, row in newest.items()]


def _app(partition: int) -> str:
    return f"{APP}:{partition}"


def _reach(checkpoints: Iterable[Checkpoint], plan: CellPlan) -> Reach:
    """Take the least of all partitions that have seen a prediction."""
    seen = [checkpoint for checkpoint in checkpoints if checkpoint.counters.predictions.consumed]
    observed: dict[str, int | None] = {}
    matured: dict[str, int | None] = {}
    for kind in plan.kinds:
        watermarks = [
            checkpoint.watermarks[name].reached_ms for checkpoint in seen for name in (PREDICTIONS, kind.name)
        ]
        observed[kind.name] = _least(watermarks)
        cursors = [checkpoint.cursors.get(kind.name) for checkpoint in seen]
        matured[kind.name] = _least([None if cursor is None else cursor[0] + 1 for cursor in cursors])
    return Reach(observed, matured)


def _least(times_ms: list[int | None]) -> int | None:
    known = [time for time in times_ms if time is not None]
    return min(known) if known and len(known) == len(times_ms) else None
