"""Shift of inputs and output, day by day: is this day unlike the days before it, and unlike what is usual?

A day is alarming only if it is far off, further than this input has been before, more than chance allows
among all inputs, and not alone. A verdict is a function of the days up to it: later days never change it.
This module must not look at labels, and must not ask for a retrain: shift annotates.
"""

import math
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from monitor.cells.histogram import Histogram
from monitor.drift.distance import Counts, benjamini_hochberg, distance, excess_psi, group_bins

__all__ = ["SHIFT_SCHEMA", "ShiftMemory", "judge_shift"]

SHIFT_SCHEMA = pl.Schema(
    {
        "day": pl.Date(),
        "input": pl.String(),
        "reference": pl.String(),
        "since": pl.Date(),
        "n": pl.Int64(),
        "reference_n": pl.Int64(),
        "psi": pl.Float64(),
        "w1": pl.Float64(),
        "threshold": pl.Float64(),
        "w1_threshold": pl.Float64(),
        "p_value": pl.Float64(),
        "flagged": pl.Boolean(),
        "level": pl.String(),
    }
)

_ROWS_LEAST = 500
"""Fewer rows make a plain index above 0.1 by chance alone (at 100 rows, in a third of all windows)."""
_REFERENCE = timedelta(days=28)
"""Whole weeks, so that each day of the week is there alike."""
_REFERENCE_DAYS_LEAST = 14
_PSI_WARN, _PSI_CRITICAL = 0.1, 0.25
_W1_WARN, _W1_CRITICAL = 0.3, 0.5
"""What a normal input has whose mean moved so far that its index is 0.1 (0.3 deviations) and 0.25 (0.5)."""
_PAST_LEAST, _PAST_MOST = 20, 365
"""Windows that an input's own past needs, and how many of the latest are looked at: a year of seasons."""
_PAST_QUANTILE = 0.99
_FALSE_SHARE = 0.05
_FLAGGED, _AMONG = 2, 3
"""An alarm needs this many flagged windows among so many in a row: one odd day is no shift."""


@dataclass(frozen=True)
class _Window:
    """One or several days of one input, against one reference; None where there is nothing to compare with."""

    input: str
    since: date
    day: date
    n: int
    reference_n: int = 0
    psi: float | None = None
    w1: float | None = None
    p_value: float | None = None


@dataclass
class ShiftMemory:
    """What was judged before, so that only new days are: of one model version, and of the same inputs every time.

    It follows from the counts; a fresh one gives the same verdicts. Counts that reach back behind `until` are not
    looked at again: what was told of a day stays.

    Attributes:
        until: the last day that was judged.
        verdicts: rows of `SHIFT_SCHEMA` up to it.
        pasts: by input, what its windows had.
    """

    until: date = date.min
    verdicts: pl.DataFrame = field(default_factory=SHIFT_SCHEMA.to_frame)
    pasts: "dict[str, _Past]" = field(default_factory=dict)


def judge_shift(
    counts: pl.DataFrame, histograms: Sequence[Histogram], memory: ShiftMemory | None = None
) -> pl.DataFrame:
    """Return a verdict for every window of every input of one model version.

    A window is a day, or, where a day has fewer than 500 rows of the input, that day and those after it
    until there are 500; it is named by its last day, and has no row before that. It is compared with:

    - `trailing`: the 28 days before its first day, once 14 of them have rows, 500 in all;
    - `deployment`: the first 28 days of the input under this version, for windows after them.

    A window is flagged if its excess PSI is above 0.1, or its W1 above 0.3 deviations, and that same
    figure is above the 99th percentile of what this input's earlier windows (at least 20, of the last 365)
    had against their trailing reference, and it is a discovery among all inputs of that day (Benjamini and
    Hochberg, 5 % of them false). Until there are 20, the past is not asked, and the level is `calibrating`.
    A window enters the past three windows later, so that a shift's first day does not hide its second. Of an
    alarm only the first flagged window does: one of its kind is learnt, and a long one does not blind.

    Levels: `calibrating`; `ok`; `warn`; `critical` (flagged, PSI above 0.25 or W1 above 0.5); `alarm`: two
    of the last three windows were flagged, after calibration. Only `trailing` can alarm: an input that
    follows the seasons is unlike its deployment for months, and that is for people to see, not to be woken.

    Args:
        counts: `COUNT_SCHEMA`, whole days only; counts of the same place are added.
        histograms: of the inputs to be judged; others in `counts` are left out.
        memory: of earlier calls for this version and these inputs; it is brought up to date.

    Returns:
        Rows of `SHIFT_SCHEMA`, sorted by day, input and reference (trailing first). `since` is the window's
        first day; `psi` the excess PSI; `w1` is null for unordered inputs and where the reference has only one
        value; `threshold` and `w1_threshold` are what had to be exceeded. Figures are null without a
        reference. An input has no row for days without counts.
    """
    memory = ShiftMemory() if memory is None else memory
    trailing: list[_Window] = []
    deployment: list[_Window] = []
    parts = counts.partition_by("input", as_dict=True)
    for histogram in sorted(histograms, key=lambda one: one.name):
        if (own := parts.get((histogram.name,))) is not None:
            days = _Days(histogram, own, memory.until)
            trailing.extend(days.against_trailing())
            deployment.extend(days.against_deployment())
    found = [*_with_discoveries(trailing, "trailing"), *_with_discoveries(deployment, "deployment")]
    rows: list[tuple[object, ...]] = []
    for window, reference, is_discovery in sorted(found, key=lambda one: (one[0].day, one[0].input, one[1])):
        past = memory.pasts.setdefault(window.input, _Past())
        verdict = past.verdict(window, is_discovery=is_discovery)
        level = past.enter(window, verdict) if reference == "trailing" else verdict.level
        rows.append(_row(window, reference, verdict, level))
    frame = pl.concat([memory.verdicts, pl.DataFrame(rows, schema=SHIFT_SCHEMA, orient="row")])
    memory.verdicts = frame.sort("day", "input", "reference", descending=[False, False, True])
    memory.until = max([memory.until, *counts.get_column("day").unique()])
    return memory.verdicts


@dataclass(frozen=True)
class _Verdict:
    """What one window is found to be by itself, and what its figures had to exceed."""

    threshold: float
    w1_threshold: float | None
    flagged: bool
    level: str


class _Past:
    """What one input's windows had against their trailing reference, up to a day."""

    def __init__(self) -> None:
        self._psi: deque[float] = deque(maxlen=_PAST_MOST)
        self._w1: deque[float] = deque(maxlen=_PAST_MOST)
        self._recent: deque[tuple[_Window, bool]] = deque(maxlen=_AMONG)
        self._told: set[date] = set()
        self._alarm_began: date | None = None

    def verdict(self, window: _Window, *, is_discovery: bool) -> _Verdict:
        """Judge a window by the past as it is; the past stays as it is."""
        is_calibrated = len(self._psi) >= _PAST_LEAST
        psi_least: float = _PSI_WARN
        w1_least: float | None = _W1_WARN
        if is_calibrated:
            psi_least = max(psi_least, _quantile(self._psi))
            w1_least = max(_W1_WARN, _quantile(self._w1)) if len(self._w1) >= _PAST_LEAST else None
        psi, w1 = window.psi, window.w1
        by_psi = psi is not None and psi > psi_least
        by_w1 = w1 is not None and w1_least is not None and w1 > w1_least
        flagged = is_discovery and (by_psi or by_w1)
        is_critical = (by_psi and (psi or 0.0) > _PSI_CRITICAL) or (by_w1 and (w1 or 0.0) > _W1_CRITICAL)
        level = ("critical" if is_critical else "warn") if flagged else "ok"
        return _Verdict(psi_least, w1_least, flagged, level if is_calibrated and psi is not None else "calibrating")

    def enter(self, window: _Window, verdict: _Verdict) -> str:
        """Make a window part of the past, and return its level among the windows before it."""
        if len(self._recent) == _AMONG:
            self._settle(self._recent[0][0])
        is_calibrating = verdict.level == "calibrating"
        self._recent.append((window, verdict.flagged and not is_calibrating))
        flagged = [one.day for one, is_flagged in self._recent if is_flagged]
        if is_calibrating or len(flagged) < _FLAGGED:
            self._alarm_began = None
            return verdict.level
        self._alarm_began = self._alarm_began or flagged[0]
        self._told.update(day for day in flagged if day != self._alarm_began)
        return "alarm"

    def _settle(self, window: _Window) -> None:
        """Make usual what no alarm can take up any more; of an alarm, only how it began."""
        if window.day in self._told:
            self._told.remove(window.day)
            return
        if window.psi is not None:
            self._psi.append(window.psi)
        if window.w1 is not None:
            self._w1.append(window.w1)


def _quantile(past: Iterable[float]) -> float:
    """Return the 99th percentile, between two neighbours where it falls between them."""
    ordered = sorted(past)
    place = _PAST_QUANTILE * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


class _Days:
    """The counts of one input, as whole numbers by day and bin."""

    def __init__(self, histogram: Histogram, counts: pl.DataFrame, judged_until: date) -> None:
        self._judged_until = judged_until
        summed = counts.group_by("day", "bin").agg(pl.col("amount").sum())
        wide = summed.pivot("bin", index="day", values="amount").fill_null(0).sort("day")
        self._name = histogram.name
        self._days: list[date] = wide.get_column("day").to_list()
        self._bins: Counts = np.asarray([int(name) for name in wide.columns[1:]], dtype=np.int64)
        self._is_ordered = histogram.is_numeric
        self._centres = histogram.centres(self._bins) if histogram.is_numeric else None
        amounts = wide.drop("day").to_numpy().astype(np.int64)
        self._until: Counts = np.vstack([np.zeros((1, len(self._bins)), dtype=np.int64), amounts.cumsum(axis=0)])
        self._rows: Counts = self._until.sum(axis=1)

    def against_trailing(self) -> Iterator["_Window"]:
        """Compare every window with the 28 days before it."""
        for first, last in self._windows():
            start = self._days[first]
            yield self._compared(first, last, (bisect_left(self._days, start - _REFERENCE), first))

    def against_deployment(self) -> Iterator["_Window"]:
        """Compare the windows after the first 28 days with those."""
        end = bisect_left(self._days, self._days[0] + _REFERENCE)
        for first, last in self._windows():
            if first >= end:
                yield self._compared(first, last, (0, end))

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Yield the places of the first and last day of every new window that has enough rows."""
        first = 0
        for last in range(len(self._days)):
            if self._rows[last + 1] - self._rows[first] >= _ROWS_LEAST:
                if self._days[last] > self._judged_until:
                    yield first, last
                first = last + 1

    def _compared(self, first: int, last: int, reference: tuple[int, int]) -> _Window:
        """Compare the days from `first` to `last` with those from the one place up to the other."""
        start, end = reference
        before = self._until[end] - self._until[start]
        window = self._until[last + 1] - self._until[first]
        rows, others = int(window.sum()), int(before.sum())
        named = _Window(self._name, self._days[first], self._days[last], rows)
        if end - start < _REFERENCE_DAYS_LEAST or others < _ROWS_LEAST:
            return named
        psi = excess_psi(before, window, group_bins(self._bins, before, rows, is_ordered=self._is_ordered))
        if psi is None:
            return named
        w1 = None if self._centres is None else distance(self._centres, before, window)
        return replace(named, reference_n=others, psi=psi.excess, w1=w1, p_value=psi.p_value)


def _with_discoveries(windows: Sequence[_Window], reference: str) -> Iterator[tuple[_Window, str, bool]]:
    """Add to each window whether it is a discovery among all that end on its day."""
    by_day: dict[date, list[_Window]] = defaultdict(list)
    for window in windows:
        by_day[window.day].append(window)
    for those in by_day.values():
        p_values = np.asarray([math.nan if one.p_value is None else one.p_value for one in those])
        discoveries = benjamini_hochberg(p_values, _FALSE_SHARE)
        yield from ((one, reference, bool(found)) for one, found in zip(those, discoveries, strict=True))


def _row(window: _Window, reference: str, verdict: _Verdict, level: str) -> tuple[object, ...]:
    known = (window.day, window.input, reference, window.since, window.n, window.reference_n)
    figures = (window.psi, window.w1, verdict.threshold, verdict.w1_threshold, window.p_value)
    return (*known, *figures, verdict.flagged, level)
