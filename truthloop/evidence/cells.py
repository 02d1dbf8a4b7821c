"""Brings a lake's cells up to date, and reads from the ledger how far the inputs have been read.

Cells are a materialized view: they can be recreated from predictions and outcomes at any time, and are whenever the
config would count differently. The commit that writes cells also stores two positions, as applications of the table:
`cells:PARTITION`, the number of ledger steps that they count, and `rulings:KIND`, the number of log entries whose
rulings about backfills they follow.

A fold reads the cells' summary and the new rows, and appends what they add: it costs the same however old the loop is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from joins import Checkpoint
from joins.watermark import PREDICTIONS
from lake import Claim, Lake
from monitor.cells.cohort import first_whole_day
from monitor.cells.fold import fold, restate
from monitor.cells.of_record import changed_rulings
from monitor.cells.plan import CellPlan
from monitor.cells.summary import summarise
from retrain.decision_log import DecisionLog
from schemas.config.loop import LoopConfig
from schemas.errors import LakeConflict
from schemas.events.backfill import Ruling
from streams.ledger.lake_kind import cells_app, complete_rows
from streams.ledger.row import LedgerRow
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.evidence.cell_runs import merge_runs, runs_are_due
from truthloop.evidence.lake_cells import APP, LakeCells, read_cells, ruling_app
from truthloop.evidence.outcomes import read_outcomes_of
from truthloop.evidence.proof import read_cursors
from truthloop.evidence.recount import recount
from truthloop.evidence.spans import RECORDS_MAX, Span, counter_of_values, new_spans, read_new_rows
from truthloop.evidence.touched import outcomes_of_definition, revised_outcomes

__all__ = ["Evidence", "Reach", "folded_steps", "plan_of", "read_evidence"]

Logs = Mapping[str, DecisionLog]


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
        plan: what the cells count, without the rank bins of versions (`LakeCells.admitted`).
        cells: those of days that are asked for, and the summary of all.
        rulings: about backfills; the cells follow them.
        logs: the gates' logs by kind, each with a cache of the entries read.
        lake: that all of this was read from; it stays open for the next look.
    """

    plan: CellPlan
    cells: LakeCells
    reach: Reach
    rulings: Sequence[Ruling]
    logs: Logs
    lake: Lake

    @property
    def version(self) -> int:
        """Version of the Delta table that the cells are read from."""
        return self.cells.version

    def follows(self, kind: str, rulings: Sequence[Ruling]) -> bool:
        """Return whether the cells follow exactly these rulings about a kind."""
        return [one for one in self.rulings if one.episode.kind == kind] == [*rulings]


def read_evidence(
    settings: Settings, before: Evidence | None = None, on_part: Callable[[], None] = lambda: None
) -> Evidence:
    """Return the loop's cells, brought up to date, and how far the inputs have been read.

    Args:
        before: the result of this process's last call; what it has read is reused if no other process has written any
            cells since.
        on_part: called whenever a part of the new rows, or of all rows where they are counted anew, has been counted.

    Raises:
        LakeError: there is no lake yet, or it cannot be read or written.
    """
    lake = Lake.open(settings.lake) if before is None else before.lake
    with lake.look():
        # read before the cells: every row up to these checkpoints must be counted
        newest = complete_rows(lake)
        plan = plan_of(lake, settings.config)
        logs = before.logs if before is not None else {kind.name: DecisionLog(lake, kind.name) for kind in plan.kinds}
        folder = _Folder(lake, plan, logs, newest, on_part)
        cells, rulings = folder.bring_up_to_date(before)
        reach = _reach([row.checkpoint for row in newest.values()], plan)
        is_same = before is not None and before.cells is cells and before.plan.since == plan.since
        admitted = before.plan if before is not None and is_same else cells.admitted(plan)
        return Evidence(admitted, cells, reach, rulings, logs, lake)


def plan_of(lake: Lake, config: LoopConfig) -> CellPlan:
    """Return the plan of a lake's cells: without the days whose records may have left it."""
    plan, begins_ms = CellPlan.from_config(config), lake.history_begins_ms
    return replace(plan, since=first_whole_day(begins_ms, plan.timezone)) if begins_ms else plan


def folded_steps(lake: Lake) -> dict[int, int]:
    """Return by partition how many of its steps the cells hold."""
    return {number: lake.applied("cells", cells_app(number)) for number in complete_rows(lake)}


@dataclass(frozen=True)
class _Folder:
    """Brings the cells of a lake up to date with its ledger and its rulings."""

    lake: Lake
    plan: CellPlan
    logs: Logs
    newest: Mapping[int, LedgerRow]
    on_part: Callable[[], None]

    def bring_up_to_date(self, before: Evidence | None) -> tuple[LakeCells, Sequence[Ruling]]:
        """Return the cells after folding all new rows and following the newest rulings."""
        cells = self._known(before)
        while True:
            self.on_part()
            grown = self._folded(cells)
            if grown is None:
                cells = self._read()
            elif grown is not cells:
                cells = grown
            elif (ruled := self._restated(cells)) is None:
                cells = self._read()
            else:
                return self._with_few_runs(ruled[0]), ruled[1]

    def _known(self, before: Evidence | None) -> LakeCells:
        if before is not None and before.plan.digest == self.plan.digest:
            known = before.cells
            if known.version == self.lake.version("cells") and all(map(known.counts, self.newest)):
                return known
        return self._read()

    def _read(self) -> LakeCells:
        return read_cells(self.lake, self.plan, self.newest)

    def _folded(self, known: LakeCells) -> LakeCells | None:
        """Return the cells with some new steps, or these if there are none; None if they must be read again."""
        if not self.newest:
            return known
        folded = {number: known.applied[cells_app(number)] for number in self.newest}
        spans = None if known.is_other_plan else new_spans(self.lake, self.newest, folded, RECORDS_MAX)
        if spans == []:
            return known
        if spans is None:
            rulings, following = self._rulings(known, is_newest=True)
            for _ in recount(self.lake, self.plan, self.newest, known, rulings, following):
                self.on_part()
            return None
        rulings, _ = self._rulings(known, is_newest=False)
        new = read_new_rows(self.lake, spans, self.plan, rulings)
        plan = known.admitted(self.plan, new.versions, counter_of_values(self.lake, self.plan.timezone))
        rows = fold(plan, new.predictions, new.outcomes, new.earlier, rulings, new.proof)
        return self._write(known, new.with_again(plan, rows), [_claim(span, folded) for span in spans])

    def _restated(self, known: LakeCells) -> tuple[LakeCells, Sequence[Ruling]] | None:
        """Make cells follow the newest rulings about backfills; return None if they must be read again."""
        before, _ = self._rulings(known, is_newest=False)
        after, following = self._rulings(known, is_newest=True)
        changed = changed_rulings(before, after)
        if not changed:
            return known, after
        steps = {number: known.applied[cells_app(number)] for number in self.newest}
        touched = [revised_outcomes(self.lake, one.episode, steps) for one in changed]
        others = [one for one in changed if one.episode.definition != self.plan.definitions[one.episode.kind]]
        touched += [outcomes_of_definition(self.lake, one.episode, steps) for one in others]
        outcomes = read_outcomes_of(self.lake, pl.concat(touched).unique(), steps)
        plan = known.admitted(self.plan, outcomes.get_column("version").unique())
        rows = restate(plan, outcomes, before, after, read_cursors(self.lake, steps))
        written = self._write(known, rows, following)
        return None if written is None else (written, after)

    def _rulings(self, known: LakeCells, *, is_newest: bool) -> tuple[list[Ruling], list[Claim]]:
        """Return the rulings that cells follow, or the newest; and the claims of a commit that follows the newest."""
        found: list[Ruling] = []
        claims = []
        for kind, log in self.logs.items():
            followed, following = known.applied[ruling_app(kind)], log.following
            found += log.rulings(following if is_newest else followed)
            claims.append(Claim(ruling_app(kind), followed, following))
        return found, claims

    def _write(self, known: LakeCells, rows: pl.DataFrame, claims: Sequence[Claim]) -> LakeCells | None:
        """Append rows and their summary; return None if another process has written cells since."""
        first = known.applied[APP]
        summary = summarise(rows)
        try:
            is_written = self.lake.append(
                "cells",
                pl.concat([summary, rows]).with_columns(plan=pl.lit(self.plan.digest)),
                [Claim(APP, first, first + 1), *claims],
                recorded_at=_now(),
            )
        except LakeConflict:
            if self.lake.applied("cells", APP) == first:
                raise
            return None
        state = self.lake.by_day("cells").state(known.applied)
        is_ours = is_written and state.applied[APP] == first + 1
        return known.grown(state, rows, summary) if is_ours else None

    def _with_few_runs(self, cells: LakeCells) -> LakeCells:
        """Return the same cells, in few files."""
        if not runs_are_due(cells.state.files):
            return cells
        table = self.lake.by_day("cells")
        merge_runs(table, cells.state, self.plan, _now())
        state = table.state(cells.applied)
        is_same = state.applied[APP] == cells.applied[APP]
        return cells.in_files(state) if is_same else self._read()


def _claim(span: Span, folded: Mapping[int, int]) -> Claim:
    return Claim(cells_app(span.partition), folded[span.partition], span.steps[1])


def _now() -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, UTC)


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
