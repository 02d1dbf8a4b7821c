"""Shift of the distributions of inputs and output, day by day, against the days before and against deployment.

An alarm needs a distance above a fixed limit and above this input's own past, a discovery among all inputs, and a
second such day. A verdict is a function of the days up to it: later days never change it.
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
"""With fewer rows chance alone makes a plain index exceed 0.1 (at 100 rows, in a third of all windows)."""
_REFERENCE = timedelta(days=28)
"""Whole weeks, so that every day of the week occurs equally often."""
_REFERENCE_DAYS_LEAST = 14
_PSI_WARN, _PSI_CRITICAL = 0.1, 0.25
_W1_WARN, _W1_CRITICAL = 0.3, 0.5
"""W1 of a normal input whose mean has moved until its index is 0.1 (0.3 deviations) and 0.25 (0.5)."""
_PAST_LEAST, _PAST_MOST = 20, 365
"""Windows that an input's own past needs, and how many of the latest it keeps: a year of seasons."""
_PAST_QUANTILE = 0.99
_FALSE_SHARE = 0.05
_FLAGGED, _AMONG = 2, 3
"""An alarm needs two flagged windows of three in a row: one odd day is no shift."""


@dataclass(frozen=True)
class _ShiftWindow:
    """One or several days of one input, compared with one reference; figures are None without a reference."""

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
    """Earlier verdicts on one model version and the same inputs, so that only new days are judged.

    It follows from the counts: a new one gives the same verdicts. Days up to `until` are not judged again, even if
    their counts have changed.

    Attributes:
        until: the last day that was judged.
        verdicts: rows of `SHIFT_SCHEMA` up to that day.
        pasts: figures of earlier windows, by input.
    """

    until: date = date.min
    verdicts: pl.DataFrame = field(default_factory=SHIFT_SCHEMA.to_frame)
    pasts: "dict[str, _InputPast]" = field(default_factory=dict)


def judge_shift(
    counts: pl.DataFrame, histograms: Sequence[Histogram], memory: ShiftMemory | None = None
) -> pl.DataFrame:
    """Return a verdict for every window of every input of one model version.

    A window is a day, or, where a day has fewer than 500 rows of the input, that day and those after it until there
    are 500; it is named by its last day. It is compared with two references:

    - `trailing`: the 28 days before its first day, if at least 14 of them have rows, 500 in all;
    - `deployment`: the first 28 days of the input under this version, for windows after them.

    A window is flagged if its excess PSI is above 0.1, or its W1 above 0.3 deviations, if that same figure is above
    the 99th percentile of this input's earlier windows (at least 20, of the last 365) against their trailing
    reference, and if it is a discovery among all inputs of that day (Benjamini and Hochberg, 5 % false). Until there
    are 20 earlier windows, that condition is waived and the level is `calibrating`. A window enters the past three
    windows later, so that the first day of a shift does not hide the second. Of an alarm only the first flagged window
    enters it: one window of each kind is learned, and a long alarm does not raise the limit.

    Levels: `calibrating`; `ok`; `warn`; `critical` (flagged, PSI above 0.25 or W1 above 0.5); `alarm`: two of the last
    three windows were flagged, after calibration. Only `trailing` can alarm: an input that follows the seasons differs
    from its deployment for months, which the page shows and nobody has to be woken for.

    Args:
        counts: `COUNT_SCHEMA`, whole days only; counts of the same input, day and bin are added.
        histograms: of the inputs to judge; others in `counts` are ignored.
        memory: of earlier calls for this version and these inputs; it is updated.

    Returns:
        Rows of `SHIFT_SCHEMA`, sorted by day, input and reference (trailing first). `since` is the window's first day;
        `psi` the excess PSI; `w1` is null for unordered inputs and where the reference has a single value; `threshold`
        and `w1_threshold` are the limits that applied. Figures are null without a reference. An input has no row for
        days without counts.

    >>> days = pl.date_range(date(2013, 1, 1), date(2013, 2, 10), eager=True)
    >>> counts = pl.DataFrame({"input": "x", "day": days, "bin": [0] * 39 + [1] * 2, "amount": 1_000})
    >>> judge_shift(counts, [Histogram("x", "flag")]).filter(reference="trailing")["level"].to_list()[-3:]
    ['ok', 'critical', 'alarm']
    """
    memory = ShiftMemory() if memory is None else memory
    trailing: list[_ShiftWindow] = []
    deployment: list[_ShiftWindow] = []
    parts = counts.partition_by("input", as_dict=True)
    for histogram in sorted(histograms, key=lambda one: one.name):
        if (own := parts.get((histogram.name,))) is not None:
            days = _DailyCounts(histogram, own, memory.until)
            trailing.extend(days.against_trailing())
            deployment.extend(days.against_deployment())
    found = [*_with_discoveries(trailing, "trailing"), *_with_discoveries(deployment, "deployment")]
    rows: list[tuple[object, ...]] = []
    for window, reference, is_discovery in sorted(found, key=lambda one: (one[0].day, one[0].input, one[1])):
        past = memory.pasts.setdefault(window.input, _InputPast())
        verdict = past.verdict(window, is_discovery=is_discovery)
        level = past.enter(window, verdict) if reference == "trailing" else verdict.level
        rows.append(_row(window, reference, verdict, level))
    frame = pl.concat([memory.verdicts, pl.DataFrame(rows, schema=SHIFT_SCHEMA, orient="row")])
    memory.verdicts = frame.sort("day", "input", "reference", descending=[False, False, True])
    memory.until = max([memory.until, *counts.get_column("day").unique()])
    return memory.verdicts


@dataclass(frozen=True)
class _WindowVerdict:
    """Verdict on one window by itself, with the limits that its figures had to exceed."""

    threshold: float
    w1_threshold: float | None
    flagged: bool
    level: str


class _InputPast:
    """Figures of one input's earlier windows against their trailing reference."""

    def __init__(self) -> None:
        self._psi: deque[float] = deque(maxlen=_PAST_MOST)
        self._w1: deque[float] = deque(maxlen=_PAST_MOST)
        self._recent: deque[tuple[_ShiftWindow, bool]] = deque(maxlen=_AMONG)
        self._excluded: set[date] = set()
        self._alarm_since: date | None = None

    def verdict(self, window: _ShiftWindow, *, is_discovery: bool) -> _WindowVerdict:
        """Judge a window by the past, without adding it."""
        is_calibrated = len(self._psi) >= _PAST_LEAST
        psi_limit: float = _PSI_WARN
        w1_limit: float | None = _W1_WARN
        if is_calibrated:
            psi_limit = max(psi_limit, _quantile(self._psi))
            w1_limit = max(_W1_WARN, _quantile(self._w1)) if len(self._w1) >= _PAST_LEAST else None
        psi, w1 = window.psi, window.w1
        by_psi = psi is not None and psi > psi_limit
        by_w1 = w1 is not None and w1_limit is not None and w1 > w1_limit
        flagged = is_discovery and (by_psi or by_w1)
        is_critical = (by_psi and (psi or 0.0) > _PSI_CRITICAL) or (by_w1 and (w1 or 0.0) > _W1_CRITICAL)
        level = ("critical" if is_critical else "warn") if flagged else "ok"
        level = level if is_calibrated and psi is not None else "calibrating"
        return _WindowVerdict(psi_limit, w1_limit, flagged, level)

    def enter(self, window: _ShiftWindow, verdict: _WindowVerdict) -> str:
        """Add a window to the recent ones, and return its level among them."""
        if len(self._recent) == _AMONG:
            self._add(self._recent[0][0])
        is_calibrating = verdict.level == "calibrating"
        self._recent.append((window, verdict.flagged and not is_calibrating))
        flagged = [one.day for one, is_flagged in self._recent if is_flagged]
        if is_calibrating or len(flagged) < _FLAGGED:
            self._alarm_since = None
            return verdict.level
        self._alarm_since = self._alarm_since or flagged[0]
        self._excluded.update(day for day in flagged if day != self._alarm_since)
        return "alarm"

    def _add(self, window: _ShiftWindow) -> None:
        """Add a window to the past, unless it is a later window of an alarm."""
        if window.day in self._excluded:
            self._excluded.remove(window.day)
            return
        if window.psi is not None:
            self._psi.append(window.psi)
        if window.w1 is not None:
            self._w1.append(window.w1)


def _quantile(past: Iterable[float]) -> float:
    """Return the 99th percentile, interpolated linearly."""
    ordered = sorted(past)
    rank = _PAST_QUANTILE * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


class _DailyCounts:
    """Counts of one input by day and bin."""

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
        self._sums: Counts = np.vstack([np.zeros((1, len(self._bins)), dtype=np.int64), amounts.cumsum(axis=0)])
        self._rows: Counts = self._sums.sum(axis=1)

    def against_trailing(self) -> Iterator[_ShiftWindow]:
        """Compare every window with the 28 days before it."""
        for first, last in self._windows():
            start = self._days[first]
            yield self._compared(first, last, (bisect_left(self._days, start - _REFERENCE), first))

    def against_deployment(self) -> Iterator[_ShiftWindow]:
        """Compare every window after the first 28 days with these days."""
        end = bisect_left(self._days, self._days[0] + _REFERENCE)
        for first, last in self._windows():
            if first >= end:
                yield self._compared(first, last, (0, end))

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Yield the indexes of the first and last day of every new window that has enough rows."""
        first = 0
        for last in range(len(self._days)):
            if self._rows[last + 1] - self._rows[first] >= _ROWS_LEAST:
                if self._days[last] > self._judged_until:
                    yield first, last
                first = last + 1

    def _compared(self, first: int, last: int, reference: tuple[int, int]) -> _ShiftWindow:
        """Compare the days with indexes `first` to `last` with those of a half-open range of indexes."""
        start, end = reference
        before = self._sums[end] - self._sums[start]
        window = self._sums[last + 1] - self._sums[first]
        rows, reference_rows = int(window.sum()), int(before.sum())
        plain = _ShiftWindow(self._name, self._days[first], self._days[last], rows)
        if end - start < _REFERENCE_DAYS_LEAST or reference_rows < _ROWS_LEAST:
            return plain
        psi = excess_psi(before, window, group_bins(self._bins, before, rows, is_ordered=self._is_ordered))
        if psi is None:
            return plain
        w1 = None if self._centres is None else distance(self._centres, before, window)
        return replace(plain, reference_n=reference_rows, psi=psi.excess, w1=w1, p_value=psi.p_value)


def _with_discoveries(windows: Sequence[_ShiftWindow], reference: str) -> Iterator[tuple[_ShiftWindow, str, bool]]:
    """Yield each window with whether it is a discovery among all that end on its day."""
    by_day: dict[date, list[_ShiftWindow]] = defaultdict(list)
    for window in windows:
        by_day[window.day].append(window)
    for same_day in by_day.values():
        p_values = np.asarray([math.nan if one.p_value is None else one.p_value for one in same_day])
        discoveries = benjamini_hochberg(p_values, _FALSE_SHARE)
        yield from ((one, reference, bool(found)) for one, found in zip(same_day, discoveries, strict=True))


def _row(window: _ShiftWindow, reference: str, verdict: _WindowVerdict, level: str) -> tuple[object, ...]:
    names = (window.day, window.input, reference, window.since, window.n, window.reference_n)
    figures = (window.psi, window.w1, verdict.threshold, verdict.w1_threshold, window.p_value)
    return (*names, *figures, verdict.flagged, level)
