"""Counts a lake's cells anew, from all of its predictions and outcomes, in parts that fit in memory."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from threading import Lock

import polars as pl

from lake import Claim, Lake
from lake.by_day import DayFile, DayTable
from lake.staged_file import StagedFile
from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.rank_bin import Owner
from monitor.cells.readers import CellReaders
from monitor.cells.slots import entries_of_days
from monitor.cells.summary import CellSummary, summarise
from schemas.errors import LakeConflict, LakeError
from schemas.events.backfill import Ruling
from streams.ledger.lake_kind import cells_app
from streams.ledger.row import LedgerRow
from truthloop.clock import now_ms
from truthloop.evidence.cell_runs import MERGE_APP, stage_cells, stage_days
from truthloop.evidence.lake_cells import APP, FIRST_DAY, LakeCells, cells_of_slices, scored_labels
from truthloop.evidence.spans import RECORDS_MAX, counter_of_values, new_spans, read_new_rows

__all__ = ["recount"]

_TURN = Lock()


def recount(
    lake: Lake,
    plan: CellPlan,
    newest: Mapping[int, LedgerRow],
    known: LakeCells,
    rulings: Sequence[Ruling],
    following: Sequence[Claim],
) -> Iterator[None]:
    """Replace all cells by those of one fold of everything, in one commit; yield whenever a part has been counted.

    Cells of days before `plan.since` stay as they are: records of these days have left the lake.

    If another process writes cells meanwhile, nothing is replaced: read them, and see whether it is still needed. The
    gate and the page of one process count one after the other.

    Args:
        plan: what is to be counted.
        newest: by partition, the newest ledger row whose rows are all in the lake.
        known: the cells that are replaced.
        rulings: the newest about backfills.
        following: the claims of a commit that follows them.

    Raises:
        LakeError: the cells count steps that the ledger no longer has, or does not have again yet.
    """
    with _TURN:
        lake.ask_again("cells")
        if lake.applied("cells", APP) != known.applied[APP]:
            return
        folded = {number: known.applied[cells_app(number)] for number in newest}
        if ahead := [number for number, row in newest.items() if folded[number] > row.sequence + 1]:
            raise LakeError(
                f"counts more steps of partition {ahead[0]} than the ledger has, so it cannot be recreated",
                where=f"table cells of {lake.path}",
                hint="If the lake is being filled again from its source, try again when that is done. "
                "Otherwise only the ledger was restored from a backup: restore the whole lake.",
            )
        first = known.applied[APP]
        claims = [Claim(APP, first, first + 1), *following]
        claims += [Claim(cells_app(number), folded[number], row.sequence + 1) for number, row in newest.items()]
        recorded_at = datetime.fromtimestamp(now_ms() / 1000, UTC)
        table = lake.by_day("cells")
        parts = _Parts(table, plan, recorded_at)
        old = _OldCells(known, plan.since)
        staged = list[StagedFile]()
        try:
            yield from parts.count(lake, newest, rulings, old)
            for one in stage_days(table, parts.staged, plan.digest, recorded_at):
                staged.append(one)
                yield
            staged += (stage_cells(table, rows, of, recorded_at, is_merged=True) for of, rows in old.cut_off())
        finally:
            table.discard(parts.staged)
        try:
            table.exchange(staged, old.replaced, claims, is_change=True, recorded_at=recorded_at)
        except LakeConflict:
            table.discard(staged)
            if lake.applied("cells", APP) == first and known.applied[MERGE_APP] == lake.applied("cells", MERGE_APP):
                raise


@dataclass(frozen=True)
class _OldCells:
    """The cells before: those of days before `since` stay, by whatever plan they were counted."""

    known: LakeCells
    since: date

    @property
    def replaced(self) -> list[DayFile]:
        """The files that have cells of other days, or of the summary."""
        return [one for one in self.known.state.files if one.last >= self.since or one.first < FIRST_DAY]

    def cut_off(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield the cells that stay of files that do not, by the digest of their plan."""
        rows = self._staying(self.replaced).collect()
        for (plan,), part in rows.partition_by("plan", as_dict=True).items():
            yield str(plan), merge(part)

    def summary(self) -> pl.DataFrame:
        """Return the summary of the cells that stay."""
        files = [one for one in self.known.state.files if one.first < self.since]
        return merge(*(summarise(self._staying([one]).collect()) for one in files))

    def slots(self, names: Collection[str]) -> pl.DataFrame:
        """Return the cells that keep the slots of some slice names on the other days."""
        of_names = self.known.summary.slots.filter(pl.col("slice").str.split("=").list.first().is_in(list(names)))
        return entries_of_days(of_names).filter(pl.col("day") >= self.since)

    def _staying(self, files: Iterable[DayFile]) -> pl.LazyFrame:
        is_before = pl.col("day").is_between(FIRST_DAY, self.since, closed="left")
        return self.known.state.scan_some(files).filter(is_before)


@dataclass(frozen=True)
class _Parts:
    """The cells of each part of the lake, in files that no commit names."""

    table: DayTable
    plan: CellPlan
    recorded_at: datetime
    staged: list[StagedFile] = field(default_factory=list)

    def count(
        self, lake: Lake, newest: Mapping[int, LedgerRow], rulings: Sequence[Ruling], old: _OldCells
    ) -> Iterator[None]:
        slots = old.slots(self.plan.slices)
        known = merge(old.summary(), summarise(slots))
        self._stage([known, slots])
        summary = CellSummary().plus(known)
        values = counter_of_values(lake, self.plan.timezone)
        positions = dict.fromkeys(newest, 0)
        while spans := new_spans(lake, newest, positions, RECORDS_MAX):
            new = read_new_rows(lake, spans, self.plan, rulings)
            readers = CellReaders(self._atoms_of, self._of_slices, values)
            plan = self.plan.with_admitted(summary.of_versions(new.versions), readers)
            rows = new.with_again(plan, fold(plan, new.predictions, new.outcomes, new.earlier, rulings, new.proof))
            added = summarise(rows)
            summary = summary.plus(added)
            self._stage([added, rows])
            positions |= {span.partition: span.steps[1] for span in spans}
            yield

    def _stage(self, frames: Iterable[pl.DataFrame]) -> None:
        rows = merge(*frames)
        if rows.height:
            self.staged.append(stage_cells(self.table, rows, self.plan.digest, self.recorded_at, is_merged=False))

    def _atoms_of(self, owners: Collection[Owner]) -> pl.DataFrame:
        return scored_labels(self.table.scan_staged(self.staged), owners)

    def _of_slices(self, texts: Collection[str], condition: pl.Expr) -> pl.DataFrame:
        return cells_of_slices(self.table.scan_staged(self.staged), texts, condition)
