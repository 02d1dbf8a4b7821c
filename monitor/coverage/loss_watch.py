"""Watches every series of labels for a loss: all of a kind, each large slice, each source.

What was lost never becomes usual: while a loss is open, its reference ends where it began; when it is over, its time is
left out of the reference. How far is looked back scales with the delay of the labels (`monitor.coverage.lookback`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from monitor.cells.cohort import ALL, day_at
from monitor.cells.flow_cells import FlowCells
from monitor.cells.label_flow import LabelFlow, Series
from monitor.coverage.lookback import lookback_days
from monitor.coverage.loss import Learned, judge_loss, judge_recovery
from monitor.coverage.source import LabelMemory
from schemas.events.evidence import LabelFault

__all__ = ["LossWatch"]

_DAY_MS = 86_400_000
_JUDGED_DAYS_MIN = 7
_JUDGED_MEDIANS = 2
"""A loss that is not found within two medians is found by what it has lost then, or not at all."""

_JUDGED_PART = 3
"""At most a third of a young loop's days is judged; the rest is the reference."""

_LASTING_MS = 3 * _DAY_MS
"""A shorter loss stays in the reference: what passes by itself, such as a storm, is how much labels vary in this loop,
and another one like it within the look back is no news. Its own blocks are outliers, which teach nothing else."""

_REFERENCE_DAYS_MIN = 21
_SLICE_SHARE_MIN = 0.05
"""A slice with fewer of the predictions shows a loss too late to be of use, and there may be a hundred of them."""


@dataclass(frozen=True)
class LossWatch:
    """Watches the labels of one kind.

    Attributes:
        cells: of the kind.
        kind: its name.
        horizon_ms: its horizon.
        timezone: of the loop.
    """

    cells: FlowCells
    kind: str
    horizon_ms: int
    timezone: str
    _learned: dict[Series, tuple[bytes, Learned]] = field(default_factory=dict, compare=False, repr=False)
    """By series the blocks of its newest reference, and what was learned from them: the blocks of a day share one."""

    def faults(self, at_ms: int, memory: LabelMemory) -> list[LabelFault]:
        """Return the losses that are open at the end of a block, and those that are over but still looked back on.

        Which series are judged, and over which spans, follows from the days before that of the block.

        Args:
            at_ms: end of a block; labels and predictions of later ones are ignored.
            memory: of the evaluations before.
        """
        if self.cells.days is None:
            return []
        first, day = self.cells.days[0], self.day_of(at_ms - 1)
        median_ms = self.median_ms(day)
        back = lookback_days(self.horizon_ms, median_ms)
        judged = max(_JUDGED_DAYS_MIN, -(-_JUDGED_MEDIANS * median_ms // _DAY_MS))
        series = self._series((day - timedelta(days=back), day - timedelta(days=1)), memory)
        found: list[LabelFault] = []
        for one in series:
            own = [fault for fault in memory.faults if fault.check == "loss" and _is_of(fault, one, self.kind)]
            since = max(first, self._retired_day(one, memory))
            view = _View(self, one, at_ms, since, (back, judged))
            found += view.after(own, len(series))
        kept_ms = at_ms - back * _DAY_MS
        return [fault for fault in found if fault.until is None or fault.until > kept_ms]

    def median_ms(self, day: date) -> int:
        """Return the age by which half of the labels of the days before came; 0 where none did."""
        return self.cells.median_ms((day - timedelta(days=lookback_days(self.horizon_ms)), day - timedelta(days=1)))

    def _series(self, days: tuple[date, date], memory: LabelMemory) -> list[Series]:
        """Return the series that are judged: those with an open loss, too."""
        least = _SLICE_SHARE_MIN * self.cells.predictions(ALL, days)
        open_ = {fault.subject for fault in memory.faults if fault.check == "loss" and fault.until is None}
        return [
            one
            for one in self.cells.series(until=days[1])
            if one.scope != "slice" or one.name in open_ or self.cells.predictions(one.name, days) >= least
        ]

    def _retired_day(self, series: Series, memory: LabelMemory) -> date:
        """Return the first day that what is usual may be learned from: a retired source concerns the others, too."""
        own = memory.retired_ms.get(series.name)
        times = [own] if series.scope == "source" else [*memory.retired_ms.values()]
        known = [at_ms for at_ms in times if at_ms is not None]
        return self.day_of(max(known)) + timedelta(days=1) if known else date.min

    def learned(self, series: Series, reference: LabelFlow) -> Learned:
        """Return what was learned from a reference of a series, to be added to."""
        blocks = reference.end_ms.tobytes()
        known = self._learned.get(series)
        if known is None or known[0] != blocks:
            known = self._learned[series] = blocks, Learned()
        return known[1]

    def day_of(self, at_ms: int) -> date:
        """Return the day of an instant in the loop's time zone."""
        return day_at(at_ms, self.timezone)


@dataclass(frozen=True)
class _View:
    """One series as of a time: `since` is the first day to learn from, `spans` the days to look back and to judge."""

    watch: LossWatch
    series: Series
    at_ms: int
    since: date
    spans: tuple[int, int]

    @property
    def day(self) -> date:
        """The day that is under way, or that ends then."""
        return self.watch.day_of(self.at_ms - 1)

    def after(self, faults: Sequence[LabelFault], series: int) -> Iterator[LabelFault]:
        """Yield the faults as of then: a new one, the open one, or its end; and those that are over."""
        yield from (fault for fault in faults if fault.until is not None)
        open_ = next((fault for fault in faults if fault.until is None), None)
        if open_ is not None:
            yield self._continued(open_, faults)
            return
        back, judged_days = self.spans
        judged_days = min(judged_days, max((self.day - self.since).days // _JUDGED_PART, 1))
        begins = max([self.day - timedelta(days=judged_days - 1), *(self._first_after(one) for one in faults)])
        reference = self._reference(begins, back - judged_days, faults)
        if reference is None or begins > self.day:
            return
        judged = self._judged(begins)
        learned = self.watch.learned(self.series, reference)
        found = judge_loss(reference, judged, self.watch.cells.per_day, series, learned)
        if found.is_lost:
            before = judged.end_ms[found.since - 1] if found.since else judged.end_ms[0] - _DAY_MS
            yield LabelFault(
                check="loss",
                scope=self.series.scope,
                subject=self.series.name or self.watch.kind,
                since=int(before),
                share=round(found.share, 4),
            )

    def _continued(self, fault: LabelFault, faults: Sequence[LabelFault]) -> LabelFault:
        """Return an open fault with its share as of now, and its end if labels come again."""
        back, judged_days = self.spans
        began = self.watch.day_of(fault.since)
        reference = self._reference(began, back - judged_days, [one for one in faults if one is not fault])
        judged = self._judged(max(began, self.day - timedelta(days=judged_days - 1)), fault.since)
        if reference is None or not len(judged):
            return fault
        learned = self.watch.learned(self.series, reference)
        start, share = judge_recovery(reference, judged, self.watch.cells.per_day, fault.share or 0.0, learned)
        if start is None:
            return fault.model_copy(update={"share": round(share, 4)})
        until = judged.end_ms[start - 1] if start else judged.end_ms[0] - _DAY_MS // self.watch.cells.per_day
        return fault.model_copy(update={"until": max(int(until), fault.since)})

    def _judged(self, begins: date, since_ms: int = 0) -> LabelFlow:
        """Return the blocks from a day on that have ended, of these such as ended after a time."""
        flow = self.watch.cells.flow(self.series, (begins, max(begins, self.day)))
        return flow[(since_ms < flow.end_ms) & (flow.end_ms <= self.at_ms)]

    def _first_after(self, fault: LabelFault) -> date:
        return self.watch.day_of(fault.until or fault.since) + timedelta(days=1)

    def _reference(self, end: date, days: int, faults: Sequence[LabelFault]) -> LabelFlow | None:
        """Return the blocks of so many healthy days before a day; None where there are too few."""
        parts: list[LabelFlow] = []
        missing = days
        lasting = [one for one in faults if one.until is None or one.until - one.since >= _LASTING_MS]
        over = sorted(lasting, key=lambda one: one.since, reverse=True)
        until = end - timedelta(days=1)
        for fault in [*over, None]:
            first = self.since if fault is None else max(self.since, self._first_after(fault))
            first = max(first, until - timedelta(days=missing - 1))
            if first <= until and missing > 0:
                parts.insert(0, self.watch.cells.flow(self.series, (first, until)))
                missing -= (until - first).days + 1
            if fault is not None:
                until = min(until, self.watch.day_of(fault.since) - timedelta(days=1))
        return LabelFlow.joined(parts) if days - missing >= _REFERENCE_DAYS_MIN else None


def _is_of(fault: LabelFault, series: Series, kind: str) -> bool:
    return fault.scope == series.scope and fault.subject == (series.name or kind)
