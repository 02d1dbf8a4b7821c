"""Shift of the distributions of inputs and output, day by day, against the days before.

An alarm needs a distance above a fixed limit and above this input's own past, a discovery among all inputs, and a
second such day. A verdict is a function of the days and verdicts of the year before it: later days never change it, and
the days themselves are read again for as long as a window and its reference may be.
"""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import numpy as np
import polars as pl

from monitor.cells.histogram import Histogram
from monitor.drift.distance import Counts, benjamini_hochberg, distance, excess_psi, group_bins
from schemas.events.memory import ShiftWindow

__all__ = ["PAST", "SHIFT_LOOKBACK", "SHIFT_SCHEMA", "judge_shift", "shift_windows"]

SHIFT_SCHEMA = pl.Schema(
    {
        "day": pl.Date(),
        "input": pl.String(),
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
_WINDOW_MOST = timedelta(days=56)
"""A window is no longer, and so leaves out what came before: a reference with 500 rows in four weeks is rare then."""
SHIFT_LOOKBACK: Final = _WINDOW_MOST + _REFERENCE
"""How far before a day counts are needed to judge the window that ends with it."""

_PSI_WARN, _PSI_CRITICAL = 0.1, 0.25
_W1_WARN, _W1_CRITICAL = 0.3, 0.5
"""W1 of a normal input whose mean has moved until its index is 0.1 (0.3 deviations) and 0.25 (0.5)."""
_PAST_LEAST = 20
"""Windows that an input's own past needs."""
PAST: Final = timedelta(days=365)
"""How far back it reaches: a year of seasons."""
_PAST_QUANTILE = 0.99
_FALSE_SHARE = 0.05
_FLAGGED, _AMONG = 2, 3
"""An alarm needs two flagged windows of three in a row: one odd day is no shift."""


@dataclass(frozen=True)
class _Compared:
    """One or several days of one input, compared with their reference; figures are None without a reference."""

    input: str
    since: date
    day: date
    n: int
    reference_n: int = 0
    psi: float | None = None
    w1: float | None = None
    p_value: float | None = None


def judge_shift(
    counts: pl.DataFrame,
    histograms: Sequence[Histogram],
    before: Iterable[ShiftWindow] = (),
    after: date = date.min,
) -> pl.DataFrame:
    """Return a verdict for every window of every input of one model version that ends after a day.

    A window is a day, or, where a day has fewer than 500 rows of the input, that day and those after it until there
    are 500, but 56 days at most: it is named by its last day. It is compared with the 28 days before its first day, if
    at least 14 of them have rows, 500 in all.

    A window is flagged if its excess PSI is above 0.1, or its W1 above 0.3 deviations, if that same figure is above
    the 99th percentile of this input's windows of the year before (at least 20), and if it is a discovery among all
    inputs of that day (Benjamini and Hochberg, 5 % false). Until there are 20 earlier windows, that condition is waived
    and the level is `calibrating`. A window enters the past three windows later, so that the first day of a shift does
    not hide the second. Of an alarm only the first flagged window enters it: one window of each kind is learned, and a
    long alarm does not raise the limit.

    Levels: `calibrating`; `ok`; `warn`; `critical` (flagged, PSI above 0.25 or W1 above 0.5); `alarm`: two of the last
    three windows were flagged, after calibration.

    Args:
        counts: `COUNT_SCHEMA`, whole days only, from `SHIFT_LOOKBACK` before `after` on; counts of the same input, day
            and bin are added.
        histograms: of the inputs to judge; others in `counts` are ignored.
        before: windows that end on this day or before it, in order: they are not judged again, even if their counts
            have changed.
        after: the day up to which was judged.

    Returns:
        Rows of `SHIFT_SCHEMA`, sorted by day and input. `since` is the window's first day; `psi` the excess PSI; `w1`
        is null for unordered inputs and where the reference has a single value; `threshold` and `w1_threshold` are the
        limits that applied. Figures are null without a reference. An input has no row for days without counts.

    >>> days = pl.date_range(date(2013, 1, 1), date(2013, 2, 10), eager=True)
    >>> counts = pl.DataFrame({"input": "x", "day": days, "bin": [0] * 39 + [1] * 2, "amount": 1_000})
    >>> judge_shift(counts, [Histogram("x", "flag")])["level"].to_list()[-3:]
    ['ok', 'critical', 'alarm']
    """
    past: dict[str, list[ShiftWindow]] = defaultdict(list)
    for known in before:
        past[known.input].append(known)
    found: list[_Compared] = []
    parts = counts.partition_by("input", as_dict=True)
    for histogram in sorted(histograms, key=lambda one: one.name):
        if (own := parts.get((histogram.name,))) is not None:
            windows = past[histogram.name]
            found.extend(_DailyCounts(histogram, own).windows(windows[-1].day if windows else date.min, after))
    rows: list[Mapping[str, object]] = []
    judged = sorted(_with_discoveries(found), key=lambda one: (one[0].day, one[0].input))
    for window, is_discovery in judged:
        verdict = _verdict(window, past[window.input], is_discovery=is_discovery)
        past[window.input].append(verdict)
        figures = {"n": window.n, "reference_n": window.reference_n, "p_value": window.p_value}
        rows.append(verdict.model_dump() | figures)
    return pl.DataFrame(rows, schema=SHIFT_SCHEMA)


def shift_windows(verdicts: pl.DataFrame) -> list[ShiftWindow]:
    """Return the rows of `judge_shift` as they are remembered."""
    return [ShiftWindow(**row) for row in verdicts.select(*ShiftWindow.model_fields).iter_rows(named=True)]


def _verdict(window: _Compared, known: Sequence[ShiftWindow], *, is_discovery: bool) -> ShiftWindow:
    """Judge a window by the input's windows of the year before it."""
    recent = known[bisect_left(known, window.day - PAST, key=lambda one: one.day) :]
    learned = _learned(recent)
    past_psi = [one.psi for one in learned if one.psi is not None]
    past_w1 = [one.w1 for one in learned if one.w1 is not None]
    is_calibrated = len(past_psi) >= _PAST_LEAST
    psi_limit: float = _PSI_WARN
    w1_limit: float | None = _W1_WARN
    if is_calibrated:
        psi_limit = max(psi_limit, _quantile(past_psi))
        w1_limit = max(_W1_WARN, _quantile(past_w1)) if len(past_w1) >= _PAST_LEAST else None
    psi, w1 = window.psi, window.w1
    by_psi = psi is not None and psi > psi_limit
    by_w1 = w1 is not None and w1_limit is not None and w1 > w1_limit
    is_flagged = is_discovery and (by_psi or by_w1)
    is_critical = (by_psi and (psi or 0.0) > _PSI_CRITICAL) or (by_w1 and (w1 or 0.0) > _W1_CRITICAL)
    judged = ShiftWindow(
        input=window.input,
        since=window.since,
        day=window.day,
        psi=psi,
        threshold=psi_limit,
        w1=w1,
        w1_threshold=w1_limit,
        flagged=is_flagged,
        level=("critical" if is_critical else "warn") if is_flagged else "ok",
    )
    if not is_calibrated or psi is None:
        return judged.model_copy(update={"level": "calibrating"})
    is_alarm = sum(map(_counts, [*recent[1 - _AMONG :], judged])) >= _FLAGGED
    return judged.model_copy(update={"level": "alarm"}) if is_alarm else judged


def _counts(window: ShiftWindow) -> bool:
    """Return whether a window counts towards an alarm."""
    return window.flagged and window.level != "calibrating"


def _learned(windows: Sequence[ShiftWindow]) -> list[ShiftWindow]:
    """Return the windows that have entered the past: without the last three, and without the later ones of an alarm."""
    excluded: set[date] = set()
    since: date | None = None
    for number, window in enumerate(windows):
        if window.level != "alarm":
            since = None
            continue
        flagged = [one.day for one in windows[max(number + 1 - _AMONG, 0) : number + 1] if _counts(one)]
        since = since or min(flagged, default=window.day)
        excluded.update(day for day in flagged if day != since)
    return [one for one in windows[:-_AMONG] if one.day not in excluded]


def _quantile(past: Iterable[float]) -> float:
    """Return the 99th percentile, interpolated linearly."""
    ordered = sorted(past)
    rank = _PAST_QUANTILE * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


class _DailyCounts:
    """Counts of one input by day and bin."""

    def __init__(self, histogram: Histogram, counts: pl.DataFrame) -> None:
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

    def windows(self, until: date, after: date) -> Iterator[_Compared]:
        """Yield every window that ends after a day, compared with the 28 days before it.

        Args:
            until: the last day of the window before; `date.min` if there is none.
            after: no window ends on this day or before it.
        """
        first = bisect_right(self._days, until)
        for last in range(first, len(self._days)):
            first = max(first, bisect_right(self._days, self._days[last] - _WINDOW_MOST))
            if self._days[last] > after and self._rows[last + 1] - self._rows[first] >= _ROWS_LEAST:
                yield self._compared(first, last)
                first = last + 1

    def _compared(self, first: int, last: int) -> _Compared:
        """Compare the days with indexes `first` to `last` with those before."""
        start = bisect_left(self._days, self._days[first] - _REFERENCE)
        before = self._sums[first] - self._sums[start]
        window = self._sums[last + 1] - self._sums[first]
        rows, reference_rows = int(window.sum()), int(before.sum())
        plain = _Compared(self._name, self._days[first], self._days[last], rows)
        if first - start < _REFERENCE_DAYS_LEAST or reference_rows < _ROWS_LEAST:
            return plain
        psi = excess_psi(before, window, group_bins(self._bins, before, rows, is_ordered=self._is_ordered))
        if psi is None:
            return plain
        w1 = None if self._centres is None else distance(self._centres, before, window)
        return replace(plain, reference_n=reference_rows, psi=psi.excess, w1=w1, p_value=psi.p_value)


def _with_discoveries(windows: Sequence[_Compared]) -> Iterator[tuple[_Compared, bool]]:
    """Yield each window with whether it is a discovery among all that end on its day."""
    by_day: dict[date, list[_Compared]] = defaultdict(list)
    for window in windows:
        by_day[window.day].append(window)
    for same_day in by_day.values():
        p_values = np.asarray([math.nan if one.p_value is None else one.p_value for one in same_day])
        discoveries = benjamini_hochberg(p_values, _FALSE_SHARE)
        yield from ((one, bool(found)) for one, found in zip(same_day, discoveries, strict=True))
