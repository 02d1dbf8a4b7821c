"""The scope of a view: its kind, versions, slice and days, resolved against a snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property

import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.versions import running_version, versions_in
from monitor.evaluation import end_of_day_ms
from retrain.gate import Gate
from retrain.version_memory import memories_of
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Decision
from schemas.events.memory import VersionMemory
from truthloop.page.gather.snapshot import Snapshot
from truthloop.page.panels.view import EVERY, Selection

__all__ = ["Scope"]


@dataclass(frozen=True)
class Scope:
    """A selection, resolved against a snapshot.

    Attributes:
        kind: the selected kind.
        predictions: version, day and amount of all eligible predictions of the kind.
        versions: the selected version, or all in order of their first day.
        running: the selected version, or the running one; None before the first prediction.
        first: first day that is shown; None before the first prediction.
        last: newest day with predictions; None before the first.
        whole: newest day up to `last` that the inputs have been read to the end of; it may be before `first`.
        observed_ms: time up to which the kind's inputs have been read.
        matured_ms: every outcome of the kind's predictions made before this time is final.
    """

    config: LoopConfig
    snapshot: Snapshot
    selection: Selection
    kind: KindPlan
    predictions: pl.DataFrame
    versions: tuple[str, ...]
    running: str | None
    first: date | None
    last: date | None
    whole: date | None
    observed_ms: int | None
    matured_ms: int | None

    @classmethod
    def of(cls, config: LoopConfig, snapshot: Snapshot, selection: Selection) -> "Scope":
        """Resolve a selection."""
        evidence = snapshot.evidence
        kind = next(one for one in evidence.plan.kinds if one.name == selection.kind)
        predictions = evidence.cells.summary.predictions(kind.name)
        version = selection.version
        mine = predictions if version == EVERY else predictions.filter(pl.col("version") == version)
        observed = evidence.reach.observed_until_ms.get(kind.name)
        last = None if mine.is_empty() else max(mine["day"])
        return cls(
            config=config,
            snapshot=snapshot,
            selection=selection,
            kind=kind,
            predictions=predictions,
            versions=tuple(versions_in(mine)),
            running=running_version(predictions) if version == EVERY else version,
            first=None if last is None else last - timedelta(days=selection.days - 1),
            last=last,
            whole=_whole_day(last, min(mine["day"], default=None), observed, config.timezone),
            observed_ms=observed,
            matured_ms=evidence.reach.matured_until_ms.get(kind.name),
        )

    @property
    def plan(self) -> CellPlan:
        """The plan of the cells, with the selected kind only."""
        return replace(self.snapshot.evidence.plan, kinds=(self.kind,))

    @property
    def log(self) -> Sequence[Decision]:
        """The gate's log of the kind."""
        return self.snapshot.log.get(self.kind.name, [])

    @cached_property
    def memory(self) -> VersionMemory | None:
        """What the evaluations have found of the running version; None if none has judged it."""
        return memories_of(self.log, self.first or date.max).get(self.running or "")

    @property
    def gate(self) -> Gate:
        """The gate of the kind after its log.

        Raises:
            IllegalEvent: the log has an event that its state does not allow.
        """
        return self.snapshot.gates.get(self.kind.name, Gate())

    @property
    def observed(self) -> Mapping[str, int | None]:
        """`observed_ms` by kind, as functions of `monitor` expect it."""
        return {self.kind.name: self.observed_ms}

    @property
    def matured(self) -> Mapping[str, int | None]:
        """`matured_ms` by kind, as functions of `monitor` expect it."""
        return {self.kind.name: self.matured_ms}

    def cells(self, days: tuple[date, date] | None, *conditions: pl.Expr, slice_: str | None = None) -> pl.DataFrame:
        """Return the kind's cells of some days and a slice that fulfil some conditions.

        Args:
            days: the first and the last; None: no cells.
            conditions: on columns of `monitor.cells.packing.CELL_KEY`.
            slice_: None: the selected one.
        """
        if days is None:
            return CELL_SCHEMA.to_frame()
        wanted = self.selection.slice if slice_ is None else slice_
        is_mine = (pl.col("kind") == self.kind.name) & (pl.col("slice") == wanted)
        return self.snapshot.evidence.cells.of_days(*days, is_mine, *conditions)

    def shown(self, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the kind's cells of the shown days, versions and slice that fulfil some conditions."""
        return self.cells(self.days, pl.col("version").is_in(list(self.versions)), *conditions)

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last day that is shown; None before the first prediction."""
        return None if self.first is None or self.last is None else (self.first, self.last)

    def day_end_ms(self, day: date) -> int:
        """Return the first instant after a day."""
        return end_of_day_ms(day, self.config.timezone)

    @property
    def is_of_all(self) -> bool:
        """Whether no slice is selected."""
        return self.selection.slice == ALL


def _whole_day(last: date | None, first: date | None, observed_ms: int | None, timezone: str) -> date | None:
    """Return the newest day from first to last that had ended by `observed_ms`; None if there is none."""
    if last is None or first is None or observed_ms is None:
        return None
    day = last
    while end_of_day_ms(day, timezone) > observed_ms:
        day -= timedelta(days=1)
        if day < first:
            return None
    return day
